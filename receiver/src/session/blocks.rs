//! What a host knows of each block: which symbols it has, what was sent and what is announced.
//!
//! No payload here: the driver keeps the bytes of every block that is open. Invariants: open and
//! handed-on blocks together never exceed the slots of the memory budget (PROTOCOL 6.2); those of
//! the payload never take the last slot that the preamble needs. Payload is consumed once the
//! preamble is known, so that a payload that filled the memory would wait for itself for ever.

mod proven;

use std::collections::BTreeSet;

use common::drops::DropReason;
use common::geometry::{Geometry, PartSet, Space};
use common::id::{BlockIndex, SymbolId};
use common::wire::SymbolHeader;

use super::bitmaps::{Bitmaps, Row};
use super::proofs::{Proofs, Trust};

pub use proven::Proven;

/// Where one block stands on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    /// No symbol is held.
    #[default]
    Missing,
    /// Some symbols are held; the block's row of bits says which.
    Open,
    /// k symbols were handed on and occupy memory until they are consumed.
    HandedOn,
    /// Nothing of it is needed any more.
    Done,
}

/// Sixteen bytes: a window's blocks are four cache lines.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    sent: u32,
    announced: u32,
    /// Where the marks of an open block are.
    row: Row,
    /// How many different symbols an open block has.
    held: u16,
    standing: Standing,
}

const _: () = assert!(size_of::<Block>() == 16);

impl Block {
    fn learn(&mut self, sent: u32, announced: u32) {
        self.sent = self.sent.max(sent);
        self.announced = self.announced.max(announced);
    }
}

/// What to do with one symbol's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Copy them to the block's assembly.
    Keep {
        /// Their block.
        block: BlockIndex,
        /// Their place in it.
        symbol: SymbolId,
    },
    /// Throw away what the assembly of `evicted` holds, then keep these.
    KeepInsteadOf {
        /// Their block.
        block: BlockIndex,
        /// Their place in it.
        symbol: SymbolId,
        /// The block whose bytes go: the oldest unfinished one.
        evicted: BlockIndex,
    },
    /// Copy them to the block's assembly and hand it on for decoding.
    KeepAndDecode {
        /// Their block.
        block: BlockIndex,
        /// Their place in it.
        symbol: SymbolId,
        /// Where their block is complete with its first symbol: the block whose bytes go for it.
        evicted: Option<BlockIndex>,
    },
    /// Ignore them.
    Drop(DropReason),
}

impl Verdict {
    /// The same, where it is `evicted` that makes room for it.
    fn instead_of(self, evicted: Option<BlockIndex>) -> Self {
        match (self, evicted) {
            (Self::Keep { block, symbol }, Some(evicted)) => {
                Self::KeepInsteadOf { block, symbol, evicted }
            }
            (Self::KeepAndDecode { block, symbol, .. }, evicted) => {
                Self::KeepAndDecode { block, symbol, evicted }
            }
            (other, _) => other,
        }
    }
}

/// The blocks of one session.
#[derive(Debug)]
pub struct Blocks {
    geometry: Geometry,
    blocks: Vec<Block>,
    bitmaps: Bitmaps,
    open: BTreeSet<u32>,
    slots: usize,
    handed_on: usize,
    done: u32,
    /// Those of the preamble among them.
    preamble_done: u32,
    evicted: u32,
    wasted: u32,
    proofs: Proofs,
}

impl Blocks {
    /// All blocks missing; at most `slots` blocks hold memory at a time.
    pub fn new(geometry: Geometry, slots: usize) -> Self {
        let symbols = u32::from(geometry.block_symbols()) + u32::from(geometry.repair_symbols());
        Self {
            geometry,
            blocks: vec![Block::default(); geometry.block_count() as usize],
            bitmaps: Bitmaps::new(symbols),
            open: BTreeSet::new(),
            slots,
            handed_on: 0,
            done: 0,
            preamble_done: 0,
            evicted: 0,
            wasted: 0,
            proofs: Proofs::default(),
        }
    }

    /// Another number of blocks may hold memory. Unfinished blocks beyond it are dropped whole, the
    /// oldest first, and returned.
    pub fn set_slots(&mut self, slots: usize) -> Vec<BlockIndex> {
        self.slots = slots.max(1);
        let mut dropped = Vec::new();
        while self.open.len() + self.handed_on > self.slots {
            let of_payload = self.oldest_open(Space::Payload);
            let Some(oldest) = of_payload.or_else(|| self.oldest_open(Space::Preamble)) else {
                break;
            };
            self.evict(oldest);
            dropped.push(oldest);
        }
        dropped
    }

