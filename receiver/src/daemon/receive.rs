//! Datagrams in: trains of symbols to the session and their bytes to the assemblies, messages to
//! whom they concern.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use common::clock::unix_seconds;
use common::drops::{DropCounters, DropReason};
use common::id::{AppName, SessionId};
use common::net::{Family, Interface, find_interface};
use common::seal::Stream;
use common::time::Timestamp;
use common::wire::{
    Activation, Announce, CommonHeader, Fault, Kind, Message, SymbolHeader, WireError, escaped,
    peek_kind, peek_session,
};
use tracing::{info, warn};

use super::digests::Digests;
use super::forgers::Forgers;
use super::meeting::{self, Meeting, Reason};
use super::member::{Joining, Member};
use super::missing;
use super::suspects::Suspects;
use super::{Daemon, DaemonError, data_link};
use crate::pipeline::{Assembly, Task, Work};
use crate::session::{Facts, OrderKind, Session, StoreEvent, Verdict, Via};
use crate::store::Holdings;

/// Symbols that are judged together.
const TRAIN_MAX: usize = 64;

impl Daemon<'_> {
    /// Reads every session's groups once; the number of datagrams.
    pub(super) fn receive_data(&mut self) -> Result<usize, DaemonError> {
        let mut total = 0;
        let wall = unix_seconds();
        let mut intake = Intake {
            wall,
            spare: &mut self.spare,
            verdicts: &mut self.verdicts,
            drops: &mut self.drops,
            suspects: &mut self.suspects,
        };
        for member in self.members.values_mut() {
            for via in [Via::Data, Via::CatchUp] {
                let link = match via {
                    Via::Data => Some(&mut member.link),
                    _ => member.catch_up.as_mut(),
                };
                let Some(link) = link else { continue };
                let count = link.recv(&mut self.batch).map_err(DaemonError::Network)?;
                if count > 0 {
                    total += count;
                    intake.take(self.clock.now(), via, member, self.batch.iter_mut());
                }
            }
        }
        Ok(total)
    }

    /// Reads the control group.
    pub(super) fn receive_control(&mut self) -> Result<bool, DaemonError> {
        let count = self.control.recv(&mut self.batch).map_err(DaemonError::Network)?;
        let (now, wall) = (self.clock.now(), unix_seconds());
        let (mut announces, mut is_unsealed) = (Vec::new(), Vec::new());
        for (from, datagram) in self.batch.iter() {
            match self.seal.open_announce(now, wall, from.ip(), datagram) {
                Ok(announce) => announces.push(announce),
                Err(error) => {
                    self.drops.increment(error);
                    self.suspects.note(now, from.ip(), error.into());
                    if error == WireError::Unsealed
                        && let Ok((header, Message::Announce(it))) = Message::open_plain(datagram)
                    {
                        is_unsealed.push((header, it));
                    }
                }
            }
        }
        for (header, announce) in announces {
            self.meet(&header, &announce);
        }
        for (header, announce) in is_unsealed {
            if self.apps.contains(&announce.app) {
                self.tell_ignored(header.session, &announce, Reason::Insecure);
            }
        }
        Ok(count > 0)
    }

    /// Reads what comes to this host alone: answers, and symbols where it is a straggler.
    pub(super) fn receive_own(&mut self) -> Result<bool, DaemonError> {
        let count = self.own.recv(&mut self.batch).map_err(DaemonError::Network)?;
        let is_of = |datagram: &[u8], id| peek_session(datagram) == Some(id);
        for (_, datagram) in self.batch.iter() {
            if !self.members.keys().any(|id| is_of(datagram, *id)) {
                self.drops.increment(DropReason::UnknownSession);
            }
        }
        let mut intake = Intake {
            wall: unix_seconds(),
            spare: &mut self.spare,
            verdicts: &mut self.verdicts,
            drops: &mut self.drops,
            suspects: &mut self.suspects,
        };
        for (id, member) in &mut self.members {
            let datagrams = self.batch.iter_mut();
            let mut mine = datagrams.filter(|(_, datagram)| is_of(datagram, *id)).peekable();
            if mine.peek().is_some() {
                intake.take(self.clock.now(), Via::Own, member, mine);
            }
        }
        Ok(count > 0)
    }

    fn meet(&mut self, header: &CommonHeader, announce: &Announce) {
        let (id, now) = (header.session, self.clock.now());
        let member = self.members.values().find(|member| member.app == announce.app);
        let joining = self.joining.iter().find(|(_, joining)| joining.announce.app == announce.app);
        let current = member
            .map(Member::current)
            .or_else(|| joining.map(|(id, joining)| joining.current(*id)));
        let policy = meeting::Policy {
            apps: &self.apps,
            is_insecure: self.options.keys.is_none(),
            is_full: self.members.len() + self.joining.len() >= common::limits::HOST_SESSIONS_MAX,
        };
        let is_known = |id| self.members.contains_key(&id) || self.joining.contains_key(&id);
        let is_over = |id| self.ended.contains(&id);
        match meeting::decide(now, id, announce, current, is_known, is_over, policy) {
            Meeting::Known => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.heard_at = now;
                    member.session.handle_announce(now, announce);
                } else if let Some(joining) = self.joining.get_mut(&id) {
                    *joining.announce = announce.clone();
                    joining.header = *header;
                    joining.heard_at = now;
                }
            }
            _ if self.is_leaving => {}
            Meeting::Ignore(reason) => self.tell_ignored(id, announce, reason),
            Meeting::Supersede(old) => {
                info!("{}: another session takes over", announce.app);
                match self.joining.remove(&old) {
                    Some(joining) => joining.work.cancel(),
                    None => self.end_session(old),
                }
                self.join(now, header, announce);
            }
            Meeting::Join => self.join(now, header, announce),
        }
    }

    fn tell_ignored(&mut self, id: SessionId, announce: &Announce, reason: Reason) {
        let is_news = !self.warned.contains(&(id, reason));
        let line = match reason {
            Reason::Insecure => "the sender has no keys, and this host runs without --insecure",
            Reason::Full => "this host takes part in as many sessions as it may",
            _ => return,
        };
        if is_news {
            self.warned.truncate(super::ENDED_MAX);
            self.warned.insert(0, (id, reason));
            let (app, label) = (&announce.app, &announce.label);
            warn!("{app} {label} from {}: {line}", escaped(&announce.sender.host));
        }
    }

    /// Begins to take part: the installer looks what the store has.
    fn join(&mut self, now: Timestamp, header: &CommonHeader, announce: &Announce) {
        let id = header.session;
        let task = Task {
            session: id,
            app: announce.app.clone(),
            release: announce.release,
            image: announce.image,
            lengths: announce.preamble,
            geometry: announce.geometry,
            is_forced: announce.force,
            may_switch: announce.activation != Activation::Hold,
        };
        match self.pipeline.begin(task) {
            Ok(work) => {
                let announce = Box::new(announce.clone());
                let joining = Joining { announce, header: *header, heard_at: now, work };
                self.joining.insert(id, joining);
            }
            Err(error) => self.cannot_join(id, announce, &error),
        }
    }

    /// It is known what the store has: the host can say so in JOIN.
    pub(super) fn joined(&mut self, id: SessionId, holdings: &Holdings) {
        let Some(joining) = self.joining.remove(&id) else { return };
        let Joining { announce, header, heard_at, work } = joining;
        if let Err(error) = self.follow_interface() {
            work.cancel();
            return self.cannot_join(id, &announce, &error);
        }
        match self.member(heard_at, &header, &announce, Arc::clone(&work), holdings) {
            Ok(member) => {
                let sender = (escaped(&announce.sender.host), escaped(&announce.sender.user));
                let (app, label) = (&announce.app, &announce.label);
                info!("{app} {label}: joins, sent by {} on {}", sender.1, sender.0);
                self.members.insert(id, member);
                self.share_memory();
            }
            Err(error) => {
                work.cancel();
                self.cannot_join(id, &announce, &error);
            }
        }
    }

    /// Opens the host's own sockets anew where its interface has another address or number than
    /// when they were opened: feedback would leave with an address that is no longer ours.
    fn follow_interface(&mut self) -> io::Result<()> {
        let interface = find_interface(&self.interface.name).map_err(io::Error::other)?;
        let family = Family::of(self.options.group.ip());
        let same = |it: &Interface| (it.index, it.bind_address(family, 0));
        if same(&interface) != same(&self.interface) {
            let Some(bind) = interface.bind_address(family, 0) else {
                let line = format!("interface {} has lost its address", interface.name);
                return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, line));
            };
            info!("interface {}: its address is {} now", interface.name, bind.ip());
            let link = super::control_link(self.options);
            self.own = self.network.unicast(bind, &interface, &link)?;
            self.control = self.network.join_group(self.options.group, &interface, &link)?;
        }
        self.interface = interface;
        Ok(())
    }

    fn cannot_join(&mut self, id: SessionId, announce: &Announce, error: &io::Error) {
        warn!("{} {}: cannot take part: {error}", announce.app, announce.label);
        self.close(id);
    }

    fn member(
        &self,
        heard_at: Timestamp,
        header: &CommonHeader,
        announce: &Announce,
        work: Arc<Work>,
        holdings: &Holdings,
    ) -> io::Result<Member> {
        let seal = self
            .seal
            .member(header, announce, self.nonce, self.clock.now())
            .map_err(io::Error::other)?;
        let options = data_link(self.options);
        let link = self.network.join_group(announce.data_group, &self.interface, &options)?;
        let geometry = announce.geometry;
        let facts = self.facts(&announce.app, holdings);
        let usable = self.keeper.capabilities().check(&announce.app, announce.kind);
        let symbol = usize::from(geometry.symbol_bytes());
        let symbols =
            usize::from(geometry.block_symbols()) + usize::from(geometry.repair_symbols());
        let mut session = Session::new(heard_at, header.session, announce, facts, rand::random());
        if let Err(detail) = usable {
            let fault = Fault::KindUnsupported;
            session.handle_store(heard_at, StoreEvent::Failed { fault, detail });
        }
        Ok(Member {
            session,
            seal,
            link,
            catch_up: None,
            listen_to: None,
            work,
            assemblies: std::collections::BTreeMap::new(),
            digests: Digests::new(geometry),
            forgers: Forgers::new(announce.feedback),
            geometry,
            feedback: announce.feedback,
            app: announce.app.clone(),
            label: announce.label.clone(),
            started: (announce.sender.started, announce.sender.instance),
            joined_at: self.clock.now(),
            heard_at,
            missing: None,
            why_unanswered: missing::why_unanswered(
                &self.options.host,
                self.options.keys.as_ref().map(|keys| &keys.host),
            ),
            block_bytes: symbol * symbols,
            told: None,
            ending: None,
            kernel_drops: 0,
            own_drops_before: None,
            has_complained: false,
            rejoined_for: String::new(),
            wants_rejoin: false,
        })
    }

    fn facts(&self, app: &AppName, holdings: &Holdings) -> Facts {
        Facts {
            host: self.options.host.clone(),
            machine: self.machine,
            nonce: self.nonce,
            link: self.interface.speed,
            free_bytes: holdings.free_bytes,
            clock_us: common::clock::unix_micros(),
            kinds: self.keeper.capabilities().kinds_of(app),
            holds_release: holdings.release,
            holds_image: holdings.image,
            holds_partial: holdings.partial,
            block_slots: 2,
        }
    }
}

