//! Hosts that were sent false symbols, and the digests that the sender sends them (PROTOCOL 6.10).

use std::net::SocketAddr;

use common::geometry::Space;
use common::id::Slot;
use common::limits::{HASHES_DIGESTS_MAX, TRAIN_SYMBOLS_MAX};
use common::time::Timestamp;
use common::wire::{Alarm, Doubt};

use super::{Output, Session};

/// Digests that one host may ask for, in tables of the whole session: each once, and once again
/// where all of them were lost.
const HOST_TABLES_MAX: u32 = 2;
/// And as many parts whatever the session's length.
const HOST_PARTS_MIN: u32 = 640;
/// A HASHES without framing: headers, 64 digests of 16 bytes, signature and trailer.
const HASHES_BYTES: u64 = 24 + 16 * HASHES_DIGESTS_MAX as u64 + 75 + 16;
/// Hosts whose alarm is told while the session lasts; the report names all.
const ALARMS_TOLD_MAX: u32 = 3;

impl Session {
    /// A host asks for digests.
    pub(super) fn on_doubt(&mut self, now: Timestamp, from: SocketAddr, doubt: &Doubt) {
        if !self.roster.on_heard(now, from, doubt.slot, doubt.nonce) {
            return;
        }
        if !self.schedule.proofs().is_on() {
            let name = &self.roster.hosts()[doubt.slot.0 as usize].name;
            let line =
                format!("{name} was sent false symbols: digests go before the symbols from now on");
            self.outputs.push_back(Output::Notice(line));
            self.schedule.begin_to_prove();
        }
        let pause = self.grtt.backoff();
        let mut left = self.parts_left(doubt.slot);
        for (block, parts) in &doubt.blocks {
            if self.schedule.has_begun(*block) {
                let parts = parts.within(self.geometry.all_parts(*block));
                if parts.len() <= left {
                    left -= self.schedule.demand(now, *block, parts, pause);
                }
            }
        }
        let asked = self.parts_max() - left;
        self.roster.set_parts_asked(doubt.slot, asked);
        self.schedule.request_more();
    }

    /// Parts of digests that one host may ask for.
    fn parts_max(&self) -> u32 {
        let blocks = |space| self.geometry.space_blocks(space).len() as u32;
        let symbols =
            u32::from(self.geometry.block_symbols()) + u32::from(self.geometry.repair_symbols());
        let parts = symbols.div_ceil(HASHES_DIGESTS_MAX.into());
        let table = (blocks(Space::Preamble) + blocks(Space::Payload)).saturating_mul(parts);
        table.saturating_mul(HOST_TABLES_MAX).max(HOST_PARTS_MIN)
    }

    fn parts_left(&self, slot: Slot) -> u32 {
        let asked = self.roster.hosts()[slot.0 as usize].parts_asked();
        self.parts_max().saturating_sub(asked)
    }

    /// Lets digests go that are due, as many datagrams as a train has; false when there are none.
    pub(super) fn depart_proofs(&mut self, now: Timestamp) -> bool {
        let mut count = 0;
        while count < TRAIN_SYMBOLS_MAX as u64 {
            let Some((block, part)) = self.schedule.next_proof(now) else { break };
            let seq = self.take_seq(self.audience);
            self.outputs.push_back(Output::Hashes(self.destination(), seq, block, part));
            count += 1;
        }
        if count > 0 {
            self.pacer.charge(now, count * (HASHES_BYTES + self.framing_bytes()));
            self.hashes += count;
        }
        count > 0
    }

    /// A host tells that somebody forges.
    pub(super) fn on_alarm(&mut self, slot: Slot, alarm: &Alarm) {
        let host = &self.roster.hosts()[slot.0 as usize];
        let is_first = host.alarm().is_none();
        if is_first && self.alarms_told < ALARMS_TOLD_MAX {
            self.alarms_told += 1;
            self.outputs.push_back(Output::Notice(format!("{}: {alarm}", host.name)));
        }
        self.roster.set_alarm(slot, *alarm);
    }
}
