//! The simulated world: one sender, its hosts, the network between, and the clock.
//!
//! Sender and hosts know of each other only what took [`LATENCY`] to arrive, so the hosts need not
//! be kept in step with each other: all visit the stream together when something comes that they
//! may answer, each alone when it has something to say itself (see `host`). What is done at a visit
//! depends on nothing but the host and the stream, so visits run on all cores and a run is the same
//! on any number of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::digest::{Digest, SymbolDigest};
use common::geometry::Geometry;
use common::id::{BlockIndex, SessionId};
use common::time::Timestamp;
use common::wire::{Activation, Announce, CHECKSUM_BYTES, Hashes, Message, SymbolHeader};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use receiver::session as host_side;
use sender::session::{self as sender_side, Destination, Expect, Outcome, Quorum};

use super::Account;
use super::fabric::{Loss, Mask, Path, RACK_HOSTS};
use super::feedback::Way;
use super::forger::forge;
use super::host::{Host, LAG_MAX, Scratch};
use super::payload::Payload;
use super::setup::{
    HostSetup, Setup, address, announce, frame_offsets, through_the_wire, wire_bytes,
};
use super::stream::{Entry, Packet, Reach, Stream, Train};

/// One way through the network, without queueing.
const LATENCY: Duration = Duration::from_micros(200);
/// Virtual time after which a run that has not ended is a failure.
const PATIENCE: Duration = Duration::from_secs(120);
/// When the world begins.
const START: Timestamp = Timestamp::from_nanos(1_000_000_000);
/// Below this number of hosts a visit is over before a thread would have started.
const HOSTS_PER_THREAD_MIN: usize = 256;

/// What hosts read while they are visited.
#[derive(Debug)]
pub(super) struct Fabric {
    pub(super) setup: Setup,
    pub(super) geometry: Geometry,
    pub(super) stream: Stream,
}

/// Something that happens, in the order in which it does at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A host is started.
    Start(usize),
    /// All hosts read what has arrived.
    VisitAll,
    /// One host has something to do.
    Visit(usize),
    /// A message reaches the sender's socket; the number says which.
    Socket(u64),
    /// The sender takes a message from its socket.
    Served(u64),
    /// The sender's deadline.
    SenderWake,
}

/// Feedback on its way.
#[derive(Debug)]
struct UnderWay {
    host: usize,
    session: SessionId,
    bytes: usize,
    message: Message,
}

/// The world.
pub struct World {
    fabric: Fabric,
    now: Timestamp,
    rng: StdRng,
    sender: Option<sender_side::Session>,
    sender_wake: Timestamp,
    announce: Announce,
    incarnation: u32,
    hosts: Vec<Host>,
    threads: usize,
    scratch: Scratch,
    /// No host is surprised by the beginning of this window or of one before it.
    known_window: u32,
    /// Hosts read everything when it arrives: with jitter each has its own time for it, and with
    /// payload nothing is left to trust.
    are_in_step: bool,
    shared: Path,
    racks: Vec<Path>,
    feedback: Path,
    way: Way,
    under_way: BTreeMap<u64, UnderWay>,
    sent_feedback: u64,
    queue: BTreeSet<(Timestamp, Event)>,
    /// When each host is next due, as the queue knows it.
    due: Vec<Timestamp>,
    payload: Option<Payload>,
    trace: blake3::Hasher,
    account: Account,
}

