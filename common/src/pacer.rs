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
/// What a wake-up is later than that is made good by departures that lie closer by this part of
/// their distance, a fifth: at most 1.25 times the rate. Without, a sender on two busy cores
/// reached 730 of 930 Mbit/s.
const HASTE_PART: u32 = 5;
/// No more than this is made good in that way: 0.2 s of haste.
const DEBT_MAX: Duration = Duration::from_millis(50);

/// A token bucket that holds time instead of tokens.
///
/// Invariant: over any interval the bytes charged stay below `rate × (interval + credit + debt)`
/// plus one departure.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: Bitrate,
    next: Timestamp,
    /// Time of sending that late wake-ups have cost and that is to be made good.
    debt: Duration,
    /// Whether there was nothing to send since the last departure: then none was late.
    is_resting: bool,
}

impl Pacer {
    /// A bucket that lets `rate` through, starting now.
    pub fn new(rate: Bitrate) -> Self {
        Self { rate, next: Timestamp::ZERO, debt: Duration::ZERO, is_resting: true }
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

    /// There is nothing to send: the time until the next departure is not made good.
    pub fn rest(&mut self) {
        self.is_resting = true;
        self.debt = Duration::ZERO;
    }

    /// Charges a departure of `bytes` on the wire made at `now`.
    pub fn charge(&mut self, now: Timestamp, bytes: u64) {
        let time = self.rate.time_for(bytes);
        let credit = CREDIT_MAX.max(time);
        let oldest = Timestamp::from_nanos(now.as_nanos().saturating_sub(nanos(credit)));
        if !std::mem::take(&mut self.is_resting) {
            self.debt = (self.debt + oldest.since(self.next)).min(DEBT_MAX);
        }
        let haste = (time / HASTE_PART).min(self.debt);
        self.debt -= haste;
        self.next = self.next.max(oldest) + (time - haste);
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

    /// Bytes sent in a second at 800 Mbit/s by one who wakes up every `interval`.
    fn sent_when_woken_every(interval: Duration) -> u64 {
        let mut pacer = Pacer::new(Bitrate::from_megabits(800));
        let (mut sent, start) = (0, Timestamp::from_nanos(1_000_000_000));
        let mut now = start;
        while now < start + Duration::from_secs(1) {
            while pacer.is_ready(now) {
                pacer.charge(now, 20_000);
                sent += 20_000;
            }
            now += interval;
        }
        sent
    }

    #[test]
    fn wake_ups_that_are_a_little_late_cost_no_rate_and_very_late_ones_do() {
        let every = |micros| sent_when_woken_every(Duration::from_micros(micros)) / 1_000_000;
        assert!((99..=101).contains(&every(100)), "{}", every(100));
        assert!((97..=101).contains(&every(1250)), "{}", every(1250));
        assert!((50..=70).contains(&every(2500)), "{}", every(2500));
    }

    #[test]
    fn of_a_long_stall_fifty_milliseconds_are_made_good_and_no_more() {
        let mut pacer = Pacer::new(Bitrate::from_megabits(800));
        let mut now = Timestamp::from_nanos(1_000_000_000);
        pacer.charge(now, 20_000);
        now += Duration::from_secs(10);
        let (mut sent, end) = (0, now + Duration::from_secs(1));
        while now < end {
            while pacer.is_ready(now) {
                pacer.charge(now, 20_000);
                sent += 20_000;
            }
            now += Duration::from_micros(100);
        }
        // A second, what was late, a millisecond in a row, and one departure.
        assert!((104_800_000..=105_200_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_for_want_of_symbols_is_forgotten() {
        let mut pacer = Pacer::new(Bitrate::from_megabits(800));
        let mut now = Timestamp::from_nanos(1_000_000_000);
        let send = |pacer: &mut Pacer, now| {
            let mut sent = 0;
            while pacer.is_ready(now) {
                pacer.charge(now, 20_000);
                sent += 20_000;
            }
            sent
        };
        send(&mut pacer, now);
        pacer.rest();
        now += Duration::from_millis(30);
        assert_eq!(send(&mut pacer, now), 120_000, "as after any pause");
        now += Duration::from_micros(400);
        assert_eq!(send(&mut pacer, now), 40_000, "and at the rate from there on");
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
