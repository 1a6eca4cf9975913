//! What `fanhost status` shows of a running daemon: a board that the daemon keeps up to date.
//!
//! Not here: what the store holds, which is read from the store itself.
//! Invariant: writing to the board never waits for a reader of the socket.

mod print;
mod socket;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use common::drops::DropCounters;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::activation::Progress;

pub use print::{to_json, to_table};
pub use socket::{SOCKET, ask, bind, serve};

/// Sessions shown after their end.
const ENDED_MAX: usize = 8;
/// Version of the snapshot's form.
const SCHEMA: u32 = 1;

/// What a daemon is, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// This host's name.
    pub host: String,
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// When it started, Unix seconds.
    pub started: u64,
    /// The control group.
    pub group: String,
    /// The interface it listens on.
    pub interface: String,
    /// The store.
    pub store: PathBuf,
    /// The apps it takes.
    pub apps: Vec<String>,
    /// The image kinds it can use.
    pub kinds: Vec<String>,
    /// Why it cannot use the others.
    pub complaints: Vec<String>,
}

/// One session as the board shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The app.
    pub app: String,
    /// The release's label.
    pub label: String,
    /// The release's id.
    pub release: String,
    /// The session's number.
    pub session: String,
    /// Where it stands.
    pub phase: String,
    /// Blocks of which nothing more is needed.
    pub blocks_done: u32,
    /// Blocks in all.
    pub blocks_total: u32,
    /// Datagrams received.
    pub received: u32,
    /// Datagrams lost on the way.
    pub lost: u32,
    /// Datagrams that this host's kernel dropped.
    pub kernel_drops: u32,
    /// The kind of fault, `none` without.
    pub fault: String,
    /// Its words.
    pub detail: String,
    /// What somebody forged, and from where; empty where nobody did.
    #[serde(default)]
    pub forged: String,
}

/// A session that is over, as it was at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedSession {
    /// When it ended, Unix seconds.
    pub ended: u64,
    /// Its last status.
    #[serde(flatten)]
    pub session: SessionStatus,
}

/// Datagrams that were dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// The reason.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The whole board at one moment; what the socket answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of the form.
    pub schema: u32,
    /// What the daemon is.
    pub daemon: DaemonFacts,
    /// Sessions in progress.
    pub sessions: Vec<SessionStatus>,
    /// Sessions that are over, latest first.
    pub ended: Vec<EndedSession>,
    /// Datagrams dropped since the start.
    pub drops: Vec<DropCount>,
    /// The last activation of each app, with what its hooks did.
    pub activations: Vec<Progress>,
}

/// Who knows how far the last activation of each app has come.
pub type ActivationSource = Arc<dyn Fn() -> Vec<Progress> + Send + Sync>;

/// The board; clones show the same.
#[derive(Clone)]
pub struct StatusBoard {
    shown: Arc<Mutex<Shown>>,
    daemon: watch::Sender<Option<DaemonFacts>>,
    activations: watch::Sender<Option<ActivationSource>>,
}

#[derive(Debug, Default)]
struct Shown {
    sessions: Vec<SessionStatus>,
    ended: VecDeque<EndedSession>,
    drops: Vec<DropCount>,
}

impl Default for StatusBoard {
    fn default() -> Self {
        let (daemon, activations) = (watch::Sender::new(None), watch::Sender::new(None));
        Self { shown: Arc::default(), daemon, activations }
    }
}

impl StatusBoard {
    /// The daemon has its store and its sockets: from now on the board can be asked for.
    pub fn open(&self, daemon: DaemonFacts) {
        self.daemon.send_replace(Some(daemon));
    }

    /// Replaces what is shown of the sessions in progress.
    pub fn set_sessions(&self, sessions: Vec<SessionStatus>) {
        self.with(|shown| shown.sessions = sessions);
    }

    /// Keeps the last status of a session that ended at `ended`, Unix seconds.
    pub fn add_ended(&self, session: SessionStatus, ended: u64) {
        self.with(|shown| {
            shown.sessions.retain(|it| it.session != session.session);
            shown.ended.push_front(EndedSession { ended, session });
            shown.ended.truncate(ENDED_MAX);
        });
    }

    /// Replaces the counts of dropped datagrams.
    pub fn set_drops(&self, drops: &DropCounters) {
        let counts = drops.iter().map(|(reason, count)| (reason.to_string(), count));
        let counts = counts.map(|(reason, count)| DropCount { reason, count }).collect();
        self.with(|shown| shown.drops = counts);
    }

    /// Shows what `source` says of activations, whenever the board is looked at.
    pub fn show_activations(&self, source: ActivationSource) {
        self.activations.send_replace(Some(source));
    }

    /// The sessions in progress.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.with(|shown| shown.sessions.clone())
    }

    /// All that is shown; nothing before [`StatusBoard::open`].
    pub fn snapshot(&self) -> Option<Snapshot> {
        let daemon = self.daemon.borrow().clone()?;
        let source = self.activations.borrow().clone();
        let activations = source.map_or_else(Vec::new, |source| source());
        Some(self.with(|shown| Snapshot {
            schema: SCHEMA,
            daemon,
            sessions: shown.sessions.clone(),
            ended: shown.ended.iter().cloned().collect(),
            drops: shown.drops.clone(),
            activations,
        }))
    }

    /// Waits for [`StatusBoard::open`].
    pub async fn opened(&self) -> DaemonFacts {
        let mut daemon = self.daemon.subscribe();
        let facts = daemon.wait_for(Option::is_some).await;
        let facts = facts.expect("this board holds the sender").clone();
        facts.expect("it was waited for")
    }

    fn with<T>(&self, use_shown: impl FnOnce(&mut Shown) -> T) -> T {
        use_shown(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn daemon(store: &str) -> DaemonFacts {
        DaemonFacts {
            host: "web-1".into(),
            version: "0.1.0".into(),
            process: 4711,
            started: 1_700_000_000,
            group: "239.192.70.70:7070".into(),
            interface: "eth0".into(),
            store: store.into(),
            apps: vec!["shop".into()],
            kinds: vec!["tar".into(), "raw".into()],
            complaints: vec!["ext2: not root".into()],
        }
    }

    pub(super) fn session(number: &str) -> SessionStatus {
        SessionStatus {
            app: "shop".into(),
            label: "2.0".into(),
            release: "ab".repeat(32),
            session: number.into(),
            phase: "receiving".into(),
            blocks_done: 3,
            blocks_total: 12,
            received: 990,
            lost: 10,
            kernel_drops: 2,
            fault: "none".into(),
            detail: String::new(),
            forged: String::new(),
        }
    }

    #[test]
    fn a_session_that_ends_moves_to_the_ended_ones() {
        let board = StatusBoard::default();
        assert_eq!(board.snapshot(), None, "a board without a daemon shows nothing");
        board.open(daemon("/var/lib/fanfare"));
        board.set_sessions(vec![session("1"), session("2")]);
        board.add_ended(session("1"), 1_700_000_100);
        let shown = board.snapshot().unwrap();
        assert_eq!(shown.sessions, [session("2")]);
        assert_eq!(shown.ended[0].session, session("1"));
        for number in 0..100 {
            board.add_ended(session(&number.to_string()), number);
        }
        let ended = board.snapshot().unwrap().ended;
        assert_eq!((ended.len(), ended[0].ended), (ENDED_MAX, 99));
    }
}