    /// Blocks of which nothing more is needed.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Blocks in all.
    pub fn total(&self) -> u32 {
        self.geometry.block_count()
    }

    /// Blocks dropped whole because memory ran out.
    pub fn evicted(&self) -> u32 {
        self.evicted
    }

    /// Symbols that arrived and came to nothing: thrown away for want of memory, or in a block that
    /// came back spoiled.
    pub fn wasted(&self) -> u32 {
        self.wasted
    }

    /// Blocks that occupy memory until they are consumed.
    pub fn handed_on(&self) -> usize {
        self.handed_on
    }

    /// Whether at least half of the memory waits to be consumed.
    pub fn is_half_full(&self) -> bool {
        self.handed_on * 2 >= self.slots
    }

    /// Blocks that memory has room for beside those that hold some.
    pub fn room(&self) -> usize {
        self.slots.saturating_sub(self.open.len() + self.handed_on)
    }

    /// Whether nothing more is needed of any block.
    pub fn are_all_done(&self) -> bool {
        self.done == self.total()
    }

    /// Whether nothing more is needed of `block`.
    pub fn is_done(&self, block: BlockIndex) -> bool {
        self.blocks[block.0 as usize].standing == Standing::Done
    }

    /// Whether enough of `block` has arrived to decode it.
    pub fn has_enough(&self, block: BlockIndex) -> bool {
        matches!(self.blocks[block.0 as usize].standing, Standing::HandedOn | Standing::Done)
    }

    /// Takes a train's symbols; one verdict for each is appended.
    pub fn arrive(&mut self, headers: &[SymbolHeader], verdicts: &mut Vec<Verdict>) {
        verdicts.reserve(headers.len());
        for header in headers {
            let block = header.block;
            match self.mark_usual(header) {
                Some(symbol) => verdicts.push(Verdict::Keep { block, symbol }),
                None => verdicts.push(self.judge(header)),
            }
        }
    }

    /// The usual case alone: a symbol that an open block has not and that does not complete it.
    #[inline]
    fn mark_usual(&mut self, header: &SymbolHeader) -> Option<SymbolId> {
        let known = self.blocks.get_mut(header.block.0 as usize)?;
        known.learn(header.transmission.saturating_add(1), header.announced);
        if known.standing != Standing::Open {
            return None;
        }
        let k = self.geometry.source_symbols_of(header.block);
        let symbol = self.geometry.symbol_of(k, header.transmission);
        if known.held + 1 >= k || !self.bitmaps.insert(known.row, symbol) {
            return None;
        }
        known.held += 1;
        Some(symbol)
    }

    /// All other cases.
    fn judge(&mut self, header: &SymbolHeader) -> Verdict {
        let block = header.block;
        let Some(known) = self.blocks.get_mut(block.0 as usize) else {
            return Verdict::Drop(DropReason::OutsideGeometry);
        };
        match known.standing {
            Standing::Done | Standing::HandedOn => Verdict::Drop(DropReason::Late),
            Standing::Missing => self.begin(header),
            Standing::Open => {
                let k = self.geometry.source_symbols_of(block);
                let symbol = self.geometry.symbol_of(k, header.transmission);
                if self.bitmaps.has(known.row, symbol) {
                    return Verdict::Drop(DropReason::Duplicate);
                }
                self.bitmaps.insert(known.row, symbol);
                known.held += 1;
                match self.complete(block) {
                    true => Verdict::KeepAndDecode { block, symbol, evicted: None },
                    false => Verdict::Keep { block, symbol },
                }
            }
        }
    }

    /// Hands an open block on if it has enough symbols, and proofs of all where they are asked for.
    fn complete(&mut self, block: BlockIndex) -> bool {
        let known = &self.blocks[block.0 as usize];
        let has_enough = known.standing == Standing::Open
            && known.held >= self.geometry.source_symbols_of(block);
        if !has_enough || !self.unproven(block).is_empty() {
            return false;
        }
        self.close(block, Standing::HandedOn);
        self.handed_on += 1;
        true
    }