impl World {
    /// A world at the start of time; its sender begins to listen.
    pub fn new(setup: Setup) -> Self {
        let mut rng = StdRng::seed_from_u64(setup.seed);
        let announce = announce(&setup);
        let geometry = announce.geometry;
        let hosts: Vec<_> =
            (0..setup.hosts).map(|index| Host::new(index, &setup, &geometry, &mut rng)).collect();
        let racks = match setup.faults.rack_loss {
            Loss::None => 0,
            _ => setup.hosts.div_ceil(RACK_HOSTS),
        };
        let cores = setup.cores.or_else(|| thread::available_parallelism().ok());
        let cores = cores.map_or(1, NonZeroUsize::get);
        let mut world = Self {
            now: START,
            sender: None,
            sender_wake: Timestamp::NEVER,
            announce,
            incarnation: 0,
            threads: cores.min(setup.hosts / HOSTS_PER_THREAD_MIN).max(1),
            scratch: Scratch::default(),
            known_window: 0,
            are_in_step: setup.faults.jitter > Duration::ZERO
                || setup.carries_payload
                || setup.forgery.is_some(),
            shared: Path::new(setup.faults.shared_loss, &mut rng),
            racks: (0..racks).map(|_| Path::new(setup.faults.rack_loss, &mut rng)).collect(),
            feedback: Path::new(setup.faults.feedback_loss, &mut rng),
            way: Way::new(setup.faults.bottleneck),
            under_way: BTreeMap::new(),
            sent_feedback: 0,
            queue: BTreeSet::new(),
            due: vec![Timestamp::NEVER; hosts.len()],
            hosts,
            rng,
            payload: setup.carries_payload.then(|| Payload::new(&geometry, setup.seed)),
            trace: blake3::Hasher::new(),
            account: Account::default(),
            fabric: Fabric { setup, geometry, stream: Stream::default() },
        };
        world.start_sender();
        world
    }

    /// Starts the sender, again if it ran before: a new session of the same release.
    pub fn start_sender(&mut self) {
        self.incarnation += 1;
        let mut announce = self.announce.clone();
        announce.sender.instance = self.incarnation.into();
        announce.sender.started += u64::from(self.incarnation);
        let setup = &self.fabric.setup;
        let config = sender_side::Config {
            session: SessionId(self.incarnation),
            frame_offsets: frame_offsets(announce.geometry.payload_bytes()),
            announce,
            catch_up_group: SocketAddr::from(([239, 193, 70, 71], 7070)),
            expect: setup.expect.clone().unwrap_or(Expect::Count(setup.hosts)),
            quorum: Quorum::All,
            join_window: Duration::from_secs(1),
            timeout: None,
            verdict_wait: Duration::ZERO,
            rate: setup.rate,
            trailer_bytes: CHECKSUM_BYTES,
        };
        self.sender = Some(sender_side::Session::new(self.now, config));
        self.drain_sender();
    }

    /// The sender's process is killed.
    pub fn kill_sender(&mut self) {
        self.sender = None;
        self.sender_wake = Timestamp::NEVER;
    }

    /// How a host differs; before it first hears the announce.
    pub fn set_host(&mut self, host: usize, setup: HostSetup) {
        self.are_in_step |= setup.jitter > Duration::ZERO;
        self.hosts[host].setup = setup;
        if setup.starts_after > Duration::ZERO {
            self.hosts[host].set_running(self.now, false);
            self.queue.insert((self.now + setup.starts_after, Event::Start(host)));
        }
    }

    /// The loss that one host suffers.
    pub fn set_loss(&mut self, host: usize, loss: Loss) {
        self.visit(host);
        self.hosts[host].set_loss(loss);
    }

    /// Gives a host another's name.
    pub fn rename(&mut self, host: usize, name: &str) {
        self.hosts[host].name = name.parse().expect("a literal name");
    }

    /// The host does nothing from now on, as if stopped or not yet started.
    pub fn stop_host(&mut self, host: usize) {
        self.visit(host);
        self.hosts[host].set_running(self.now, false);
    }

    /// The host goes on, or starts.
    pub fn start_host(&mut self, host: usize) {
        self.visit(host);
        self.hosts[host].set_running(self.now, true);
        self.visit_all();
    }

    /// The host's process dies and is started again at once: it knows nothing of the session.
    pub fn crash_host(&mut self, host: usize) {
        self.visit(host);
        self.hosts[host].crash();
    }

    /// The operator's Ctrl-C.
    pub fn interrupt(&mut self) {
        let now = self.now;
        self.sender_mut().handle_interrupt(now);
        self.drain_sender();
    }

    /// The sender's session.
    ///
    /// # Panics
    /// When it was killed.
    pub fn sender(&self) -> &sender_side::Session {
        self.sender.as_ref().expect("the sender runs")
    }

    fn sender_mut(&mut self) -> &mut sender_side::Session {
        self.sender.as_mut().expect("the sender runs")
    }

    /// A host's session, if it takes part in one. While the world runs, what it knows of symbols
    /// may be some milliseconds old.
    pub fn session(&self, host: usize) -> Option<&host_side::Session> {
        self.hosts[host].session.as_ref()
    }