/// Where datagrams of sessions go. What does not open, parse or belong there is counted and left
/// out without a word (PROTOCOL 9.1).
struct Intake<'a> {
    /// Unix seconds, for orders that expire.
    wall: u64,
    spare: &'a mut Vec<Assembly>,
    verdicts: &'a mut Vec<Verdict>,
    drops: &'a mut DropCounters,
    suspects: &'a mut Suspects,
}

/// Symbols of one session that came in a row, the same way.
struct Train<'b> {
    now: Timestamp,
    via: Via,
    headers: Vec<SymbolHeader>,
    symbols: Vec<&'b [u8]>,
}

impl Intake<'_> {
    /// Takes what came to one session at `now`.
    fn take<'b>(
        &mut self,
        now: Timestamp,
        via: Via,
        member: &mut Member,
        datagrams: impl Iterator<Item = (SocketAddr, &'b mut [u8])>,
    ) {
        member.obey_kept(self.spare);
        let (headers, symbols) = (Vec::with_capacity(TRAIN_MAX), Vec::with_capacity(TRAIN_MAX));
        let mut train = Train { now, via, headers, symbols };
        for (from, datagram) in datagrams {
            if let Err(reason) = self.take_one(member, &mut train, from, datagram) {
                self.drops.increment(reason);
                self.suspects.note(now, from.ip(), reason);
            }
        }
        self.flush(member, &mut train);
    }

    fn take_one<'b>(
        &mut self,
        member: &mut Member,
        train: &mut Train<'b>,
        from: SocketAddr,
        datagram: &'b mut [u8],
    ) -> Result<(), DropReason> {
        // PROTOCOL 2.11. The first one of an address is opened: noise is no forgery.
        let is_foreign = member.forgers.is_foreign(from);
        if is_foreign && member.forgers.note_known(from) {
            return Err(DropReason::ForeignSource);
        }
        let kind = peek_kind(datagram);
        let is_symbol = kind.is_some_and(Kind::is_symbol);
        // PROTOCOL 10.6.
        if kind != Some(Kind::JoinAck) && member.seal.needs_proof() && !member.session.is_accepted()
        {
            return Err(DropReason::Unproven);
        }
        if is_foreign {
            return Err(judge_foreign(member, train.via, from, datagram));
        }
        let inner = member.seal.open(stream(train.via), train.now, self.wall, datagram)?;
        if is_symbol {
            let (header, symbol) = SymbolHeader::parse(inner)?;
            check_session(member, header.session)?;
            if symbol.len() != usize::from(member.geometry.symbol_bytes()) {
                return Err(DropReason::OutsideGeometry);
            }
            if member.refuses(&header, symbol) {
                return Err(DropReason::FalseSymbol);
            }
            train.headers.push(header);
            train.symbols.push(symbol);
            if train.headers.len() == TRAIN_MAX {
                self.flush(member, train);
            }
            return Ok(());
        }
        let (header, message) = Message::parse(inner)?;
        check_session(member, header.session)?;
        self.flush(member, train);
        member.heard_at = train.now;
        let taken = handle_message(train.now, train.via, member, header.seq, &message);
        member.obey_kept(self.spare);
        taken
    }

    /// Has the train judged and copies what is kept: the only copy of a payload on its way.
    fn flush(&mut self, member: &mut Member, train: &mut Train<'_>) {
        if train.headers.is_empty() {
            return;
        }
        self.verdicts.clear();
        member.heard_at = train.now;
        member.session.handle_symbols(train.now, train.via, &train.headers, self.verdicts);
        let mut has_conflict = false;
        let symbols = train.headers.iter().zip(&train.symbols);
        for (verdict, (header, bytes)) in self.verdicts.iter().zip(symbols) {
            match *verdict {
                Verdict::Drop(reason) => {
                    self.drops.increment(reason);
                    let is_there = reason == DropReason::Duplicate;
                    has_conflict |= is_there && member.has_another(header, bytes);
                }
                Verdict::Keep { block, symbol } => {
                    member.assembly(block, self.spare).keep(symbol, bytes);
                }
                Verdict::KeepInsteadOf { block, symbol, evicted } => {
                    self.spare.extend(member.assemblies.remove(&evicted));
                    member.assembly(block, self.spare).keep(symbol, bytes);
                }
                Verdict::KeepAndDecode { block, symbol, evicted } => {
                    let evicted = evicted.and_then(|evicted| member.assemblies.remove(&evicted));
                    self.spare.extend(evicted);
                    member.assembly(block, self.spare).keep(symbol, bytes);
                    member.hand_on(block);
                }
            }
        }
        // Only now: what was judged until here was believed.
        if has_conflict {
            member.on_conflict(train.now);
        }
        train.headers.clear();
        train.symbols.clear();
    }
}

