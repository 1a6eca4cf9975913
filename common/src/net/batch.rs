//! What one receive brought: many datagrams in one reusable piece of memory.
//!
//! Trains that the kernel hands over in one buffer (GRO) are taken apart here, so that everybody
//! else sees datagrams. Not here: what a datagram means.
//! Invariant: spans never overlap, and memory never grows after [`RecvBatch::new`] whatever a peer
//! sends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use crate::sys::sockets::{self, Received, SLOTS};

/// One kernel buffer: a UDP datagram or a coalesced train is never longer than 65,535 bytes.
const SLOT_BYTES: usize = 64 << 10;
/// Datagram memory of a batch: 1 MiB. The kernel coalesces at most 64 datagrams into a buffer, and
/// a train of 16 uses 23 KB of one, so that the pages in use mostly stay in the L2 cache.
const STORAGE_BYTES: usize = SLOTS * SLOT_BYTES;
/// Datagrams of a batch: a local sender's train of 128 (the kernel's limit) in every buffer.
const DATAGRAMS_MAX: usize = SLOTS * 128;

/// Datagrams received together, and the memory to receive the next ones into.
pub struct RecvBatch {
    storage: Box<[u8]>,
    senders: Vec<SocketAddr>,
    spans: Vec<Span>,
    /// End of the last datagram's bytes: where [`RecvBatch::push`] goes on.
    end: usize,
}

/// Where a datagram lies in the storage, and who sent it.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    bytes: u32,
    sender: u32,
}

/// What a receive added and what it had to throw away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// Datagrams now in the batch.
    pub(super) datagrams: usize,
    /// Buffers that they came in.
    pub(super) buffers: usize,
    /// Buffers whose content was cut by the kernel or does not fit the batch.
    pub(super) cut: usize,
}

impl RecvBatch {
    /// An empty batch. Its 1 MiB is touched, and so made resident, only as far as datagrams need.
    pub fn new() -> Self {
        Self {
            storage: vec![0; STORAGE_BYTES].into_boxed_slice(),
            senders: Vec::with_capacity(DATAGRAMS_MAX),
            spans: Vec::with_capacity(DATAGRAMS_MAX),
            end: 0,
        }
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no datagram.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Sender and bytes of each datagram, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.spans.iter().map(|span| {
            let datagram = &self.storage[span.start as usize..][..span.bytes as usize];
            (self.senders[span.sender as usize], datagram)
        })
    }

