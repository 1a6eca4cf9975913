//! `fanhost run`: listens, takes part in sessions, one after another or several at once.
//!
//! One thread owns the sockets and the sessions; it touches no disk and takes no lock on the way of
//! a datagram. Decides nothing about the protocol; that is [`crate::session`].
#![expect(clippy::disallowed_methods, reason = "the host's identity comes from its machine")]

mod digests;
mod forgers;
mod forgery;
mod meeting;
mod member;
mod missing;
mod receive;
mod suspects;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;
use common::digest::Digest;
use common::drops::DropCounters;
use common::id::{AppName, BootNonce, HostName, SessionId};
use common::limits;
use common::net::{
    Buffers, Family, Interface, InterfaceError, Link, LinkOptions, Network, RecvBatch, StopFlag,
    Waker, default_interface, find_interface, wait,
};
use common::seal::{HostKeys, HostSeal};
use common::time::Timestamp;
use tracing::{info, warn};

use crate::activation::{Activator, Policy};
use crate::housekeeping;
use crate::keeper::Keeper;
use crate::pipeline::{Assembly, Manners, Pipeline, Report};
use crate::session::Verdict;
use crate::status::{ActivationSource, DaemonFacts, SessionStatus, StatusBoard};
use crate::store::{AppConfig, Store, StoreError};
use member::{Joining, Member};
use suspects::Suspects;

/// Sessions remembered after their end, so that a repeated announce does not begin them again.
const ENDED_MAX: usize = 64;
/// Counters of the kernel and the status board are looked at so often.
const METER_INTERVAL: Duration = Duration::from_millis(200);
/// A membership that cannot be renewed is tried again after this.
const REJOIN_RETRY: Duration = Duration::from_secs(5);
/// Buffers of a data group, which is only received from: 130 ms at 1 Gbit/s.
const DATA_BUFFERS: Buffers = Buffers { receive_bytes: 16 << 20, send_bytes: FEEDBACK_BYTES };
/// After fewer datagrams than this the next are let gather: a stream of trains would else wake this
/// thread for each one, which took a tenth of a host's processor time.
const GATHER_BELOW: usize = 256;
/// For so long: 40 datagrams at 1 Gbit/s, 3 % of the buffer at 10 Gbit/s.
const GATHER_TIME: Duration = Duration::from_micros(500);
/// Buffers for announces.
const CONTROL_BUFFERS: Buffers = Buffers { receive_bytes: 1 << 20, send_bytes: FEEDBACK_BYTES };
/// Buffers for answers, and for symbols to this host alone: 64 ms at 500 Mbit/s.
const OWN_BUFFERS: Buffers = Buffers { receive_bytes: 4 << 20, send_bytes: FEEDBACK_BYTES };
/// What may wait to be sent: a HAVE of fifty parts.
const FEEDBACK_BYTES: usize = 64 << 10;
/// Share of the symbol memory that fragments of frames may take.
const FRAGMENT_SHARE_BYTES: usize = 24 << 20;

/// What the administrator asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name or address of the interface; the one towards the group if not given.
    pub interface: Option<String>,
    /// The control group.
    pub group: SocketAddr,
    /// The store.
    pub store: PathBuf,
    /// The apps that this host takes.
    pub apps: Vec<AppConfig>,
    /// What is done around their switches; nothing where an app has none.
    pub policies: BTreeMap<AppName, Policy>,
    /// Its name.
    pub host: HostName,
    /// Ends after the first session.
    pub once: bool,
    /// What opens and closes datagrams; none believes senders without keys.
    pub keys: Option<Arc<HostKeys>>,
    /// Receive from this address only.
    pub source: Option<IpAddr>,
    /// What the data path takes of the machine.
    pub manners: Manners,
}

/// Why a daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No such interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The interface has no address of the group's family.
    #[error("interface {interface} has no {family} address; give another with --interface")]
    Address {
        /// Its name.
        interface: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A socket could not be opened or was lost.
    #[error("{0}")]
    Network(io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread or an event could not be made.
    #[error("cannot start: {0}")]
    Resources(io::Error),
}

/// The daemon's state, owned by its one thread.
struct Daemon<'a> {
    options: &'a Options,
    network: &'a dyn Network,
    clock: Clock,
    seal: HostSeal,
    interface: Interface,
    machine: u64,
    nonce: BootNonce,
    apps: Vec<AppName>,
    keeper: Arc<dyn Keeper>,
    control: Box<dyn Link>,
    own: Box<dyn Link>,
    pipeline: Pipeline,
    joining: BTreeMap<SessionId, Joining>,
    members: BTreeMap<SessionId, Member>,
    ended: Vec<SessionId>,
    spare: Vec<Assembly>,
    batch: RecvBatch,
    verdicts: Vec<Verdict>,
    drops: DropCounters,
    suspects: Suspects,
    /// As many of them as the board shows.
    shown_drops: u64,
    outbound: Vec<u8>,
    waker: Waker,
    next_rejoin: Timestamp,
    next_meter: Timestamp,
    warned: Vec<(SessionId, meeting::Reason)>,
    has_ended_one: bool,
    /// Told to stop: sessions are left, none is joined.
    is_leaving: bool,
    board: &'a StatusBoard,
}

