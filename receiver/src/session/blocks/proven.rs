//! Blocks whose symbols are held against digests: what is kept of them, and when they are complete.
//!
//! Invariant: once symbols are doubted, no block is handed on with one that no digest has proven
//! (PROTOCOL 6.10).

use common::drops::DropReason;
use common::geometry::PartSet;
use common::id::{BlockIndex, SymbolId};

use super::super::proofs::Trust;
use super::{Blocks, Standing};

/// What digests that came, or a block that came back, led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proven {
    /// Nothing is to be done.
    Nothing,
    /// All that was held of the block was false.
    Emptied,
    /// The block has enough symbols, all proven: it is to be handed on.
    Complete,
}

impl Blocks {
    /// How far symbols are believed.
    pub fn trust(&self) -> Trust {
        self.proofs.trust
    }

    /// From now on they are believed no more than this.
    pub fn distrust(&mut self, trust: Trust) {
        self.proofs.trust = self.proofs.trust.max(trust);
    }

    /// Whether symbols of `block` would be kept.
    pub fn may_begin(&self, block: BlockIndex) -> bool {
        self.has_begun(block) || self.proofs.may_begin(block)
    }

    /// The parts of the digests of `block` that are needed and not here; none of a block that is
    /// complete.
    pub fn missing_parts(&self, block: BlockIndex) -> PartSet {
        match self.blocks.get(block.0 as usize).map(|known| known.standing) {
            Some(Standing::Missing | Standing::Open) => self.proofs.missing(&self.geometry, block),
            _ => PartSet::default(),
        }
    }

    /// The blocks that hold symbols and have not enough of them, lowest first.
    pub fn open(&self) -> impl Iterator<Item = BlockIndex> {
        self.open.iter().copied().map(BlockIndex)
    }

    /// Whether part `part` of the digests of `block` is of use; if so, which block's digests make
    /// room for it.
    ///
    /// # Errors
    /// The reason to ignore it.
    pub fn take_part(
        &mut self,
        block: BlockIndex,
        part: u16,
    ) -> Result<Option<BlockIndex>, DropReason> {
        if !self.geometry.has_block(block) || !self.geometry.all_parts(block).has(part) {
            return Err(DropReason::OutsideGeometry);
        }
        if self.is_done(block) {
            return Err(DropReason::Late);
        }
        if self.proofs.known(block).has(part) {
            return Err(DropReason::Duplicate);
        }
        let (blocks, window) = (&self.blocks, self.geometry.window_of(block));
        let is_needed = |index: u32| {
            blocks[index as usize].standing == Standing::Open
                || self.geometry.window_of(BlockIndex(index)) == window
        };
        self.proofs.make_room(block, is_needed).map_err(|()| DropReason::NoMemory)
    }

    /// Part `part` of the digests of `block` is here, and these symbols of it turned out false.
    pub fn prove(&mut self, block: BlockIndex, part: u16, false_symbols: &[SymbolId]) -> Proven {
        self.proofs.insert(block, part);
        let known = &mut self.blocks[block.0 as usize];
        if known.standing != Standing::Open {
            return Proven::Nothing;
        }
        for symbol in false_symbols {
            known.held -= u16::from(self.bitmaps.remove(known.row, *symbol));
        }
        let is_empty = known.held == 0;
        self.waste(false_symbols.len() as u32);
        match () {
            () if is_empty => {
                self.forget(block);
                Proven::Emptied
            }
            () if self.complete(block) => Proven::Complete,
            () => Proven::Nothing,
        }
    }

    /// The bytes of `block`, handed on with these symbols before anything was doubted, were wrong.
    /// They are kept until their digests tell the false ones; `None` where the block is not needed
    /// any more, or memory has no room for it.
    pub fn reopen(&mut self, block: BlockIndex, symbols: &[SymbolId]) -> Option<Proven> {
        if self.blocks[block.0 as usize].standing != Standing::HandedOn {
            return None;
        }
        if self.open.len() + self.handed_on > self.slots {
            // The budget has become smaller meanwhile: all of the block is needed again.
            self.spoiled(block);
            return None;
        }
        self.handed_on -= 1;
        self.distrust(Trust::Shaken);
        let row = self.bitmaps.take();
        symbols.iter().for_each(|symbol| _ = self.bitmaps.insert(row, *symbol));
        let known = &mut self.blocks[block.0 as usize];
        (known.row, known.held) = (row, symbols.len() as u16);
        known.standing = Standing::Open;
        self.open.insert(block.0);
        let is_complete = self.complete(block);
        Some(if is_complete { Proven::Complete } else { Proven::Nothing })
    }

    /// The digests of `block` are of no use any more; whether there were any.
    pub fn forget_digests(&mut self, block: BlockIndex) -> bool {
        self.proofs.forget(block)
    }
}