    /// The parts that symbols held of an open block belong to and whose digests are not here; none
    /// while symbols are believed.
    fn unproven(&self, block: BlockIndex) -> PartSet {
        match self.proofs.trust {
            Trust::Full => PartSet::default(),
            Trust::Shaken | Trust::Proven => {
                let row = self.blocks[block.0 as usize].row;
                self.bitmaps.parts(row).without(self.proofs.known(block))
            }
        }
    }

    /// Opens a block for its first symbol.
    fn begin(&mut self, header: &SymbolHeader) -> Verdict {
        let block = header.block;
        if !self.proofs.may_begin(block) {
            return Verdict::Drop(DropReason::NoDigest);
        }
        let evicted = match self.make_room(block) {
            Ok(evicted) => evicted,
            Err(reason) => {
                self.waste(1);
                return Verdict::Drop(reason);
            }
        };
        let row = self.bitmaps.take();
        let known = &mut self.blocks[block.0 as usize];
        (known.row, known.held, known.standing) = (row, 0, Standing::Open);
        self.open.insert(block.0);
        match (self.mark_usual(header), evicted) {
            (Some(symbol), Some(evicted)) => Verdict::KeepInsteadOf { block, symbol, evicted },
            (Some(symbol), None) => Verdict::Keep { block, symbol },
            // A block of one symbol is complete with it.
            (None, evicted) => self.judge(header).instead_of(evicted),
        }
    }

    /// A free slot for `block`, if need be by dropping the oldest unfinished block of the payload
    /// of an earlier window; for one of the preamble by dropping any of the payload.
    fn make_room(&mut self, block: BlockIndex) -> Result<Option<BlockIndex>, DropReason> {
        let space = self.geometry.space_of(block);
        let kept_free = if space == Space::Payload { self.slots_for_preamble() } else { 0 };
        if self.room() > kept_free {
            return Ok(None);
        }
        let is_earlier =
            |oldest: &BlockIndex| self.geometry.window_of(*oldest) < self.geometry.window_of(block);
        let of_payload = self.oldest_open(Space::Payload);
        let evicted = match space {
            Space::Payload => of_payload.filter(is_earlier),
            Space::Preamble => {
                of_payload.or_else(|| self.oldest_open(Space::Preamble).filter(is_earlier))
            }
        };
        let evicted = evicted.ok_or(DropReason::NoMemory)?;
        self.evict(evicted);
        Ok(Some(evicted))
    }

    fn oldest_open(&self, space: Space) -> Option<BlockIndex> {
        self.open.range(self.geometry.space_blocks(space)).next().copied().map(BlockIndex)
    }

    /// Slots that the preamble still needs and has not taken, half of all at most.
    fn slots_for_preamble(&self) -> usize {
        let blocks = self.geometry.space_blocks(Space::Preamble);
        if self.preamble_done == blocks.len() as u32 {
            return 0;
        }
        let range = blocks.start as usize..blocks.end as usize;
        let is_missing = |block: &&Block| block.standing == Standing::Missing;
        let missing = self.blocks[range].iter().filter(is_missing).take(self.slots / 2);
        missing.count()
    }

    fn evict(&mut self, block: BlockIndex) {
        self.waste(self.blocks[block.0 as usize].held.into());
        self.evicted += 1;
        self.forget(block);
    }

    fn waste(&mut self, symbols: u32) {
        self.wasted = self.wasted.saturating_add(symbols);
    }

    /// Learns what was sent of `block` and what is announced.
    pub fn learn(&mut self, block: BlockIndex, sent: u32, announced: u32) {
        if let Some(known) = self.blocks.get_mut(block.0 as usize) {
            known.learn(sent, announced);
        }
    }

    /// What a poll says of `block`, which replaces whatever headers and ADVERTISEs have hinted at.
    /// True where those hinted at more than can be: a whole round of its schedule beyond.
    pub fn set_counts(&mut self, block: BlockIndex, sent: u32, announced: u32) -> bool {
        let Some(known) = self.blocks.get_mut(block.0 as usize) else { return false };
        let round = u32::from(self.geometry.symbols_of(block));
        let most = |count: u32| count.saturating_add(round);
        let is_beyond = known.sent > most(announced) || known.announced > most(most(announced));
        (known.sent, known.announced) = (sent, announced);
        is_beyond
    }

