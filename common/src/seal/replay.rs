//! What was heard before: windows over numbers, moved by what opened alone (PROTOCOL 10.5).

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

/// Signed messages of a stream that are remembered.
const STREAM_MEMORY: usize = 64;

/// The window over the signed messages of a stream.
///
/// Every member of the group can write under the stream's key, so that a window over all of it
/// could be run away with. Symbols and ADVERTISE need none: what they say of a block is said once
/// for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StreamWindow {
    /// Numbers that were seen, none below `floor`.
    recent: Vec<u32>,
    /// Whatever is below counts as seen.
    floor: u32,
}

impl StreamWindow {
    /// Whether `seq` is new; it is seen from now on. What was sent before the first that was heard
    /// is not.
    pub fn take(&mut self, seq: u32) -> bool {
        if self.recent.is_empty() {
            self.floor = seq;
        }
        if seq < self.floor || self.recent.contains(&seq) {
            return false;
        }
        if self.recent.len() == STREAM_MEMORY {
            let lowest = (0..STREAM_MEMORY).min_by_key(|at| self.recent[*at]).unwrap_or(0);
            self.floor = self.recent.swap_remove(lowest) + 1;
        }
        self.recent.push(seq);
        true
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

    #[test]
    fn a_message_is_taken_once_and_none_from_before_the_first() {
        let mut window = StreamWindow::default();
        for seq in [5, 900, 7] {
            assert!(window.take(seq) && !window.take(seq), "{seq}");
        }
        assert!(!window.take(4), "sent before this host listened");
    }

    #[test]
    fn what_fell_out_of_memory_counts_as_seen() {
        let mut window = StreamWindow::default();
        (0..10_000).for_each(|seq| assert!(window.take(3 * seq), "{seq}"));
        assert!((0..29_000).all(|seq| !window.take(seq)));
        assert!(window.take(29_996), "between what is remembered");
        assert_eq!(window.recent.len(), STREAM_MEMORY, "memory is bounded");
    }
}
