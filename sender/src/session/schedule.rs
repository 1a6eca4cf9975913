//! Which symbol goes next: the pass window by window, and repairs woven between.
//!
//! Every block has one endless schedule of transmissions; `sent` of them have gone, `announced` (S)
//! will go. A train takes one symbol each from the blocks that are open, in turn, so repairs share
//! the stream with the window and a lost train costs each block one symbol. PROTOCOL 5.1, 6.1–6.3.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use common::geometry::{Geometry, PartSet, Space};
use common::id::{BlockIndex, Slot};
use common::limits::TRAIN_SYMBOLS_MAX;
use common::time::Timestamp;
use common::wire::BlockCount;

use super::loss::proactive_symbols;
use super::proofs::Proofs;

/// Repair symbols that go unasked with every block while nobody has told of losses (0.8 % of 1024):
/// 8 per 1024 at 0.1 % loss cut the NEEDs of 10,000 hosts from 760 to 3 (simulated).
pub const PROACTIVE_SYMBOLS_UNKNOWN: u32 = 8;
/// As many go unasked where nobody loses anything: the first loss somewhere is no question yet.
pub const PROACTIVE_SYMBOLS_MIN: u32 = 2;
/// Announced beyond what was asked: two symbols halve the second round's NEEDs for 0.2 % more.
pub const MARGIN_SYMBOLS: u32 = 2;
/// Blocks that may be prepared at a time; at the default sizes 56 × 1.8 MB = 101 MB.
pub const PREPARED_BLOCKS_MAX: usize = 56;
/// Preamble blocks that every poll of the pass names.
const PREAMBLE_POLLED: usize = 8;
/// Blocks under repair that share the stream with the window.
const REPAIRS_OPEN_MAX: usize = 8;

/// What is lost on the way to those who are served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// Share of the datagrams that is reckoned with; `None` while nobody has told.
    pub loss: Option<f64>,
    /// Hosts that suffer it, each on its own.
    pub hosts: usize,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    sent: u32,
    announced: u32,
    /// Who raised the announced count last, and what it was before that.
    owner: Slot,
    base: u32,
}

impl Block {
    const NEW: Self = Self { sent: 0, announced: 0, owner: Slot(u32::MAX), base: 0 };
}

/// One symbol to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// Its block.
    pub block: BlockIndex,
    /// Its position in the block's schedule.
    pub transmission: u32,
    /// S of the block.
    pub announced: u32,
}

/// The state of all blocks of a session.
#[derive(Debug)]
pub struct Schedule {
    geometry: Geometry,
    blocks: Vec<Block>,
    /// Windows that the running pass has still to open.
    windows: Range<u32>,
    /// Blocks below this have had, or have, their turn; nothing is owed of the others yet.
    begun: u32,
    /// The window being sent.
    current: Option<u32>,
    /// Blocks of the current window below their first target.
    in_window: BTreeSet<u32>,
    /// Blocks that are owed transmissions beyond the pass, and not open.
    owed: BTreeSet<u32>,
    /// The owed block from which on the next is opened.
    next_repair: u32,
    /// Blocks whose symbols go out in turn; all are prepared.
    open: Vec<u32>,
    cursor: usize,
    requested: BTreeSet<u32>,
    prepared: BTreeSet<u32>,
    /// Raised since the last ADVERTISE.
    raised: BTreeSet<u32>,
    /// Raised at all: polls name them for good.
    repaired: BTreeSet<u32>,
    requests: VecDeque<Request>,
    is_flushing: bool,
    weather: Weather,
    /// Symbols that left, of the preamble and of the payload.
    departed: [u64; 2],
    proofs: Proofs,
}

/// What the driver is to do with a block's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Read and encode it, then report it ready.
    Prepare(BlockIndex),
    /// Forget its bytes.
    Release(BlockIndex),
}

