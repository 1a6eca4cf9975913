//! One simulated host: the real session, and around it what brings packets, time and a disk.
//!
//! A host is independent of all others until it sends something, and a session tells when it will
//! next want to. So a host may lag behind the world: it reads what has arrived meanwhile when it
//! has something to say, when something comes that it may answer, or when [`LAG_MAX`] is over.
//! Invariant, checked on the way: it never says anything at a time that lies behind the world's.

mod sifted;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::geometry::{Geometry, Space};
use common::id::{BlockIndex, BootNonce, HostName, ImageKind, SessionId};
use common::time::Timestamp;
use common::timers::Deadline;
use common::units::Bitrate;
use common::wire::{Announce, Fault, HostPhase, KindSet, Message, Need, SenderStage, SymbolHeader};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use receiver::session::{
    Ending, Facts, Kept, Meters, OrderKind, Output, Session, StoreEvent, Verdict, Via,
};

use super::fabric::{Loss, Mask, Path, RACK_HOSTS, all};
use super::payload::Received;
use super::setup::{HostSetup, prepared};
use super::sifting::Sifting;
use super::store::{DECODE, STAGING, Store};
use super::stream::{Entry, Packet, Reach, Train};
use super::trace::Trace;
use super::world::Fabric;

/// A host lags behind the world by this at most: neither a symbol nor a block written has an
/// earlier consequence.
pub(super) const LAG_MAX: Duration = DECODE;
const _: () = assert!(LAG_MAX.as_nanos() <= STAGING.as_nanos());
/// Invariants that take long are checked so often.
const THOROUGH_EVERY: u64 = 997;
/// No deadline.
const NEVER: Deadline = Deadline { at: Timestamp::NEVER, why: "nothing" };
/// A liar speaks so often.
const LIE_INTERVAL: Duration = Duration::from_millis(5);

/// Something that is to happen at this host alone.
#[derive(Debug)]
enum Private {
    /// A message of the sender for this host, with its sequence number.
    Unicast(SessionId, u32, Message),
    /// A packet that jitter made late, its way, and which of its datagrams arrive, and arrive
    /// twice.
    Late(Arc<Packet>, Via, Mask, Mask),
    /// The store has something to tell.
    Store(StoreEvent),
    /// A block came out wrong.
    Suspect(BlockIndex),
    /// A liar asks for everything.
    Lie,
}

/// What hosts use by turns while they read, one for each thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    selection: Selection,
    verdicts: Vec<Verdict>,
}

/// What arrives of a train.
#[derive(Debug, Default)]
struct Selection {
    headers: Vec<SymbolHeader>,
    /// Which datagram of the train each header is of.
    origins: Vec<usize>,
}

/// What the world must know of a host after a visit.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Feedback, in order.
    pub(super) feedback: Vec<(SessionId, Message)>,
    /// It has staged.
    pub(super) staged: bool,
    /// It has switched.
    pub(super) active: bool,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    index: usize,
    pub(super) name: HostName,
    pub(super) setup: HostSetup,
    pub(super) session: Option<Session>,
    pub(super) endings: Vec<Ending>,
    pub(super) is_active: bool,
    pub(super) news: News,
    pub(super) received: Option<Received>,
    /// Where somebody forges.
    pub(super) sifting: Option<Sifting>,
    nonce: BootNonce,
    /// The place in the roster, as the last acknowledgement said; a liar needs it.
    slot: Option<common::id::Slot>,
    rng: StdRng,
    path: Path,
    damage: Path,
    duplicates: Path,
    store: Store,
    /// Whether it listens to the stragglers' group.
    is_listening: bool,
    is_running: bool,
    seen_phase: Option<HostPhase>,
    /// Time at this host.
    clock: Timestamp,
    /// When the session wants to be called again, and why.
    deadline: Deadline,
    /// The next packet to read.
    next_entry: u64,
    /// The highest window whose beginning the session knows.
    known_window: u32,
    /// Blocks on their way to the disk and when they will be there: one worker keeps their order.
    writing: VecDeque<(Timestamp, BlockIndex)>,
    inbox: BTreeMap<(Timestamp, u64), Private>,
    posted: u64,
    inbox_at: Timestamp,
    deliveries: u64,
    visits: u64,
    trace: Trace,
}

