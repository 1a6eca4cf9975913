//! The sender's side of one session: gathers hosts, sends, repairs, counts, decides.
//!
//! Pure: no clock, socket, thread or file. It names blocks and symbols; the driver puts the bytes
//! behind the headers. The law: after every `handle_*`, call [`Session::poll_output`] until
//! [`Output::Idle`]; `now` never goes back. PROTOCOL 5.1, 6, 7, 8.

mod brake;
mod catch_up;
mod doubts;
mod feedback;
mod fleet;
mod host;
mod judging;
mod loss;
mod outcome;
pub mod phase;
mod proofs;
mod report;
mod roster;
mod schedule;
mod skip;
mod stages;
mod straggling;
mod tally;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use common::geometry::{Geometry, Space};
use common::grtt::GroupRtt;
use common::id::{BlockIndex, BootNonce, HostName, SessionId, Slot};
use common::pacer::Pacer;
use common::time::Timestamp;
use common::timer_names;
use common::timers::{Deadline, Timers};
use common::units::Bitrate;
use common::wire::{
    ADVERTISE_BLOCKS_MAX, Advertise, Announce, BlockCount, Message, Poll, Sweep, SymbolHeader,
};

use brake::{Brake, JUDGE_INTERVAL};
use catch_up::Service;
use fleet::Fleet;
use phase::Step;
use roster::Roster;
use schedule::{Departure, Request, Schedule};
use straggling::Audience;

pub use brake::RatePolicy;
pub use phase::Phase;
pub use report::{Expect, HostReport, HostState, Outcome, Progress, Quorum, WireReport};
pub use roster::LOST_AFTER;
pub use schedule::{MARGIN_SYMBOLS, PREPARED_BLOCKS_MAX};

/// A sender asks and listens for this long before it takes hosts in. At 10 % loss each way another
/// sender goes unheard once in 100,000 times, as when listening for 500 ms without asking.
pub const LISTEN: Duration = Duration::from_millis(200);
/// It asks so often.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// A sender that is asked answers no sooner than this after its last announce.
const ANSWER_INTERVAL: Duration = Duration::from_millis(20);
/// One slot of the status sweep: 10,000 hosts answer in half a second.
pub const SLOT: Duration = Duration::from_micros(50);
/// ANNOUNCE goes out so often, all session long.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(100);
/// Counts raised by NEEDs are advertised after this; NEEDs that arrive meanwhile share it.
const ADVERTISE_DELAY: Duration = Duration::from_millis(1);
/// Blocks in one poll, leaving room for a sweep beside them.
const POLL_BLOCKS: usize = 72;
/// Ranges of slots in one sweep.
const SWEEP_RANGES: usize = 32;
/// IPv4, UDP and Ethernet around a datagram, preamble and gap included: what a link is full of.
const FRAMING_BYTES_V4: u64 = 20 + 8 + 38;
/// The same for IPv6.
const FRAMING_BYTES_V6: u64 = 40 + 8 + 38;

timer_names! {
    /// Why the sender's session wakes.
    pub enum TimerName {
        /// The time to listen is over.
        Listen,
        /// The operator's time limit.
        Timeout,
        /// The join window is over.
        JoinWindow,
        /// The preamble had time to be asked for.
        PreambleQuiet,
        /// ADVERTISE is due.
        Advertise,
        /// The pacer has credit for another train.
        Pacing,
        /// The next poll of the flush.
        FlushPoll,
        /// The next status sweep.
        Sweep,
        /// The brake looks at what hosts reported, and asks again.
        Judge,
        /// ACTIVATE, STOP or CANCEL is repeated.
        Order,
        /// ANNOUNCE is due.
        Announce,
    }
}

/// How the rate is to be found once the hosts are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateRequest {
    /// Exactly this, without brake.
    Fixed(Bitrate),
    /// At most this.
    Ceiling(Bitrate),
    /// Half of the slower of the sender's link and the hosts' 5th percentile.
    Auto {
        /// The sender's own link, if it knows.
        link: Option<Bitrate>,
    },
}

/// What the operator asked for.
#[derive(Debug, Clone)]
pub struct Config {
    /// The session's number.
    pub session: SessionId,
    /// The announce, but for stage, timers, group size and clock, which the session fills in.
    pub announce: Announce,
    /// Multicast group of the stragglers, of the data group's family.
    pub catch_up_group: SocketAddr,
    /// Payload offset of every frame of the plan, and the payload's end.
    pub frame_offsets: Vec<u64>,
    /// Whom to expect.
    pub expect: Expect,
    /// How many of them make a success.
    pub quorum: Quorum,
    /// How long hosts may take to join.
    pub join_window: Duration,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// How long hosts' verdicts on the release are waited for, zero for not at all.
    pub verdict_wait: Duration,
    /// How fast.
    pub rate: RateRequest,
    /// Bytes that close each datagram.
    pub trailer_bytes: usize,
}

