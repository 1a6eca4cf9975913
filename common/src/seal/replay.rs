//! What was heard before: windows over numbers, moved by what opened alone (PROTOCOL 10.5).

use std::collections::BTreeSet;

use crate::wire::Kind;

/// Numbers behind the highest that a host's window still tells apart (RFC 6479 has 64 as least).
const HOST_WINDOW: u32 = 64;

/// The window over the feedback of one process of a host, who alone can write under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HostWindow {
    top: u32,
    /// Bit n: number top − n was seen.
    seen: u64,
}

impl HostWindow {
    /// Whether `seq` is new; it is seen from now on. Numbers begin with 1.
    pub fn take(&mut self, seq: u32) -> bool {
        if seq > self.top {
            let step = seq - self.top;
            self.seen = if step < HOST_WINDOW { self.seen << step | 1 } else { 1 };
            self.top = seq;
            return true;
        }
        let back = self.top - seq;
        if seq == 0 || back >= HOST_WINDOW || self.seen & 1 << back != 0 {
            return false;
        }
        self.seen |= 1 << back;
        true
    }
}

/// POLLs and orders of a stream that are remembered.
const ORDERS_MEMORY: usize = 64;
/// HASHES that are: those of 180 MB at the default sizes, 16 KB. More than of the others, since
/// they come as fast as symbols.
const HASHES_MEMORY: usize = 4096;

/// The windows over the signed messages of a stream.
///
/// Every member of the group can write under the stream's key, so that a window over all of it
/// could be run away with. Symbols and ADVERTISE need none: what they say of a block is said once
/// for all. HASHES have one of their own, as they would push the few others out of it.
#[derive(Debug)]
pub(super) struct StreamWindows {
    hashes: Window,
    orders: Window,
}

impl Default for StreamWindows {
    fn default() -> Self {
        Self { hashes: Window::new(HASHES_MEMORY), orders: Window::new(ORDERS_MEMORY) }
    }
}

impl StreamWindows {
    /// The one over messages of this kind.
    pub fn of(&mut self, kind: Kind) -> &mut Window {
        if kind == Kind::Hashes { &mut self.hashes } else { &mut self.orders }
    }
}

/// A window over numbers of which few are used.
#[derive(Debug)]
pub(super) struct Window {
    /// Numbers that were seen, none below `floor`.
    recent: BTreeSet<u32>,
    memory: usize,
    /// Whatever is below counts as seen.
    floor: u32,
}

impl Window {
    fn new(memory: usize) -> Self {
        Self { recent: BTreeSet::new(), memory, floor: 0 }
    }

    /// Whether `seq` was not seen.
    pub fn is_new(&self, seq: u32) -> bool {
        seq >= self.floor && !self.recent.contains(&seq)
    }

    /// `seq` is seen from now on. What was sent before the first that was heard is not new.
    pub fn take(&mut self, seq: u32) {
        if self.recent.is_empty() {
            self.floor = seq;
        }
        self.recent.insert(seq);
        if self.recent.len() > self.memory {
            self.floor = self.recent.pop_first().map_or(0, |lowest| lowest.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once_in_any_order() {
        let mut window = HostWindow::default();
        assert!(!window.take(0), "numbers begin with 1");
        for seq in [1, 3, 2, 70, 66] {
            assert!(window.take(seq), "{seq}");
            assert!(!window.take(seq), "{seq} again");
        }
        assert!(window.take(7), "63 behind");
        assert!(!window.take(6), "64 behind");
        assert!(window.take(u32::MAX) && !window.take(70) && !window.take(u32::MAX));
    }

    fn takes(window: &mut Window, seq: u32) -> bool {
        let is_new = window.is_new(seq);
        if is_new {
            window.take(seq);
        }
        is_new
    }

    #[test]
    fn a_message_is_taken_once_and_none_from_before_the_first() {
        let mut windows = StreamWindows::default();
        for seq in [5, 900, 7] {
            let window = windows.of(Kind::Poll);
            assert!(takes(window, seq) && !takes(window, seq), "{seq}");
        }
        assert!(!windows.of(Kind::Stop).is_new(4), "sent before this host listened");
        assert!(windows.of(Kind::Hashes).is_new(4), "they have a window of their own");
    }

    #[test]
    fn what_fell_out_of_memory_counts_as_seen() {
        for (kind, memory) in [(Kind::Poll, 64), (Kind::Hashes, 4096)] {
            let mut windows = StreamWindows::default();
            let window = windows.of(kind);
            (0..10_000).for_each(|seq| assert!(takes(window, 3 * seq), "{seq}"));
            let oldest = 3 * (10_000 - memory);
            assert!((0..=oldest - 3).all(|seq| !window.is_new(seq)), "{kind:?}");
            assert!(takes(window, oldest + 2), "between what is remembered");
            assert_eq!(window.recent.len(), memory as usize, "memory is bounded");
        }
    }
}
