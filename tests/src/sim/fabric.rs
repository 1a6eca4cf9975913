//! What the simulated network does to datagrams on their way to the hosts.
//!
//! Losses are drawn as runs, not as one draw for each datagram: how many pass until the next is
//! lost, and how many are lost then. A run has the same distribution either way, and ten thousand
//! hosts that lose a thousandth draw a thousandth.

use std::time::Duration;

use common::time::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;

use super::feedback::Bottleneck;

/// Hosts of one rack: what is lost on its link is lost to all of them.
pub const RACK_HOSTS: usize = 40;

/// How datagrams are lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Nothing is lost.
    None,
    /// Each datagram by itself, with this probability.
    Independent(f64),
    /// Gilbert's two states: the bad one loses everything and lasts for `mean_burst` full datagrams
    /// at 1 Gbit/s, whether or not any are sent; its share of time is `p`.
    Bursty {
        /// Probability of loss over all.
        p: f64,
        /// Mean length of a burst in datagrams.
        mean_burst: f64,
    },
}

/// What a full Ethernet frame takes at 1 Gbit/s: the unit of time of bursts. Counted in datagrams
/// alone, a burst would last for seconds wherever few are sent.
const DATAGRAM_TIME: Duration = Duration::from_nanos(12_304);

/// Which of up to 64 datagrams something happens to: bit i stands for the i-th.
pub(super) type Mask = u64;

/// The mask of `count` datagrams.
pub(super) const fn all(count: usize) -> Mask {
    if count >= 64 { Mask::MAX } else { (1 << count) - 1 }
}

/// One path's loss process.
#[derive(Debug, Clone)]
pub struct Path {
    loss: Loss,
    is_bad: bool,
    /// Datagrams until the state changes.
    left: u64,
    /// Until when datagrams have passed.
    at: Timestamp,
}

impl Path {
    /// A path that has been in use for long: it may begin within a burst.
    pub fn new(loss: Loss, rng: &mut StdRng) -> Self {
        let is_bad = match loss {
            Loss::None | Loss::Independent(_) => false,
            Loss::Bursty { p, .. } => rng.random_bool(p),
        };
        let mut path = Self { loss, is_bad, left: 0, at: Timestamp::ZERO };
        path.left = path.draw_run(rng);
        path
    }

    /// Which of `count` datagrams, at most 64, that pass at `now` are lost.
    pub(super) fn losses(&mut self, now: Timestamp, rng: &mut StdRng, count: usize) -> Mask {
        if let Loss::Bursty { .. } = self.loss {
            self.pass_time(now, rng);
            self.at = self.at.max(now) + DATAGRAM_TIME * count as u32;
        }
        if !self.is_bad && self.left >= count as u64 {
            self.left -= count as u64;
            return 0;
        }
        let (mut lost, mut position) = (0, 0);
        while position < count {
            let run = self.pass((count - position) as u64, rng);
            if self.is_bad {
                lost |= all(run as usize) << position;
            }
            position += run as usize;
        }
        lost
    }

    /// Whether the next datagram is lost.
    pub fn loses(&mut self, now: Timestamp, rng: &mut StdRng) -> bool {
        self.losses(now, rng, 1) != 0
    }

    /// What could have been sent until `now` goes by.
    fn pass_time(&mut self, now: Timestamp, rng: &mut StdRng) {
        let idle = now.since(self.at).as_nanos() as u64;
        let mut missed = idle / DATAGRAM_TIME.as_nanos() as u64;
        while missed > 0 {
            missed -= self.pass(missed, rng);
        }
    }

    /// At most `count` datagrams go by in one state; returns how many.
    fn pass(&mut self, count: u64, rng: &mut StdRng) -> u64 {
        while self.left == 0 {
            self.is_bad = !self.is_bad;
            self.left = self.draw_run(rng);
        }
        let run = self.left.min(count);
        self.left -= run;
        run
    }

