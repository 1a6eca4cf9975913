//! How many signatures of a session are looked at (PROTOCOL 10.8).
//!
//! A check takes 52 to 73 µs, and whoever has the group's key and forges the sender's address can
//! have a hundred thousand asked for in a second. So checks are counted, by what is checked: forged
//! POLLs keep no order out, forged orders no POLL. What turns out right and new does not count, so
//! that a sender is never bounded by what it says itself, and what was said before is dropped
//! unseen (`replay`). Under a flood the checks go to whoever comes just then: a part of the
//! sender's messages gets through, as large as the checks are of the flood.

use crate::time::Timestamp;
use crate::wire::Kind;

/// POLLs a second that are looked at in vain: 10 to 15 % of a core. More of them than of the
/// others: of the fifty that a sender says in a second some must get through a flood.
const POLLS: Bucket = Bucket::of(2000, AT_ONCE);
/// HASHES that are. What a forger keeps out is asked for again.
const HASHES: Bucket = Bucket::of(500, AT_ONCE);
/// Orders that are. They are repeated ten times a second.
const ORDERS: Bucket = Bucket::of(500, AT_ONCE);
/// So many checks may follow each other at once: what a flood has brought before it is noticed.
const AT_ONCE: u64 = 50;

/// What may still be looked at of one session.
#[derive(Debug)]
pub(super) struct Checks {
    polls: Bucket,
    hashes: Bucket,
    orders: Bucket,
}

impl Default for Checks {
    fn default() -> Self {
        Self { polls: POLLS, hashes: HASHES, orders: ORDERS }
    }
}

impl Checks {
    /// Whether another signature under a message of this kind may be looked at; it counts from now
    /// on.
    pub fn take(&mut self, now: Timestamp, kind: Kind) -> bool {
        self.bucket(kind).take(now)
    }

    /// The signature that was looked at last under such a message was right and new: it does not
    /// count.
    pub fn give_back(&mut self, kind: Kind) {
        self.bucket(kind).give_back();
    }

    fn bucket(&mut self, kind: Kind) -> &mut Bucket {
        match kind {
            Kind::Poll => &mut self.polls,
            Kind::Hashes => &mut self.hashes,
            _ => &mut self.orders,
        }
    }
}

/// A token bucket that holds time instead of tokens, for checks as the pacer's is for bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    interval_us: u64,
    burst_us: u64,
    /// When all that was taken is made good, in microseconds.
    free_at_us: u64,
}

impl Bucket {
    /// Lets `a_second` checks through in a second, after a rest `at_once`.
    pub const fn of(a_second: u64, at_once: u64) -> Self {
        let interval_us = 1_000_000 / a_second;
        Self { interval_us, burst_us: at_once * interval_us, free_at_us: 0 }
    }

    /// Whether another check may be made; it counts from now on.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let now_us = now.as_micros();
        let from_us = self.free_at_us.max(now_us);
        if from_us - now_us >= self.burst_us {
            return false;
        }
        self.free_at_us = from_us + self.interval_us;
        true
    }

    /// Whether it is as if nothing had been taken.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.free_at_us <= now.as_micros()
    }

    fn give_back(&mut self) {
        self.free_at_us = self.free_at_us.saturating_sub(self.interval_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks under `kind` that a flood of 100 a millisecond gets in a time.
    fn looked_at(checks: &mut Checks, kind: Kind, millis: std::ops::Range<u64>) -> usize {
        let at = |millis| Timestamp::from_micros(millis * 1000);
        millis.flat_map(|now| [at(now); 100]).filter(|now| checks.take(*now, kind)).count()
    }

    #[test]
    fn a_flood_gets_its_rate_and_one_burst_and_takes_nothing_from_other_kinds() {
        let mut checks = Checks::default();
        assert_eq!(looked_at(&mut checks, Kind::Poll, 0..1000), 2048);
        assert_eq!(looked_at(&mut checks, Kind::Stop, 0..1000), 550);
        assert_eq!(looked_at(&mut checks, Kind::Hashes, 0..1000), 550);
        assert_eq!(looked_at(&mut checks, Kind::Poll, 2000..3000), 2048, "a rest is one burst");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut checks = Checks::default();
        let now = Timestamp::from_micros(7);
        for _ in 0..100_000 {
            assert!(checks.take(now, Kind::Poll));
            checks.give_back(Kind::Poll);
        }
        assert_eq!((0..1000).filter(|_| checks.take(now, Kind::Poll)).count(), 50);
    }
}
