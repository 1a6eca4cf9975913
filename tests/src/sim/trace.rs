//! What happened at one place, as a number: two runs are the same where their numbers are.

use common::time::Timestamp;

/// A running hash of events; fast, since every delivery goes into it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trace(u64);

impl Trace {
    /// Something happened that `what` stands for.
    pub(super) fn note(&mut self, now: Timestamp, what: u64) {
        for word in [now.as_nanos(), what] {
            // An odd constant without pattern (the golden ratio's fraction) and a rotation: each
            // bit of the past moves every bit of the future.
            let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = mixed ^ mixed.rotate_right(29);
        }
    }

    /// The number.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}