impl Host {
    pub(super) fn new(
        index: usize,
        setup: &super::Setup,
        geometry: &Geometry,
        rng: &mut StdRng,
    ) -> Self {
        let mut own = StdRng::seed_from_u64(rng.random());
        let faults = &setup.faults;
        Self {
            index,
            name: format!("h{index}").parse().expect("a generated name"),
            setup: HostSetup::default(),
            session: None,
            endings: Vec::new(),
            is_active: false,
            news: News::default(),
            received: setup.carries_payload.then(Received::default),
            sifting: setup.forgery.map(|_| Sifting::new(*geometry)),
            nonce: BootNonce(own.random()),
            slot: None,
            path: Path::new(faults.host_loss, &mut own),
            damage: Path::new(Loss::Independent(faults.corrupt), &mut own),
            duplicates: Path::new(Loss::Independent(faults.duplicate), &mut own),
            rng: own,
            store: Store::default(),
            is_listening: false,
            is_running: true,
            seen_phase: None,
            clock: Timestamp::ZERO,
            deadline: NEVER,
            next_entry: 0,
            known_window: 0,
            writing: VecDeque::new(),
            inbox: BTreeMap::new(),
            posted: 0,
            inbox_at: Timestamp::NEVER,
            deliveries: 0,
            visits: 0,
            trace: Trace::default(),
        }
    }

    /// Headers that its sessions have handled.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// What happened here.
    pub(super) fn trace(&self) -> Trace {
        self.trace
    }

    /// When the world must look at this host again if nothing is sent to it.
    pub(super) fn due(&self) -> Timestamp {
        let written_at = self.writing.front().map_or(Timestamp::NEVER, |(at, _)| *at + LAG_MAX);
        match self.is_running {
            true => self.deadline.at.min(self.inbox_at).min(written_at),
            false => Timestamp::NEVER,
        }
    }

    /// The highest window whose beginning it knows; no window surprises a host that takes no part.
    pub(super) fn known_window(&self) -> u32 {
        if self.is_running && self.session.is_some() { self.known_window } else { u32::MAX }
    }

    /// Another loss process at this host.
    pub(super) fn set_loss(&mut self, loss: Loss) {
        self.path = Path::new(loss, &mut self.rng);
    }

    /// From `now` on the host does nothing, or goes on.
    pub(super) fn set_running(&mut self, now: Timestamp, is_running: bool) {
        self.clock = now;
        self.is_running = is_running;
    }

    /// The process dies and is started again at once.
    pub(super) fn crash(&mut self) {
        self.nonce = BootNonce(self.rng.random());
        self.forget_session();
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.is_listening = false;
        self.slot = None;
        self.deadline = NEVER;
        self.seen_phase = None;
        self.known_window = 0;
        self.store = Store::new(self.setup.disk);
        self.writing.clear();
        self.inbox.retain(|_, private| {
            !matches!(private, Private::Store(_) | Private::Suspect(_) | Private::Lie)
        });
        self.update_inbox();
        if let Some(received) = &mut self.received {
            *received = Received::default();
        }
        if let Some(sifting) = &mut self.sifting {
            *sifting = Sifting::new(sifting.geometry);
        }
    }

    /// A message of the sender to this host alone, which arrives at `at`.
    pub(super) fn post_unicast(
        &mut self,
        at: Timestamp,
        session: SessionId,
        seq: u32,
        message: Message,
    ) {
        self.post(at, Private::Unicast(session, seq, message));
    }

    fn post(&mut self, at: Timestamp, private: Private) {
        self.posted += 1;
        self.inbox.insert((at, self.posted), private);
        self.update_inbox();
    }

    fn update_inbox(&mut self) {
        self.inbox_at = self.inbox.first_key_value().map_or(Timestamp::NEVER, |((at, _), _)| *at);
    }