    /// Whether `current` points at the release on a host.
    pub fn is_active(&self, host: usize) -> bool {
        self.hosts[host].is_active
    }

    /// How a host's sessions ended.
    pub fn endings(&self, host: usize) -> &[host_side::Ending] {
        &self.hosts[host].endings
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// NEEDs and STATUSes that hosts sent.
    pub fn feedback(&self) -> (u64, u64) {
        (self.account.needs, self.account.statuses)
    }

    /// What the run cost so far.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Headers that hosts' sessions have handled.
    pub fn deliveries(&self) -> u64 {
        self.hosts.iter().map(Host::deliveries).sum()
    }

    /// Digest of everything that happened.
    pub fn trace(&self) -> Digest {
        let mut trace = self.trace.clone();
        for host in &self.hosts {
            trace.update(&host.trace().number().to_le_bytes());
        }
        trace.finalize().into()
    }

    /// Whether a host has decoded what the sender encoded; `None` in a run without payload.
    pub fn has_received(&self, host: usize) -> Option<bool> {
        let received = self.hosts[host].received.as_ref()?;
        Some(received.digest() == self.payload.as_ref()?.digest())
    }

    /// Symbols sent per source symbol of the payload.
    pub fn efficiency(&self) -> f64 {
        let wire = self.sender().wire_report();
        wire.sent_symbols as f64 / wire.source_symbols as f64
    }

    /// Runs until `is_done`, checking the invariants on the way.
    ///
    /// # Panics
    /// When an invariant breaks or virtual patience ends; the message has the replay command.
    pub fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        let end = self.now + PATIENCE;
        while !is_done(self) {
            let Some((at, event)) = self.queue.pop_first() else {
                panic!("nothing is left to happen; replay: {}", self.fabric.setup.replay());
            };
            let replay = || self.fabric.setup.replay();
            assert!(at <= end, "no end after {PATIENCE:?} of virtual time; replay: {}", replay());
            self.now = at;
            self.step(event);
        }
        self.visit_all();
    }

