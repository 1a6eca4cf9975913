//! How fast bytes leave, as an operator sees it: what was achieved, not what was allowed.

use std::collections::VecDeque;
use std::time::Duration;

use common::time::Timestamp;
use common::units::Bitrate;

/// The rate is that of the last second: a shorter one flickers, a longer one is stale.
const WINDOW: Duration = Duration::from_secs(1);

/// A running measurement.
#[derive(Debug, Default)]
pub struct RateMeter {
    /// When it was looked at, and bytes sent by then; the first is a window old, if any is.
    looks: VecDeque<(Timestamp, u64)>,
}

impl RateMeter {
    /// `bytes` were sent by `now`; the rate of late.
    pub fn look(&mut self, now: Timestamp, bytes: u64) -> Bitrate {
        self.looks.push_back((now, bytes));
        while self.looks.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.looks.pop_front();
        }
        let (since, before) = self.looks.front().copied().unwrap_or((now, bytes));
        let time = now.since(since);
        if time.is_zero() { Bitrate::from_bits(0) } else { Bitrate::of(bytes - before, time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_what_left_in_the_last_second() {
        let at = |tenths: u64| Timestamp::from_micros(tenths * 100_000);
        let mut meter = RateMeter::default();
        assert_eq!(meter.look(at(0), 0).as_bits(), 0);
        // 10 Mbit a tenth of a second for two seconds, then nothing.
        let rates: Vec<u64> =
            (1..=20).map(|n| meter.look(at(n), n * 1_250_000).as_bits() / 1_000_000).collect();
        assert!(rates.iter().all(|rate| *rate == 100), "{rates:?}");
        let last: Vec<u64> =
            (21..=30).map(|n| meter.look(at(n), 25_000_000).as_bits() / 1_000_000).collect();
        assert_eq!((last[4], last[9]), (50, 0), "{last:?}");
    }
}
