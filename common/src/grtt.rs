//! The group's round-trip time: what timers scale with.
//!
//! The 95th percentile of recent samples, within 1 and 50 ms: no host alone can stretch everybody's
//! timers (PROTOCOL 6.6).

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{BACKOFF_MIN, GRTT_MAX, GRTT_MIN};

/// Samples remembered: enough that the 95th percentile is not the maximum.
const SAMPLES: usize = 64;

/// A running estimate from the echoes in JOIN, NEED and STATUS.
#[derive(Debug, Clone, Default)]
pub struct GroupRtt {
    samples: VecDeque<Duration>,
}

impl GroupRtt {
    /// Takes one round-trip sample.
    pub fn observe(&mut self, sample: Duration) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The estimate; the largest allowed value while nothing is known.
    pub fn estimate(&self) -> Duration {
        let mut sorted: Vec<_> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return GRTT_MAX };
        sorted[last * 95 / 100].clamp(GRTT_MIN, GRTT_MAX)
    }

    /// T, the interval over which hosts spread their NEEDs: `max(10 · GRTT, 20 ms)`.
    pub fn backoff(&self) -> Duration {
        (self.estimate() * 10).max(BACKOFF_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_distant_host_does_not_stretch_the_timers() {
        let mut grtt = GroupRtt::default();
        assert_eq!(grtt.estimate(), GRTT_MAX);
        (0..60).for_each(|_| grtt.observe(Duration::from_micros(300)));
        (0..2).for_each(|_| grtt.observe(Duration::from_secs(3)));
        assert_eq!(grtt.estimate(), GRTT_MIN);
        assert_eq!(grtt.backoff(), BACKOFF_MIN);
    }

    #[test]
    fn a_distant_fleet_is_believed_up_to_the_cap() {
        let mut grtt = GroupRtt::default();
        (0..100).for_each(|_| grtt.observe(Duration::from_millis(30)));
        assert_eq!(grtt.estimate(), Duration::from_millis(30));
        (0..100).for_each(|_| grtt.observe(Duration::from_secs(1)));
        assert_eq!(grtt.estimate(), GRTT_MAX);
    }
}