    /// Does everything that is to happen here until `until`, which is now for the world.
    pub(super) fn advance(&mut self, fabric: &Fabric, until: Timestamp, scratch: &mut Scratch) {
        if !self.is_running {
            return self.miss(fabric, until);
        }
        loop {
            let entry = fabric.stream.get(self.next_entry);
            let entry_at = entry.map_or(Timestamp::NEVER, |entry| entry.at);
            let written_at = self.writing.front().map_or(Timestamp::NEVER, |(at, _)| *at);
            let at = written_at.min(self.inbox_at).min(entry_at).min(self.deadline.at);
            if at > until || at == Timestamp::NEVER {
                return;
            }
            self.clock = self.clock.max(at);
            if at == written_at {
                self.on_written(fabric);
            } else if at == self.inbox_at {
                self.assert_in_time(until);
                self.take_private(fabric, scratch);
            } else if let Some(entry) = entry.filter(|entry| entry.at == at) {
                self.next_entry += 1;
                self.read(fabric, entry, scratch);
            } else {
                self.assert_in_time(until);
                let session = self.session.as_mut().expect("a session has set the deadline");
                session.handle_timeout(self.clock);
                self.drain();
            }
            self.check(fabric);
        }
    }

    /// What arrives until `until` finds nobody; what its store has to tell waits.
    fn miss(&mut self, fabric: &Fabric, until: Timestamp) {
        self.next_entry = fabric.stream.after(until);
        let is_packet =
            |private: &Private| matches!(private, Private::Unicast(..) | Private::Late(..));
        self.inbox.retain(|(at, _), private| *at > until || !is_packet(private));
        self.update_inbox();
    }

    /// What may make a host speak has a time that the world knew of.
    fn assert_in_time(&self, until: Timestamp) {
        let (name, clock, why) = (&self.name, self.clock, self.deadline.why);
        assert_eq!(clock, until, "{name} lags and has something to say ({why}): LAG_MAX is wrong");
    }

    fn take_private(&mut self, fabric: &Fabric, scratch: &mut Scratch) {
        let Some((_, private)) = self.inbox.pop_first() else { return };
        self.update_inbox();
        match private {
            Private::Unicast(session, seq, message) => {
                if !self.path.loses(self.clock, &mut self.rng) {
                    self.take_message(fabric, session, Via::Own, seq, &message);
                }
            }
            Private::Late(packet, via, arrived, twice) => {
                self.take(fabric, &packet, via, (arrived, twice), scratch);
            }
            Private::Store(event) => self.on_store(fabric, event),
            Private::Suspect(block) => {
                let sifting = self.sifting.as_mut().expect("somebody forges");
                let symbols = sifting.take_back(block);
                self.on_store(fabric, StoreEvent::Suspect { block, symbols });
            }
            Private::Lie => self.lie(fabric),
        }
    }

    /// Decides what of a packet arrives, and takes it unless it is late.
    fn read(&mut self, fabric: &Fabric, entry: &Entry, scratch: &mut Scratch) {
        let Some(via) = self.way_of(entry) else { return };
        let count = match &*entry.packet {
            Packet::Train(train) => train.headers.len(),
            Packet::Control(..) => 1,
        };
        let rack = entry.rack_losses.get(self.index / RACK_HOSTS).copied().unwrap_or(0);
        let here = self.path.losses(self.clock, &mut self.rng, count);
        let damaged = self.damage.losses(self.clock, &mut self.rng, count);
        if let Packet::Train(train) = &*entry.packet {
            train.assert_damage_is_found(damaged);
        }
        let arrived = all(count) & !(rack | here | damaged);
        let twice = self.duplicates.losses(self.clock, &mut self.rng, count) & arrived;
        if arrived == 0 {
            return;
        }
        let jitter = fabric.setup.faults.jitter.max(self.setup.jitter);
        if jitter > Duration::ZERO {
            let late = jitter.mul_f64(self.rng.random());
            let packet = entry.packet.clone();
            return self.post(entry.at + late, Private::Late(packet, via, arrived, twice));
        }
        self.take(fabric, &entry.packet, via, (arrived, twice), scratch);
    }

    /// Which way an entry comes to this host; `None` when it does not.
    fn way_of(&self, entry: &Entry) -> Option<Via> {
        match entry.reach {
            Reach::All => Some(Via::Data),
            Reach::Stragglers => self.is_listening.then_some(Via::CatchUp),
            Reach::Host(index) => (index == self.index).then_some(Via::Own),
        }
    }

