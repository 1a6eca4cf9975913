//! A host's side of one session: joins, collects symbols, asks for what is missing, reports, obeys.
//!
//! Pure: no clock, socket, thread or file. It sees headers; the driver keeps the payload bytes and
//! tells it what became of them. The law: after every `handle_*`, call [`Session::poll_output`]
//! until [`Output::Idle`]; `now` never goes back. PROTOCOL 5.2, 6, 7.

mod ask;
mod bitmaps;
mod blocks;
mod doubting;
mod exchange;
mod hearing;
mod orders;
pub mod phase;
mod proofs;
mod report;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::VecDeque;
use std::time::Duration;

use common::drops::{DropCounters, DropReason};
use common::geometry::{Geometry, Space};
use common::id::{BlockIndex, FrameIndex, ReleaseId, SessionId, Slot};
use common::limits;
use common::time::Timestamp;
use common::timer_names;
use common::timers::Timers;
use common::wire::{
    Activation, Advertise, Announce, CatchUp, Fault, HAVE_RANGES_MAX, Have, HostPhase, Join,
    JoinAck, JoinVerdict, Message, Need, Poll, SenderStage, SymbolHeader, Trial,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use ask::Asking;
use blocks::Blocks;
use hearing::Hearing;
use phase::Step;
use proofs::Trust;
use report::Reporting;

pub use blocks::Verdict;
pub use exchange::{Ending, Facts, Kept, Meters, Output, StoreEvent, Via};
pub use orders::OrderKind;

/// A JOIN without an answer is repeated after this, and a random time within [`JOIN_SPREAD`].
const JOIN_RETRY: Duration = Duration::from_millis(200);
/// Doubles with every repetition: JOINs that collided once do not collide again, however many.
const JOIN_SPREAD: Duration = Duration::from_millis(100);
/// Longest that the spread becomes: 40,000 JOINs at 100 a millisecond. Longer, and a host whose
/// answers are lost is silent for so long that its sender gives it up.
const JOIN_SPREAD_MAX: Duration = Duration::from_millis(400);
/// Parts of a HAVE repeated at most so often without JOIN-ACK saying that it was seen.
const HAVE_ATTEMPTS: u32 = 20;
/// Pause between two attempts at HAVE.
const HAVE_RETRY: Duration = Duration::from_millis(50);

/// STATUSes of a host that is told to stop: so many, in case some are lost.
const GOODBYES: u32 = 3;
/// Between two of them.
const GOODBYE_INTERVAL: Duration = Duration::from_millis(20);

/// Answers are spread over at most this, whatever a sender asks for (PROTOCOL 7.1).
const SPREAD_MAX: Duration = Duration::from_secs(5);

timer_names! {
    /// Why a host's session wakes.
    pub enum TimerName {
        /// JOIN is due: the random first wait, or no answer yet.
        Join,
        /// HAVE was not yet acknowledged.
        Have,
        /// End of the random wait before a NEED.
        Backoff,
        /// The same before a DOUBT.
        Doubt,
        /// This host's slot in the status sweep.
        StatusSlot,
        /// A sampled RATE report is due.
        Rate,
        /// The acknowledgement of an order is due.
        Acknowledge,
        /// The next look whether the sender or its data is missed.
        Missed,
        /// The sender has been silent for too long.
        Silence,
        /// The next STATUS of a host that is told to stop.
        Goodbye,
    }
}

/// What this host is among the others (PROTOCOL 7.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// One of the fleet.
    Fleet,
    /// A straggler whose turn has not come: payload is not for the asking.
    Waiting,
    /// A straggler that is served.
    CatchingUp,
}

