//! What a host does once it was sent false symbols: asks for digests, and keeps what they prove.
//!
//! The driver holds symbols against digests; here is decided when digests are asked for and what
//! follows from them (PROTOCOL 6.10).

use std::collections::BTreeSet;

use common::geometry::PartSet;
use common::id::{BlockIndex, SymbolId};
use common::time::Timestamp;
use common::wire::{Doubt, Message};

use super::blocks::Proven;
use super::phase::Step;
use super::proofs::Trust;
use super::{Kept, Session, TimerName, Via};

impl Session {
    /// Whether every symbol must be proven by its digest before its block is decoded.
    pub fn needs_proof(&self) -> bool {
        self.blocks.trust() != Trust::Full
    }

    /// Part `part` of the digests of `block` has come. True when it is of use: then hold against it
    /// what is kept of the block, and call [`Session::handle_proof`].
    pub fn handle_hashes(
        &mut self,
        now: Timestamp,
        via: Via,
        seq: u32,
        block: BlockIndex,
        part: u16,
    ) -> bool {
        self.on_heard_by(now, via);
        self.reporting.observe(via, [seq]);
        self.consider_role(via);
        match self.blocks.take_part(block, part) {
            Ok(forgotten) => {
                self.kept.extend(forgotten.map(Kept::ForgetDigests));
                true
            }
            Err(reason) => {
                self.drops.increment(reason);
                false
            }
        }
    }

    /// What is kept of `block` was held against part `part` of its digests; these symbols were
    /// false and are thrown away.
    pub fn handle_proof(
        &mut self,
        now: Timestamp,
        block: BlockIndex,
        part: u16,
        false_symbols: &[SymbolId],
    ) {
        self.distrust(now, Trust::Proven);
        let proven = self.blocks.prove(block, part, false_symbols);
        self.on_proven(block, proven);
        // What was false is missing: of the preamble nobody would ask for a whole window.
        if !false_symbols.is_empty() {
            self.consider_asking(now);
        }
    }

    /// Somebody forges symbols: one differs from another of the same place in its block.
    pub fn handle_conflict(&mut self, now: Timestamp) {
        self.distrust(now, Trust::Shaken);
    }

    /// A block that was believed came out wrong; the driver still has these symbols of it. There
    /// are none where its bytes had been used, and what came later told that they were wrong.
    pub(super) fn on_suspect(&mut self, now: Timestamp, block: BlockIndex, symbols: &[SymbolId]) {
        if self.blocks.is_done(block) {
            self.on_spoiled(block);
            self.asking.cover(&self.geometry, block);
            self.consider_asking(now);
        }
        match self.blocks.reopen(block, symbols) {
            Some(proven) => self.on_proven(block, proven),
            None => self.kept.push_back(Kept::Discard(block)),
        }
        self.distrust(now, Trust::Shaken);
    }

    pub(super) fn on_spoiled(&mut self, block: BlockIndex) {
        self.blocks.spoiled(block);
        self.forget_digests(block);
        self.advance(Step::ImageSpoiled);
    }

    fn on_proven(&mut self, block: BlockIndex, proven: Proven) {
        match proven {
            Proven::Nothing => {}
            Proven::Emptied => self.kept.push_back(Kept::Discard(block)),
            Proven::Complete => self.kept.push_back(Kept::HandOn(block)),
        }
    }

    pub(super) fn distrust(&mut self, now: Timestamp, trust: Trust) {
        self.blocks.distrust(trust);
        self.reporting.count_by_polls();
        self.consider_doubting(now);
    }

    /// Where a poll has told of a shorter interval, a wait that was drawn from a longer one is
    /// drawn anew.
    pub(super) fn hasten_doubt(&mut self, now: Timestamp, is_shorter: bool) {
        if is_shorter && self.timers.is_armed(TimerName::Doubt) {
            let wait = self.asking.draw_doubt(&mut self.rng);
            self.timers.arm_earlier(TimerName::Doubt, now + wait);
        }
    }

    /// Asks for digests that are missed, after a random wait: others may ask for the same.
    pub(super) fn consider_doubting(&mut self, now: Timestamp) {
        let may_ask = self.needs_proof() && self.slot.is_some() && self.is_asking();
        if may_ask && !self.timers.is_armed(TimerName::Doubt) && !self.doubts().is_empty() {
            let wait = self.asking.draw_doubt(&mut self.rng);
            self.timers.arm(TimerName::Doubt, now + wait);
        }
    }

    fn doubts(&self) -> Vec<(BlockIndex, PartSet)> {
        // Once digests go before symbols, those of a block that no poll has covered are coming.
        let open: BTreeSet<u32> = match self.blocks.trust() {
            Trust::Shaken => self.blocks.open().map(|block| block.0).collect(),
            Trust::Full | Trust::Proven => BTreeSet::new(),
        };
        self.asking.doubts(&self.blocks, &open)
    }

    pub(super) fn send_doubt(&mut self, now: Timestamp) {
        let blocks = self.doubts();
        if let (Some(slot), false, true) = (self.slot, blocks.is_empty(), self.is_asking()) {
            let nonce = self.facts.nonce;
            self.send(Message::Doubt(Doubt { slot, nonce, blocks }));
            self.consider_doubting(now);
        }
    }

    /// A block is done: its digests are of no use any more.
    pub(super) fn forget_digests(&mut self, block: BlockIndex) {
        if self.blocks.forget_digests(block) {
            self.kept.push_back(Kept::ForgetDigests(block));
        }
    }
}