    /// Runs until the sender has ended.
    pub fn run(&mut self) -> Outcome {
        self.run_until(|world| world.sender().phase() == sender_side::Phase::Ended);
        self.sender().outcome().cloned().expect("an ended session has an outcome")
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Start(host) => self.start_host(host),
            Event::VisitAll => self.visit_all(),
            Event::Visit(host) => {
                if self.due[host] == self.now {
                    self.visit(host);
                }
            }
            Event::Socket(number) => self.on_socket(number),
            Event::Served(number) => self.on_served(number),
            Event::SenderWake => {
                if self.sender_wake <= self.now && self.sender.is_some() {
                    self.sender_wake = Timestamp::NEVER;
                    let now = self.now;
                    self.sender_mut().handle_timeout(now);
                    self.drain_sender();
                }
            }
        }
    }

    /// One host reads what has arrived and does what is due.
    fn visit(&mut self, host: usize) {
        self.hosts[host].advance(&self.fabric, self.now, &mut self.scratch);
        self.harvest(host);
    }

    /// All hosts do, on all cores; what is then read by all is forgotten.
    fn visit_all(&mut self) {
        let (fabric, now) = (&self.fabric, self.now);
        let visit = |hosts: &mut [Host]| {
            let mut scratch = Scratch::default();
            hosts.iter_mut().for_each(|host| host.advance(fabric, now, &mut scratch));
        };
        let share = self.hosts.len().div_ceil(self.threads).max(1);
        thread::scope(|scope| {
            let mut parts = self.hosts.chunks_mut(share);
            let own = parts.next();
            parts.for_each(|part| _ = scope.spawn(|| visit(part)));
            own.into_iter().for_each(visit);
        });
        (0..self.hosts.len()).for_each(|host| self.harvest(host));
        let known = self.hosts.iter().map(Host::known_window).min();
        self.known_window = known.unwrap_or(u32::MAX);
        self.fabric.stream.forget_until(now);
        self.plan_visits();
    }

    /// Sees to it that hosts read what is on its way in time.
    fn plan_visits(&mut self) {
        for (index, entry) in self.fabric.stream.iter().enumerate() {
            if self.are_in_step || entry.may_be_answered(self.known_window) {
                self.queue.insert((entry.at, Event::VisitAll));
            } else if index == 0 {
                self.queue.insert((entry.at + LAG_MAX, Event::VisitAll));
            }
        }
    }

    /// Takes what a host has to say after a visit, and when it is to be visited next.
    fn harvest(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let due = host.due();
        if due < self.due[index] || self.due[index] <= self.now {
            self.due[index] = due;
            if due != Timestamp::NEVER {
                self.queue.insert((due.max(self.now), Event::Visit(index)));
            }
        }
        if std::mem::take(&mut host.news.staged) {
            self.account.staged_hosts += 1;
            self.account.staged = self.now.since(START);
        }
        if std::mem::take(&mut host.news.active) {
            self.assert_together(index);
        }
        if !self.hosts[index].news.feedback.is_empty() {
            for (session, message) in std::mem::take(&mut self.hosts[index].news.feedback) {
                self.send_feedback(index, session, &message);
            }
        }
    }

    fn assert_together(&self, host: usize) {
        let setup = &self.fabric.setup;
        if setup.activation == Activation::Together {
            let is_all = self.account.staged_hosts >= setup.hosts || setup.expect.is_some();
            let name = &self.hosts[host].name;
            assert!(is_all, "{name} switched before all had staged; {}", setup.replay());
        }
    }

    fn send_feedback(&mut self, host: usize, session: SessionId, message: &Message) {
        self.account.on_feedback(self.now, message);
        let message = through_the_wire(session, 0, message);
        let bytes = wire_bytes(&message);
        let copies = 1 + usize::from(self.rng.random_bool(self.fabric.setup.faults.duplicate));
        for _ in 0..copies {
            let is_lost = self.feedback.loses(self.now, &mut self.rng) || self.is_damaged();
            if is_lost {
                continue;
            }
            let Some(left) = self.way.enter(self.now, bytes) else { continue };
            let at = left + LATENCY + self.draw_lateness();
            self.sent_feedback += 1;
            let under_way = UnderWay { host, session, bytes, message: message.clone() };
            self.under_way.insert(self.sent_feedback, under_way);
            self.queue.insert((at, Event::Socket(self.sent_feedback)));
        }
    }

    fn on_socket(&mut self, number: u64) {
        let bytes = self.under_way[&number].bytes;
        match self.way.arrive(self.now, bytes) {
            Some(done) => _ = self.queue.insert((done, Event::Served(number))),
            None => _ = self.under_way.remove(&number),
        }
        self.account.overflows = self.way.overflows();
    }

    fn on_served(&mut self, number: u64) {
        let Some(UnderWay { host, session, message, .. }) = self.under_way.remove(&number) else {
            return;
        };
        let now = self.now;
        self.note(&[message.kind() as u8]);
        // The driver drops what belongs to another session.
        if let Some(sender) = &mut self.sender
            && session == SessionId(self.incarnation)
        {
            sender.handle_feedback(now, address(host), &message);
            self.drain_sender();
        }
    }

    fn is_damaged(&mut self) -> bool {
        let corrupt = self.fabric.setup.faults.corrupt;
        corrupt > 0.0 && self.rng.random_bool(corrupt)
    }

    fn draw_lateness(&mut self) -> Duration {
        match self.fabric.setup.faults.jitter {
            Duration::ZERO => Duration::ZERO,
            jitter => jitter.mul_f64(self.rng.random()),
        }
    }

    fn unicast_message(&mut self, to: SocketAddr, seq: u32, message: Message) {
        let index = usize::from(to.port()) - 1;
        let at = self.now + LATENCY + self.draw_lateness();
        let session = SessionId(self.incarnation);
        self.hosts[index].post_unicast(at, session, seq, message);
        self.harvest(index);
    }

    fn drain_sender(&mut self) {
        loop {
            let now = self.now;
            let Some(sender) = &mut self.sender else { return };
            match sender.poll_output(now) {
                sender_side::Output::Train(to) => {
                    let headers = sender.train().to_vec();
                    self.send_symbols(reach(to), headers);
                }
                sender_side::Output::Message(Destination::Host(to), seq, message) => {
                    self.unicast_message(to, seq, message);
                }
                sender_side::Output::Answer(to, _, _, message) => {
                    self.unicast_message(to, 0, message);
                }
                sender_side::Output::Message(to, seq, message) => {
                    self.multicast_message(reach(to), seq, &message);
                }
                sender_side::Output::Hashes(to, seq, block, part) => {
                    let hashes = Message::Hashes(blank(&self.fabric.geometry, block, part));
                    self.multicast_message(reach(to), seq, &hashes);
                }
                sender_side::Output::Prepare(block) => {
                    sender.handle_prepared(block);
                    if let Some(payload) = &mut self.payload {
                        payload.prepare(&self.fabric.geometry, block);
                    }
                }
                sender_side::Output::Release(block) => {
                    if let Some(payload) = &mut self.payload {
                        payload.release(block);
                    }
                }
                sender_side::Output::Notice(_) => {}
                sender_side::Output::Ended => return,
                sender_side::Output::Idle(deadline) => {
                    let at = deadline.map_or(Timestamp::NEVER, |deadline| deadline.at);
                    if at < self.sender_wake {
                        self.sender_wake = at;
                        self.queue.insert((at.max(now), Event::SenderWake));
                    }
                    return;
                }
            }
        }
    }

    /// Something happened at the sender.
    fn note(&mut self, what: &[u8]) {
        self.trace.update(&self.now.as_nanos().to_le_bytes());
        self.trace.update(what);
    }

    fn send_symbols(&mut self, reach: Reach, mut headers: Vec<SymbolHeader>) {
        self.note(&[]);
        for header in &headers {
            self.trace.update(&header.block.0.to_le_bytes());
            self.trace.update(&header.transmission.to_le_bytes());
        }
        let lost = self.shared.losses(self.now, &mut self.rng, headers.len());
        let mut index = 0;
        headers.retain(|_| {
            index += 1;
            lost >> (index - 1) & 1 == 0
        });
        if headers.is_empty() {
            return;
        }
        let geometry = &self.fabric.geometry;
        let datagrams = match &self.payload {
            Some(payload) => headers.iter().map(|h| payload.datagram(geometry, h)).collect(),
            None => Vec::new(),
        };
        let (count, session) = (headers.len(), SessionId(self.incarnation));
        let forged = self
            .fabric
            .setup
            .forgery
            .map(|forgery| forge(forgery, geometry, session, &headers, &mut self.rng));
        let train = Train::new(geometry, session, headers, datagrams);
        // It is nearer: what it answers comes before the true ones.
        forged.into_iter().for_each(|packet| self.send(reach, count, packet));
        self.send(reach, count, Packet::Train(train));
    }

    fn multicast_message(&mut self, reach: Reach, seq: u32, message: &Message) {
        let session = SessionId(self.incarnation);
        let message = through_the_wire(session, seq, message);
        self.note(&[message.kind() as u8]);
        if !self.shared.loses(self.now, &mut self.rng) {
            self.send(reach, 1, Packet::Control(session, seq, message));
        }
    }

    fn send(&mut self, reach: Reach, count: usize, packet: Packet) {
        let losses = |rack: &mut Path| rack.losses(self.now, &mut self.rng, count);
        let rack_losses: Vec<Mask> = self.racks.iter_mut().map(losses).collect();
        let at = self.now + LATENCY;
        let entry = Entry { at, reach, packet: Arc::new(packet), rack_losses };
        if self.are_in_step || entry.may_be_answered(self.known_window) {
            self.queue.insert((entry.at, Event::VisitAll));
        } else if self.fabric.stream.iter().next().is_none() {
            self.queue.insert((entry.at + LAG_MAX, Event::VisitAll));
        }
        self.fabric.stream.push(entry);
    }
}

/// Digests without a byte behind them.
fn blank(geometry: &Geometry, block: BlockIndex, part: u16) -> Hashes {
    let none = SymbolDigest::from_bytes([0; SymbolDigest::BYTES]);
    Hashes { block, part, digests: vec![none; geometry.part_symbols(block, part).len()] }
}

/// Whom a destination of the sender stands for here.
fn reach(destination: Destination) -> Reach {
    match destination {
        Destination::Control | Destination::Data => Reach::All,
        Destination::CatchUp => Reach::Stragglers,
        Destination::Host(address) => Reach::Host(usize::from(address.port()) - 1),
    }
}
