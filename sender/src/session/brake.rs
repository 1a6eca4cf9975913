//! The brake: how fast to send below the ceiling.
//!
//! Looks at a quantile of sampled hosts, never at the worst. A cut is kept only if it lowered what
//! it was made for: steady random loss calls for parity, not for less rate (PROTOCOL 5.4).

use std::time::Duration;

use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::Rate;

/// Reports are judged over at least this long.
const INTERVAL: Duration = Duration::from_millis(100);
/// Loss of the 75th percentile below this is weather.
const LOSS_PPM_CALM: u32 = 5_000;
/// Loss of the 75th percentile above its baseline by this is a reason to try less.
const LOSS_PPM_STEP: u32 = 15_000;

/// How the rate is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePolicy {
    /// Exactly this, whatever the hosts say.
    Fixed(Bitrate),
    /// At most this, on the sender's own guess of what the network takes.
    Guessed(Bitrate),
    /// At most this, as the operator said.
    Ceiling(Bitrate),
}

/// The rate in force and why.
#[derive(Debug)]
pub struct Brake {
    policy: RatePolicy,
    rate: Bitrate,
    is_climbing: bool,
    since: Timestamp,
    losses: Vec<u32>,
    overruns: usize,
    /// Loss that less rate did not lower.
    baseline_ppm: u32,
    /// A cut under trial: the loss it was made for, and the rate before it.
    trial: Option<(u32, Bitrate)>,
}

impl Brake {
    /// Starts at an eighth of a guess or at half of what the operator said, and doubles while the
    /// fleet is calm.
    pub fn new(policy: RatePolicy) -> Self {
        let slow = Bitrate::from_megabits(100);
        let rate = match policy {
            RatePolicy::Fixed(rate) => rate,
            RatePolicy::Guessed(guess) => guess.scaled(1, 8).max(slow).min(guess),
            RatePolicy::Ceiling(ceiling) => ceiling.scaled(1, 2).max(slow).min(ceiling),
        };
        Self {
            policy,
            rate,
            is_climbing: true,
            since: Timestamp::ZERO,
            losses: Vec::new(),
            overruns: 0,
            baseline_ppm: 0,
            trial: None,
        }
    }

    /// The rate in force.
    pub fn rate(&self) -> Bitrate {
        self.rate
    }

    /// Takes one host's report; at most a thousand count in one interval.
    pub fn on_report(&mut self, report: &Rate) {
        if self.losses.len() < 1000 {
            self.losses.push(report.loss_ppm);
            self.overruns += usize::from(report.kernel_drops > 0);
        }
    }

    /// Judges the reports of the interval that ends at `now`; true when the rate changed.
    pub fn judge(&mut self, now: Timestamp) -> bool {
        let ceiling = match self.policy {
            RatePolicy::Fixed(_) => return false,
            RatePolicy::Guessed(ceiling) | RatePolicy::Ceiling(ceiling) => ceiling,
        };
        if self.losses.is_empty() || now.since(self.since) < INTERVAL {
            return false;
        }
        self.since = now;
        self.losses.sort_unstable();
        let loss_ppm = self.losses[(self.losses.len() - 1) * 3 / 4];
        let is_overrun = self.overruns * 2 > self.losses.len();
        self.losses.clear();
        self.overruns = 0;
        let before = self.rate;
        self.rate = self.next_rate(ceiling, loss_ppm, is_overrun);
        self.rate != before
    }

    fn next_rate(&mut self, ceiling: Bitrate, loss_ppm: u32, is_overrun: bool) -> Bitrate {
        let floor = ceiling.scaled(1, 20).max(Bitrate::from_megabits(1)).min(ceiling);
        if is_overrun {
            // Most hosts' own buffers overflow: that is never weather. What they took is what they
            // can take; a little less lets the buffers empty.
            self.is_climbing = false;
            self.trial = None;
            let taken_ppm = u64::from(1_000_000 - loss_ppm.min(700_000));
            return self.rate.scaled(taken_ppm * 9 / 10, 1_000_000).max(floor);
        }
        if let Some((cause_ppm, rate)) = self.trial.take() {
            if loss_ppm * 4 > cause_ppm * 3 {
                self.baseline_ppm = loss_ppm;
                self.is_climbing = true;
                return rate;
            }
        } else if loss_ppm > self.baseline_ppm + LOSS_PPM_STEP {
            self.is_climbing = false;
            self.trial = Some((loss_ppm, self.rate));
            return self.rate.scaled(7, 10).max(floor);
        }
        if loss_ppm > self.baseline_ppm + LOSS_PPM_CALM {
            return self.rate;
        }
        let raised = match self.is_climbing {
            true => self.rate.scaled(2, 1),
            // By shares of itself: a ceiling far above what hosts take is no step to go by.
            false => self.rate.scaled(103, 100),
        };
        raised.min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{BootNonce, Slot};

    const CEILING: Bitrate = Bitrate::from_megabits(1000);

    fn judge(brake: &mut Brake, second: u64, reports: &[(u32, u32)]) -> u64 {
        for (loss_ppm, kernel_drops) in reports.iter().copied() {
            let (slot, nonce, interval) = (Slot(0), BootNonce(0), Duration::ZERO);
            brake.on_report(&Rate { slot, nonce, interval, loss_ppm, kernel_drops, delay_us: 0 });
        }
        brake.judge(Timestamp::from_nanos(second * 1_000_000_000));
        brake.rate().as_bits() / 1_000_000
    }

    #[test]
    fn a_calm_fleet_is_at_the_ceiling_after_three_doublings() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        let rates: Vec<_> = (1..5).map(|s| judge(&mut brake, s, &[(0, 0); 8])).collect();
        assert_eq!(rates, [250, 500, 1000, 1000]);
    }

    #[test]
    fn steady_random_loss_does_not_collapse_the_rate() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        let rates: Vec<_> = (1..60).map(|s| judge(&mut brake, s, &[(50_000, 0); 8])).collect();
        assert_eq!(*rates.last().unwrap(), 1000, "{rates:?}");
        assert_eq!(*rates.iter().min().unwrap(), 87, "one trial cut, taken back");
    }

    #[test]
    fn hosts_that_overrun_slow_the_stream_when_they_are_most_and_not_when_one() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        (1..5).for_each(|s| _ = judge(&mut brake, s, &[(0, 0); 8]));
        let mut one = [(0, 0); 8];
        one[3] = (200_000, 900);
        assert_eq!(judge(&mut brake, 6, &one), 1000);
        assert_eq!(judge(&mut brake, 7, &[(200_000, 900); 8]), 720, "nine tenths of what arrived");
        assert_eq!(judge(&mut brake, 8, &[(0, 0); 8]), 741);
    }

    #[test]
    fn a_fixed_rate_has_no_brake() {
        let mut brake = Brake::new(RatePolicy::Fixed(CEILING));
        assert_eq!(judge(&mut brake, 1, &[(900_000, 9); 8]), 1000);
    }
}
