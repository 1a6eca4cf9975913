//! Digests of symbols as the sender gave them, and symbols held against them.
//!
//! Not here: which digests are kept, which the session decides and bounds (PROTOCOL 6.10).

use std::collections::BTreeMap;

use common::digest::SymbolDigest;
use common::geometry::{Geometry, PartSet};
use common::id::{BlockIndex, SymbolId};
use common::wire::{Hashes, SymbolHeader};

use crate::pipeline::Assembly;

/// The digests of a session's blocks.
#[derive(Debug)]
pub struct Digests {
    geometry: Geometry,
    tables: BTreeMap<BlockIndex, Table>,
}

/// Those of one block.
#[derive(Debug)]
struct Table {
    known: PartSet,
    digests: Vec<SymbolDigest>,
}

impl Table {
    fn new(symbols: u16) -> Self {
        let none = SymbolDigest::from_bytes([0; SymbolDigest::BYTES]);
        Self { known: PartSet::default(), digests: vec![none; symbols.into()] }
    }
}

impl Digests {
    /// None yet.
    pub fn new(geometry: Geometry) -> Self {
        Self { geometry, tables: BTreeMap::new() }
    }

    /// Whether a symbol that has just come is not what its digest says; one without a digest is not
    /// judged.
    pub fn is_false(&self, header: &SymbolHeader, bytes: &[u8]) -> bool {
        if self.tables.is_empty() || !self.geometry.has_block(header.block) {
            return false;
        }
        let k = self.geometry.source_symbols_of(header.block);
        let symbol = self.geometry.symbol_of(k, header.transmission);
        let digest = self.digest(header.block, symbol);
        digest.is_some_and(|digest| digest != SymbolDigest::of(bytes))
    }

    fn digest(&self, block: BlockIndex, symbol: SymbolId) -> Option<SymbolDigest> {
        let table = self.tables.get(&block)?;
        let is_known = table.known.has(self.geometry.part_of(symbol));
        is_known.then(|| table.digests[usize::from(symbol.0)])
    }

    // PROTOCOL 4.3.
    /// Whether a part of a block's digests is complete: as many as the block has symbols there.
    pub fn is_whole(&self, hashes: &Hashes) -> bool {
        let Hashes { block, part, digests } = hashes;
        self.geometry.has_block(*block)
            && !digests.is_empty()
            && self.geometry.part_symbols(*block, *part).len() == digests.len()
    }

    /// Keeps a part that is whole.
    pub fn keep(&mut self, hashes: &Hashes) {
        let Hashes { block, part, digests } = hashes;
        let (symbols, place) =
            (self.geometry.symbols_of(*block), self.geometry.part_symbols(*block, *part));
        let table = self.tables.entry(*block).or_insert_with(|| Table::new(symbols));
        table.digests[usize::from(place.start)..usize::from(place.end)].copy_from_slice(digests);
        table.known = table.known.with(*part);
    }

    /// The digests of `block` are not needed any more.
    pub fn forget(&mut self, block: BlockIndex) {
        self.tables.remove(&block);
    }

    /// Takes out of `assembly`, which is of `block`, those of `symbols` that are not what their
    /// digests say, and returns them.
    pub fn sift(
        &self,
        block: BlockIndex,
        symbols: impl Iterator<Item = SymbolId>,
        assembly: &mut Assembly,
    ) -> Vec<SymbolId> {
        let is_false = |symbol: &SymbolId| {
            let (digest, bytes) = (self.digest(block, *symbol), assembly.symbol(*symbol));
            digest.zip(bytes).is_some_and(|(digest, bytes)| digest != SymbolDigest::of(bytes))
        };
        let false_ones: Vec<SymbolId> = symbols.filter(is_false).collect();
        false_ones.iter().for_each(|symbol| assembly.remove(*symbol));
        false_ones
    }
}

#[cfg(test)]
mod tests {
    use common::id::SessionId;

    use super::*;

    /// One block of 96 source and 32 repair symbols, whose digests are two parts.
    fn digests() -> Digests {
        Digests::new(Geometry::new(64, 96, 32, 2, 0, 64 * 96).unwrap())
    }

    fn symbol(nth: u16) -> [u8; 64] {
        [nth as u8; 64]
    }

    fn part(part: u16) -> Hashes {
        let digests = (64 * part..64 * part + 64).map(|nth| SymbolDigest::of(&symbol(nth)));
        Hashes { block: BlockIndex(0), part, digests: digests.collect() }
    }

    fn header(transmission: u32) -> SymbolHeader {
        let (session, block) = (SessionId(1), BlockIndex(0));
        SymbolHeader { session, seq: 0, key_epoch: 0, flags: 0, block, transmission, announced: 0 }
    }

    // PROTOCOL 6.10.
    #[test]
    fn a_symbol_is_false_where_its_digest_is_known_and_another() {
        let mut digests = digests();
        assert!(!digests.is_false(&header(3), &symbol(9)), "nothing is known");
        digests.keep(&part(0));
        assert!(digests.is_false(&header(3), &symbol(9)));
        assert!(digests.is_false(&header(128 + 3), &symbol(9)), "the schedule's second round");
        assert!(!digests.is_false(&header(3), &symbol(3)));
        assert!(!digests.is_false(&header(70), &symbol(9)), "its part has not come");
        digests.forget(BlockIndex(0));
        assert!(!digests.is_false(&header(3), &symbol(9)));
    }

    #[test]
    fn what_is_kept_of_a_block_is_sifted_by_the_digests_that_came() {
        let (mut digests, mut assembly) = (digests(), Assembly::default());
        assembly.reset(96, 64, 32);
        for nth in 0..128 {
            let is_false = matches!(nth, 5 | 63 | 64 | 127);
            assembly.keep(SymbolId(nth), &symbol(if is_false { nth + 1 } else { nth }));
        }
        let mut sift = |part: Hashes, symbols: std::ops::Range<u16>| {
            digests.keep(&part);
            digests.sift(BlockIndex(0), symbols.map(SymbolId), &mut assembly)
        };
        assert_eq!(sift(part(1), 0..64), [], "these digests are of others");
        assert_eq!(sift(part(0), 0..64), [SymbolId(5), SymbolId(63)]);
        assert_eq!(sift(part(1), 0..128), [SymbolId(64), SymbolId(127)]);
        assert_eq!(assembly.symbols().len(), 124);
    }

    // PROTOCOL 4.3.
    #[test]
    fn a_part_is_whole_or_it_is_none() {
        let digests = digests();
        let whole = part(1);
        let short = Hashes { digests: whole.digests[1..].to_vec(), ..whole.clone() };
        let none = Hashes { digests: Vec::new(), part: 2, ..whole.clone() };
        let elsewhere = Hashes { block: BlockIndex(1), ..whole.clone() };
        assert!(digests.is_whole(&whole));
        assert!([short, none, elsewhere].iter().all(|hashes| !digests.is_whole(hashes)));
    }
}