/// Opens the store in this process and takes part in sessions until `stop` is raised.
///
/// # Errors
/// When the daemon cannot start, or loses its sockets.
pub fn run(
    options: &Options,
    network: &dyn Network,
    stop: &StopFlag,
    board: &StatusBoard,
) -> Result<(), DaemonError> {
    // What cannot work is said before the store is touched.
    interface(options)?;
    let store = Store::open(&options.store, options.apps.clone())?;
    store.take_cleaned().iter().chain(&store.trusted()).for_each(|line| info!("{line}"));
    warn!("one process: what listens to the network also mounts and switches, and is not confined");
    let store = Arc::new(store);
    let (shared, host) = (Arc::clone(&store), options.host.clone());
    let activator = Arc::new(Activator::new(shared, host, &options.apps, &options.policies));
    let beside = housekeeping::beside(&store, &activator, options.manners);
    let _beside = beside.map_err(DaemonError::Resources)?;
    activator.resume();
    let done = run_with(options, Arc::clone(&activator) as Arc<dyn Keeper>, network, stop, board);
    while done.is_ok() && !stop.is_raised() && !activator.is_idle() {
        wait(&[stop.as_fd()], Some(METER_INTERVAL)).map_err(DaemonError::Network)?;
    }
    activator.stop();
    done
}

fn interface(options: &Options) -> Result<Interface, InterfaceError> {
    match &options.interface {
        Some(name) => find_interface(name),
        None => default_interface(Family::of(options.group.ip())),
    }
}

/// Takes part in sessions until `stop` is raised; what they change is `keeper`'s business.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    options: &Options,
    keeper: Arc<dyn Keeper>,
    network: &dyn Network,
    stop: &StopFlag,
    board: &StatusBoard,
) -> Result<(), DaemonError> {
    let family = Family::of(options.group.ip());
    let interface = interface(options)?;
    let link = control_link(options);
    let control =
        network.join_group(options.group, &interface, &link).map_err(DaemonError::Network)?;
    let bind = interface.bind_address(family, 0).ok_or_else(|| DaemonError::Address {
        interface: interface.name.clone(),
        family: if family == Family::V4 { "IPv4" } else { "IPv6" },
    })?;
    let link = LinkOptions { buffers: OWN_BUFFERS, ..link };
    let own = network.unicast(bind, &interface, &link).map_err(DaemonError::Network)?;
    let waker = Waker::new().map_err(DaemonError::Resources)?;
    let pipeline = Pipeline::start(Arc::clone(&keeper), options.manners, waker.clone())
        .map_err(DaemonError::Resources)?;
    let clock = Clock::start();
    let machine = machine();
    announce_start(options, &interface, &*keeper);
    // Sessions open sockets of their own; what the kernel will grant them is said before.
    let data = LinkOptions { buffers: DATA_BUFFERS, ..link };
    let probe = network.unicast(bind, &interface, &data).map_err(DaemonError::Network)?;
    probe.buffers().complaint(&DATA_BUFFERS).iter().for_each(|line| warn!("{line}"));
    board.open(facts(options, &interface, &*keeper));
    board.show_activations(activations(options, &keeper));
    let mut daemon = Daemon {
        options,
        network,
        clock,
        seal: options.keys.clone().map_or_else(HostSeal::plain, HostSeal::new),
        interface,
        machine,
        nonce: BootNonce(rand::random()),
        apps: options.apps.iter().map(|app| app.app.clone()).collect(),
        keeper,
        control,
        own,
        pipeline,
        joining: BTreeMap::new(),
        members: BTreeMap::new(),
        ended: Vec::new(),
        spare: Vec::new(),
        batch: RecvBatch::new(),
        verdicts: Vec::new(),
        drops: DropCounters::default(),
        suspects: Suspects::default(),
        shown_drops: 0,
        outbound: Vec::new(),
        waker,
        next_rejoin: clock.now() + limits::REJOIN_INTERVAL,
        next_meter: Timestamp::ZERO,
        warned: Vec::new(),
        has_ended_one: false,
        is_leaving: false,
        board,
    };
    daemon.run(stop)
}

