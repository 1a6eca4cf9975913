//! What the simulated network does to a datagram on its way to one host.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// How datagrams are lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Nothing is lost.
    None,
    /// Each datagram by itself, with this probability.
    Independent(f64),
    /// Gilbert's two states: the bad one loses everything and lasts for `mean_burst` datagrams; its
    /// share of time is `p`.
    Bursty {
        /// Probability of loss over all.
        p: f64,
        /// Mean length of a burst in datagrams.
        mean_burst: f64,
    },
}

/// One path's loss process.
#[derive(Debug, Clone)]
pub struct Path {
    loss: Loss,
    is_bad: bool,
}

impl Path {
    /// A path that starts in the good state.
    pub fn new(loss: Loss) -> Self {
        Self { loss, is_bad: false }
    }

    /// Whether the next datagram is lost.
    pub fn loses(&mut self, rng: &mut StdRng) -> bool {
        match self.loss {
            Loss::None => false,
            Loss::Independent(p) => rng.random_bool(p),
            Loss::Bursty { p, mean_burst } => {
                let leaves_bad = 1.0 / mean_burst;
                let leaves_good = leaves_bad * p / (1.0 - p);
                let change = if self.is_bad { leaves_bad } else { leaves_good };
                self.is_bad ^= rng.random_bool(change.min(1.0));
                self.is_bad
            }
        }
    }
}

/// Everything that the network does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// Loss at each host.
    pub host_loss: Loss,
    /// Loss near the sender: what is lost there reaches nobody.
    pub shared_loss: Loss,
    /// Loss of feedback.
    pub feedback_loss: Loss,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Probability that a datagram is damaged; the checksum finds it.
    pub corrupt: f64,
    /// Each delivery is late by up to this, which reorders.
    pub jitter: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            host_loss: Loss::None,
            shared_loss: Loss::None,
            feedback_loss: Loss::None,
            duplicate: 0.0,
            corrupt: 0.0,
            jitter: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn both_loss_models_lose_what_they_say_and_bursts_have_their_length() {
        let mut rng = StdRng::seed_from_u64(3);
        let n = 400_000;
        for loss in [Loss::Independent(0.02), Loss::Bursty { p: 0.02, mean_burst: 20.0 }] {
            let mut path = Path::new(loss);
            let fates: Vec<bool> = (0..n).map(|_| path.loses(&mut rng)).collect();
            let lost = fates.iter().filter(|lost| **lost).count() as f64 / f64::from(n);
            assert!((0.016..0.024).contains(&lost), "{loss:?} {lost}");
            let bursts = fates.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
            let length = lost * f64::from(n) / bursts;
            match loss {
                Loss::Bursty { .. } => assert!((17.0..23.0).contains(&length), "{length}"),
                _ => assert!(length < 1.1, "{length}"),
            }
        }
    }
}
