//! What a host tells of itself: STATUS in its slot, RATE when sampled.
//!
//! Loss is counted by sequence numbers: highest minus first plus one, less what arrived. Reordering
//! of any depth is no loss. PROTOCOL 7.3.

use std::time::Duration;

use common::id::Slot;
use common::time::Timestamp;
use common::wire::{Message, Rate, SHARE_PPM_MAX, Status, Sweep};
use rand::RngExt;

use super::{Meters, Role, SPREAD_MAX, Session, Via};

/// RATE reports that the fleet makes for one poll, on average.
pub const RATE_REPORTS: f64 = 128.0;

/// They are spread over this time.
pub const RATE_SPREAD: Duration = Duration::from_millis(10);
/// RATE covers at least this: shorter, and a single train decides what the loss is.
const RATE_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Numbers beyond a poll's that may overtake it on the way: a second at 1 Gbit/s.
const AHEAD_MAX: u32 = 1 << 17;

/// Totals at one instant.
#[derive(Debug, Clone, Copy)]
struct Totals {
    at: Timestamp,
    received: u32,
    lost: u32,
    kernel_drops: u32,
    wasted: u32,
    /// Symbols of the blocks that wait to be consumed.
    waiting: u32,
}

/// Counters of what arrived.
#[derive(Debug, Default)]
pub struct Reporting {
    /// The sweep that asked last.
    pub sweep: u32,
    /// Counters from the driver.
    pub meters: Meters,
    streams: [Stream; 3],
    counts_by_polls: bool,
    /// Totals at the last two polls that lay apart enough; RATE tells what came since one of them.
    marks: [Option<Totals>; 2],
}

/// What arrived of one stream.
#[derive(Debug, Default)]
struct Stream {
    /// The lowest and the highest sequence number seen; nothing of it counts before the first.
    lowest: u32,
    highest: u32,
    received: u32,
    /// The number of the first poll, and how much had arrived with it.
    first_poll: Option<(u32, u32)>,
    /// What was lost between the first poll and the last one.
    lost_by_polls: u32,
}

impl Stream {
    fn observe(&mut self, seqs: impl IntoIterator<Item = u32>) {
        let is_first = self.received == 0;
        let (mut lowest, mut highest, mut count) = match is_first {
            true => (u32::MAX, 0, 0u32),
            false => (self.lowest, self.highest, 0),
        };
        for seq in seqs {
            lowest = lowest.min(seq);
            highest = highest.max(seq);
            count += 1;
        }
        (self.lowest, self.highest) = (lowest, highest);
        self.received = self.received.saturating_add(count);
    }

    /// A poll with this number has arrived. True where a number was seen that cannot be.
    fn settle(&mut self, poll: u32) -> bool {
        let (first, received) = *self.first_poll.get_or_insert((poll, self.received));
        let sent = poll.saturating_sub(first);
        self.lost_by_polls = sent.saturating_sub(self.received - received);
        self.highest > poll.saturating_add(AHEAD_MAX)
    }

    fn lost(&self) -> u32 {
        let sent = match self.received {
            0 => 0,
            _ => (self.highest - self.lowest).saturating_add(1),
        };
        sent.saturating_sub(self.received)
    }
}

impl Reporting {
    /// Datagrams of one of the sender's streams arrived, with these sequence numbers.
    pub fn observe(&mut self, via: Via, seqs: impl IntoIterator<Item = u32>) {
        self.streams[via as usize].observe(seqs);
    }

    /// A poll with this number arrived. True where a number was seen that cannot be of its stream.
    pub fn settle(&mut self, via: Via, poll: u32) -> bool {
        self.streams[via as usize].settle(poll)
    }

    /// From now on the numbers of polls alone are believed: others may be forged.
    pub fn count_by_polls(&mut self) {
        self.counts_by_polls = true;
    }

    /// Datagrams received and lost, of all streams.
    pub fn totals(&self) -> (u32, u32) {
        let add = |(received, lost): (u32, u32), stream: &Stream| {
            let here = match self.counts_by_polls {
                true => stream.lost_by_polls,
                false => stream.lost(),
            };
            (received.saturating_add(stream.received), lost.saturating_add(here))
        };
        self.streams.iter().fold((0, 0), add)
    }

    /// Where the figures of a RATE sent at `now` begin: at the later mark that is old enough.
    fn mark_before(&self, now: Timestamp) -> Option<Totals> {
        let is_old = |mark: &&Totals| now.since(mark.at) >= RATE_INTERVAL_MIN;
        self.marks.iter().flatten().find(is_old).copied()
    }

    /// A poll was heard: a later RATE may begin here.
    fn mark(&mut self, totals: Totals) {
        let is_apart = |mark: &Totals| totals.at.since(mark.at) >= RATE_INTERVAL_MIN;
        if self.marks[0].as_ref().is_none_or(is_apart) {
            self.marks = [Some(totals), self.marks[0]];
        }
    }
}

/// How long after the poll the host in `slot` answers `sweep`; `None` when it is not asked.
pub fn slot_wait(sweep: &Sweep, slot: Slot) -> Option<Duration> {
    let mut position = 0u32;
    for (first, last) in &sweep.ranges {
        if (first.0..=last.0).contains(&slot.0) {
            return Some((sweep.slot * (position + (slot.0 - first.0))).min(SPREAD_MAX));
        }
        position = position.saturating_add(last.0.saturating_sub(first.0)).saturating_add(1);
    }
    None
}