    /// Takes it that everything announced of `block` was sent: its window has passed.
    pub fn presume_sent(&mut self, block: BlockIndex) {
        if let Some(known) = self.blocks.get_mut(block.0 as usize) {
            known.sent = known.sent.max(known.announced);
        }
    }

    /// The count of transmissions that would give this host k distinct symbols of `block`, if that
    /// is more than what is announced (PROTOCOL 6.3).
    pub fn want_beyond_announced(&self, block: BlockIndex) -> Option<u32> {
        let known = self.blocks.get(block.0 as usize)?;
        match known.standing {
            Standing::Done | Standing::HandedOn => return None,
            Standing::Missing | Standing::Open => {}
        }
        // What is here awaits its digests.
        let has_enough = known.standing == Standing::Open
            && known.held >= self.geometry.source_symbols_of(block);
        if has_enough || !self.may_begin(block) {
            return None;
        }
        let want = self.want(block, known);
        (want > known.announced).then_some(want)
    }

    /// The announced count of `block`.
    pub fn announced(&self, block: BlockIndex) -> u32 {
        self.blocks.get(block.0 as usize).map_or(0, |known| known.announced)
    }

    fn want(&self, block: BlockIndex, known: &Block) -> u32 {
        let sent = known.sent;
        let k = self.geometry.source_symbols_of(block);
        if known.standing != Standing::Open {
            return sent.saturating_add(k.into());
        }
        let missing = u32::from(k - known.held);
        let period = u32::from(k) + u32::from(self.geometry.repair_symbols());
        if sent.saturating_add(missing) <= period {
            return sent + missing; // The first period repeats nothing.
        }
        let mut still_missing = missing;
        let mut transmission = sent;
        while still_missing > 0 && transmission < u32::MAX {
            let symbol = self.geometry.symbol_of(k, transmission);
            still_missing -= u32::from(!self.bitmaps.has(known.row, symbol));
            transmission += 1;
        }
        transmission
    }

    /// The bytes of `block` were used; its slot is free.
    pub fn consumed(&mut self, block: BlockIndex) {
        self.leave_pipeline(block, Standing::Done);
    }

    /// The bytes of `block` came to nothing; all of it is needed again.
    pub fn spoiled(&mut self, block: BlockIndex) {
        self.waste(self.geometry.source_symbols_of(block).into());
        self.leave_pipeline(block, Standing::Missing);
    }

    /// Nothing is needed of `block`: the host holds its bytes already. Whether symbols of it are
    /// kept, which are to go.
    pub fn held(&mut self, block: BlockIndex) -> bool {
        let standing = self.blocks[block.0 as usize].standing;
        if matches!(standing, Standing::Missing | Standing::Open) {
            self.forget(block);
            self.blocks[block.0 as usize].standing = Standing::Done;
            self.count_done(block, 1);
        }
        standing == Standing::Open
    }

    fn leave_pipeline(&mut self, block: BlockIndex, next: Standing) {
        let standing = self.blocks[block.0 as usize].standing;
        self.handed_on -= usize::from(standing == Standing::HandedOn);
        let is_done = |standing| i32::from(standing == Standing::Done);
        self.count_done(block, is_done(next) - is_done(standing));
        self.close(block, next);
    }

    fn count_done(&mut self, block: BlockIndex, change: i32) {
        self.done = self.done.saturating_add_signed(change);
        if self.geometry.space_of(block) == Space::Preamble {
            self.preamble_done = self.preamble_done.saturating_add_signed(change);
        }
    }

    fn forget(&mut self, block: BlockIndex) {
        self.close(block, Standing::Missing);
    }

    /// Whatever marks `block` has go.
    fn close(&mut self, block: BlockIndex, next: Standing) {
        let known = &mut self.blocks[block.0 as usize];
        if known.standing == Standing::Open {
            self.bitmaps.give_back(known.row);
            self.open.remove(&block.0);
        }
        known.standing = next;
    }

    /// Whether any symbol of `block` is held or was handed on.
    pub fn has_begun(&self, block: BlockIndex) -> bool {
        self.blocks[block.0 as usize].standing != Standing::Missing
    }