/// A host's side of one session.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    release: ReleaseId,
    geometry: Geometry,
    activation: Activation,
    stage: SenderStage,
    facts: Facts,
    phase: HostPhase,
    role: Role,
    slot: Option<Slot>,
    join_spread: Duration,
    blocks: Blocks,
    asking: Asking,
    reporting: Reporting,
    orders: orders::Orders,
    held: Vec<(FrameIndex, u32)>,
    have_attempts: u32,
    goodbyes: u32,
    announced_at: (u64, Timestamp),
    /// One slot of the sweep, and for how many hosts.
    slot_time: Duration,
    group_size: u32,
    hearing: Hearing,
    /// Whether it is known which frames are held: until then nothing of the payload is asked for.
    knows_held: bool,
    fault: Fault,
    detail: String,
    /// How the release does here, and when that was heard.
    trial: Option<(Trial, Timestamp)>,
    drops: DropCounters,
    timers: Timers<TimerName>,
    rng: StdRng,
    outputs: VecDeque<Output>,
    kept: VecDeque<Kept>,
}

impl Session {
    /// Meets the session that `announce` tells of. `seed` makes its random waits.
    pub fn new(
        now: Timestamp,
        id: SessionId,
        announce: &Announce,
        facts: Facts,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let geometry = announce.geometry;
        let mut blocks = Blocks::new(geometry, facts.block_slots.max(1));
        if facts.holds_release {
            (0..geometry.block_count()).for_each(|block| _ = blocks.held(BlockIndex(block)));
        } else if facts.holds_image {
            let payload = geometry.space_blocks(Space::Payload);
            payload.for_each(|block| _ = blocks.held(BlockIndex(block)));
        }
        let mut timers = Timers::default();
        let spread = (announce.timers.slot * announce.group_size).min(SPREAD_MAX);
        timers.arm(TimerName::Join, now + spread.mul_f64(rng.random()));
        timers.arm(TimerName::Silence, now + limits::SENDER_SILENCE_MAX);
        Self {
            id,
            release: announce.release,
            geometry,
            activation: announce.activation,
            stage: announce.stage,
            knows_held: !facts.holds_partial,
            facts,
            phase: HostPhase::Joined,
            role: Role::Fleet,
            slot: None,
            join_spread: JOIN_SPREAD,
            blocks,
            asking: Asking::new(announce.timers.backoff, announce.group_size),
            reporting: Reporting::default(),
            orders: orders::Orders::default(),
            held: Vec::new(),
            have_attempts: 0,
            goodbyes: 0,
            announced_at: (announce.sent_at_us, now),
            slot_time: announce.timers.slot,
            group_size: announce.group_size,
            hearing: Hearing::new(now),
            fault: Fault::None,
            detail: String::new(),
            trial: None,
            drops: DropCounters::default(),
            timers,
            rng,
            outputs: VecDeque::new(),
            kept: VecDeque::new(),
        }
    }

    /// The session's number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The release that it distributes.
    pub fn release(&self) -> ReleaseId {
        self.release
    }

    /// Where it stands.
    pub fn phase(&self) -> HostPhase {
        self.phase
    }

    /// What goes wrong, and the line for people.
    pub fn fault(&self) -> (Fault, &str) {
        (self.fault, &self.detail)
    }

    /// Its blocks, for status lines and checks.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// What was ignored, by reason.
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// Datagrams received, and lost on the way, by sequence numbers.
    pub fn traffic(&self) -> (u32, u32) {
        self.reporting.totals()
    }

    /// Takes the counters that only the driver can read.
    pub fn set_meters(&mut self, meters: Meters) {
        self.reporting.meters = meters;
    }

    /// Another share of the process's memory: so many blocks may hold some.
    pub fn set_block_slots(&mut self, slots: usize) {
        let dropped = self.blocks.set_slots(slots);
        self.kept.extend(dropped.into_iter().map(Kept::Discard));
    }

    /// A train of authenticated symbols of this session; one verdict for each is appended.
    pub fn handle_symbols(
        &mut self,
        now: Timestamp,
        via: Via,
        headers: &[SymbolHeader],
        verdicts: &mut Vec<Verdict>,
    ) {
        self.on_heard_by(now, via);
        self.consider_role(via);
        let Some(first) = headers.first() else { return };
        // PROTOCOL 6.9: where headers may be forged, a poll alone tells that a window is over.
        if !self.needs_proof()
            && self.geometry.has_block(first.block)
            && self.asking.on_window(&self.geometry, &mut self.blocks, first.block)
        {
            self.consider_asking(now);
        }
        self.reporting.observe(via, headers.iter().map(|header| header.seq));
        let judged = verdicts.len();
        match self.is_asking() {
            true => self.blocks.arrive(headers, verdicts),
            false => verdicts.extend(headers.iter().map(|_| Verdict::Drop(DropReason::Late))),
        }
        let mut kept = 0;
        for verdict in &verdicts[judged..] {
            match verdict {
                Verdict::Drop(reason) => self.drops.increment(*reason),
                _ => kept += 1,
            }
        }
        if kept > 0 {
            self.on_data();
        }
    }

