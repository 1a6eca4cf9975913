//! When a host asks for repair: after a poll, at a random instant, unless somebody else has asked.
//!
//! Holds which blocks a poll has covered and since when; the counts are in `blocks`. PROTOCOL
//! 6.4–6.5.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::backoff;
use common::geometry::{Geometry, PartSet};
use common::id::BlockIndex;
use common::limits::BACKOFF_MIN;
use common::time::Timestamp;
use common::wire::{DOUBT_BLOCKS_MAX, NEED_BLOCKS_MAX, Poll};
use rand::rngs::StdRng;

use super::blocks::Blocks;

/// What may have been lost of a block since a poll, beyond what was missing by it.
const HINTED_SYMBOLS_MAX: u32 = 64;
/// Where somebody else has asked for as much, the next poll says that it is announced. Hints of
/// which so many polls know nothing are made up.
const HUSHED_POLLS_MAX: u32 = 3;

/// The blocks that a host may ask for, and the state of its question.
#[derive(Debug)]
pub struct Asking {
    polled: BTreeSet<u32>,
    poll: u32,
    /// The sender's clock in the last poll, and when that poll arrived.
    echo: Option<(u64, Timestamp)>,
    interval: Duration,
    group_size: u32,
    /// The last window whose end a poll or the next window's first header has told of.
    closed_window: Option<u32>,
    /// What was missing by the last poll.
    missing: Vec<(BlockIndex, u32)>,
    /// Polls after which hints kept this host from asking for a block that it misses still.
    hushed: BTreeMap<u32, u32>,
}

impl Asking {
    /// Nothing polled yet; until a poll says otherwise waits are spread over `interval`.
    pub fn new(interval: Duration, group_size: u32) -> Self {
        Self {
            polled: BTreeSet::new(),
            poll: 0,
            echo: None,
            interval: interval.max(BACKOFF_MIN),
            group_size,
            closed_window: None,
            missing: Vec::new(),
            hushed: BTreeMap::new(),
        }
    }

    /// `poll` arrived at `now`. True where it tells of a shorter interval than was known.
    pub fn on_poll(&mut self, now: Timestamp, poll: &Poll) -> bool {
        self.poll = poll.id;
        self.echo = Some((poll.sent_at_us, now));
        self.group_size = poll.group_size;
        let interval = poll.backoff.clamp(BACKOFF_MIN, Duration::from_secs(1));
        interval < std::mem::replace(&mut self.interval, interval)
    }

    /// A poll covers `block`.
    pub fn cover(&mut self, geometry: &Geometry, block: BlockIndex) {
        self.polled.insert(block.0);
        let window = geometry.window_of(block);
        self.closed_window = Some(self.closed_window.map_or(window, |known| known.max(window)));
    }

    /// A header of `block`'s window arrived. If no poll closed the window before it, its poll was
    /// lost: everything announced there was sent.
    pub fn on_window(
        &mut self,
        geometry: &Geometry,
        blocks: &mut Blocks,
        block: BlockIndex,
    ) -> bool {
        let window = geometry.window_of(block);
        let Some(previous) = window.checked_sub(1) else { return false };
        if self.closed_window.is_some_and(|closed| closed >= previous) {
            return false;
        }
        self.closed_window = Some(previous);
        for index in geometry.window(previous) {
            blocks.presume_sent(BlockIndex(index));
            self.polled.insert(index);
        }
        true
    }

    /// The poll that a NEED answers: its id, the sender's clock in it, when it arrived.
    pub fn poll(&self) -> (u32, Option<(u64, Timestamp)>) {
        (self.poll, self.echo)
    }