    /// Checks the accounts; for tests and simulations.
    ///
    /// # Panics
    /// When the counters and the standings disagree.
    pub fn assert_consistent(&self) {
        let count = |standing| self.blocks.iter().filter(|b| b.standing == standing).count();
        assert_eq!(count(Standing::Open), self.open.len(), "open blocks");
        assert_eq!(count(Standing::HandedOn), self.handed_on, "handed-on blocks");
        assert_eq!(count(Standing::Done), self.done as usize, "done blocks");
        let has_room = self.open.len() + self.handed_on <= self.slots;
        assert!(has_room || self.open.is_empty(), "slots of the memory budget");
    }
}

#[cfg(test)]
mod tests {
    use common::id::SessionId;

    use super::*;

    /// Four blocks of ten source and four repair symbols, two to a window.
    fn blocks(slots: usize) -> Blocks {
        Blocks::new(Geometry::new(64, 10, 4, 2, 0, 64 * 40).unwrap(), slots)
    }

    fn arrive(blocks: &mut Blocks, block: u32, transmission: u32, announced: u32) -> Verdict {
        let (session, block) = (SessionId(1), BlockIndex(block));
        let (seq, key_epoch, flags) = (0, 0, 0);
        let header =
            SymbolHeader { session, seq, key_epoch, flags, block, transmission, announced };
        let mut verdicts = Vec::new();
        blocks.arrive(&[header], &mut verdicts);
        blocks.assert_consistent();
        verdicts[0]
    }

    fn kept(blocks: &mut Blocks, block: u32, transmission: u32) -> bool {
        !matches!(arrive(blocks, block, transmission, 12), Verdict::Drop(_))
    }

    #[test]
    fn any_k_distinct_symbols_complete_a_block() {
        let mut blocks = blocks(4);
        for transmission in (0..10).filter(|n| *n != 3) {
            assert!(kept(&mut blocks, 0, transmission));
        }
        assert!(!kept(&mut blocks, 0, 14 + 5), "transmission 19 repeats symbol 5");
        let last = arrive(&mut blocks, 0, 11, 12);
        let (block, symbol) = (BlockIndex(0), SymbolId(11));
        assert_eq!(last, Verdict::KeepAndDecode { block, symbol, evicted: None });
        assert!(!kept(&mut blocks, 0, 3), "a block that is handed on takes nothing");
        blocks.consumed(BlockIndex(0));
        assert_eq!(blocks.done(), 1);
    }

    #[test]
    fn want_counts_transmissions_until_k_distinct_symbols() {
        let mut blocks = blocks(4);
        assert_eq!(blocks.want_beyond_announced(BlockIndex(0)), Some(10));
        for transmission in [0, 1, 2, 3, 4, 5, 6] {
            kept(&mut blocks, 0, transmission);
        }
        blocks.learn(BlockIndex(0), 12, 12);
        // Three are missing: repair symbols 12 and 13, then the schedule begins again at 0, and
        // the first symbol not held is 7.
        assert_eq!(blocks.want_beyond_announced(BlockIndex(0)), Some(14 + 8));
        blocks.learn(BlockIndex(0), 12, 22);
        assert_eq!(blocks.want_beyond_announced(BlockIndex(0)), None, "announced is enough");
    }

