//! How much of the stream hosts lose, and how many repair symbols that calls for unasked.
//!
//! Not here: whose loss counts (`roster`), and when symbols go (`schedule`). PROTOCOL 6.4.

/// Datagrams over which a host's loss is averaged: a window of 16 blocks. Over 1,024 the loss of
/// 1 % that all suffer alike is measured as 1.7 % by one host in twenty, over 16,384 as 1.1 %.
const MEMORY_DATAGRAMS: f32 = 16_384.0;
/// Loss that is reckoned with at most; beyond it the schedule of a block repeats itself.
const LOSS_MAX: f64 = 0.3;
/// Windows that may end with a question, of all: every fifth. Half as many cost 0.1 % more symbols
/// at 1 % loss and save no round trip in most windows.
const LOUD_SHARE: f64 = 0.2;

/// A host's loss of late: counts that fade as datagrams come.
#[derive(Debug, Clone, Copy, Default)]
pub struct LossMeter {
    received: f32,
    lost: f32,
}

impl LossMeter {
    /// So many more were received and lost; fewer lost where some were only late.
    pub fn observe(&mut self, received: u32, lost: i64) {
        let (received, lost) = (received as f32, lost as f32);
        let kept = (-(received + lost).max(0.0) / MEMORY_DATAGRAMS).exp();
        self.received = self.received * kept + received;
        self.lost = (self.lost * kept + lost).max(0.0);
    }

    /// The share lost, 0..=1; `None` before anything was sent.
    pub fn share(&self) -> Option<f64> {
        let all = f64::from(self.received) + f64::from(self.lost);
        (all > 0.0).then(|| f64::from(self.lost) / all)
    }
}

/// The smallest count of repair symbols beyond `k` with which, at `loss`, a window of `blocks`
/// blocks for each of `hosts` hosts ends without a question in most cases.
///
/// Losses until k symbols have arrived are distributed negative binomially; exact, since the normal
/// approximation is a third too low at 0.1 %.
pub fn proactive_symbols(k: u32, loss: f64, hosts: usize, blocks: u32) -> u32 {
    let loss = loss.clamp(0.0, LOSS_MAX);
    let cases = (hosts.max(1) as f64) * f64::from(blocks.max(1));
    let enough = 1.0 - LOUD_SHARE / cases;
    let mut probability = (1.0 - loss).powf(f64::from(k));
    let (mut sum, mut symbols) = (probability, 0);
    while sum < enough && symbols < k {
        probability *= loss * f64::from(k + symbols) / f64::from(symbols + 1);
        sum += probability;
        symbols += 1;
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10,000 hosts finish 139 blocks in one pass with a probability of 0.99: as computed in the
    /// design's research (`research/protocol.md` 3.3), and 0.99 instead of 0.8.
    #[test]
    fn as_many_go_unasked_as_were_computed_for_ten_thousand_hosts() {
        let stricter = (139.0 * LOUD_SHARE / 0.01) as u32;
        for (loss, symbols) in [(0.000_01, 3), (0.000_1, 5), (0.001, 11), (0.01, 33), (0.05, 102)] {
            let found = proactive_symbols(1024, loss, 10_000, stricter);
            assert!(found.abs_diff(symbols) <= 1, "{loss}: {found} instead of {symbols}");
        }
    }

    #[test]
    fn nothing_goes_unasked_where_nothing_is_lost_and_more_for_more_hosts() {
        assert_eq!(proactive_symbols(1024, 0.0, 10_000, 16), 0);
        let at_ten_percent: Vec<_> =
            [1, 8, 10_000].map(|hosts| proactive_symbols(1024, 0.1, hosts, 16)).into();
        assert_eq!(at_ten_percent, [140, 149, 171]);
        assert_eq!(proactive_symbols(1024, 1.0, 8, 16), proactive_symbols(1024, 0.3, 8, 16));
    }

    #[test]
    fn a_hosts_loss_follows_what_it_lost_of_late() {
        let mut meter = LossMeter::default();
        assert_eq!(meter.share(), None);
        let mut run = |percent: u32, windows: u32| {
            let lost = 1024 * percent / 100;
            (0..windows * 16).for_each(|_| meter.observe(1024 - lost, lost.into()));
            meter.share().unwrap()
        };
        assert!((0.095..=0.1).contains(&run(10, 3)));
        assert!(run(0, 1) < 0.045, "it has forgotten half");
        assert!(run(0, 4) < 0.001);
    }
}