    fn take(
        &mut self,
        fabric: &Fabric,
        packet: &Packet,
        via: Via,
        fate: (Mask, Mask),
        scratch: &mut Scratch,
    ) {
        match packet {
            Packet::Train(train) => self.take_train(fabric, train, via, fate, scratch),
            Packet::Control(session, seq, message) => {
                self.take_message(fabric, *session, via, *seq, message);
            }
        }
    }

    fn take_train(
        &mut self,
        fabric: &Fabric,
        train: &Train,
        via: Via,
        (arrived, twice): (Mask, Mask),
        scratch: &mut Scratch,
    ) {
        if self.sifting.is_some() {
            return self.sift_train(&fabric.geometry, train, via, (arrived, twice), scratch);
        }
        let Some(session) = self.session.as_mut().filter(|own| own.id() == train.session) else {
            return;
        };
        let is_whole = arrived == all(train.headers.len()) && twice == 0;
        let headers = match is_whole && train.datagrams.is_empty() {
            true => train.headers.as_slice(),
            false => scratch.selection.take(train, arrived, twice),
        };

        if train.window > self.known_window {
            let window = fabric.geometry.window_of(headers[0].block);
            self.known_window = self.known_window.max(window);
        }
        self.deliveries += headers.len() as u64;
        self.trace.note(self.clock, arrived ^ twice.rotate_left(32));
        scratch.verdicts.clear();
        session.handle_symbols(self.clock, via, headers, &mut scratch.verdicts);
        assert_eq!(scratch.verdicts.len(), headers.len(), "one verdict for each symbol");
        self.obey(fabric, train, scratch);
        self.drain();
    }

    /// Does with the symbols what the session said.
    fn obey(&mut self, fabric: &Fabric, train: &Train, scratch: &Scratch) {
        let mut kept = 0;
        for (index, verdict) in scratch.verdicts.iter().enumerate() {
            if let Some(received) = &mut self.received {
                let datagram = &train.datagrams[scratch.selection.origins[index]];
                received.obey(&fabric.geometry, verdict, datagram);
            }
            kept += u64::from(!matches!(verdict, Verdict::Drop(_)));
            if let Verdict::KeepAndDecode { block, .. } = *verdict {
                self.trace.note(self.clock, u64::from(block.0));
                self.hand_on(&fabric.geometry, block);
            }
        }
        self.trace.note(self.clock, kept);
    }

    fn hand_on(&mut self, geometry: &Geometry, block: BlockIndex) {
        if self.sifting.as_ref().is_some_and(|sifting| !sifting.is_true(block)) {
            return self.post(self.clock + DECODE, Private::Suspect(block));
        }
        let span = geometry.span(block);
        let at = self.store.take(self.clock, span.bytes.into());
        // A preamble block may be the last one, and then the host has something to say.
        match span.space {
            Space::Preamble => self.post(at, Private::Store(StoreEvent::Consumed(block))),
            Space::Payload => self.writing.push_back((at, block)),
        }
        self.update_meters();
    }

    fn on_written(&mut self, fabric: &Fabric) {
        let Some((_, block)) = self.writing.pop_front() else { return };
        self.on_store(fabric, StoreEvent::Consumed(block));
    }

    fn update_meters(&mut self) {
        let backlog_kib = self.store.backlog_kib();
        if let Some(session) = &mut self.session {
            session.set_meters(Meters { kernel_drops: 0, backlog_kib, alarm: None });
        }
    }

