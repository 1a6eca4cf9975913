//! The only reader of the operating system's clocks.
//!
//! Sessions never call this: a driver reads the clock once per turn and hands the [`Timestamp`] in.
//! Invariant: [`Clock::now`] never goes backwards; wall time ([`unix_seconds`], [`unix_micros`])
//! may, so nothing is ever scheduled by it.
#![expect(clippy::disallowed_methods, reason = "this module is where time is read")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// The process's monotonic clock. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose [`Timestamp::ZERO`] is now.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Time since the clock was started.
    pub fn now(&self) -> Timestamp {
        let nanos = self.started.elapsed().as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Seconds since 1970 by the wall clock; zero on a machine whose clock stands before that.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Microseconds since 1970 by the wall clock; what JOIN and ACTIVATE carry.
pub fn unix_micros() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_at_zero_and_copies_tell_the_same_time() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.now();
        let second = copy.now();
        assert!(first <= second, "{first} then {second}");
        assert!(second.since(Timestamp::ZERO) < Duration::from_secs(5));
    }

    #[test]
    fn wall_time_has_the_same_value_in_both_units() {
        let seconds = unix_seconds();
        let micros = unix_micros();
        assert!((seconds..=seconds + 1).contains(&(micros / 1_000_000)));
        assert!(seconds > 1_700_000_000, "the wall clock stands before 2023");
    }
}
