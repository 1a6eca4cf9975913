//! One session that the daemon takes part in: its state machine, its socket, its bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use common::geometry::Geometry;
use common::id::{AppName, BlockIndex, Label, SessionId};
use common::limits::SENDER_SILENCE_MAX;
use common::net::Link;
use common::seal::MemberSeal;
use common::time::Timestamp;
use common::wire::{Announce, CommonHeader, Fault, HostPhase, Message, escaped};
use tracing::{debug, info, warn};

use super::digests::Digests;
use super::forgers::Forgers;
use super::meeting::Current;
use super::missing::{Missing, held};
use crate::pipeline::{Assembly, Work};
use crate::session::{Ending, Kept, Meters, Output, Session, StoreEvent};
use crate::status::SessionStatus;

/// A session that the daemon will take part in once it is known what the store has of its release.
pub struct Joining {
    /// The newest announce.
    pub announce: Box<Announce>,
    /// Its header, which names the key.
    pub header: CommonHeader,
    /// When that was heard.
    pub heard_at: Timestamp,
    /// The way to the workers.
    pub work: Arc<Work>,
}

impl Joining {
    /// The session, as others of its app meet it.
    pub fn current(&self, id: SessionId) -> Current {
        let sender = &self.announce.sender;
        Current { id, started: (sender.started, sender.instance), heard_at: self.heard_at }
    }
}

/// A session in progress.
pub struct Member {
    /// The state machine.
    pub session: Session,
    /// What opens and closes the session's datagrams.
    pub seal: MemberSeal,
    /// The data group's socket.
    pub link: Box<dyn Link>,
    /// The socket of the stragglers' group, once this host is one.
    pub catch_up: Option<Box<dyn Link>>,
    /// A group that the session wants to listen to and does not yet.
    pub listen_to: Option<SocketAddr>,
    /// The way to the workers.
    pub work: Arc<Work>,
    /// Blocks under assembly.
    pub assemblies: BTreeMap<BlockIndex, Assembly>,
    /// Digests that symbols are held against, once somebody forged some.
    pub digests: Digests,
    /// Who forges.
    pub forgers: Forgers,
    /// How the session is cut.
    pub geometry: Geometry,
    /// Where feedback goes.
    pub feedback: SocketAddr,
    /// The app.
    pub app: AppName,
    /// The release's label.
    pub label: Label,
    /// When its sender started, and its number.
    pub started: (u64, u64),
    /// When it began to join.
    pub joined_at: Timestamp,
    /// When its sender was last heard.
    pub heard_at: Timestamp,
    /// What it misses of its sender.
    pub missing: Option<Missing>,
    /// Why the sender may not answer.
    pub why_unanswered: String,
    /// Memory that one block takes.
    pub block_bytes: usize,
    /// The phase that the log has told of.
    pub told: Option<HostPhase>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Datagrams that the kernel dropped, as last read.
    pub kernel_drops: u32,
    /// What the socket for answers had dropped when it was first looked at.
    pub own_drops_before: Option<u64>,
    /// Whether a failure to send was told.
    pub has_complained: bool,
    /// Why memberships were renewed last, as told; not told again until that is over.
    pub rejoined_for: String,
    /// Whether the membership of the control group is to be renewed, too.
    pub wants_rejoin: bool,
}

impl Member {
    /// Something happened to the session's bytes.
    pub fn on_event(&mut self, now: Timestamp, event: StoreEvent) {
        self.session.handle_store(now, event);
    }

    /// An empty assembly for `block`, from spare memory if there is some.
    pub fn assembly(&mut self, block: BlockIndex, spare: &mut Vec<Assembly>) -> &mut Assembly {
        let geometry = &self.geometry;
        self.assemblies.entry(block).or_insert_with(|| {
            let mut assembly = spare.pop().unwrap_or_default();
            let k = geometry.source_symbols_of(block);
            assembly.reset(k, geometry.symbol_bytes(), geometry.repair_symbols());
            assembly
        })
    }

    /// Hands a block with enough symbols on.
    pub fn hand_on(&mut self, block: BlockIndex) {
        let mut assembly = self.assemblies.remove(&block).expect("the session counts its symbols");
        if self.session.needs_proof() {
            assembly.set_proven();
        }
        self.work.submit(block, assembly);
    }

    /// Does what the session wants with what is kept, before more of the same blocks comes.
    pub fn obey_kept(&mut self, spare: &mut Vec<Assembly>) {
        while let Some(order) = self.session.poll_kept() {
            self.obey(order, spare);
        }
    }

    fn obey(&mut self, order: Kept, spare: &mut Vec<Assembly>) {
        match order {
            Kept::Discard(block) => spare.extend(self.assemblies.remove(&block)),
            Kept::HandOn(block) => self.hand_on(block),
            Kept::ForgetDigests(block) => self.digests.forget(block),
        }
    }

    /// Does what the session wants; `None` when it is over, else its deadline.
    pub fn drain(
        &mut self,
        own: &mut dyn Link,
        outbound: &mut Vec<u8>,
        spare: &mut Vec<Assembly>,
    ) -> Option<Timestamp> {
        let deadline = loop {
            match self.session.poll_output() {
                Output::Send(message) => self.send(own, outbound, &message),
                Output::Listen(group) => self.listen_to = Some(group),
                Output::Kept(order) => self.obey(order, spare),
                Output::Switch => self.work.activate(),
                Output::Rejoin => self.rejoin(),
                Output::Ended(ending) => {
                    self.ending = Some(ending);
                    break None;
                }
                Output::Idle(deadline) => {
                    break Some(deadline.map_or(Timestamp::NEVER, |deadline| deadline.at));
                }
            }
        };
        self.tell_phase();
        deadline
    }

