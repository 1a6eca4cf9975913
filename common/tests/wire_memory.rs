//! Goal: no datagram makes a parser take more memory than its bytes justify, accepted or refused.
//! Method: an allocator that counts what this thread asks for, and hostile datagrams of every kind
//! whose counts and lengths promise far more than is there.

use common::id::SessionId;
use common::sys::memory::{CountingAllocator, asked_bytes};
use common::wire::{Announce, Kind, Message, SymbolHeader, open_plain, peek_kind};

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

/// Bytes that `work` asks the allocator for, all requests added up.
fn asked_by(work: impl FnOnce()) -> usize {
    let before = asked_bytes();
    work();
    asked_bytes() - before
}

/// A small generator, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A byte from the few that parsers branch on, or any.
    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 12] = [0, 0, 0, 0, 1, 2, 4, 6, 0x40, b'a', 0x7f, 0xff];
        let random = self.next();
        let index = (random >> 8) as usize % (2 * TELLING.len());
        TELLING.get(index).copied().unwrap_or((random >> 32) as u8)
    }
}

fn enter(datagram: &[u8]) {
    let _ = peek_kind(datagram);
    let _ = SymbolHeader::parse(datagram);
    let _ = Announce::parse_versions(datagram);
    let _ = open_plain(datagram);
    let _ = Message::parse(datagram);
}

// PROTOCOL 9.1: no datagram takes memory beyond its own size.
#[test]
fn memory_is_bounded_by_the_datagram() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut reached = 0;
    for round in 0..200_000 {
        let kind = Kind::ALL[round % Kind::ALL.len()];
        let length = 16 + (random.next() % 300) as usize;
        let mut datagram = vec![0xfa, 0x4e, kind as u8, 1];
        datagram.resize_with(length, || random.byte());
        let bound = datagram.len() + size_of::<Announce>();
        let asked = asked_by(|| enter(&datagram));
        assert!(asked <= bound, "{asked} bytes for {datagram:02x?}");
        reached += usize::from(asked > 0);
    }
    assert!(reached > 1_000, "only {reached} datagrams got as far as a list or a text");
}

#[test]
fn refusing_takes_no_memory() {
    let full_list = [0xff; 2];
    for (kind, offset) in [(Kind::Advertise, 16), (Kind::Need, 44), (Kind::Poll, 41)] {
        let mut datagram = vec![0; 1200];
        datagram[..4].copy_from_slice(&[0xfa, 0x4e, kind as u8, 1]);
        datagram[offset..offset + 2].copy_from_slice(&full_list);
        assert_eq!(asked_by(|| assert!(Message::parse(&datagram).is_err())), 0, "{kind}");
        datagram[offset..offset + 2].copy_from_slice(&[0, 90]);
        datagram.truncate(offset + 2 + 90 * 8 - 1);
        assert_eq!(asked_by(|| assert!(Message::parse(&datagram).is_err())), 0, "{kind}");
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(asked_by(|| drop(Vec::<u8>::with_capacity(1000))), 1000);
    let order = common::wire::Advertise { blocks: Vec::new() };
    let mut out = Vec::new();
    assert!(asked_by(|| Message::Advertise(order).emit(SessionId(1), 1, 0, &mut out)) > 0);
}