    /// How long the state that was just entered lasts.
    fn draw_run(&self, rng: &mut StdRng) -> u64 {
        match (self.loss, self.is_bad) {
            (Loss::None, _) => u64::MAX,
            (Loss::Independent(_), true) => 1,
            (Loss::Independent(p), false) => geometric(rng, p),
            (Loss::Bursty { mean_burst, .. }, true) => {
                geometric(rng, 1.0 / mean_burst).saturating_add(1)
            }
            (Loss::Bursty { p, mean_burst }, false) => {
                geometric(rng, p / ((1.0 - p) * mean_burst)).saturating_add(1)
            }
        }
    }
}

/// Trials that fail before the first that succeeds, each with probability `p`.
fn geometric(rng: &mut StdRng, p: f64) -> u64 {
    let uniform = 1.0 - rng.random::<f64>();
    // From no chance at all to certainty: a quotient beyond a u64's range saturates.
    (uniform.ln() / (-p).ln_1p()) as u64
}

/// Everything that the network does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// Loss near the sender: what is lost there reaches nobody.
    pub shared_loss: Loss,
    /// Loss on the link of each rack.
    pub rack_loss: Loss,
    /// Loss at each host.
    pub host_loss: Loss,
    /// Loss of feedback.
    pub feedback_loss: Loss,
    /// What feedback has to pass through.
    pub bottleneck: Bottleneck,
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
            shared_loss: Loss::None,
            rack_loss: Loss::None,
            host_loss: Loss::None,
            feedback_loss: Loss::None,
            bottleneck: Bottleneck::default(),
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

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

    #[test]
    fn both_loss_models_lose_what_they_say_and_bursts_have_their_length() {
        let mut rng = StdRng::seed_from_u64(3);
        let n = 400_000;
        for loss in [Loss::Independent(0.02), Loss::Bursty { p: 0.02, mean_burst: 20.0 }] {
            let mut path = Path::new(loss, &mut rng);
            let fates: Vec<bool> = (0..n).map(|_| path.loses(START, &mut rng)).collect();
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

    #[test]
    fn a_train_is_lost_like_its_datagrams_one_by_one() {
        for loss in [Loss::Independent(0.3), Loss::Bursty { p: 0.3, mean_burst: 9.0 }] {
            let (mut rng, mut again) = (StdRng::seed_from_u64(5), StdRng::seed_from_u64(5));
            let mut single = Path::new(loss, &mut rng);
            let mut train = Path::new(loss, &mut again);
            for count in [1, 16, 64, 3, 16, 40] {
                let mask = train.losses(START, &mut again, count);
                let one = |index| u64::from(single.loses(START, &mut rng)) << index;
                assert_eq!(mask, (0..count).map(one).sum::<u64>(), "{loss:?}, {count} datagrams");
            }
        }
    }

    #[test]
    fn a_burst_goes_by_while_nothing_is_sent() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut path = Path::new(Loss::Bursty { p: 0.2, mean_burst: 64.0 }, &mut rng);
        let seconds = (1..2000).map(|second| Timestamp::from_nanos(second * 1_000_000_000));
        let fates: Vec<bool> = seconds.map(|now| path.loses(now, &mut rng)).collect();
        let lost = fates.iter().filter(|lost| **lost).count();
        let in_a_row = fates.windows(2).filter(|pair| pair[0] && pair[1]).count();
        assert!((330..470).contains(&lost), "a fifth: {lost}");
        assert!(in_a_row < 130, "each second by itself: {in_a_row}");
    }

    #[test]
    fn certain_loss_and_none_at_all_are_what_they_say() {
        let mut rng = StdRng::seed_from_u64(1);
        for (loss, mask) in
            [(Loss::None, 0), (Loss::Independent(0.0), 0), (Loss::Independent(1.0), u64::MAX)]
        {
            assert_eq!(Path::new(loss, &mut rng).losses(START, &mut rng, 64), mask, "{loss:?}");
        }
    }
}
