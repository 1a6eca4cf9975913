//! Digests of symbols that are to go out: of which blocks, in which parts, at what cost at most.
//!
//! Not here: the digests, which the driver makes. Invariant: beyond the digests of each block once,
//! what hosts ask for is at most [`DEMAND_PERCENT`] of the symbols sent, and [`DEMAND_PARTS`]
//! (PROTOCOL 6.10).

use std::collections::BTreeMap;
use std::time::Duration;

use common::geometry::{Geometry, PartSet};
use common::id::BlockIndex;
use common::time::Timestamp;

/// Parts that hosts' doubts may cost, in percent of the symbols sent: as one host's wants may add.
const DEMAND_PERCENT: u64 = 2;
/// And as many from the start: the digests of the blocks of four windows at the default sizes.
const DEMAND_PARTS: u64 = 1280;
/// Symbols that earn one part.
const SYMBOLS_PER_PART: u64 = 100 / DEMAND_PERCENT;

/// What is to be proven to hosts.
#[derive(Debug)]
pub struct Proofs {
    is_on: bool,
    /// When a part of each block's digests last went out.
    sent: BTreeMap<u32, Timestamp>,
    due: BTreeMap<u32, PartSet>,
    /// What hosts may still ask for, in symbols that earned it.
    credit: u64,
}

impl Default for Proofs {
    fn default() -> Self {
        let credit = DEMAND_PARTS * SYMBOLS_PER_PART;
        Self { is_on: false, sent: BTreeMap::new(), due: BTreeMap::new(), credit }
    }
}

impl Proofs {
    /// Whether every block's digests go before its symbols.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// From now on they do, for as long as the session lasts: who forged once will again, and until
    /// then digests cost a seventieth of what symbols do.
    pub fn turn_on(&mut self) {
        self.is_on = true;
    }

    /// So many symbols have left.
    pub fn earn(&mut self, symbols: usize) {
        let most = DEMAND_PARTS * SYMBOLS_PER_PART;
        self.credit = (self.credit + symbols as u64).min(most);
    }

    /// A host misses `parts` of the digests of `block`; how many of them will go out for its sake.
    /// None do where some have within `pause`: they may be on their way to it.
    pub fn demand(
        &mut self,
        now: Timestamp,
        block: BlockIndex,
        parts: PartSet,
        pause: Duration,
    ) -> u32 {
        let is_recent = self.sent.get(&block.0).is_some_and(|at| now.since(*at) < pause);
        let due = self.due.get(&block.0).copied().unwrap_or_default();
        let news = parts.without(due);
        let cost = u64::from(news.len()) * SYMBOLS_PER_PART;
        if is_recent || news.is_empty() || cost > self.credit {
            return 0;
        }
        self.credit -= cost;
        self.due.insert(block.0, due.and(news));
        news.len()
    }

    /// The symbols of these blocks go out now: their digests must have before them.
    pub fn precede(&mut self, blocks: &[u32], geometry: &Geometry) {
        for block in blocks {
            if self.is_on && !self.sent.contains_key(block) {
                self.due.entry(*block).or_insert_with(|| geometry.all_parts(BlockIndex(*block)));
            }
        }
    }

    /// Takes the next part that is due of a block that `is_ready`.
    pub fn next(
        &mut self,
        now: Timestamp,
        is_ready: impl Fn(u32) -> bool,
    ) -> Option<(BlockIndex, u16)> {
        let (block, parts) = self.due.iter().find(|(block, _)| is_ready(**block))?;
        let (block, part) = (*block, parts.lowest().expect("none are kept that have no part"));
        let left = parts.without(PartSet::default().with(part));
        if left.is_empty() {
            self.due.remove(&block);
        } else {
            self.due.insert(block, left);
        }
        self.sent.insert(block, now);
        Some((BlockIndex(block), part))
    }

    /// The blocks of which something is due.
    pub fn due(&self) -> impl Iterator<Item = u32> {
        self.due.keys().copied()
    }

    /// Whether something of `block` is due.
    pub fn is_due(&self, block: u32) -> bool {
        self.due.contains_key(&block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000 + millis * 1_000_000)
    }

    fn geometry() -> Geometry {
        Geometry::new(64, 96, 32, 2, 0, 64 * 96 * 400).unwrap()
    }

    fn drain(proofs: &mut Proofs, now: Timestamp) -> Vec<(u32, u16)> {
        std::iter::from_fn(|| proofs.next(now, |_| true)).map(|(it, part)| (it.0, part)).collect()
    }

    #[test]
    fn digests_go_once_before_the_symbols_of_a_block_and_parts_again_on_demand() {
        let (geometry, mut proofs) = (geometry(), Proofs::default());
        proofs.precede(&[3], &geometry);
        assert_eq!(drain(&mut proofs, at(0)), [], "nobody has doubted");
        proofs.turn_on();
        proofs.precede(&[3, 4], &geometry);
        assert_eq!(proofs.next(at(0), |block| block == 4), Some((BlockIndex(4), 0)));
        assert_eq!(drain(&mut proofs, at(0)), [(3, 0), (3, 1), (4, 1)]);
        proofs.precede(&[3, 4], &geometry);
        assert_eq!(drain(&mut proofs, at(0)), [], "once is enough");
        let demand = |proofs: &mut Proofs, millis| {
            proofs.demand(at(millis), BlockIndex(3), PartSet(0b10), PAUSE)
        };
        assert_eq!(demand(&mut proofs, 5), 0, "it may be on its way");
        assert_eq!((demand(&mut proofs, 10), demand(&mut proofs, 10)), (1, 0));
        assert_eq!(drain(&mut proofs, at(10)), [(3, 1)]);
    }

    // PROTOCOL 6.10: a liar who asks for digests all the time costs two percent.
    #[test]
    fn demands_cost_at_most_two_percent_of_the_symbols() {
        let mut proofs = Proofs::default();
        let mut sent = 0;
        for round in 0..1000_u64 {
            proofs.earn(100);
            let block = BlockIndex(round as u32 % 7);
            proofs.demand(at(20 * round), block, PartSet(u128::MAX), PAUSE);
            sent += drain(&mut proofs, at(20 * round)).len();
        }
        assert!((2500..=1280 + 2000).contains(&sent), "{sent} parts for 100,000 symbols");
    }
}
