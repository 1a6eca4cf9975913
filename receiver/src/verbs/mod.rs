//! What this host's administrator asks of the store: requests as plain data, and their answers.
//!
//! Whoever has the store carries them out ([`carry_out`]): the daemon, asked over a socket in the
//! store ([`Server`], [`ask`]), or where none runs the command itself. Not here: the words of the
//! command line, and printing. Invariant: one store, one process that changes it.

mod carry;
mod socket;

use common::id::AppName;
use serde::{Deserialize, Serialize};

pub use self::carry::carry_out;
pub use self::socket::{SOCKET, Server, ask};
use crate::store::Pruned;

/// What is asked. A release is named by its label, its id, or the beginning of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Switch to any release that is staged; ends what a rollback holds.
    Activate {
        /// The app.
        app: AppName,
        /// Which.
        release: String,
        /// Also one that is bad.
        force: bool,
    },
    /// Go back, and stay there until a newer release comes.
    Rollback {
        /// The app.
        app: AppName,
        /// Which; the previous good one if none is named.
        to: Option<String>,
    },
    /// Keep a release.
    Pin {
        /// The app.
        app: AppName,
        /// Which.
        release: String,
        /// Who wants it.
        owner: String,
        /// What for.
        reason: String,
        /// For how long, in seconds; for ever if nothing is said.
        seconds: Option<u64>,
    },
    /// Take a pin away.
    Unpin {
        /// The app.
        app: AppName,
        /// Which.
        release: String,
        /// Whose.
        owner: String,
    },
    /// Remove what nobody needs.
    Prune {
        /// The app; all of them if none is named.
        app: Option<AppName>,
        /// Only say what would go.
        dry_run: bool,
    },
    /// Note whether what lies here of a release is not what was verified.
    Examined {
        /// The app.
        app: AppName,
        /// Which.
        release: String,
        /// What was found.
        damaged: bool,
    },
}

impl Request {
    /// Whether it switches, so that hooks run.
    pub fn is_switch(&self) -> bool {
        matches!(self, Self::Activate { .. } | Self::Rollback { .. })
    }

    /// The app that it is about, if it is about one.
    pub fn app(&self) -> Option<&AppName> {
        match self {
            Self::Activate { app, .. }
            | Self::Rollback { app, .. }
            | Self::Pin { app, .. }
            | Self::Unpin { app, .. }
            | Self::Examined { app, .. } => Some(app),
            Self::Prune { app, .. } => app.as_ref(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done; a line for people.
    Done(String),
    /// What went, or would go.
    Pruned(Pruned),
    /// It is not done, for this reason.
    Refused {
        /// Whose turn it is.
        cause: Cause,
        /// The reason.
        line: String,
    },
}

/// Why a request is not carried out: what the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It names what is not, or what cannot be as it stands.
    Asked,
    /// There is no release that would do.
    Lacking,
    /// Somebody else has what is needed.
    Busy,
    /// The disk or the machine.
    Machine,
}