/// How the sockets for announces and answers are opened.
fn control_link(options: &Options) -> LinkOptions {
    LinkOptions { source: options.source, buffers: CONTROL_BUFFERS, ..LinkOptions::default() }
}

fn announce_start(options: &Options, interface: &Interface, keeper: &dyn Keeper) {
    let capabilities = keeper.capabilities();
    let kinds: Vec<_> = capabilities.kinds.iter().map(|kind| kind.as_str()).collect();
    let apps: Vec<_> = options.apps.iter().map(|app| app.app.as_str()).collect();
    info!(
        "{} listens to {} on {} for {}; store {}; kinds {}",
        options.host,
        options.group,
        interface.name,
        apps.join(", "),
        options.store.display(),
        kinds.join(" ")
    );
    for line in capabilities.complaints.iter().chain(&keeper.take_complaints()) {
        warn!("{line}");
    }
    match &options.keys {
        None => warn!("--insecure: any sender on this network is believed"),
        Some(keys) => missing::foreign_key(&options.host, &keys.host).iter().for_each(|line| {
            warn!("{line}");
        }),
    }
}

/// How a group that symbols come to is listened to.
fn data_link(options: &Options) -> LinkOptions {
    LinkOptions { source: options.source, buffers: DATA_BUFFERS, ..LinkOptions::default() }
}

/// What `fanhost status` says of the last activation of each app.
fn activations(options: &Options, keeper: &Arc<dyn Keeper>) -> ActivationSource {
    let apps: Vec<AppName> = options.apps.iter().map(|app| app.app.clone()).collect();
    let keeper = Arc::clone(keeper);
    // Of an app that nothing can be said of, nothing is shown.
    Arc::new(move || {
        let shown = apps.iter().filter_map(|app| keeper.progress(app).ok().flatten());
        shown.collect()
    })
}

/// What `fanhost status` says of the daemon itself.
fn facts(options: &Options, interface: &Interface, keeper: &dyn Keeper) -> DaemonFacts {
    let capabilities = keeper.capabilities();
    DaemonFacts {
        host: options.host.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        started: common::clock::unix_seconds(),
        group: options.group.to_string(),
        interface: interface.name.clone(),
        store: options.store.clone(),
        apps: options.apps.iter().map(|app| app.app.to_string()).collect(),
        kinds: capabilities.kinds.iter().map(ToString::to_string).collect(),
        complaints: capabilities.complaints,
    }
}

