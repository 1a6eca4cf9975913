//! Whether the symbols that come are believed, and which digests are here to prove them.
//!
//! Not here: the digests, which the driver keeps and holds symbols against. Invariant: digests are
//! kept of at most [`PROOF_BLOCKS_MAX`] blocks (PROTOCOL 6.10).

use std::collections::BTreeMap;

use common::geometry::{Geometry, PartSet};
use common::id::BlockIndex;
use common::limits::PROOF_BLOCKS_MAX;

/// What a host makes of the symbols that come. It never goes back: who forged once will again, and
/// a session that is over takes its doubts with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Trust {
    /// They are taken as they come.
    #[default]
    Full,
    /// One was false: no block is decoded before digests have proven its symbols.
    Shaken,
    /// And digests go before symbols: of a block without any nothing more is kept.
    Proven,
}

/// The parts of digests that are here, by block.
#[derive(Debug, Default)]
pub struct Proofs {
    pub trust: Trust,
    known: BTreeMap<u32, PartSet>,
}

impl Proofs {
    /// The parts that are here of `block`.
    pub fn known(&self, block: BlockIndex) -> PartSet {
        self.known.get(&block.0).copied().unwrap_or_default()
    }

    /// The parts that are not.
    pub fn missing(&self, geometry: &Geometry, block: BlockIndex) -> PartSet {
        geometry.all_parts(block).without(self.known(block))
    }

    /// Whether a block of which nothing is held may begin.
    pub fn may_begin(&self, block: BlockIndex) -> bool {
        self.trust < Trust::Proven || self.known.contains_key(&block.0)
    }

    /// One more part is here.
    pub fn insert(&mut self, block: BlockIndex, part: u16) {
        let known = self.known(block).with(part);
        self.known.insert(block.0, known);
    }

    /// Room for the digests of `block`, if need be by forgetting those of the lowest block that
    /// `is_needed` does not hold on to; `Err` where there is none.
    pub fn make_room(
        &mut self,
        block: BlockIndex,
        is_needed: impl Fn(u32) -> bool,
    ) -> Result<Option<BlockIndex>, ()> {
        if self.known.contains_key(&block.0) || self.known.len() < PROOF_BLOCKS_MAX {
            return Ok(None);
        }
        let forgotten = self.known.keys().copied().find(|it| !is_needed(*it)).ok_or(())?;
        self.known.remove(&forgotten);
        Ok(Some(BlockIndex(forgotten)))
    }

    /// The digests of `block` are of no use any more; whether there were any.
    pub fn forget(&mut self, block: BlockIndex) -> bool {
        self.known.remove(&block.0).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PROTOCOL 6.10: memory is bounded whatever is sent.
    #[test]
    fn digests_of_needed_blocks_stay_and_others_make_room() {
        let mut proofs = Proofs::default();
        for block in 0..PROOF_BLOCKS_MAX as u32 {
            assert_eq!(proofs.make_room(BlockIndex(block), |_| false), Ok(None));
            proofs.insert(BlockIndex(block), 0);
        }
        let next = BlockIndex(PROOF_BLOCKS_MAX as u32);
        assert_eq!(proofs.make_room(BlockIndex(3), |_| true), Ok(None), "it is there");
        assert_eq!(proofs.make_room(next, |_| true), Err(()));
        assert_eq!(proofs.make_room(next, |block| block < 2), Ok(Some(BlockIndex(2))));
        assert!(proofs.known(BlockIndex(2)).is_empty());
        assert_eq!(proofs.make_room(next, |_| true), Ok(None));
    }
}