    #[test]
    fn a_want_is_always_enough_whatever_was_received() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..500 {
            let mut blocks = blocks(4);
            let sent = rng.random_range(0..40);
            let mut has_completed = false;
            for transmission in 0..sent {
                if rng.random_bool(0.3) {
                    let verdict = arrive(&mut blocks, 1, transmission, 0);
                    has_completed |= matches!(verdict, Verdict::KeepAndDecode { .. });
                }
            }
            if has_completed {
                continue;
            }
            blocks.learn(BlockIndex(1), sent, 0);
            let want = blocks.want_beyond_announced(BlockIndex(1)).unwrap();
            for transmission in sent..want {
                let verdict = arrive(&mut blocks, 1, transmission, want);
                let is_last = transmission + 1 == want;
                let completes = matches!(verdict, Verdict::KeepAndDecode { .. });
                assert_eq!(completes, is_last, "want is the smallest sufficient count");
            }
        }
    }

    // PROTOCOL 6.2: memory is bounded whatever arrives.
    #[test]
    fn a_full_budget_drops_the_oldest_unfinished_block_of_an_earlier_window_whole() {
        let mut blocks = blocks(2);
        assert!(kept(&mut blocks, 0, 0) && kept(&mut blocks, 1, 0));
        let (block, symbol, evicted) = (BlockIndex(2), SymbolId(0), BlockIndex(0));
        assert_eq!(
            arrive(&mut blocks, 2, 0, 12),
            Verdict::KeepInsteadOf { block, symbol, evicted }
        );
        blocks.learn(evicted, 12, 12);
        assert_eq!(blocks.want_beyond_announced(evicted), Some(22), "it starts from nothing");
        assert!(kept(&mut blocks, 3, 0), "block 1 makes room");
        assert!(!kept(&mut blocks, 0, 12), "no block of an earlier window is left to drop");
        assert_eq!((blocks.evicted(), blocks.wasted()), (2, 3), "two held and one refused");
    }

    #[test]
    fn a_block_of_one_symbol_that_takes_anothers_place_says_so_as_well() {
        // Block 0 is the preamble, of one symbol.
        let mut blocks = Blocks::new(Geometry::new(64, 10, 4, 2, 64, 64 * 60).unwrap(), 1);
        assert!(kept(&mut blocks, 1, 0));
        let (block, symbol, evicted) = (BlockIndex(0), SymbolId(0), Some(BlockIndex(1)));
        let verdict = arrive(&mut blocks, 0, 0, 1);
        assert_eq!(verdict, Verdict::KeepAndDecode { block, symbol, evicted });
    }

    // PROTOCOL 6.2: payload waits for the preamble, so the preamble must never wait for payload.
    #[test]
    fn payload_that_fills_the_memory_leaves_room_for_the_preamble() {
        // Block 0 is the preamble, 1 to 6 the payload.
        let geometry = Geometry::new(64, 10, 4, 2, 640, 64 * 60).unwrap();
        let mut blocks = Blocks::new(geometry, 3);
        for block in 1..7 {
            (0..9).for_each(|transmission| {
                kept(&mut blocks, block, transmission);
            });
        }
        for block in [5, 6] {
            assert!(matches!(arrive(&mut blocks, block, 9, 12), Verdict::KeepAndDecode { .. }));
        }
        assert!(!kept(&mut blocks, 1, 0), "the last slot is not the payload's");
        for transmission in 0..9 {
            assert!(kept(&mut blocks, 0, transmission));
            assert!(!kept(&mut blocks, 3, transmission), "nor is it while the preamble has it");
        }
        assert!(matches!(arrive(&mut blocks, 0, 9, 12), Verdict::KeepAndDecode { .. }));
        blocks.consumed(BlockIndex(0));
        assert!(kept(&mut blocks, 3, 0), "now it is");
        let shrunk = blocks.set_slots(1);
        assert_eq!(shrunk, [BlockIndex(3)]);
    }

    #[test]
    fn a_preamble_pushes_unfinished_payload_out() {
        let geometry = Geometry::new(64, 10, 4, 2, 6400, 64 * 60).unwrap();
        let mut blocks = Blocks::new(geometry, 4);
        assert!(kept(&mut blocks, 10, 0) && kept(&mut blocks, 11, 0));
        assert!(!kept(&mut blocks, 12, 0) || blocks.evicted() == 1, "half is the preamble's");
        for block in 0..4 {
            assert!(kept(&mut blocks, block, 0), "{block}");
        }
        assert_eq!(blocks.room(), 0);
        assert!(!kept(&mut blocks, 13, 0), "payload takes nothing from the preamble");
    }

    #[test]
    fn spoiled_blocks_are_wanted_again_and_held_ones_never() {
        let mut blocks = blocks(4);
        (0..10).for_each(|transmission| assert!(kept(&mut blocks, 0, transmission)));
        blocks.spoiled(BlockIndex(0));
        blocks.assert_consistent();
        assert_eq!(blocks.want_beyond_announced(BlockIndex(0)), Some(20));
        assert!((0..4).all(|block| !blocks.held(BlockIndex(block))));
        blocks.assert_consistent();
        assert!(blocks.are_all_done());
    }

    #[test]
    fn indices_and_counts_from_a_liar_neither_panic_nor_hang() {
        let mut blocks = blocks(4);
        assert!(!kept(&mut blocks, u32::MAX, 0));
        assert!(kept(&mut blocks, 0, u32::MAX));
        assert_eq!(blocks.want_beyond_announced(BlockIndex(0)), Some(u32::MAX));
        blocks.learn(BlockIndex(u32::MAX), u32::MAX, u32::MAX);
    }
}