/// The stream whose datagrams come this way.
fn stream(via: Via) -> Stream {
    match via {
        Via::Data => Stream::Data,
        Via::CatchUp => Stream::CatchUp,
        Via::Own => Stream::Alone,
    }
}

/// Whether a datagram that opened is of `member`'s session.
fn check_session(member: &Member, session: SessionId) -> Result<(), DropReason> {
    (session == member.id()).then_some(()).ok_or(DropReason::UnknownSession)
}

/// Why a datagram from elsewhere than the sender's address is dropped. One that opens is noted: its
/// source is in the group.
fn judge_foreign(
    member: &mut Member,
    via: Via,
    from: SocketAddr,
    datagram: &mut [u8],
) -> DropReason {
    let opened = member.seal.open_foreign(stream(via), datagram);
    let header = opened.and_then(CommonHeader::parse).map(|(header, _)| header);
    match header.map_err(DropReason::from) {
        Ok(header) => match check_session(member, header.session) {
            Ok(()) => {
                member.forgers.note_foreign(from);
                DropReason::ForeignSource
            }
            Err(reason) => reason,
        },
        Err(reason) => reason,
    }
}

fn handle_message(
    now: Timestamp,
    via: Via,
    member: &mut Member,
    seq: u32,
    message: &Message,
) -> Result<(), DropReason> {
    let session = &mut member.session;
    let mut obey = |kind, order| session.handle_order(now, via, seq, kind, order);
    match message {
        Message::Activate(order) => obey(OrderKind::Activate, order),
        Message::Cancel(order) => obey(OrderKind::Cancel, order),
        Message::Stop(order) => obey(OrderKind::Stop, order),
        Message::JoinAck(ack) => session.handle_join_ack(now, ack),
        Message::CatchUp(catch_up) => session.handle_catch_up(now, catch_up),
        Message::Poll(poll) => session.handle_poll(now, via, seq, poll),
        Message::Advertise(advertise) => session.handle_advertise(now, via, seq, advertise),
        Message::Hashes(hashes) => return member.take_hashes(now, via, seq, hashes),
        // Announces come by the control group, and feedback is not for hosts.
        _ => {}
    }
    Ok(())
}
