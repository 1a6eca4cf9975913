//! What a host's driver knows of symbols that a forger sent: which it keeps, and what proves them.
//!
//! The real one compares digests; here the mark of a forged train takes their place.

use std::collections::{BTreeMap, BTreeSet};

use common::geometry::{Geometry, PartSet};
use common::id::{BlockIndex, SymbolId};
use common::wire::SymbolHeader;

/// One host's knowledge, kept only where somebody forges.
#[derive(Debug)]
pub(super) struct Sifting {
    pub(super) geometry: Geometry,
    held: BTreeMap<BlockIndex, BTreeSet<SymbolId>>,
    false_ones: BTreeMap<BlockIndex, BTreeSet<SymbolId>>,
    digests: BTreeMap<BlockIndex, PartSet>,
}

impl Sifting {
    /// Nothing is held.
    pub(super) fn new(geometry: Geometry) -> Self {
        let held = BTreeMap::new();
        Self { geometry, held, false_ones: BTreeMap::new(), digests: BTreeMap::new() }
    }

    fn symbol(&self, header: &SymbolHeader) -> SymbolId {
        let k = self.geometry.source_symbols_of(header.block);
        self.geometry.symbol_of(k, header.transmission)
    }

    /// Whether a symbol is dropped before the session sees it.
    pub(super) fn refuses(&self, header: &SymbolHeader) -> bool {
        let part = self.geometry.part_of(self.symbol(header));
        self.digests.get(&header.block).is_some_and(|known| known.has(part))
    }

    /// A symbol is kept.
    pub(super) fn keep(&mut self, block: BlockIndex, symbol: SymbolId, is_false: bool) {
        self.held.entry(block).or_default().insert(symbol);
        if is_false {
            self.false_ones.entry(block).or_default().insert(symbol);
        }
    }

    /// Whether a symbol differs from the one that is held in its place.
    pub(super) fn has_another(&self, header: &SymbolHeader, is_false: bool) -> bool {
        let symbol = self.symbol(header);
        let is_in = |sets: &BTreeMap<BlockIndex, BTreeSet<SymbolId>>| {
            sets.get(&header.block).is_some_and(|set| set.contains(&symbol))
        };
        is_in(&self.held) && (is_false || is_in(&self.false_ones))
    }

    /// What was kept of a block is thrown away or used.
    pub(super) fn discard(&mut self, block: BlockIndex) {
        self.held.remove(&block);
        self.false_ones.remove(&block);
    }

    /// Digests of a block are not needed any more.
    pub(super) fn forget(&mut self, block: BlockIndex) {
        self.digests.remove(&block);
    }

    /// Whether decoding a block gives what it should.
    pub(super) fn is_true(&self, block: BlockIndex) -> bool {
        self.false_ones.get(&block).is_none_or(BTreeSet::is_empty)
    }

    /// A part of a block's digests has come; the symbols that they show to be false go.
    pub(super) fn prove(&mut self, block: BlockIndex, part: u16) -> Vec<SymbolId> {
        let known = self.digests.entry(block).or_default();
        *known = known.with(part);
        self.sift(block)
    }

    /// What is left of a block that came out wrong, once known digests have sifted it.
    pub(super) fn take_back(&mut self, block: BlockIndex) -> Vec<SymbolId> {
        self.sift(block);
        self.held.get(&block).into_iter().flatten().copied().collect()
    }

    fn sift(&mut self, block: BlockIndex) -> Vec<SymbolId> {
        let geometry = self.geometry;
        let known = self.digests.get(&block).copied().unwrap_or_default();
        let Some(false_ones) = self.false_ones.get_mut(&block) else { return Vec::new() };
        let is_told = |symbol: &SymbolId| known.has(geometry.part_of(*symbol));
        let told: Vec<SymbolId> = false_ones.iter().copied().filter(is_told).collect();
        false_ones.retain(|symbol| !is_told(symbol));
        let held = self.held.entry(block).or_default();
        told.iter().for_each(|symbol| _ = held.remove(symbol));
        told
    }
}