/// Tells machines of one name apart; the same for every process of a machine.
fn machine() -> u64 {
    let id = std::fs::read("/etc/machine-id").unwrap_or_default();
    let digest = Digest::of(&id);
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Daemon<'_> {
    fn run(&mut self, stop: &StopFlag) -> Result<(), DaemonError> {
        loop {
            // 1. What came in, most urgent first: data, control, answers, the workers' reports.
            let data = self.receive_data()?;
            let has_input = (data > 0) | self.receive_control()? | self.receive_own()?;
            let has_reports = self.take_reports();
            // 2. Time, and what the sessions want done.
            let now = self.clock.now();
            if stop.is_raised() {
                self.leave(now);
            }
            let deadline = self.serve_members(now);
            self.keep_house(now);
            if let Some(why) = self.reason_to_end() {
                info!("{} {why}", self.options.host);
                return Ok(());
            }
            // 3. Rest until something happens.
            if (1..GATHER_BELOW).contains(&data) {
                wait(&[], Some(GATHER_TIME)).map_err(DaemonError::Network)?;
            } else if !has_input && !has_reports {
                let until = deadline.min(self.next_rejoin).min(self.next_meter_if_busy());
                self.sleep(stop, until.since(self.clock.now()))?;
            }
        }
    }

    fn next_meter_if_busy(&self) -> Timestamp {
        let is_idle = self.members.is_empty() && self.drops.total() == self.shown_drops;
        if is_idle { Timestamp::NEVER } else { self.next_meter }
    }

    fn sleep(&self, stop: &StopFlag, time: Duration) -> Result<(), DaemonError> {
        if time.is_zero() {
            return Ok(());
        }
        let mut fds: Vec<BorrowedFd<'_>> =
            vec![self.control.as_fd(), self.own.as_fd(), self.waker.as_fd(), stop.as_fd()];
        for member in self.members.values() {
            fds.push(member.link.as_fd());
            fds.extend(member.catch_up.as_ref().map(|link| link.as_fd()));
        }
        let time = time.min(limits::REJOIN_INTERVAL);
        wait(&fds, Some(time)).map_err(DaemonError::Network)?;
        self.waker.drain();
        stop.drain();
        Ok(())
    }

    fn take_reports(&mut self) -> bool {
        let mut has_any = false;
        while let Some(report) = self.pipeline.take() {
            has_any = true;
            match report {
                Report::Recycled(assembly) => self.spare.push(assembly),
                Report::Held(session, holdings) => self.joined(session, &holdings),
                Report::Suspect(session, block, assembly) => {
                    let now = self.clock.now();
                    match self.members.get_mut(&session) {
                        Some(member) => member.take_back(now, block, assembly),
                        None => self.spare.push(assembly),
                    }
                }
                Report::Event(session, event) => {
                    let now = self.clock.now();
                    if let Some(member) = self.members.get_mut(&session) {
                        member.on_event(now, event);
                    }
                }
            }
        }
        has_any
    }

    /// Runs timers and outputs of every session; returns the earliest deadline.
    fn serve_members(&mut self, now: Timestamp) -> Timestamp {
        let mut earliest = Timestamp::NEVER;
        let mut over = Vec::new();
        for (id, member) in &mut self.members {
            member.session.handle_timeout(now);
            match member.drain(&mut *self.own, &mut self.outbound, &mut self.spare) {
                Some(deadline) => earliest = earliest.min(deadline),
                None => over.push(*id),
            }
            if std::mem::take(&mut member.wants_rejoin) {
                self.next_rejoin = now;
            }
            if let Some(group) = member.listen_to.take() {
                match self.network.join_group(group, &self.interface, &data_link(self.options)) {
                    Ok(link) => member.catch_up = Some(link),
                    // The sender will serve this host by its own address.
                    Err(error) => warn!("{}: cannot listen to {group}: {error}", member.app),
                }
            }
        }
        for id in over {
            self.end_session(id);
        }
        earliest
    }

    fn end_session(&mut self, id: SessionId) {
        let Some(member) = self.members.remove(&id) else { return };
        self.board.add_ended(member.status(), common::clock::unix_seconds());
        let may_come_back = member.end(self.clock.now());
        self.has_ended_one = true;
        if !may_come_back {
            self.close(id);
        }
        self.share_memory();
        self.show_sessions();
        if self.members.is_empty() {
            // An idle host gives its memory back.
            self.spare = Vec::new();
        }
    }

    /// Has no more of a session, whatever is announced.
    fn close(&mut self, id: SessionId) {
        if self.ended.len() == ENDED_MAX {
            self.ended.remove(0);
        }
        self.ended.push(id);
    }

    /// Divides the symbol memory among the sessions.
    fn share_memory(&mut self) {
        let count = self.members.len().max(1);
        let share = (limits::SYMBOL_MEMORY_BYTES - FRAGMENT_SHARE_BYTES) / count;
        for member in self.members.values_mut() {
            let slots = share / member.block_bytes;
            member.session.set_block_slots(slots.max(2));
        }
    }

    /// Memberships, counters, complaints.
    fn keep_house(&mut self, now: Timestamp) {
        if now >= self.next_rejoin {
            self.next_rejoin = now + limits::REJOIN_INTERVAL;
            if let Err(error) = self.control.rejoin() {
                warn!("the membership of {} is not renewed: {error}", self.options.group);
                self.next_rejoin = now + REJOIN_RETRY;
            }
        }
        if now >= self.next_meter {
            self.next_meter = now + METER_INTERVAL;
            let own_drops = self.own.kernel_drops();
            for member in self.members.values_mut() {
                member.read_meters(own_drops);
                member.look_for_sender(now);
            }
            self.show_sessions();
            self.board.set_drops(&self.drops);
            self.suspects.tell(now);
            self.shown_drops = self.drops.total();
            self.keeper.take_complaints().iter().for_each(|line| warn!("{line}"));
        }
    }

    fn show_sessions(&self) {
        let sessions: Vec<SessionStatus> = self.members.values().map(Member::status).collect();
        self.board.set_sessions(sessions);
    }

    /// Begins to end: every sender is told.
    fn leave(&mut self, now: Timestamp) {
        if !std::mem::replace(&mut self.is_leaving, true) {
            self.joining.values().for_each(|joining| joining.work.cancel());
            self.joining.clear();
            self.members.values_mut().for_each(|member| member.session.handle_shutdown(now));
        }
    }

    fn reason_to_end(&self) -> Option<&'static str> {
        match (self.is_leaving, self.options.once && self.has_ended_one) {
            _ if !self.members.is_empty() => None,
            (true, _) => Some("stopped"),
            (false, true) => Some("ended after one session"),
            (false, false) => None,
        }
    }
}
