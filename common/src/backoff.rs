//! How long a host waits before it asks for repair, so that one question serves many.
//!
//! PROTOCOL 6.5.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Largest share of the interval by which need shortens the wait. At one half, homogeneous loss
/// made the peak five times higher (simulated, 10,000 hosts).
const BIAS_MAX: f64 = 0.25;

/// Draws a waiting time in `0..=interval` from RFC 5401's truncated exponential distribution: late
/// answers are exponentially more likely, and among `group_size` hosts the first comes early
/// enough.
///
/// `need` in 0..=1 says how needy this host is beside what is usual; the neediest answer earliest.
///
/// Source: RFC 5401 §3.2.2, `x = U(0, L/T) + L/(T(e^L−1))`, `t = T/L · ln(x (e^L−1) T/L)`,
/// `L = ln(group size) + 1`.
pub fn draw(rng: &mut impl Rng, interval: Duration, group_size: u32, need: f64) -> Duration {
    let lambda = f64::from(group_size.max(1)).ln() + 1.0;
    let growth = lambda.exp_m1();
    let uniform: f64 = rng.random();
    let share = (1.0 / lambda) * (uniform * growth + 1.0).ln();
    let early = 1.0 - need.clamp(0.0, 1.0);
    let biased = (1.0 - BIAS_MAX) * share.clamp(0.0, 1.0) + BIAS_MAX * early;
    interval.mul_f64(biased)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const INTERVAL: Duration = Duration::from_millis(20);

    #[test]
    fn waits_lie_in_the_interval_and_most_are_late() {
        let mut rng = StdRng::seed_from_u64(1);
        let waits: Vec<_> = (0..10_000).map(|_| draw(&mut rng, INTERVAL, 10_000, 0.5)).collect();
        assert!(waits.iter().all(|wait| *wait <= INTERVAL));
        let early = waits.iter().filter(|wait| **wait < INTERVAL.mul_f64(0.5)).count();
        assert!((1..600).contains(&early), "{early} of 10,000 in the first half");
    }

    #[test]
    fn a_lone_host_waits_briefly_and_the_neediest_first() {
        let mut rng = StdRng::seed_from_u64(2);
        let mean = |rng: &mut StdRng, need| {
            let sum: Duration = (0..1000).map(|_| draw(rng, INTERVAL, 1000, need)).sum();
            sum / 1000
        };
        let (needy, content) = (mean(&mut rng, 1.0), mean(&mut rng, 0.0));
        assert!(content - needy > Duration::from_millis(4), "{needy:?} {content:?}");
    }
}