    fn take_message(
        &mut self,
        fabric: &Fabric,
        id: SessionId,
        via: Via,
        seq: u32,
        message: &Message,
    ) {
        let now = self.clock;
        self.trace.note(now, message.kind() as u64);
        if let Message::Announce(announce) = message {
            self.meet(fabric, id, announce);
            return self.drain();
        }
        let Some(session) = self.session.as_mut().filter(|own| own.id() == id) else { return };
        let mut obey = |kind, order| session.handle_order(now, via, seq, kind, order);
        match message {
            Message::Activate(order) => obey(OrderKind::Activate, order),
            Message::Cancel(order) => obey(OrderKind::Cancel, order),
            Message::Stop(order) => obey(OrderKind::Stop, order),
            Message::CatchUp(catch_up) => session.handle_catch_up(now, catch_up),
            Message::Poll(poll) => {
                session.handle_poll(now, via, seq, poll);
                let windows =
                    poll.blocks.iter().map(|count| fabric.geometry.window_of(count.block));
                let known = windows.max().map_or(0, |window| window + 1);
                self.known_window = self.known_window.max(known);
            }
            Message::Advertise(advertise) => session.handle_advertise(now, via, seq, advertise),
            Message::Hashes(hashes) => {
                let (block, part) = (hashes.block, hashes.part);
                if session.handle_hashes(now, via, seq, block, part) {
                    let sifting = self.sifting.as_mut();
                    let told = sifting.map_or_else(Vec::new, |it| it.prove(block, part));
                    session.handle_proof(now, block, part, &told);
                }
            }
            Message::JoinAck(ack) => {
                session.handle_join_ack(now, ack);
                self.slot = (ack.nonce == self.nonce).then_some(ack.slot);
            }
            other => panic!("a sender never sends {:?}", other.kind()),
        }
        self.drain();
    }

    /// The host meets an announce: of its session, of a newer one, or while idle.
    fn meet(&mut self, fabric: &Fabric, id: SessionId, announce: &Announce) {
        let now = self.clock;
        let seed = self.rng.random();
        if let Some(session) = self.session.as_mut().filter(|own| own.id() == id) {
            return session.handle_announce(now, announce);
        }
        let is_over = self.session.is_none() && !self.endings.is_empty();
        // PROTOCOL 5.5: nothing is sent while its sender listens.
        if is_over && announce.stage == SenderStage::Closing
            || announce.stage == SenderStage::Listening
        {
            return;
        }
        self.forget_session();
        let facts = Facts {
            host: self.name.clone(),
            machine: self.index as u64,
            nonce: self.nonce,
            link: Some(Bitrate::from_megabits(1000)),
            free_bytes: 1 << 40,
            clock_us: 0,
            kinds: ImageKind::ALL.into_iter().collect::<KindSet>(),
            holds_release: self.setup.holds_release,
            holds_image: self.setup.holds_release,
            holds_partial: self.setup.held_frames > 0,
            block_slots: fabric.setup.block_slots,
        };
        self.session = Some(Session::new(now, id, announce, facts, seed));
        if self.setup.holds_release {
            self.post(now + STAGING, Private::Store(StoreEvent::Staged));
        }
        if self.setup.lies {
            self.post(now + LIE_INTERVAL, Private::Lie);
        }
    }

    /// Prepares once the preamble is there, stages once all is.
    fn on_store(&mut self, fabric: &Fabric, event: StoreEvent) {
        let (now, geometry) = (self.clock, &fabric.geometry);
        let Some(session) = &mut self.session else { return };
        if let StoreEvent::Consumed(block) = event {
            self.store.written(geometry.span(block).bytes.into());
            if let Some(sifting) = &mut self.sifting {
                sifting.discard(block);
            }
        }
        self.news.staged |= event == StoreEvent::Staged;
        self.is_active |= event == StoreEvent::Switched;
        session.handle_store(now, event);
        let done = |block: u32| session.blocks().is_done(BlockIndex(block));
        if !self.store.is_prepared && geometry.space_blocks(Space::Preamble).all(done) {
            self.store.is_prepared = true;
            let event = match self.setup.disk_full {
                true => {
                    StoreEvent::Failed { fault: Fault::DiskFull, detail: "disk full".to_owned() }
                }
                false => prepared(geometry, self.setup.held_frames),
            };
            let wait = Store::preparing(self.setup.held_frames > 0);
            self.post(now + wait, Private::Store(event));
        } else if self.store.is_prepared
            && !self.store.has_staged
            && session.blocks().are_all_done()
        {
            self.store.has_staged = true;
            self.post(now + STAGING, Private::Store(StoreEvent::ImageDurable));
            self.post(now + 2 * STAGING, Private::Store(StoreEvent::Staged));
        }
        self.update_meters();
        self.drain();
    }