    /// What the host would have to ask for of the blocks below `end`, lowest first. Blocks of which
    /// it holds nothing are asked for only while there is room for them: their symbols would be
    /// thrown away, and the blocks that fill the memory would wait behind them (PROTOCOL 6.2).
    pub fn wants(&mut self, blocks: &Blocks, end: u32) -> Vec<(BlockIndex, u32)> {
        self.polled.retain(|block| !blocks.is_done(BlockIndex(*block)));
        let mut room = blocks.room();
        let want = |block: &u32| {
            let block = BlockIndex(*block);
            if !blocks.may_begin(block) {
                return None;
            }
            if !blocks.has_begun(block) {
                room = room.checked_sub(1)?;
            }
            blocks.want_beyond_announced(block).map(|want| (block, want))
        };
        self.polled.range(..end).filter_map(want).take(NEED_BLOCKS_MAX).collect()
    }

    /// By the counts of a poll these are missing.
    pub fn note_missing(&mut self, wants: &[(BlockIndex, u32)]) {
        self.missing = wants.to_vec();
    }

    /// What is to be asked for, where `wants` is what is missing by poll and hints together. Hints
    /// are anybody's word: they neither make a want much larger than it was by the poll, nor
    /// silence a host for long (PROTOCOL 6.9).
    pub fn settle(
        &mut self,
        blocks: &Blocks,
        mut wants: Vec<(BlockIndex, u32)>,
    ) -> Vec<(BlockIndex, u32)> {
        let missing = std::mem::take(&mut self.missing);
        for (block, want) in &mut wants {
            if let Some((_, polled)) = missing.iter().find(|(it, _)| it == block) {
                *want = (*want).min(polled.saturating_add(HINTED_SYMBOLS_MAX));
            }
        }
        self.hushed.retain(|block, _| !blocks.has_enough(BlockIndex(*block)));
        for (block, want) in missing {
            let is_asked = wants.iter().any(|(it, _)| *it == block);
            if is_asked || blocks.has_enough(block) || wants.len() == NEED_BLOCKS_MAX {
                continue;
            }
            let polls = self.hushed.entry(block.0).or_default();
            *polls += 1;
            if *polls > HUSHED_POLLS_MAX {
                *polls = 0;
                wants.push((block, want));
            }
        }
        wants
    }

    /// Blocks whose digests the host would have to ask for, lowest first, with the missing parts:
    /// of those that a poll has covered, or of `open` ones, as far as there is room for them.
    pub fn doubts(&self, blocks: &Blocks, open: &BTreeSet<u32>) -> Vec<(BlockIndex, PartSet)> {
        let mut room = blocks.room();
        let missing = |block: &u32| {
            let block = BlockIndex(*block);
            let parts = blocks.missing_parts(block);
            if parts.is_empty() {
                return None;
            }
            if !blocks.has_begun(block) {
                room = room.checked_sub(1)?;
            }
            Some((block, parts))
        };
        self.polled.union(open).filter_map(missing).take(DOUBT_BLOCKS_MAX).collect()
    }

    /// Draws the wait before asking for digests.
    pub fn draw_doubt(&self, rng: &mut StdRng) -> Duration {
        backoff::draw(rng, self.interval, self.group_size, 0.0)
    }

    /// Draws the wait before asking for `wants`; the needier, the earlier.
    pub fn draw_wait(
        &self,
        rng: &mut StdRng,
        geometry: &Geometry,
        blocks: &Blocks,
        wants: &[(BlockIndex, u32)],
    ) -> Duration {
        let excess =
            |(block, want): &(BlockIndex, u32)| want.saturating_sub(blocks.announced(*block));
        let most = wants.iter().map(excess).max().unwrap_or(0);
        // Four standard deviations of what 1 % loss costs a block are the usual need.
        let usual = 4.0 * (f64::from(geometry.block_symbols()) * 0.01).sqrt() + 4.0;
        backoff::draw(rng, self.interval, self.group_size, f64::from(most) / usual)
    }
}

#[cfg(test)]
mod tests {
    use common::id::SessionId;
    use common::wire::SymbolHeader;

    use super::*;

