//! The simulated world: one sender, its hosts, the network between, and the clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use common::digest::Digest;
use common::geometry::Space;
use common::id::{BlockIndex, BootNonce, HostName, ImageKind, SessionId};
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{
    Activation, Announce, Fault, HostPhase, KindSet, Message, Seal, SenderStage, SymbolHeader,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use receiver::session::{self as host_side, Facts, OrderKind, StoreEvent, Verdict};
use sender::session::{self as sender_side, Channel, Expect, Outcome, Quorum};

use super::fabric::{Loss, Path};
use super::setup::{
    HostSetup, Setup, address, announce, frame_offsets, prepared, through_the_wire,
};

/// One way through the network, without queueing.
const LATENCY: Duration = Duration::from_micros(200);
/// Verifying the image, making it durable, mounting it.
const STAGING: Duration = Duration::from_millis(5);
/// Virtual time after which a run that has not ended is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

struct Host {
    name: HostName,
    setup: HostSetup,
    session: Option<host_side::Session>,
    nonce: BootNonce,
    path: Path,
    is_running: bool,
    is_prepared: bool,
    has_staged: bool,
    is_active: bool,
    seen_phase: Option<HostPhase>,
    wake: Timestamp,
    endings: Vec<host_side::Ending>,
}

#[derive(Debug, Clone)]
enum Packet {
    Symbols(Vec<SymbolHeader>),
    Control(u32, Message),
}

#[derive(Debug)]
enum Event {
    ToHost(usize, Rc<Packet>),
    ToSender(usize, Message),
    HostWake(usize),
    SenderWake,
    Store(usize, BootNonce, StoreEvent),
}

struct Entry(Timestamp, u64, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The world.
pub struct World {
    setup: Setup,
    now: Timestamp,
    rng: StdRng,
    sender: Option<sender_side::Session>,
    sender_wake: Timestamp,
    announce: Announce,
    incarnation: u32,
    hosts: Vec<Host>,
    shared: Path,
    feedback: Path,
    queue: BinaryHeap<Reverse<Entry>>,
    next_entry: u64,
    trace: blake3::Hasher,
    steps: u64,
    needs: u64,
    statuses: u64,
}

impl World {
    /// A world at the start of time; its sender begins to listen.
    pub fn new(setup: Setup) -> Self {
        let mut rng = StdRng::seed_from_u64(setup.seed);
        let names = (0..setup.hosts).map(|index| format!("h{index}"));
        let hosts = names.map(|name| Host::new(&name, setup.faults.host_loss, &mut rng)).collect();
        let announce = announce(&setup);
        let mut world = Self {
            now: Timestamp::from_nanos(1_000_000_000),
            rng,
            sender: None,
            sender_wake: Timestamp::NEVER,
            announce,
            incarnation: 0,
            hosts,
            shared: Path::new(setup.faults.shared_loss),
            feedback: Path::new(setup.faults.feedback_loss),
            queue: BinaryHeap::new(),
            next_entry: 0,
            trace: blake3::Hasher::new(),
            steps: 0,
            needs: 0,
            statuses: 0,
            setup,
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
        let count = self.setup.hosts;
        let config = sender_side::Config {
            session: SessionId(self.incarnation),
            frame_offsets: frame_offsets(announce.geometry.payload_bytes()),
            announce,
            expect: self.setup.expect.clone().unwrap_or(Expect::Count(count)),
            quorum: Quorum::All,
            join_window: Duration::from_secs(1),
            timeout: None,
            rate: self.setup.rate,
            seal: Seal::Plain,
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
        self.hosts[host].setup = setup;
    }

    /// The loss that one host suffers.
    pub fn set_loss(&mut self, host: usize, loss: Loss) {
        self.hosts[host].path = Path::new(loss);
    }

    /// Gives a host another's name.
    pub fn rename(&mut self, host: usize, name: &str) {
        self.hosts[host].name = name.parse().expect("a literal name");
    }

    /// The host does nothing from now on, as if stopped or not yet started.
    pub fn stop_host(&mut self, host: usize) {
        self.hosts[host].is_running = false;
    }

    /// The host goes on, or starts.
    pub fn start_host(&mut self, host: usize) {
        self.hosts[host].is_running = true;
        self.hosts[host].wake = Timestamp::NEVER;
        self.drain_host(host);
    }

    /// The host's process dies and is started again at once: it knows nothing of the session.
    pub fn crash_host(&mut self, host: usize) {
        let nonce = BootNonce(self.rng.random());
        let host = &mut self.hosts[host];
        host.session = None;
        host.nonce = nonce;
        host.is_prepared = false;
        host.has_staged = false;
        host.seen_phase = None;
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

    /// A host's session, if it takes part in one.
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
        self.now.since(Timestamp::from_nanos(1_000_000_000))
    }

    /// NEEDs and STATUSes that hosts sent.
    pub fn feedback(&self) -> (u64, u64) {
        (self.needs, self.statuses)
    }

    /// Digest of everything that happened.
    pub fn trace(&self) -> Digest {
        self.trace.finalize().into()
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
            let replay = self.setup.replay();
            let Some(Reverse(Entry(at, _, event))) = self.queue.pop() else {
                panic!("nothing is left to happen; replay: {replay}");
            };
            assert!(at <= end, "no end after {PATIENCE:?} of virtual time; replay: {replay}");
            self.now = self.now.max(at);
            self.steps += 1;
            self.step(event);
            self.check();
        }
    }

    /// Runs until the sender has ended.
    pub fn run(&mut self) -> Outcome {
        self.run_until(|world| world.sender().phase() == sender_side::Phase::Ended);
        self.sender().outcome().cloned().expect("an ended session has an outcome")
    }

    fn step(&mut self, event: Event) {
        self.trace.update(&self.now.as_nanos().to_le_bytes());
        match event {
            Event::SenderWake => {
                if self.sender_wake <= self.now && self.sender.is_some() {
                    self.sender_wake = Timestamp::NEVER;
                    let now = self.now;
                    self.sender_mut().handle_timeout(now);
                    self.drain_sender();
                }
            }
            Event::HostWake(host) => {
                if self.hosts[host].wake <= self.now && self.hosts[host].is_running {
                    self.hosts[host].wake = Timestamp::NEVER;
                    let now = self.now;
                    if let Some(session) = &mut self.hosts[host].session {
                        session.handle_timeout(now);
                    }
                    self.drain_host(host);
                }
            }
            Event::ToSender(host, message) => {
                let now = self.now;
                let from = address(host);
                if let Some(sender) = &mut self.sender {
                    sender.handle_feedback(now, from, &message);
                    self.drain_sender();
                }
            }
            Event::ToHost(host, packet) => self.deliver(host, &packet),
            Event::Store(host, nonce, event) => self.store(host, nonce, event),
        }
    }

    fn deliver(&mut self, index: usize, packet: &Packet) {
        if !self.hosts[index].is_running {
            return;
        }
        match packet {
            Packet::Symbols(headers) => self.deliver_symbols(index, headers),
            Packet::Control(seq, message) => self.deliver_control(index, *seq, message),
        }
        self.drain_host(index);
    }

    fn deliver_symbols(&mut self, index: usize, headers: &[SymbolHeader]) {
        let now = self.now;
        let host = &mut self.hosts[index];
        let Some(session) = &mut host.session else { return };
        if headers.first().is_some_and(|header| header.session != session.id()) {
            return;
        }
        let mut verdicts = Vec::with_capacity(headers.len());
        session.handle_symbols(now, headers, &mut verdicts);
        assert_eq!(verdicts.len(), headers.len(), "one verdict for each symbol");
        for verdict in verdicts {
            if let Verdict::KeepAndDecode { block, .. } = verdict {
                let nonce = self.hosts[index].nonce;
                let at = now + Duration::from_millis(4);
                self.push(at, Event::Store(index, nonce, StoreEvent::Consumed(block)));
            }
        }
    }

    fn deliver_control(&mut self, index: usize, seq: u32, message: &Message) {
        let now = self.now;
        if let Message::Announce(announce) = message {
            return self.meet(index, SessionId(seq), announce);
        }
        let Some(session) = &mut self.hosts[index].session else { return };
        match message {
            Message::Poll(poll) => session.handle_poll(now, seq, poll),
            Message::Advertise(advertise) => session.handle_advertise(now, seq, advertise),
            Message::JoinAck(ack) => session.handle_join_ack(now, ack),
            Message::Activate(order) => {
                session.handle_order(now, seq, OrderKind::Activate, order);
            }
            Message::Cancel(order) => session.handle_order(now, seq, OrderKind::Cancel, order),
            Message::Stop(order) => session.handle_order(now, seq, OrderKind::Stop, order),
            other => panic!("a sender never sends {:?}", other.kind()),
        }
    }

    /// A host meets an announce: of its session, of a newer one, or while idle.
    fn meet(&mut self, index: usize, id: SessionId, announce: &Announce) {
        let now = self.now;
        let seed = self.rng.random();
        let slots = self.setup.block_slots;
        let host = &mut self.hosts[index];
        if let Some(session) = &mut host.session
            && session.id() == id
        {
            return session.handle_announce(now, announce);
        }
        let is_over = host.session.is_none() && !host.endings.is_empty();
        if is_over && announce.stage == SenderStage::Closing {
            return;
        }
        let facts = Facts {
            host: host.name.clone(),
            machine: index as u64,
            nonce: host.nonce,
            link: Some(Bitrate::from_megabits(1000)),
            free_bytes: 1 << 40,
            clock_us: 0,
            kinds: ImageKind::ALL.into_iter().collect::<KindSet>(),
            holds_release: host.setup.holds_release,
            holds_image: host.setup.holds_release,
            holds_partial: host.setup.held_frames > 0,
            block_slots: slots,
        };
        host.session = Some(host_side::Session::new(now, id, announce, facts, seed));
        host.is_prepared = false;
        host.has_staged = false;
        host.seen_phase = None;
        if host.setup.holds_release {
            let nonce = host.nonce;
            self.push(now + STAGING, Event::Store(index, nonce, StoreEvent::Staged));
        }
        self.drain_host(index);
    }

    /// The simulated store: prepares once the preamble is there, stages once all is.
    fn store(&mut self, index: usize, nonce: BootNonce, event: StoreEvent) {
        let now = self.now;
        let geometry = self.announce.geometry;
        let host = &mut self.hosts[index];
        if host.nonce != nonce || !host.is_running {
            return;
        }
        let Some(session) = &mut host.session else { return };
        host.is_active |= event == StoreEvent::Switched;
        session.handle_store(now, event);
        let done = |block: u32| session.blocks().is_done(BlockIndex(block));
        if !host.is_prepared && geometry.space_blocks(Space::Preamble).all(done) {
            host.is_prepared = true;
            let event = match host.setup.disk_full {
                true => {
                    StoreEvent::Failed { fault: Fault::DiskFull, detail: "disk full".to_owned() }
                }
                false => prepared(&geometry, host.setup.held_frames),
            };
            // Claims of a partial image are hashed again before they are offered.
            let rehash = if host.setup.held_frames > 0 { 100 } else { 1 };
            self.push(now + Duration::from_millis(rehash), Event::Store(index, nonce, event));
        } else if host.is_prepared && !host.has_staged && session.blocks().are_all_done() {
            host.has_staged = true;
            self.push(now + STAGING, Event::Store(index, nonce, StoreEvent::ImageDurable));
            self.push(now + 2 * STAGING, Event::Store(index, nonce, StoreEvent::Staged));
        }
        self.drain_host(index);
    }

    fn drain_host(&mut self, index: usize) {
        let now = self.now;
        loop {
            let host = &mut self.hosts[index];
            let Some(session) = &mut host.session else { return };
            match session.poll_output() {
                host_side::Output::Send(message) => self.send_feedback(index, message),
                host_side::Output::Switch => {
                    let nonce = host.nonce;
                    let at = now + Duration::from_millis(1);
                    self.push(at, Event::Store(index, nonce, StoreEvent::Switched));
                }
                host_side::Output::Discard(_) => {}
                host_side::Output::Ended(ending) => {
                    host.endings.push(ending);
                    host.session = None;
                }
                host_side::Output::Idle(deadline) => {
                    let at = deadline.map_or(Timestamp::NEVER, |deadline| deadline.at);
                    if at < host.wake {
                        host.wake = at;
                        self.push(at, Event::HostWake(index));
                    }
                    return;
                }
            }
        }
    }

    fn send_feedback(&mut self, index: usize, message: Message) {
        self.needs += u64::from(matches!(message, Message::Need(_)));
        self.statuses += u64::from(matches!(message, Message::Status(_)));
        self.trace.update(&[message.kind() as u8]);
        let message = through_the_wire(SessionId(1), 0, &message);
        let copies = 1 + usize::from(self.rng.random_bool(self.setup.faults.duplicate));
        for _ in 0..copies {
            let is_lost = self.feedback.loses(&mut self.rng) || self.is_damaged();
            if !is_lost {
                let at = self.arrival();
                self.push(at, Event::ToSender(index, message.clone()));
            }
        }
    }

    fn is_damaged(&mut self) -> bool {
        self.setup.faults.corrupt > 0.0 && self.rng.random_bool(self.setup.faults.corrupt)
    }

    fn arrival(&mut self) -> Timestamp {
        let late = match self.setup.faults.jitter {
            Duration::ZERO => Duration::ZERO,
            jitter => jitter.mul_f64(self.rng.random()),
        };
        self.now + LATENCY + late
    }

    fn drain_sender(&mut self) {
        loop {
            let now = self.now;
            let Some(sender) = &mut self.sender else { return };
            match sender.poll_output(now) {
                sender_side::Output::Train => {
                    let headers = sender.train().to_vec();
                    self.multicast_symbols(&headers);
                }
                sender_side::Output::Multicast(channel, seq, message) => {
                    // The simulation has no session number on control datagrams but this one.
                    let seq = if channel == Channel::Control { self.incarnation } else { seq };
                    let message = through_the_wire(SessionId(self.incarnation), seq, &message);
                    self.multicast(&Rc::new(Packet::Control(seq, message)));
                }
                sender_side::Output::Unicast(to, message) => {
                    let index = usize::from(to.port()) - 1;
                    let packet = Rc::new(Packet::Control(0, message));
                    if !self.hosts[index].path.loses(&mut self.rng) {
                        let at = self.arrival();
                        self.push(at, Event::ToHost(index, packet));
                    }
                }
                sender_side::Output::Prepare(block) => sender.handle_prepared(block),
                sender_side::Output::Release(_) | sender_side::Output::Notice(_) => {}
                sender_side::Output::Ended => return,
                sender_side::Output::Idle(deadline) => {
                    let at = deadline.map_or(Timestamp::NEVER, |deadline| deadline.at);
                    if at < self.sender_wake {
                        self.sender_wake = at;
                        self.push(at, Event::SenderWake);
                    }
                    return;
                }
            }
        }
    }

    fn multicast_symbols(&mut self, headers: &[SymbolHeader]) {
        for header in headers {
            self.trace.update(&header.block.0.to_le_bytes());
            self.trace.update(&header.transmission.to_le_bytes());
        }
        let is_shared = |header: &&SymbolHeader| {
            let _ = header;
            !self.shared.loses(&mut self.rng)
        };
        let survivors: Vec<SymbolHeader> = headers.iter().filter(is_shared).copied().collect();
        for index in 0..self.hosts.len() {
            if !self.hosts[index].is_running {
                continue;
            }
            let mut arriving = Vec::with_capacity(survivors.len());
            for header in &survivors {
                let is_lost = self.hosts[index].path.loses(&mut self.rng) || self.is_damaged();
                let copies = u8::from(!is_lost)
                    + u8::from(self.rng.random_bool(self.setup.faults.duplicate));
                (0..copies).for_each(|_| arriving.push(*header));
            }
            if !arriving.is_empty() {
                let at = self.arrival();
                self.push(at, Event::ToHost(index, Rc::new(Packet::Symbols(arriving))));
            }
        }
    }

    fn multicast(&mut self, packet: &Rc<Packet>) {
        if self.shared.loses(&mut self.rng) {
            return;
        }
        for index in 0..self.hosts.len() {
            if !self.hosts[index].path.loses(&mut self.rng) && !self.is_damaged() {
                let at = self.arrival();
                self.push(at, Event::ToHost(index, Rc::clone(packet)));
            }
        }
    }

    fn push(&mut self, at: Timestamp, event: Event) {
        self.next_entry += 1;
        self.queue.push(Reverse(Entry(at, self.next_entry, event)));
    }

    /// What must hold after every step.
    fn check(&mut self) {
        let replay = self.setup.replay();
        let step = self.steps;
        let is_thorough = step.is_multiple_of(997);
        let staged = self.hosts.iter().filter(|host| host.has_staged || host.is_active).count();
        for host in &mut self.hosts {
            let Some(session) = &host.session else { continue };
            if is_thorough {
                session.blocks().assert_consistent();
            }
            let phase = Some(session.phase());
            if phase == host.seen_phase {
                continue;
            }
            // PROTOCOL 5.3.
            let is_ready = session.blocks().are_all_done() || host.setup.holds_release;
            let says_ready =
                matches!(phase, Some(HostPhase::Staging | HostPhase::Staged | HostPhase::Active));
            assert!(is_ready || !says_ready, "{} staged with blocks missing; {replay}", host.name);
            let never_back = phase == Some(HostPhase::Failed) || phase > host.seen_phase;
            assert!(never_back, "{}: {:?} → {phase:?}; {replay}", host.name, host.seen_phase);
            if phase == Some(HostPhase::Active) && self.setup.activation == Activation::Together {
                let is_all = staged == self.setup.hosts || self.setup.expect.is_some();
                assert!(is_all, "{} switched before all had staged; {replay}", host.name);
            }
            host.seen_phase = phase;
        }
    }
}

impl Host {
    fn new(name: &str, loss: Loss, rng: &mut StdRng) -> Self {
        Self {
            name: name.parse().expect("a generated name"),
            setup: HostSetup::default(),
            session: None,
            nonce: BootNonce(rng.random()),
            path: Path::new(loss),
            is_running: true,
            is_prepared: false,
            has_staged: false,
            is_active: false,
            seen_phase: None,
            wake: Timestamp::NEVER,
            endings: Vec::new(),
        }
    }
}