    fn send(&mut self, own: &mut dyn Link, out: &mut Vec<u8>, message: &Message) {
        out.clear();
        self.seal.close(message, out);
        // Feedback that is lost is asked for again; a network that is down is told once.
        if let Err(error) = own.send(self.feedback, out, out.len())
            && !std::mem::replace(&mut self.has_complained, true)
        {
            warn!("{} {}: cannot answer the sender: {error}", self.app, self.label);
        }
    }

    /// Has switches and routers hear again that this host listens.
    fn rejoin(&mut self) {
        let (_, why) = self.session.fault();
        if self.rejoined_for != why {
            why.clone_into(&mut self.rejoined_for);
            warn!("{} {}: {why}; the groups are joined anew", self.app, self.label);
        }
        self.wants_rejoin = true;
        if let Err(error) = self.link.rejoin() {
            warn!("{} {}: the data group is not joined anew: {error}", self.app, self.label);
        }
    }

    fn tell_phase(&mut self) {
        let phase = self.session.phase();
        if self.told.replace(phase) == Some(phase) {
            return;
        }
        let (app, label) = (&self.app, &self.label);
        match phase {
            HostPhase::Receiving => info!("{app} {label}: receiving"),
            HostPhase::Staged => info!("{app} {label}: staged"),
            HostPhase::Active => info!("{app} {label}: active"),
            HostPhase::Failed => {
                let (fault, detail) = self.session.fault();
                warn!("{app} {label}: failed ({}): {}", fault.as_str(), escaped(detail));
            }
            _ => debug!("{app} {label}: {phase}"),
        }
    }

    /// Reads the counters that STATUS and RATE carry; `own_drops` are those of the socket for
    /// answers, by which a straggler may be served, too.
    pub fn read_meters(&mut self, own_drops: u64) {
        let catch_up_drops = self.catch_up.as_mut().map_or(0, |link| link.kernel_drops());
        let own_drops = own_drops.saturating_sub(*self.own_drops_before.get_or_insert(own_drops));
        let kernel_drops = self.link.kernel_drops() + catch_up_drops + own_drops;
        let kernel_drops = u32::try_from(kernel_drops).unwrap_or(u32::MAX);
        let backlog_kib = u32::try_from(self.work.backlog_bytes() / 1024).unwrap_or(u32::MAX);
        self.kernel_drops = kernel_drops;
        let alarm = self.forgers.alarm();
        self.session.set_meters(Meters { kernel_drops, backlog_kib, alarm });
    }

    /// Looks what is missed of the sender at `now`; that it does not answer is told once.
    pub fn look_for_sender(&mut self, now: Timestamp) {
        let missing = Missing::of(&self.session, now, self.joined_at, self.heard_at);
        let before = std::mem::replace(&mut self.missing, missing);
        if self.session.fault().0 == Fault::None {
            self.rejoined_for.clear();
        }
        if let (Some(it @ Missing::Answer(_)), None) = (missing, before) {
            let line = it.line(&self.session, &self.why_unanswered);
            warn!("{} {}: {line}", self.app, self.label);
        }
    }

    /// What `fanhost status` shows.
    pub fn status(&self) -> SessionStatus {
        let (received, lost) = self.session.traffic();
        let missed = self.missing.map(|it| it.line(&self.session, &self.why_unanswered));
        let (fault, detail) = match (&self.missing, &missed) {
            (Some(missing), Some(line)) => (missing.word(), line.as_str()),
            _ => {
                let (fault, detail) = self.session.fault();
                (fault.as_str(), detail)
            }
        };
        SessionStatus {
            app: self.app.to_string(),
            label: self.label.to_string(),
            release: self.session.release().to_string(),
            session: self.session.id().to_string(),
            phase: self.session.phase().to_string(),
            blocks_done: self.session.blocks().done(),
            blocks_total: self.session.blocks().total(),
            received,
            lost,
            kernel_drops: self.kernel_drops,
            fault: fault.to_owned(),
            detail: escaped(detail).to_string(),
            forged: self.forgers.alarm().as_ref().map_or_else(String::new, ToString::to_string),
        }
    }

    /// Leaves the session. True when the same session may be joined again.
    pub fn end(self, now: Timestamp) -> bool {
        self.work.cancel();
        let (app, label) = (&self.app, &self.label);
        let phase = self.session.phase();
        if let Some(alarm) = self.forgers.alarm() {
            warn!("{app} {label}: {alarm}; none of it was used");
        }
        match self.ending {
            Some(Ending::Stopped) if phase == HostPhase::Active => {
                debug!("{app} {label}: session over");
            }
            Some(Ending::Stopped) => info!("{app} {label}: session over while {phase}"),
            Some(Ending::Cancelled) => info!("{app} {label}: cancelled by the sender"),
            Some(Ending::SenderLost) => {
                let (silence, held) = (SENDER_SILENCE_MAX.as_secs(), held(&self.session));
                warn!(
                    "{app} {label}: the sender fell silent in mid-session and is given up after \
                     {silence} s; {held}, and kept for when it is sent again"
                );
            }
            Some(Ending::Refused(verdict)) => warn!("{app} {label}: not taken in: {verdict}"),
            Some(Ending::Left) => info!("{app} {label}: left while {phase}"),
            None => {
                let (silence, held) = (now.since(self.heard_at).as_secs_f64(), held(&self.session));
                info!(
                    "{app} {label}: left for another session, {silence:.1} s after its sender was \
                     last heard; {held}"
                );
            }
        }
        self.ending == Some(Ending::SenderLost)
    }

    /// The session, as others of its app meet it.
    pub fn current(&self) -> Current {
        Current { id: self.id(), started: self.started, heard_at: self.heard_at }
    }

    /// The session's number.
    pub fn id(&self) -> SessionId {
        self.session.id()
    }
}