    /// Asks for all there is, whatever the host has.
    fn lie(&mut self, fabric: &Fabric) {
        let Some(session) = &self.session else { return };
        let id = session.id();
        if let Some(slot) = self.slot {
            let nonce = self.nonce;
            let blocks: Vec<u32> = fabric.geometry.space_blocks(Space::Payload).collect();
            for part in blocks.chunks(common::wire::NEED_BLOCKS_MAX) {
                let wants = part.iter().map(|block| (BlockIndex(*block), u32::MAX)).collect();
                let need = Need { slot, nonce, poll: 0, echo_us: 0, held: Duration::ZERO, wants };
                self.news.feedback.push((id, Message::Need(need)));
            }
        }
        self.post(self.clock + LIE_INTERVAL, Private::Lie);
    }

    /// Does what the session wants until it waits.
    pub(super) fn drain(&mut self) {
        let now = self.clock;
        while let Some(session) = &mut self.session {
            let id = session.id();
            match session.poll_output() {
                Output::Send(message) => {
                    self.trace.note(now, message.kind() as u64);
                    self.news.feedback.push((id, message));
                }
                // The network of a simulation forgets nobody.
                Output::Rejoin => {}
                Output::Switch => {
                    let at = now + Duration::from_millis(1);
                    self.post(at, Private::Store(StoreEvent::Switched));
                }
                Output::Listen(_) => self.is_listening = !self.setup.hears_no_other_group,
                Output::Kept(Kept::Discard(block)) => {
                    if let Some(received) = &mut self.received {
                        received.discard(block);
                    }
                    if let Some(sifting) = &mut self.sifting {
                        sifting.discard(block);
                    }
                }
                Output::Kept(Kept::HandOn(block)) => {
                    let sifting = self.sifting.as_ref().expect("somebody forges");
                    let geometry = sifting.geometry;
                    self.hand_on(&geometry, block);
                }
                Output::Kept(Kept::ForgetDigests(block)) => {
                    if let Some(sifting) = &mut self.sifting {
                        sifting.forget(block);
                    }
                }
                Output::Ended(ending) => {
                    self.endings.push(ending);
                    self.session = None;
                    self.deadline = NEVER;
                }
                Output::Idle(deadline) => {
                    self.deadline = deadline.unwrap_or(NEVER);
                    return;
                }
            }
        }
    }

    /// What must hold after every step.
    fn check(&mut self, fabric: &Fabric) {
        self.visits += 1;
        let Some(session) = &self.session else { return };
        if self.visits.is_multiple_of(THOROUGH_EVERY) {
            session.blocks().assert_consistent();
        }
        let phase = Some(session.phase());
        if phase == self.seen_phase {
            return;
        }
        let replay = || fabric.setup.replay();
        // PROTOCOL 5.3.
        let is_ready = session.blocks().are_all_done() || self.setup.holds_release;
        let says_ready =
            matches!(phase, Some(HostPhase::Staging | HostPhase::Staged | HostPhase::Active));
        assert!(is_ready || !says_ready, "{} staged with blocks missing; {}", self.name, replay());
        let never_back = phase == Some(HostPhase::Failed) || phase > self.seen_phase;
        assert!(never_back, "{}: {:?} → {phase:?}; {}", self.name, self.seen_phase, replay());
        self.news.active |= phase == Some(HostPhase::Active);
        self.seen_phase = phase;
    }
}

impl Selection {
    /// The headers of what arrives of a train; with payload, read from the datagrams.
    fn take(&mut self, train: &Train, arrived: Mask, twice: Mask) -> &[SymbolHeader] {
        self.headers.clear();
        self.origins.clear();
        for (index, header) in train.headers.iter().enumerate() {
            if arrived >> index & 1 == 0 {
                continue;
            }
            for _ in 0..1 + (twice >> index & 1) {
                self.headers.push(*header);
                self.origins.push(index);
            }
        }
        if !train.datagrams.is_empty() {
            for (header, origin) in self.headers.iter_mut().zip(&self.origins) {
                *header = super::payload::header_of(&train.datagrams[*origin]);
            }
        }
        &self.headers
    }
}