/// The sender's clock to send back, and how long it was kept here.
pub fn echo(seen: Option<(u64, Timestamp)>, now: Timestamp) -> (u64, Duration) {
    seen.map_or((0, Duration::ZERO), |(clock, at)| (clock, now.since(at)))
}

impl Session {
    /// A random wait over which the whole group's answers would be spread like a sweep.
    pub(super) fn draw_spread(&mut self) -> Duration {
        (self.slot_time * self.group_size).min(SPREAD_MAX).mul_f64(self.rng.random())
    }

    pub(super) fn send_status(&mut self, now: Timestamp) {
        let Some(slot) = self.slot else { return };
        let (received, lost) = self.reporting.totals();
        let (echo_us, held) = echo(self.asking.poll().1, now);
        let status = Status {
            slot,
            nonce: self.facts.nonce,
            sweep: self.reporting.sweep,
            phase: self.phase,
            is_catching_up: self.role != Role::Fleet,
            blocks_done: self.blocks.done(),
            blocks_total: self.blocks.total(),
            received,
            lost,
            kernel_drops: self.reporting.meters.kernel_drops,
            dropped_blocks: self.blocks.evicted(),
            wasted: self.blocks.wasted(),
            backlog_kib: self.reporting.meters.backlog_kib,
            fault: self.fault,
            detail: self.detail.clone(),
            echo_us,
            held,
            trial: self.trial(now),
            alarm: self.reporting.meters.alarm,
        };
        self.send(Message::Status(status));
    }

    fn totals(&self, now: Timestamp) -> Totals {
        let (received, lost) = self.reporting.totals();
        let waiting = self.blocks.handed_on() as u32 * u32::from(self.geometry.block_symbols());
        let kernel_drops = self.reporting.meters.kernel_drops;
        Totals { at: now, received, lost, kernel_drops, wasted: self.blocks.wasted(), waiting }
    }

    /// A poll was heard, which RATE figures may begin with.
    pub(super) fn mark_rate(&mut self, now: Timestamp) {
        let totals = self.totals(now);
        self.reporting.mark(totals);
    }

    // PROTOCOL 4.11.
    pub(super) fn send_rate(&mut self, now: Timestamp) {
        let (Some(slot), Some(then)) = (self.slot, self.reporting.mark_before(now)) else { return };
        let totals = self.totals(now);
        let lost = totals.lost.saturating_sub(then.lost);
        let sent = u64::from(totals.received.saturating_sub(then.received)) + u64::from(lost);
        let ppm = |count: u32| {
            let share = (u64::from(count) * 1_000_000).checked_div(sent).unwrap_or(0);
            share.min(SHARE_PPM_MAX.into()) as u32
        };
        // Where memory is full of blocks that wait for symbols, less rate would free none of it.
        let overrun = match self.blocks.is_half_full() {
            true => (totals.wasted - then.wasted)
                .saturating_add(totals.waiting.saturating_sub(then.waiting)),
            false => 0,
        };
        let rate = Rate {
            slot,
            nonce: self.facts.nonce,
            interval: now.since(then.at),
            loss_ppm: ppm(lost),
            overrun_ppm: ppm(overrun),
            kernel_drops: totals.kernel_drops.saturating_sub(then.kernel_drops),
            delay_us: 0,
        };
        self.send(Message::Rate(rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reordering_is_no_loss_and_gaps_are() {
        let mut reporting = Reporting::default();
        reporting.observe(Via::Data, [7, 9]);
        reporting.observe(Via::Data, []);
        reporting.observe(Via::Data, [8, 12]);
        assert_eq!(reporting.totals(), (4, 2));
    }

    // PROTOCOL 6.9: anybody can make a number up.
    #[test]
    fn loss_is_counted_between_polls_once_numbers_may_be_forged() {
        let mut reporting = Reporting::default();
        let mut hear = |seqs: &[u32], poll: u32| {
            reporting.observe(Via::Data, seqs.iter().copied());
            reporting.observe(Via::Data, [poll]);
            reporting.settle(Via::Data, poll)
        };
        assert!(!hear(&[0, 1, 2], 3));
        assert!(!hear(&[4, 6], 7), "5 is lost");
        assert!(hear(&[8, 3_000_000_000], 9), "no poll comes after that");
        assert!(reporting.totals().1 > 1_000_000);
        reporting.count_by_polls();
        assert_eq!(reporting.totals(), (10, 0), "the forged one stands in for the lost one");
        reporting.observe(Via::Data, [10, 12, 13]);
        reporting.settle(Via::Data, 13);
        assert_eq!(reporting.totals().1, 1);
    }

    // PROTOCOL 2.9: each stream has numbers of its own.
    #[test]
    fn a_gap_between_the_numbers_of_two_streams_is_no_loss() {
        let mut reporting = Reporting::default();
        reporting.observe(Via::Data, [5000, 5001]);
        reporting.observe(Via::CatchUp, [0, 1, 3]);
        reporting.observe(Via::Own, [900, 901]);
        assert_eq!(reporting.totals(), (7, 1));
    }

    #[test]
    fn hosts_answer_in_the_order_of_the_ranges_asked() {
        let slot = Duration::from_micros(50);
        let ranges = vec![(Slot(4), Slot(6)), (Slot(9), Slot(9))];
        let sweep = Sweep { id: 1, slot, ranges };
        assert_eq!(slot_wait(&sweep, Slot(4)), Some(Duration::ZERO));
        assert_eq!(slot_wait(&sweep, Slot(6)), Some(slot * 2));
        assert_eq!(slot_wait(&sweep, Slot(9)), Some(slot * 3));
        assert_eq!(slot_wait(&sweep, Slot(7)), None);
    }
}
