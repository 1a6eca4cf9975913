//! What a session's driver does about forged data: counts it, tells of it, and proves the rest.
//!
//! Which digests are wanted and what follows from them is the session's business (PROTOCOL 6.10).

use common::drops::DropReason;
use common::id::{BlockIndex, SymbolId};
use common::time::Timestamp;
use common::wire::{Hashes, SymbolHeader};
use tracing::warn;

use super::member::Member;
use crate::pipeline::Assembly;
use crate::session::{StoreEvent, Via};

impl Member {
    /// Whether a symbol is false by its digest; then it is counted.
    pub fn refuses(&mut self, header: &SymbolHeader, bytes: &[u8]) -> bool {
        let is_false = self.digests.is_false(header, bytes);
        self.forgers.note_false(usize::from(is_false));
        is_false
    }

    /// Whether a symbol that the block has already is another one than that.
    pub fn has_another(&self, header: &SymbolHeader, bytes: &[u8]) -> bool {
        let k = self.geometry.source_symbols_of(header.block);
        let symbol = self.geometry.symbol_of(k, header.transmission);
        let kept = self.assemblies.get(&header.block).and_then(|it| it.symbol(symbol));
        kept.is_some_and(|kept| kept != bytes)
    }

    /// Somebody forges: of two symbols of one place one is false, which is to be found out.
    pub fn on_conflict(&mut self, now: Timestamp) {
        if !self.session.needs_proof() {
            let (app, label) = (&self.app, &self.label);
            warn!("{app} {label}: somebody forges symbols; their digests are asked for");
        }
        self.session.handle_conflict(now);
    }

    /// A part of a block's digests has come.
    ///
    /// # Errors
    /// The reason to ignore it.
    pub fn take_hashes(
        &mut self,
        now: Timestamp,
        via: Via,
        seq: u32,
        hashes: &Hashes,
    ) -> Result<(), DropReason> {
        let (block, part) = (hashes.block, hashes.part);
        if !self.digests.is_whole(hashes) {
            return Err(DropReason::OutsideGeometry);
        }
        if !self.session.handle_hashes(now, via, seq, block, part) {
            return Ok(());
        }
        self.digests.keep(hashes);
        let symbols = self.geometry.part_symbols(block, part).map(SymbolId);
        let assembly = self.assemblies.get_mut(&block);
        let false_ones = assembly.map_or_else(Vec::new, |it| self.digests.sift(block, symbols, it));
        self.forgers.note_false(false_ones.len());
        self.session.handle_proof(now, block, part, &false_ones);
        Ok(())
    }

    /// A block whose bytes were wrong is back; digests may have come meanwhile.
    pub fn take_back(&mut self, now: Timestamp, block: BlockIndex, mut assembly: Assembly) {
        if !self.session.needs_proof() {
            let (app, label) = (&self.app, &self.label);
            warn!(
                "{app} {label}: block {block} came out wrong; digests of its symbols are asked for"
            );
        }
        let symbols = assembly.symbols().into_iter();
        let false_ones = self.digests.sift(block, symbols, &mut assembly);
        self.forgers.note_false(false_ones.len());
        let symbols = assembly.symbols();
        self.assemblies.insert(block, assembly);
        self.session.handle_store(now, StoreEvent::Suspect { block, symbols });
    }
}