    /// The sender's periodic announce.
    pub fn handle_announce(&mut self, now: Timestamp, announce: &Announce) {
        self.on_heard(now);
        self.announced_at = (announce.sent_at_us, now);
        self.on_stage(now, announce.stage);
    }

    /// Whether the sender has answered: it is alive, and knows this host.
    pub fn is_accepted(&self) -> bool {
        self.slot.is_some()
    }

    /// The answer to JOIN.
    pub fn handle_join_ack(&mut self, now: Timestamp, ack: &JoinAck) {
        if ack.nonce != self.facts.nonce {
            return self.drops.increment(DropReason::NotForUs);
        }
        self.on_heard(now);
        if ack.verdict != JoinVerdict::Accepted {
            self.outputs.push_back(Output::Ended(Ending::Refused(ack.verdict)));
            return;
        }
        self.timers.disarm(TimerName::Join);
        if self.slot.replace(ack.slot).is_none() {
            self.begin_to_listen(now);
        }
        if ack.have_seen {
            self.timers.disarm(TimerName::Have);
        }
    }

    /// The sender says where it serves stragglers, of which this host is one.
    pub fn handle_catch_up(&mut self, now: Timestamp, catch_up: &CatchUp) {
        // PROTOCOL 4.16.
        if catch_up.nonce != self.facts.nonce {
            return self.drops.increment(DropReason::NotForUs);
        }
        self.on_heard(now);
        if self.role == Role::Fleet {
            self.role = Role::Waiting;
            self.outputs.push_back(Output::Listen(catch_up.group));
        }
    }

    /// A straggler is served from when something comes to it apart from the fleet.
    fn consider_role(&mut self, via: Via) {
        if self.role == Role::Waiting && via != Via::Data {
            self.role = Role::CatchingUp;
        }
    }

    /// The sender asks for needs, for status, or both.
    pub fn handle_poll(&mut self, now: Timestamp, via: Via, seq: u32, poll: &Poll) {
        self.on_heard_by(now, via);
        self.reporting.observe(via, [seq]);
        self.consider_role(via);
        self.group_size = poll.group_size;
        let is_shorter = self.asking.on_poll(now, poll);
        self.hasten_doubt(now, is_shorter);
        let mut is_contradicted = self.reporting.settle(via, seq);
        for count in &poll.blocks {
            if self.geometry.has_block(count.block) {
                is_contradicted |= self.blocks.set_counts(count.block, count.sent, count.announced);
                self.asking.cover(&self.geometry, count.block);
            }
        }
        if is_contradicted {
            self.distrust(now, Trust::Shaken);
        }
        if !poll.blocks.is_empty() {
            self.consider_asking(now);
            self.consider_doubting(now);
        }
        if let (Some(sweep), Some(slot)) = (&poll.sweep, self.slot)
            && let Some(wait) = report::slot_wait(sweep, slot)
        {
            self.reporting.sweep = sweep.id;
            self.timers.arm_earlier(TimerName::StatusSlot, now + wait);
        }
        self.mark_rate(now);
        self.consider_rate(now, poll.group_size);
    }

    fn consider_rate(&mut self, now: Timestamp, group_size: u32) {
        let wait = report::RATE_SPREAD.mul_f64(self.rng.random());
        let share = report::RATE_REPORTS / f64::from(group_size.max(1));
        if self.slot.is_some() && self.rng.random_bool(share.min(1.0)) {
            self.timers.arm_earlier(TimerName::Rate, now + wait);
        }
    }

    /// The sender raised announced counts.
    pub fn handle_advertise(&mut self, now: Timestamp, via: Via, seq: u32, advertise: &Advertise) {
        self.on_heard_by(now, via);
        self.reporting.observe(via, [seq]);
        for (block, announced) in &advertise.blocks {
            self.blocks.learn(*block, 0, *announced);
        }
    }