impl Config {
    /// Hosts expected, if a number is known.
    pub fn expected(&self) -> Option<usize> {
        match &self.expect {
            Expect::Count(count) => Some(*count),
            Expect::Names(names) => Some(names.len()),
            Expect::Any => None,
        }
    }
}

/// Where something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The group that every host listens to.
    Control,
    /// The session's own group.
    Data,
    /// The group of its stragglers.
    CatchUp,
    /// One host.
    Host(SocketAddr),
}

/// What the session wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send the symbols of [`Session::train`], as one train.
    Train(Destination),
    /// Send this, with this sequence number.
    Message(Destination, u32, Message),
    /// Send this to one process of one host, outside of every stream.
    Answer(SocketAddr, HostName, BootNonce, Message),
    /// Send part `.3` of the digests of block `.2`, which is prepared, with this sequence number.
    Hashes(Destination, u32, BlockIndex, u16),
    /// Read and encode a block, then say [`Session::handle_prepared`].
    Prepare(BlockIndex),
    /// Forget a block's bytes.
    Release(BlockIndex),
    /// Tell the operator; one line.
    Notice(String),
    /// Over; the outcome is in [`Session::outcome`].
    Ended,
    /// Nothing to do until then; `None`: only input can wake us.
    Idle(Option<Deadline>),
}

/// The sender's side of one session.
#[derive(Debug)]
pub struct Session {
    config: Config,
    geometry: Geometry,
    phase: Phase,
    roster: Roster,
    schedule: Schedule,
    brake: Brake,
    /// Whom the symbols are for.
    audience: Audience,
    fleet: Fleet,
    service: Service,
    /// Since when every present host has been at its goal.
    settled_at: Option<Timestamp>,
    /// What the brake had come to when the fleet was done.
    fleet_rate: Bitrate,
    pacer: Pacer,
    grtt: GroupRtt,
    timers: Timers<TimerName>,
    outputs: VecDeque<Output>,
    train: Vec<SymbolHeader>,
    departures: Vec<Departure>,
    /// Of the data group, of the stragglers' group, and of single hosts.
    next_seqs: [u32; 3],
    next_poll: u32,
    polled_at: Timestamp,
    next_sweep: u32,
    flush_from: u32,
    flush_since: Timestamp,
    started_at: Timestamp,
    announced_at: Timestamp,
    preamble_polled_at: Option<Timestamp>,
    has_preamble_needs: bool,
    activation: stages::Activation,
    /// Until then verdicts are awaited.
    judging_until: Timestamp,
    outcome: Option<Outcome>,
    goodbyes: u32,
    told: BTreeSet<HostName>,
    needs: u64,
    /// Parts of digests that were sent.
    hashes: u64,
    /// Hosts whose alarm was told.
    alarms_told: u32,
    catch_up_symbols: u64,
    wire_bytes: u64,
    first_symbol_at: Option<Timestamp>,
    last_symbol_at: Timestamp,
}

impl Session {
    /// A session that begins to listen at `now`.
    pub fn new(now: Timestamp, mut config: Config) -> Self {
        if let Expect::Names(names) = &mut config.expect {
            // Each JOIN looks its name up.
            names.sort_unstable();
            names.dedup();
        }
        let geometry = config.announce.geometry;
        let mut timers = Timers::default();
        timers.arm(TimerName::Listen, now + LISTEN);
        timers.arm(TimerName::Announce, now);
        if let Some(timeout) = config.timeout {
            timers.arm(TimerName::Timeout, now + timeout);
        }
        let policy = RatePolicy::Ceiling(Bitrate::from_megabits(100));
        Self {
            geometry,
            phase: Phase::Listening,
            roster: Roster::default(),
            schedule: Schedule::new(geometry),
            brake: Brake::new(policy),
            audience: Audience::Fleet,
            fleet: Fleet::default(),
            service: Service::default(),
            settled_at: None,
            fleet_rate: Bitrate::from_megabits(100),
            pacer: Pacer::new(Bitrate::from_megabits(100)),
            grtt: GroupRtt::default(),
            timers,
            outputs: VecDeque::new(),
            train: Vec::new(),
            departures: Vec::new(),
            next_seqs: [0; 3],
            next_poll: 1,
            polled_at: now,
            next_sweep: 1,
            flush_from: 0,
            flush_since: now,
            started_at: now,
            announced_at: now,
            preamble_polled_at: None,
            has_preamble_needs: false,
            activation: stages::Activation::default(),
            judging_until: Timestamp::NEVER,
            outcome: None,
            goodbyes: 0,
            told: BTreeSet::new(),
            needs: 0,
            hashes: 0,
            alarms_told: 0,
            catch_up_symbols: 0,
            wire_bytes: 0,
            first_symbol_at: None,
            last_symbol_at: now,
            config,
        }
    }