    /// The same, and their bytes may be changed: sealed ones are opened in their place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        let (mut rest, mut at) = (&mut *self.storage, 0);
        let senders = &self.senders;
        self.spans.iter().map(move |span| {
            // In order of arrival spans lie one behind the other.
            let (_, here) = std::mem::take(&mut rest).split_at_mut(span.start as usize - at);
            let (datagram, behind) = here.split_at_mut(span.bytes as usize);
            (rest, at) = (behind, (span.start + span.bytes) as usize);
            (senders[span.sender as usize], datagram)
        })
    }

    /// Keeps the datagrams for which `keep` says so, in order. It may also change their bytes:
    /// this is the place for a test's loss and corruption.
    pub fn retain(&mut self, mut keep: impl FnMut(SocketAddr, &mut [u8]) -> bool) {
        let (storage, senders) = (&mut self.storage, &self.senders);
        self.spans.retain(|span| {
            let datagram = &mut storage[span.start as usize..][..span.bytes as usize];
            keep(senders[span.sender as usize], datagram)
        });
    }

    /// Forgets all datagrams; the memory stays.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.senders.clear();
        self.end = 0;
    }

    /// Adds a datagram behind the others: for links that are not sockets. False when it is full.
    pub fn push(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let start = self.end;
        let Some(place) = self.storage.get_mut(start..start + datagram.len()) else {
            return false;
        };
        place.copy_from_slice(datagram);
        self.add_spans(from, start, datagram.len(), datagram.len())
    }

    /// Replaces the content by what is queued at `socket`, without waiting.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<Filled> {
        self.clear();
        let mut received = [Received::EMPTY; SLOTS];
        let count = sockets::receive(socket, &mut self.storage, SLOT_BYTES, &mut received)?;
        let mut cut = 0;
        for (slot, buffer) in received[..count].iter().enumerate() {
            cut += usize::from(!self.split(slot, buffer));
        }
        Ok(Filled { datagrams: self.spans.len(), buffers: count - cut, cut })
    }

    /// Takes one buffer apart; false when its content is unusable.
    fn split(&mut self, slot: usize, buffer: &Received) -> bool {
        let Some(from) = buffer.from.filter(|_| !buffer.is_cut) else {
            return false;
        };
        let segment_bytes = match buffer.segment_bytes {
            0 => buffer.bytes,
            segment_bytes => segment_bytes,
        };
        self.add_spans(from, slot * SLOT_BYTES, buffer.bytes, segment_bytes)
    }

    /// Adds `bytes` at `start` as datagrams of `segment_bytes`, the last perhaps shorter.
    fn add_spans(
        &mut self,
        from: SocketAddr,
        start: usize,
        bytes: usize,
        segment_bytes: usize,
    ) -> bool {
        // An empty datagram is one, too: it wakes a reader and must not be seen as an idle socket.
        let count = bytes.div_ceil(segment_bytes.max(1)).max(1);
        if self.spans.len() + count > DATAGRAMS_MAX {
            return false;
        }
        let sender = self.senders.len() as u32;
        self.senders.push(from);
        self.end = start + bytes;
        for index in 0..count {
            let offset = index * segment_bytes;
            let bytes = segment_bytes.min(bytes - offset) as u32;
            self.spans.push(Span { start: (start + offset) as u32, bytes, sender });
        }
        true
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecvBatch of {} datagrams", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 18, 0, 1], port))
    }

    fn contents(batch: &RecvBatch) -> Vec<(u16, Vec<u8>)> {
        batch.iter().map(|(from, datagram)| (from.port(), datagram.to_vec())).collect()
    }

    fn train(bytes: usize, segment_bytes: usize) -> Received {
        Received { from: Some(peer(1)), bytes, segment_bytes, is_cut: false }
    }

    #[test]
    fn a_train_is_split_into_equal_datagrams_and_a_short_last_one() {
        let mut batch = RecvBatch::new();
        assert!(batch.split(0, &train(10, 4)));
        assert!(batch.split(1, &train(8, 4)));
        assert!(batch.split(2, &train(3, 0)));
        let lengths: Vec<_> = batch.iter().map(|(_, datagram)| datagram.len()).collect();
        assert_eq!(lengths, [4, 4, 2, 4, 4, 3]);
    }

    #[test]
    fn datagrams_can_be_changed_in_their_place() {
        let mut batch = RecvBatch::new();
        assert!(batch.split(0, &train(10, 4)) && batch.split(2, &train(3, 0)));
        for (index, (_, datagram)) in batch.iter_mut().enumerate() {
            datagram.fill(index as u8 + 1);
        }
        let bytes: Vec<_> = batch.iter().map(|(_, datagram)| datagram.to_vec()).collect();
        assert_eq!(bytes, [vec![1; 4], vec![2; 4], vec![3; 2], vec![4; 3]]);
    }

    #[test]
    fn an_empty_datagram_is_one_datagram() {
        let mut batch = RecvBatch::new();
        assert!(batch.split(0, &train(0, 0)));
        assert_eq!(contents(&batch), [(1, vec![])]);
    }

    #[test]
    fn cut_buffers_unknown_senders_and_absurd_trains_add_nothing() {
        let mut batch = RecvBatch::new();
        assert!(!batch.split(0, &Received { is_cut: true, ..train(10, 4) }));
        assert!(!batch.split(0, &Received { from: None, ..train(10, 4) }));
        assert!(!batch.split(0, &train(SLOT_BYTES, 1)));
        assert!(batch.is_empty());
    }

    #[test]
    fn retain_drops_single_datagrams_of_a_train_and_keeps_the_order() {
        let mut batch = RecvBatch::new();
        for byte in 0..6 {
            assert!(batch.push(peer(u16::from(byte)), &[byte; 3]));
        }
        batch.retain(|from, datagram| {
            datagram[0] |= 0x80;
            from.port() % 2 == 1
        });
        let odd = [1_u8, 3, 5].map(|byte| (u16::from(byte), vec![byte | 0x80, byte, byte]));
        assert_eq!(contents(&batch), odd);
    }

    #[test]
    fn a_batch_filled_by_hand_says_when_it_is_full_and_never_grows() {
        let mut batch = RecvBatch::new();
        let datagram = [7; 1 << 16];
        let filled = (0..20).filter(|_| batch.push(peer(1), &datagram)).count();
        assert_eq!(filled, 16, "1 MiB of 64 KiB");
        batch.clear();
        let filled = (0..3000).filter(|_| batch.push(peer(1), &[])).count();
        assert_eq!(filled, 2048);
        assert_eq!((batch.spans.capacity(), batch.senders.capacity()), (2048, 2048));
    }
}