impl Schedule {
    /// Nothing sent, nothing announced.
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            blocks: vec![Block::NEW; geometry.block_count() as usize],
            windows: 0..0,
            begun: 0,
            current: None,
            in_window: BTreeSet::new(),
            owed: BTreeSet::new(),
            next_repair: 0,
            open: Vec::new(),
            cursor: 0,
            requested: BTreeSet::new(),
            prepared: BTreeSet::new(),
            raised: BTreeSet::new(),
            repaired: BTreeSet::new(),
            requests: VecDeque::new(),
            is_flushing: false,
            weather: Weather { loss: None, hosts: 1 },
            departed: [0; 2],
            proofs: Proofs::default(),
        }
    }

    /// Begins the pass through `space`; `is_skipped` says which blocks every host holds.
    pub fn begin(&mut self, space: Space, is_skipped: impl Fn(BlockIndex) -> bool) {
        let blocks = self.geometry.space_blocks(space);
        self.begun = blocks.end;
        for index in blocks.clone() {
            let block = BlockIndex(index);
            let k = u32::from(self.geometry.source_symbols_of(block));
            let target = if is_skipped(block) { 0 } else { k };
            let known = &mut self.blocks[index as usize];
            known.announced = known.announced.max(target);
        }
        if !blocks.is_empty() {
            let first = self.geometry.window_of(BlockIndex(blocks.start));
            self.windows = first..self.geometry.window_of(BlockIndex(blocks.end - 1)) + 1;
        }
        self.open_next_window();
    }

    /// Leaves out the windows that the pass has not begun: nobody was told of them. What is begun
    /// stays announced, and is owed.
    pub fn end_pass(&mut self) {
        for window in std::mem::replace(&mut self.windows, 0..0) {
            for block in self.geometry.window(window) {
                let block = &mut self.blocks[block as usize];
                block.announced = block.sent;
            }
        }
        self.current = None;
        let begun = std::mem::take(&mut self.in_window);
        self.owed.extend(begun.into_iter().filter(|index| !self.open.contains(index)));
    }

    /// Nothing but repairs from now on.
    pub fn begin_flush(&mut self) {
        self.is_flushing = true;
        self.request_more();
    }

    /// What windows that open from now on are to reckon with.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Repair symbols that go with a block of `k` source symbols unasked (PROTOCOL 6.4).
    fn unasked_symbols(&self, k: u32) -> u32 {
        let Weather { loss, hosts } = self.weather;
        let blocks = self.geometry.window_blocks().into();
        let symbols = match loss {
            None => PROACTIVE_SYMBOLS_UNKNOWN,
            Some(loss) => proactive_symbols(k, loss, hosts, blocks),
        };
        symbols.max(PROACTIVE_SYMBOLS_MIN).min(self.geometry.repair_symbols().into())
    }

    /// Whether the pass has still to send.
    pub fn is_passing(&self) -> bool {
        self.current.is_some()
    }

    /// Whether repairs are owed.
    pub fn is_owing(&self) -> bool {
        !self.owed.is_empty() || !self.open.is_empty()
    }

    /// Opens the next window of the pass, or ends the pass.
    pub fn open_next_window(&mut self) {
        self.current = None;
        self.in_window.clear();
        while self.in_window.is_empty() {
            let Some(window) = self.windows.next() else { return self.request_more() };
            self.current = Some(window);
            let is_due = |index: &u32| {
                let block = &self.blocks[*index as usize];
                block.sent < block.announced
            };
            self.in_window = self.geometry.window(window).filter(is_due).collect();
        }
        self.announce_window();
        self.in_window.iter().for_each(|index| _ = self.owed.remove(index));
        self.request_more();
    }

    /// Announces what the blocks of the window that opens will have unasked.
    fn announce_window(&mut self) {
        let (mut known_k, mut unasked) = (0, 0);
        for index in &self.in_window {
            let k = u32::from(self.geometry.source_symbols_of(BlockIndex(*index)));
            if k != known_k {
                (known_k, unasked) = (k, self.unasked_symbols(k));
            }
            let block = &mut self.blocks[*index as usize];
            block.announced = block.announced.max(k + unasked);
        }
    }

    /// Asks for blocks in the order of their urgency: this window, repairs, the next window.
    pub fn request_more(&mut self) {
        self.release_settled();
        let next = self.windows.clone().next().map_or(0..0, |next| self.geometry.window(next));
        let is_due = |index: &u32| {
            let block = &self.blocks[*index as usize];
            block.sent < block.announced
        };
        let (before, behind) =
            (self.owed.range(..self.next_repair), self.owed.range(self.next_repair..));
        let repairs = behind.chain(before).take(2 * REPAIRS_OPEN_MAX);
        let proofs = self.proofs.due().take(REPAIRS_OPEN_MAX);
        let urgent = self.in_window.iter().copied().chain(proofs).chain(repairs.copied());
        let wanted: Vec<u32> = urgent.chain(next.filter(is_due)).collect();
        for index in wanted {
            if self.requested.len() + self.prepared.len() >= PREPARED_BLOCKS_MAX {
                return;
            }
            if !self.prepared.contains(&index) && self.requested.insert(index) {
                self.requests.push_back(Request::Prepare(BlockIndex(index)));
            }
        }
    }

    /// Lets go of prepared blocks that nothing is owed of, but for the window before the current
    /// one: its NEEDs are about to come.
    fn release_settled(&mut self) {
        let keep_from = self.current.map_or(u32::MAX, |window| window.saturating_sub(1));
        let settled: Vec<u32> = self
            .prepared
            .iter()
            .copied()
            .filter(|index| {
                let block = &self.blocks[*index as usize];
                let window = self.geometry.window_of(BlockIndex(*index));
                block.sent >= block.announced && window < keep_from && !self.proofs.is_due(*index)
            })
            .collect();
        for index in settled {
            self.prepared.remove(&index);
            self.requests.push_back(Request::Release(BlockIndex(index)));
        }
    }

    /// The next thing that the driver is to do with a block's bytes.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The driver has `block`'s symbols at hand.
    pub fn on_prepared(&mut self, block: BlockIndex) {
        if self.requested.remove(&block.0) {
            self.prepared.insert(block.0);
        }
        self.fill();
    }

    fn fill(&mut self) {
        for index in &self.in_window {
            if self.prepared.contains(index) && !self.open.contains(index) {
                self.open.push(*index);
            }
        }
        let repairs = self.open.iter().filter(|index| !self.in_window.contains(index)).count();
        let room = match self.is_flushing {
            true => (2 * REPAIRS_OPEN_MAX).saturating_sub(repairs),
            false => REPAIRS_OPEN_MAX.saturating_sub(repairs),
        };
        // Round after round, so that whoever asks for the same blocks again and again does not keep
        // the others from theirs.
        let (before, behind) =
            (self.owed.range(..self.next_repair), self.owed.range(self.next_repair..));
        let in_turn = behind.chain(before).copied();
        let ready: Vec<u32> = in_turn.filter(|i| self.prepared.contains(i)).take(room).collect();
        for index in ready {
            self.owed.remove(&index);
            self.open.push(index);
            self.next_repair = index + 1;
        }
    }

    /// The next train, at most one symbol from each open block; `false` when nothing is ready.
    ///
    /// With few open blocks trains get shorter: sixteen symbols of one block would be the burst
    /// that interleaving avoids.
    pub fn next_train(&mut self, train: &mut Vec<Departure>) -> bool {
        train.clear();
        self.fill();
        let length = TRAIN_SYMBOLS_MAX.min(self.open.len().max(4));
        let mut has_settled = false;
        while train.len() < length && !self.open.is_empty() {
            self.cursor %= self.open.len();
            let index = self.open[self.cursor];
            let block = &mut self.blocks[index as usize];
            let (transmission, announced) = (block.sent, block.announced);
            train.push(Departure { block: BlockIndex(index), transmission, announced });
            block.sent += 1;
            self.departed[self.geometry.space_of(BlockIndex(index)) as usize] += 1;
            if block.sent >= block.announced {
                self.open.remove(self.cursor);
                self.in_window.remove(&index);
                has_settled = true;
                continue;
            }
            self.cursor += 1;
        }
        self.proofs.earn(train.len());
        if has_settled && !self.owed.is_empty() {
            self.request_more();
        }
        !train.is_empty()
    }

    /// What is proven to hosts.
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// From now on the digests of every block go before its symbols.
    pub fn begin_to_prove(&mut self) {
        self.proofs.turn_on();
    }

    /// A host misses parts of a block's digests; how many of them will go out for its sake.
    pub fn demand(
        &mut self,
        now: Timestamp,
        block: BlockIndex,
        parts: PartSet,
        pause: Duration,
    ) -> u32 {
        self.proofs.demand(now, block, parts, pause)
    }

    /// The next part of a block's digests that is to go out, before any symbol.
    pub fn next_proof(&mut self, now: Timestamp) -> Option<(BlockIndex, u16)> {
        if !self.proofs.is_on() {
            return None;
        }
        self.fill();
        self.proofs.precede(&self.open, &self.geometry);
        let next = self.proofs.next(now, |block| self.prepared.contains(&block));
        if next.is_some_and(|(block, _)| !self.proofs.is_due(block.0)) {
            self.request_more();
        }
        next
    }

    /// Whether hosts may have been sent symbols of `block`.
    pub fn has_begun(&self, block: BlockIndex) -> bool {
        block.0 < self.begun && !self.windows.contains(&self.geometry.window_of(block))
    }

    /// The window that has been sent to its end, until the next one is opened.
    pub fn finished_window(&self) -> Option<u32> {
        self.current.filter(|_| self.in_window.is_empty())
    }

    /// The announced count that would give `block` to a host that wants `want` transmissions of it
    /// and loses a share of `loss`; `None` where nothing need be raised.
    pub fn target(&self, block: BlockIndex, want: u32, loss: f64) -> Option<u32> {
        let known = self.blocks.get(block.0 as usize).filter(|_| self.has_begun(block))?;
        // No poll has asked for it: somebody made the host believe that its window is over.
        if self.in_window.contains(&block.0) {
            return None;
        }
        let k = u32::from(self.geometry.source_symbols_of(block));
        let period = k + u32::from(self.geometry.repair_symbols());
        // A count beyond one more period helps nobody: that is all symbols there are.
        // PROTOCOL 6.7.
        let want = want.min(known.sent.saturating_add(period));
        if want <= known.announced {
            return None;
        }
        let missing = want.saturating_sub(known.sent);
        let to_be_lost = (f64::from(missing) * loss / (1.0 - loss)) as u32;
        Some(want.saturating_add(MARGIN_SYMBOLS + to_be_lost.min(period)))
    }

    /// Symbols by which a raise of `block` to `target` exceeds both S and k + `free`.
    pub fn excess(&self, block: BlockIndex, target: u32, free: u32) -> u64 {
        let free = u32::from(self.geometry.source_symbols_of(block)) + free;
        target.saturating_sub(self.blocks[block.0 as usize].announced.max(free)).into()
    }

    /// Symbols that `owner` alone has had announced, of all blocks, beyond k + `free` of each.
    pub fn owned_excess(&self, owner: Slot, free: u32) -> u64 {
        let excess = |index: &u32| {
            let block = &self.blocks[*index as usize];
            let free = u32::from(self.geometry.source_symbols_of(BlockIndex(*index))) + free;
            match block.owner == owner {
                true => u64::from(block.announced.saturating_sub(block.base.max(free))),
                false => 0,
            }
        };
        self.repaired.iter().map(excess).sum()
    }

    /// Sets S of `block` to `target`, since `owner` asked.
    pub fn raise(&mut self, block: BlockIndex, target: u32, owner: Slot) {
        let known = &mut self.blocks[block.0 as usize];
        if known.owner != owner {
            (known.owner, known.base) = (owner, known.announced);
        }
        known.announced = target;
        self.raised.insert(block.0);
        self.repaired.insert(block.0);
        if !self.open.contains(&block.0) && !self.in_window.contains(&block.0) {
            self.owed.insert(block.0);
        }
    }

    /// Counts what is owed as sent without sending it: those who asked are served no longer, and
    /// the others learn by `sent` that nothing more comes.
    pub fn forfeit(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        for index in self.open.drain(..).chain(owed) {
            let block = &mut self.blocks[index as usize];
            block.sent = block.announced;
        }
        self.request_more();
    }

    /// Whether an ADVERTISE is due.
    pub fn has_raised(&self) -> bool {
        !self.raised.is_empty()
    }

    /// Up to `max` blocks whose S rose since the last call.
    pub fn take_raised(&mut self, max: usize) -> Vec<(BlockIndex, u32)> {
        let blocks: Vec<u32> = self.raised.iter().copied().take(max).collect();
        blocks
            .into_iter()
            .map(|index| {
                self.raised.remove(&index);
                (BlockIndex(index), self.blocks[index as usize].announced)
            })
            .collect()
    }

    /// What a poll at the end of `window` covers: the last three windows, the first preamble
    /// blocks, and the newest of the older blocks that were repaired.
    pub fn poll_scope(&self, window: u32, max: usize) -> Vec<BlockCount> {
        let recent = self.geometry.window(window.saturating_sub(2)).start;
        let recent = recent..self.geometry.window(window).end;
        let preamble = self.geometry.space_blocks(Space::Preamble);
        let mut scope: BTreeSet<u32> =
            preamble.take(PREAMBLE_POLLED).filter(|i| *i < recent.end).collect();
        scope.extend(recent.rev().take(max - scope.len()));
        for index in self.repaired.iter().rev() {
            if scope.len() >= max {
                break;
            }
            scope.insert(*index);
        }
        scope.into_iter().map(|index| self.count(index)).collect()
    }

    /// The first preamble blocks, for hosts that have just come.
    pub fn preamble_scope(&self) -> Vec<BlockCount> {
        let preamble = self.geometry.space_blocks(Space::Preamble);
        preamble.take(PREAMBLE_POLLED).map(|index| self.count(index)).collect()
    }

    /// `max` blocks from `from` on, for the polls of the flush; then the preamble's first.
    pub fn flush_scope(&self, from: u32, max: usize) -> Vec<BlockCount> {
        let end = self.geometry.block_count();
        (from..end).take(max).map(|index| self.count(index)).collect()
    }

    fn count(&self, index: u32) -> BlockCount {
        let block = &self.blocks[index as usize];
        BlockCount { block: BlockIndex(index), sent: block.sent, announced: block.announced }
    }

    /// Symbols sent of a space.
    pub fn sent_symbols(&self, space: Space) -> u64 {
        self.departed[space as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six blocks of 32 source and 8 repair symbols, two to a window.
    fn schedule() -> Schedule {
        let mut schedule = Schedule::new(Geometry::new(64, 32, 8, 2, 0, 64 * 32 * 6).unwrap());
        schedule.begin(Space::Payload, |_| false);
        schedule
    }

    fn prepare_all(schedule: &mut Schedule) {
        while let Some(request) = schedule.poll_request() {
            if let Request::Prepare(block) = request {
                schedule.on_prepared(block);
            }
        }
    }

    /// A host without loss asks; by how much S rises.
    fn need(schedule: &mut Schedule, block: u32, want: u32) -> Option<u32> {
        let block = BlockIndex(block);
        let target = schedule.target(block, want, 0.0)?;
        let before = schedule.blocks[block.0 as usize].announced;
        schedule.raise(block, target, Slot(0));
        schedule.request_more();
        Some(target - before)
    }

    fn run_window(schedule: &mut Schedule) -> (u32, Vec<Departure>) {
        let (mut train, mut all) = (Vec::new(), Vec::new());
        loop {
            prepare_all(schedule);
            if let Some(window) = schedule.finished_window() {
                schedule.open_next_window();
                return (window, all);
            }
            assert!(schedule.next_train(&mut train), "an open window has symbols");
            all.extend_from_slice(&train);
        }
    }

    #[test]
    fn a_window_interleaves_its_blocks_and_ends_with_the_proactive_symbols() {
        let mut schedule = schedule();
        let (window, departures) = run_window(&mut schedule);
        assert_eq!((window, departures.len()), (0, 2 * 40));
        let blocks: Vec<u32> = departures.iter().take(4).map(|symbol| symbol.block.0).collect();
        assert_eq!(blocks, [0, 1, 0, 1]);
        assert!(departures.iter().all(|symbol| symbol.announced == 40));
        assert_eq!(departures.last().unwrap().transmission, 39);
    }

    // PROTOCOL 6.4: parity follows the loss, up and down, from one window to the next.
    #[test]
    fn a_window_that_opens_has_as_many_symbols_unasked_as_its_weather_calls_for() {
        let mut schedule = Schedule::new(Geometry::new(64, 1024, 256, 2, 0, 64 * 10_240).unwrap());
        schedule.begin(Space::Payload, |_| false);
        let mut announced = Vec::new();
        for loss in [Some(0.05), Some(0.0), Some(0.9), None, None] {
            schedule.set_weather(Weather { loss, hosts: 8 });
            announced.push(run_window(&mut schedule).1[0].announced - 1024);
        }
        assert_eq!(announced, [8, 71, 2, 256, 8], "what is known when the window opens");
    }

    #[test]
    fn repairs_are_woven_into_the_next_window() {
        let mut schedule = schedule();
        run_window(&mut schedule);
        assert_eq!(need(&mut schedule, 0, 43), Some(5));
        assert_eq!(need(&mut schedule, 0, 45), None, "it is announced");
        assert_eq!(schedule.take_raised(10), [(BlockIndex(0), 45)]);
        let (_, departures) = run_window(&mut schedule);
        let at: Vec<usize> =
            (0..departures.len()).filter(|i| departures[*i].block.0 == 0).collect();
        assert_eq!(at.len(), 5);
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 3), "one in turn: {at:?}");
    }

    #[test]
    fn the_margin_grows_with_what_is_still_to_be_lost() {
        let mut schedule = schedule();
        run_window(&mut schedule);
        assert_eq!(schedule.target(BlockIndex(0), 60, 0.0), Some(62));
        assert_eq!(schedule.target(BlockIndex(0), 60, 0.5), Some(62 + 20));
        assert_eq!(schedule.target(BlockIndex(5), 50, 0.0), None, "its turn has not come");
        assert_eq!(schedule.target(BlockIndex(2), 50, 0.0), None, "nobody was polled for it");
    }

    #[test]
    fn what_one_host_adds_alone_is_its_own_until_another_needs_more() {
        let mut schedule = schedule();
        run_window(&mut schedule);
        let (one, other) = (Slot(1), Slot(2));
        assert_eq!(schedule.excess(BlockIndex(0), 60, 10), 18, "beyond 32 + 10");
        assert_eq!(schedule.excess(BlockIndex(0), 60, 0), 20, "beyond the 40 announced");
        schedule.raise(BlockIndex(0), 50, one);
        schedule.raise(BlockIndex(0), 60, one);
        schedule.raise(BlockIndex(1), 60, one);
        assert_eq!(schedule.owned_excess(one, 10), 2 * 18);
        schedule.raise(BlockIndex(0), 63, other);
        assert_eq!(schedule.owned_excess(one, 10), 18);
        assert_eq!(schedule.owned_excess(other, 10), 3);
        assert_eq!(schedule.owned_excess(one, 40), 0, "a fleet that needs as much shares it");
    }

    #[test]
    fn what_is_forfeited_counts_as_sent_and_never_leaves() {
        let mut schedule = schedule();
        (0..3).for_each(|_| _ = run_window(&mut schedule));
        schedule.begin_flush();
        let before = schedule.sent_symbols(Space::Payload);
        need(&mut schedule, 0, 60);
        prepare_all(&mut schedule);
        let mut train = Vec::new();
        assert!(schedule.next_train(&mut train));
        schedule.forfeit();
        prepare_all(&mut schedule);
        assert!(!schedule.next_train(&mut train) && !schedule.is_owing());
        assert_eq!(schedule.sent_symbols(Space::Payload), before + 4);
        assert_eq!(schedule.flush_scope(0, 1)[0].sent, 62);
        assert_eq!(need(&mut schedule, 0, 70), Some(10), "who comes next asks from there on");
    }

    #[test]
    fn nothing_is_owed_of_a_space_that_has_not_begun() {
        let geometry = Geometry::new(64, 32, 8, 2, 64 * 40, 64 * 32 * 6).unwrap();
        let mut schedule = Schedule::new(geometry);
        schedule.begin(Space::Preamble, |_| false);
        run_window(&mut schedule);
        assert_eq!(need(&mut schedule, 0, 50), Some(24));
        assert_eq!(need(&mut schedule, 2, 32), None);
        let payload = schedule.preamble_scope().iter().all(|count| count.block.0 < 2);
        assert!(payload && !schedule.preamble_scope().is_empty());
    }

    // PROTOCOL 6.7: a want is cut to what could still be of use.
    #[test]
    fn a_lying_want_is_cut_to_one_more_period() {
        let mut schedule = schedule();
        (0..3).for_each(|_| _ = run_window(&mut schedule));
        schedule.begin_flush();
        assert_eq!(need(&mut schedule, 0, u32::MAX), Some(42));
        assert_eq!(need(&mut schedule, 9, 1), None);
    }

    #[test]
    fn blocks_that_every_host_holds_are_not_sent() {
        let mut schedule = Schedule::new(Geometry::new(64, 32, 8, 2, 0, 64 * 32 * 6).unwrap());
        schedule.begin(Space::Payload, |block| block.0 < 3);
        let (window, departures) = run_window(&mut schedule);
        assert_eq!(window, 1);
        assert!(departures.iter().all(|symbol| symbol.block.0 == 3));
    }

    #[test]
    fn prepared_blocks_stay_within_their_bound() {
        let geometry = Geometry::new(64, 32, 8, 16, 0, 64 * 32 * 400).unwrap();
        let mut schedule = Schedule::new(geometry);
        schedule.begin(Space::Payload, |_| false);
        let mut train = Vec::new();
        let mut held = 0_usize;
        loop {
            while let Some(request) = schedule.poll_request() {
                match request {
                    Request::Prepare(block) => {
                        held += 1;
                        schedule.on_prepared(block);
                    }
                    Request::Release(_) => held -= 1,
                }
                assert!(held <= PREPARED_BLOCKS_MAX, "{held}");
            }
            if let Some(window) = schedule.finished_window() {
                schedule.open_next_window();
                for block in geometry.window(window) {
                    need(&mut schedule, block, 42);
                }
            } else if !schedule.next_train(&mut train) {
                break;
            }
        }
        assert!(!schedule.is_passing() && !schedule.is_owing());
    }
}
