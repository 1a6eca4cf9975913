//! The token bucket: when may the next train go.
//!
//! Departures are spread by us because the kernel does not: `SO_MAX_PACING_RATE` acts on UDP only
//! under the `fq` queueing discipline, and elsewhere succeeds and does nothing.

use std::time::Duration;

use crate::time::Timestamp;
use crate::units::Bitrate;

/// A late wake-up is made good with at most this much sending in a row: timers fire about 60 µs
/// late, and an unlimited catch-up would be the burst that pacing is there to avoid.
const CREDIT_MAX: Duration = Duration::from_millis(1);

/// A token bucket that holds time instead of tokens.
///
/// Invariant: over any interval the bytes charged stay below `rate × (interval + credit)` plus one
/// departure.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: Bitrate,
    next: Timestamp,
}

impl Pacer {
    /// A bucket that lets `rate` through, starting now.
    pub fn new(rate: Bitrate) -> Self {
        Self { rate, next: Timestamp::ZERO }
    }

    /// The rate in force.
    pub fn rate(&self) -> Bitrate {
        self.rate
    }

    /// Changes the rate; what was charged stays charged.
    pub fn set_rate(&mut self, rate: Bitrate) {
        self.rate = rate;
    }

    /// When the next departure may go; not later than `now` means at once.
    pub fn next_departure(&self) -> Timestamp {
        self.next
    }

    /// Whether a departure may go at `now`.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.next <= now
    }

    /// Charges a departure of `bytes` on the wire made at `now`.
    pub fn charge(&mut self, now: Timestamp, bytes: u64) {
        let credit = CREDIT_MAX.max(self.rate.time_for(bytes));
        let oldest = Timestamp::from_nanos(now.as_nanos().saturating_sub(nanos(credit)));
        self.next = self.next.max(oldest) + self.rate.time_for(bytes);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_polling_lets_a_second_of_bytes_through() {
        let mut pacer = Pacer::new(Bitrate::from_megabits(80));
        let (mut sent, mut now) = (0, Timestamp::from_nanos(1_000_000_000));
        let end = now + Duration::from_secs(1);
        while now < end {
            while pacer.is_ready(now) {
                pacer.charge(now, 10_000);
                sent += 10_000;
            }
            now += Duration::from_micros(130);
        }
        assert!((9_900_000..=10_020_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_is_not_made_good_by_a_burst() {
        let mut pacer = Pacer::new(Bitrate::from_megabits(800));
        let now = Timestamp::from_nanos(5_000_000_000);
        let mut sent = 0;
        while pacer.is_ready(now) {
            pacer.charge(now, 20_000);
            sent += 20_000;
        }
        assert_eq!(sent, 120_000, "1 ms at 800 Mbit/s is five departures, and one is on the way");
    }
}
