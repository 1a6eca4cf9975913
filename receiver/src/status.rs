//! What `fanhost status` shows of a running daemon: a board that the daemon keeps up to date.

use std::sync::{Arc, Mutex, PoisonError};

/// One session as the board shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
}

/// The board; clones show the same.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard {
    sessions: Arc<Mutex<Vec<SessionStatus>>>,
}

impl StatusBoard {
    /// Replaces what is shown.
    pub fn set_sessions(&self, sessions: Vec<SessionStatus>) {
        *self.sessions.lock().unwrap_or_else(PoisonError::into_inner) = sessions;
    }

    /// What is shown.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