    /// Something happened to bytes that this session handed on.
    pub fn handle_store(&mut self, now: Timestamp, event: StoreEvent) {
        match event {
            StoreEvent::Prepared { held, held_blocks } => {
                let open = held_blocks.into_iter().filter(|block| self.blocks.held(*block));
                self.kept.extend(open.map(Kept::Discard));
                self.knows_held = true;
                self.offer(now, held);
            }
            StoreEvent::Consumed(block) => {
                self.blocks.consumed(block);
                self.forget_digests(block);
            }
            StoreEvent::Spoiled(block) => self.on_spoiled(block),
            StoreEvent::Suspect { block, symbols } => self.on_suspect(now, block, &symbols),
            StoreEvent::ImageSpoiled => self.on_image_spoiled(now),
            StoreEvent::ImageDurable => self.advance(Step::ImageDurable),
            StoreEvent::Staged => self.on_staged(now),
            StoreEvent::Switched => self.on_switched(now),
            StoreEvent::Trial { trial, detail } => self.on_trial(now, trial, detail),
            StoreEvent::Failed { fault, detail } => self.on_failed(now, fault, detail),
        }
        if self.is_asking() && self.blocks.are_all_done() && !self.facts.holds_release {
            self.advance(Step::LastBlock);
        }
    }

    // PROTOCOL 7.6: the sender has left the payload out for this host, who asks for it now.
    fn on_image_spoiled(&mut self, now: Timestamp) {
        let payload = self.geometry.space_blocks(Space::Payload);
        payload.for_each(|block| self.blocks.spoiled(BlockIndex(block)));
        self.knows_held = false;
        self.advance(Step::ImageSpoiled);
        self.hasten_status(now);
    }

    fn offer(&mut self, now: Timestamp, held: Vec<(FrameIndex, u32)>) {
        if !held.is_empty() || self.facts.holds_partial {
            self.held = held;
            self.have_attempts = 0;
            self.timers.arm(TimerName::Have, now);
        }
    }

    /// This host is told to stop: the sender is told, then the session is over (PROTOCOL 7.8).
    pub fn handle_shutdown(&mut self, now: Timestamp) {
        self.abandon_trial();
        // A switch that was ordered takes milliseconds and will have been made.
        if self.phase != HostPhase::Activating {
            self.advance(Step::GaveUp);
        }
        if self.phase == HostPhase::Failed && self.fault == Fault::None {
            (self.fault, self.detail) = (Fault::Stopped, "stopped by its administrator".to_owned());
        }
        self.timers.arm(TimerName::Goodbye, now);
    }

    fn on_goodbye(&mut self, now: Timestamp) {
        if self.goodbyes == GOODBYES || self.slot.is_none() {
            return self.outputs.push_back(Output::Ended(Ending::Left));
        }
        self.goodbyes += 1;
        self.send_status(now);
        self.timers.arm(TimerName::Goodbye, now + GOODBYE_INTERVAL);
    }

