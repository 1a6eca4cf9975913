//! The way of feedback: one queue that all hosts share, then the sender's socket buffer.
//!
//! Ten thousand answers are no load, but ten thousand at once are: what does not fit into a queue
//! or a buffer is lost, and nobody is told.

use std::collections::VecDeque;
use std::time::Duration;

use common::time::Timestamp;
use common::units::Bitrate;

/// Ethernet, IPv4 and UDP around a datagram, preamble and gap included.
const FRAMING_BYTES: usize = 20 + 8 + 38;

/// What feedback has to pass through. The default is a way without limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bottleneck {
    /// Rate of the last link, which all feedback shares; `None`: without limit.
    pub rate: Option<Bitrate>,
    /// Bytes that wait in front of that link at most.
    pub queue_bytes: usize,
    /// The sender's socket buffer, in bytes as the kernel counts them.
    pub socket_bytes: usize,
    /// Time that the sender takes for a message.
    pub service: Duration,
}

impl Bottleneck {
    /// A port of 1 Gbit/s with 512 KiB of queue, Linux's default socket buffer (`net.core.
    /// rmem_default`, 208 KiB) and a sender that takes 5 µs for a message: a system call's share,
    /// parsing, and the time in which it sends a train instead.
    pub const ETHERNET: Self = Self {
        rate: Some(Bitrate::from_megabits(1000)),
        queue_bytes: 512 << 10,
        socket_bytes: 212_992,
        service: Duration::from_micros(5),
    };
}

impl Default for Bottleneck {
    fn default() -> Self {
        Self {
            rate: None,
            queue_bytes: usize::MAX,
            socket_bytes: usize::MAX,
            service: Duration::ZERO,
        }
    }
}

/// The state of queue and buffer.
#[derive(Debug)]
pub(super) struct Way {
    limits: Bottleneck,
    /// When the link has sent what waits for it.
    link_free: Timestamp,
    /// What lies in the socket buffer: when the sender is done with it, and its size there.
    buffer: VecDeque<(Timestamp, usize)>,
    buffer_bytes: usize,
    overflows: u64,
}

impl Way {
    pub(super) fn new(limits: Bottleneck) -> Self {
        Self {
            limits,
            link_free: Timestamp::ZERO,
            buffer: VecDeque::new(),
            buffer_bytes: 0,
            overflows: 0,
        }
    }

    /// Datagrams lost for want of room.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// A datagram of `bytes` joins the queue: when it leaves the link, `None` when it is lost.
    pub(super) fn enter(&mut self, now: Timestamp, bytes: usize) -> Option<Timestamp> {
        let Some(rate) = self.limits.rate else { return Some(now) };
        let waiting = rate.bytes_in(self.link_free.since(now)) as usize;
        if waiting.saturating_add(bytes) > self.limits.queue_bytes {
            self.overflows += 1;
            return None;
        }
        let wire_bytes = (bytes + FRAMING_BYTES) as u64;
        self.link_free = self.link_free.max(now) + rate.time_for(wire_bytes);
        Some(self.link_free)
    }

    /// A datagram of `bytes` reaches the socket: when the sender is done with reading it, `None`
    /// when the buffer is full.
    pub(super) fn arrive(&mut self, now: Timestamp, bytes: usize) -> Option<Timestamp> {
        while let Some((done, size)) = self.buffer.front().copied()
            && done <= now
        {
            self.buffer.pop_front();
            self.buffer_bytes -= size;
        }
        let size = kernel_bytes(bytes);
        // As Linux does: a datagram is taken while the limit is not yet exceeded.
        if self.buffer_bytes > self.limits.socket_bytes {
            self.overflows += 1;
            return None;
        }
        let begins = self.buffer.back().map_or(now, |(done, _)| now.max(*done));
        let done = begins + self.limits.service;
        self.buffer.push_back((done, size));
        self.buffer_bytes += size;
        Some(done)
    }
}

/// What a datagram of `bytes` costs of a socket buffer on Linux (`skb->truesize`): the packet with
/// its headers and 64 bytes of headroom, the 320 of `skb_shared_info` behind it, rounded up to a
/// power of two, and 256 bytes of `sk_buff`.
fn kernel_bytes(bytes: usize) -> usize {
    (64 + 42 + bytes + 320).next_power_of_two() + 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_burst_beyond_the_socket_buffer_is_lost_and_what_was_read_makes_room() {
        let mut way = Way::new(Bottleneck::ETHERNET);
        let taken = (0..10_000).filter(|_| way.arrive(at(0), 80).is_some()).count();
        assert_eq!(taken, 278, "212,992 bytes hold 277 small datagrams of 768 and one more");
        assert_eq!(way.overflows(), 10_000 - 278);
        assert_eq!(way.arrive(at(50), 80), Some(at(278 * 5 + 5)), "ten were read meanwhile");
    }

    #[test]
    fn the_link_spreads_a_burst_and_its_queue_is_finite() {
        let mut way = Way::new(Bottleneck { queue_bytes: 1000, ..Bottleneck::ETHERNET });
        let left: Vec<_> = (0..20).map_while(|_| way.enter(at(7), 184)).collect();
        assert_eq!(left[..2], [at(9), at(11)], "250 bytes on the wire are 2 us at 1 Gbit/s");
        assert_eq!(left.len(), 4);
    }

    #[test]
    fn a_way_without_limits_neither_delays_nor_loses() {
        let mut way = Way::new(Bottleneck::default());
        assert!((0..10_000).all(|_| way.enter(at(3), 500) == Some(at(3))));
        assert!((0..10_000).all(|_| way.arrive(at(3), 500) == Some(at(3))));
    }
}