    fn world() -> (Geometry, Blocks, Asking) {
        let geometry = Geometry::new(64, 10, 4, 2, 0, 64 * 60).unwrap();
        let asking = Asking::new(Duration::from_millis(20), 8);
        (geometry, Blocks::new(geometry, 16), asking)
    }

    #[test]
    fn only_polled_blocks_that_miss_more_than_announced_are_asked_for() {
        let (geometry, mut blocks, mut asking) = world();
        for block in [0, 1, 2] {
            asking.cover(&geometry, BlockIndex(block));
        }
        blocks.learn(BlockIndex(1), 10, 20);
        blocks.held(BlockIndex(2));
        assert_eq!(
            asking.wants(&blocks, u32::MAX),
            [(BlockIndex(0), 10)],
            "1 is announced, 2 is held"
        );
    }

    // PROTOCOL 6.2: what would be thrown away is not asked for.
    #[test]
    fn a_full_memory_is_emptied_before_more_is_asked_for() {
        let (geometry, _, mut asking) = world();
        let mut blocks = Blocks::new(geometry, 2);
        (0..4).for_each(|block| asking.cover(&geometry, BlockIndex(block)));
        let wants = asking.wants(&blocks, u32::MAX);
        assert_eq!(wants, [(BlockIndex(0), 10), (BlockIndex(1), 10)], "two have room");
        let mut arrive = |block, transmission| {
            let (session, block) = (SessionId(1), BlockIndex(block));
            let (seq, key_epoch, flags, announced) = (0, 0, 0, 0);
            let header =
                SymbolHeader { session, seq, key_epoch, flags, block, transmission, announced };
            blocks.arrive(&[header], &mut Vec::new());
        };
        arrive(2, 3);
        arrive(3, 5);
        let wants = asking.wants(&blocks, u32::MAX);
        assert_eq!(wants, [(BlockIndex(2), 13), (BlockIndex(3), 15)], "what was begun goes first");
    }

    // PROTOCOL 6.9.
    #[test]
    fn hints_neither_silence_a_host_for_ever_nor_make_it_greedy() {
        let (geometry, mut blocks, mut asking) = world();
        asking.cover(&geometry, BlockIndex(0));
        let mut asked = Vec::new();
        for _ in 0..8 {
            blocks.set_counts(BlockIndex(0), 12, 12);
            let wants = asking.wants(&blocks, u32::MAX);
            assert_eq!(wants, [(BlockIndex(0), 22)]);
            asking.note_missing(&wants);
            blocks.learn(BlockIndex(0), 0, u32::MAX);
            let wants = asking.wants(&blocks, u32::MAX);
            asked.push(asking.settle(&blocks, wants));
        }
        let expected =
            |nth: usize| if nth % 4 == 3 { vec![(BlockIndex(0), 22)] } else { Vec::new() };
        assert_eq!(asked, (0..8).map(expected).collect::<Vec<_>>());
        assert!(blocks.set_counts(BlockIndex(0), 12, 12), "as much as was hinted at cannot be");
        let wants = asking.wants(&blocks, u32::MAX);
        asking.note_missing(&wants);
        blocks.learn(BlockIndex(0), 1_000_000, 0);
        let wants = asking.wants(&blocks, u32::MAX);
        assert_eq!(asking.settle(&blocks, wants), [(BlockIndex(0), 22 + 64)]);
    }

    #[test]
    fn the_next_window_stands_in_for_a_lost_poll_once() {
        let (geometry, mut blocks, mut asking) = world();
        blocks.learn(BlockIndex(0), 1, 12);
        assert!(!asking.on_window(&geometry, &mut blocks, BlockIndex(1)), "the first has no past");
        assert!(asking.on_window(&geometry, &mut blocks, BlockIndex(2)));
        assert!(!asking.on_window(&geometry, &mut blocks, BlockIndex(3)));
        let wants = asking.wants(&blocks, u32::MAX);
        assert_eq!(wants, [(BlockIndex(0), 22), (BlockIndex(1), 10)], "12 of block 0 were sent");
    }
}