    /// The deadline of the last [`Output::Idle`] has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(timer) = self.timers.take_expired(now) {
            self.on_timer(now, timer);
        }
    }

    fn on_timer(&mut self, now: Timestamp, timer: TimerName) {
        match timer {
            TimerName::Join => self.send_join(now),
            TimerName::Have => self.send_have(now),
            TimerName::Backoff => self.send_need(now),
            TimerName::Doubt => self.send_doubt(now),
            TimerName::StatusSlot => self.send_status(now),
            TimerName::Rate => self.send_rate(now),
            TimerName::Acknowledge => self.send_activated(now),
            TimerName::Missed => self.on_missed(now),
            TimerName::Silence => {
                self.outputs.push_back(Output::Ended(Ending::SenderLost));
            }
            TimerName::Goodbye => self.on_goodbye(now),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Output {
        let kept = self.poll_kept().map(Output::Kept);
        let next = kept.or_else(|| self.outputs.pop_front());
        next.unwrap_or_else(|| Output::Idle(self.timers.next()))
    }

    /// The next thing to do with what is kept, which cannot wait until more symbols and digests
    /// were handed in: those may be of a block that is to be thrown away, and begin it anew.
    pub fn poll_kept(&mut self) -> Option<Kept> {
        self.kept.pop_front()
    }

    fn advance(&mut self, step: Step) {
        // A step that is no arrow is late news: a switch reported after the session has failed.
        if let Some(next) = phase::after(self.phase, step) {
            self.phase = next;
        }
    }

    fn consider_asking(&mut self, now: Timestamp) {
        if self.slot.is_none() || !self.is_asking() {
            return;
        }
        let wants = self.wants();
        self.asking.note_missing(&wants);
        if !wants.is_empty() && !self.timers.is_armed(TimerName::Backoff) {
            let (asking, geometry) = (&self.asking, &self.geometry);
            let wait = asking.draw_wait(&mut self.rng, geometry, &self.blocks, &wants);
            self.timers.arm(TimerName::Backoff, now + wait);
        }
    }

    fn wants(&mut self) -> Vec<(BlockIndex, u32)> {
        let preamble = self.geometry.space_blocks(Space::Preamble);
        // PROTOCOL 6.8: who does not even get the preamble would not get the payload either.
        let has_preamble = preamble.clone().all(|block| self.blocks.has_enough(BlockIndex(block)));
        // PROTOCOL 7.10: a straggler waits for its turn.
        let may_ask = self.knows_held && has_preamble && self.role != Role::Waiting;
        let end = if may_ask { u32::MAX } else { preamble.end };
        self.asking.wants(&self.blocks, end)
    }

    fn is_asking(&self) -> bool {
        matches!(self.phase, HostPhase::Joined | HostPhase::Receiving)
    }

    fn send_need(&mut self, now: Timestamp) {
        let wants = self.wants();
        let wants = self.asking.settle(&self.blocks, wants);
        let (Some(slot), false, true) = (self.slot, wants.is_empty(), self.is_asking()) else {
            return; // Somebody else has asked for enough.
        };
        let (poll, echo) = self.asking.poll();
        let (echo_us, held) = report::echo(echo, now);
        let nonce = self.facts.nonce;
        let need = Need { slot, nonce, poll, echo_us, held, wants };
        self.send(Message::Need(need));
    }

    fn send_join(&mut self, now: Timestamp) {
        let (echo_us, held) = report::echo(Some(self.announced_at), now);
        let facts = &self.facts;
        let join = Join {
            host: facts.host.clone(),
            version_min: common::wire::VERSION,
            version_max: common::wire::VERSION,
            machine: facts.machine,
            nonce: facts.nonce,
            link: facts.link,
            free_bytes: facts.free_bytes,
            clock_us: facts.clock_us,
            kinds: facts.kinds,
            holds_release: facts.holds_release,
            holds_image: facts.holds_image,
            holds_partial: facts.holds_partial,
            echo_us,
            held,
        };
        self.send(Message::Join(join));
        let jitter = self.join_spread.mul_f64(self.rng.random());
        self.join_spread = (self.join_spread * 2).min(JOIN_SPREAD_MAX);
        self.timers.arm(TimerName::Join, now + JOIN_RETRY + jitter);
    }

    fn send_have(&mut self, now: Timestamp) {
        self.have_attempts += 1;
        if let (Some(slot), true) = (self.slot, self.have_attempts <= HAVE_ATTEMPTS) {
            let nonce = self.facts.nonce;
            let runs: Vec<_> = self.held.chunks(HAVE_RANGES_MAX).map(<[_]>::to_vec).collect();
            let parts = runs.len().clamp(1, usize::from(u16::MAX)) as u16;
            for part in 0..parts {
                let frames = runs.get(usize::from(part)).cloned().unwrap_or_default();
                self.send(Message::Have(Have { slot, nonce, part, parts, frames }));
            }
        }
        if self.have_attempts < HAVE_ATTEMPTS {
            self.timers.arm(TimerName::Have, now + HAVE_RETRY);
        }
    }

    fn send(&mut self, message: Message) {
        self.outputs.push_back(Output::Send(message));
    }
}