    /// Where the session stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Who has `slot`.
    pub fn name_in(&self, slot: Slot) -> Option<&HostName> {
        self.roster.hosts().get(slot.0 as usize).map(|host| &host.name)
    }

    /// The symbols of the last [`Output::Train`].
    pub fn train(&self) -> &[SymbolHeader] {
        &self.train
    }

    /// The deadline of the last [`Output::Idle`] has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(timer) = self.timers.take_expired(now) {
            self.on_timer(now, timer);
        }
    }

    /// The driver has a block's symbols at hand.
    pub fn handle_prepared(&mut self, block: BlockIndex) {
        self.schedule.on_prepared(block);
    }

    /// The operator interrupts: nothing is activated that is not yet.
    pub fn handle_interrupt(&mut self, now: Timestamp) {
        self.end(now, Outcome::Interrupted);
    }

    fn on_timer(&mut self, now: Timestamp, timer: TimerName) {
        match timer {
            TimerName::Listen => self.on_clear(now),
            TimerName::Timeout => self.end(now, Outcome::TimedOut),
            TimerName::JoinWindow => self.on_join_window(now),
            TimerName::PreambleQuiet => self.on_preamble_quiet(now),
            TimerName::Advertise => self.send_advertise(),
            TimerName::Pacing => {}
            TimerName::FlushPoll => self.on_flush_poll(now),
            TimerName::Sweep => self.on_sweep(now),
            TimerName::Judge => self.on_judge(now),
            TimerName::Order => self.on_order(now),
            TimerName::Announce => self.send_announce(now),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self, now: Timestamp) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if let Some(request) = self.schedule.poll_request() {
            return match request {
                Request::Prepare(block) => Output::Prepare(block),
                Request::Release(block) => Output::Release(block),
            };
        }
        if self.is_sending() {
            if let Some(window) = self.schedule.finished_window() {
                self.survey();
                self.schedule.set_weather(self.fleet.weather);
                self.schedule.open_next_window();
                self.on_window_sent(now, window);
                return self.poll_output(now);
            }
            if self.pacer.is_ready(now) {
                if self.depart_proofs(now) {
                    return self.poll_output(now);
                }
                if self.depart(now) {
                    return Output::Train(self.destination());
                }
            } else if self.schedule.is_passing()
                || self.schedule.is_owing()
                || self.schedule.proofs().due().next().is_some()
            {
                self.timers.arm(TimerName::Pacing, self.pacer.next_departure());
            }
        }
        match self.phase {
            Phase::Ended => Output::Ended,
            _ => Output::Idle(self.timers.next()),
        }
    }

    fn is_sending(&self) -> bool {
        (Phase::Preamble..=Phase::Settling).contains(&self.phase)
    }

    /// Puts the next train together; false when no symbol is ready.
    fn depart(&mut self, now: Timestamp) -> bool {
        let mut departures = std::mem::take(&mut self.departures);
        let is_ready = self.schedule.next_train(&mut departures);
        self.train.clear();
        for departure in &departures {
            let is_preamble = self.geometry.space_of(departure.block) == Space::Preamble;
            let seq = self.take_seq(self.audience);
            self.train.push(SymbolHeader {
                session: self.config.session,
                seq,
                key_epoch: 0,
                flags: if is_preamble { SymbolHeader::PREAMBLE } else { 0 },
                block: departure.block,
                transmission: departure.transmission,
                announced: departure.announced,
            });
        }
        self.departures = departures;
        if is_ready {
            let bytes = self.datagram_wire_bytes() * self.train.len() as u64;
            self.pacer.charge(now, bytes);
            self.first_symbol_at.get_or_insert(now);
            if self.audience != Audience::Fleet {
                self.catch_up_symbols += self.train.len() as u64;
            }
            self.last_symbol_at = now;
        } else {
            self.pacer.rest();
        }
        is_ready
    }

    fn datagram_bytes(&self) -> u64 {
        let trailer = self.config.trailer_bytes;
        (SymbolHeader::WIRE_BYTES + usize::from(self.geometry.symbol_bytes()) + trailer) as u64
    }

    fn datagram_wire_bytes(&self) -> u64 {
        self.datagram_bytes() + self.framing_bytes()
    }

    fn framing_bytes(&self) -> u64 {
        match self.config.announce.data_group {
            SocketAddr::V4(_) => FRAMING_BYTES_V4,
            SocketAddr::V6(_) => FRAMING_BYTES_V6,
        }
    }

    /// The next number of the stream by which `audience` is served (PROTOCOL 2.9).
    fn take_seq(&mut self, audience: Audience) -> u32 {
        let stream = match audience {
            Audience::Fleet => 0,
            Audience::Stragglers => 1,
            Audience::Alone(_) => 2,
        };
        let seq = self.next_seqs[stream];
        self.next_seqs[stream] = seq.wrapping_add(1);
        seq
    }

    /// Sends something that is part of no service to everybody.
    fn tell(&mut self, to: Destination, message: Message) {
        let seq = if to == Destination::Data { self.take_seq(Audience::Fleet) } else { 0 };
        self.outputs.push_back(Output::Message(to, seq, message));
    }

    /// Sends something to the host in `slot`.
    fn tell_host(&mut self, slot: Slot, message: Message) {
        let host = &self.roster.hosts()[slot.0 as usize];
        let output = Output::Answer(host.address, host.name.clone(), host.nonce, message);
        self.outputs.push_back(output);
    }

    /// Sends something to those who are served.
    fn tell_audience(&mut self, message: Message) {
        let (to, seq) = (self.destination(), self.take_seq(self.audience));
        self.outputs.push_back(Output::Message(to, seq, message));
    }

    fn advance(&mut self, step: Step) -> bool {
        let next = self.phase.after(step);
        if let Some(next) = next {
            self.phase = next;
        }
        next.is_some()
    }

    fn send_announce(&mut self, now: Timestamp) {
        let Some(stage) = self.phase.stage() else { return };
        let mut announce = self.config.announce.clone();
        announce.stage = stage;
        announce.timers.announce_interval = ANNOUNCE_INTERVAL;
        announce.timers.join_window = self.config.join_window;
        announce.timers.grtt = self.grtt.estimate();
        announce.timers.backoff = self.grtt.backoff();
        announce.timers.slot = SLOT;
        announce.group_size = self.group_size();
        announce.sent_at_us = now.as_micros();
        self.tell(Destination::Control, Message::Announce(Box::new(announce)));
        self.announced_at = now;
        let interval =
            if self.phase == Phase::Listening { ASK_INTERVAL } else { ANNOUNCE_INTERVAL };
        self.timers.arm(TimerName::Announce, now + interval);
    }

    fn group_size(&self) -> u32 {
        let expected = self.config.expected().unwrap_or(0);
        self.roster.len().max(expected).max(1) as u32
    }

    fn send_advertise(&mut self) {
        while self.schedule.has_raised() {
            let blocks = self.schedule.take_raised(ADVERTISE_BLOCKS_MAX);
            self.tell_audience(Message::Advertise(Advertise { blocks }));
        }
    }

    /// Asks those who are served about `blocks`; or everybody, where a sweep goes with it.
    fn send_poll(&mut self, now: Timestamp, blocks: Vec<BlockCount>, sweep: Option<Sweep>) {
        let is_for_all = sweep.is_some();
        let poll = Poll {
            id: self.next_poll,
            sent_at_us: now.as_micros(),
            grtt: self.grtt.estimate(),
            backoff: self.grtt.backoff(),
            group_size: if is_for_all { self.group_size() } else { self.audience_size() },
            blocks,
            sweep,
        };
        self.next_poll = self.next_poll.wrapping_add(1);
        if is_for_all {
            self.tell(Destination::Data, Message::Poll(poll));
        } else {
            self.polled_at = now;
            self.tell_audience(Message::Poll(poll));
        }
    }

    /// Sets the rate by what sampled hosts reported, and asks them again where nothing else has.
    fn on_judge(&mut self, now: Timestamp) {
        if !self.is_sending() || self.brake.is_fixed() {
            return;
        }
        if self.brake.judge(now) {
            self.pacer.set_rate(self.brake.rate());
        }
        let interval = JUDGE_INTERVAL.max(2 * self.grtt.estimate());
        let is_flowing = self.schedule.is_passing() || self.schedule.is_owing();
        if is_flowing && now.since(self.polled_at) >= interval {
            self.send_poll(now, Vec::new(), None);
        }
        self.timers.arm(TimerName::Judge, now + interval);
    }

    fn on_window_sent(&mut self, now: Timestamp, window: u32) {
        let scope = self.schedule.poll_scope(window, POLL_BLOCKS);
        self.send_poll(now, scope, None);
        if !self.schedule.is_passing() {
            self.on_space_sent(now);
        }
    }
}
