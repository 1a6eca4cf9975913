//! What is remembered of one release: when it came, how it did, who wants it kept.
//!
//! Not here: whether it is on disk, mounted or current, which is read from there. Times are Unix
//! seconds of a clock that may have been wrong; nothing is ordered by them: [`Record::turn`] is.

use std::fmt;

use common::id::{ImageKind, Label, ReleaseId};
use serde::{Deserialize, Serialize};

use crate::utc::utc;

/// How a release did where it was active.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody knows: it was not active yet, or its health is still being asked.
    #[default]
    Unjudged,
    /// It was switched to, and was healthy where that was asked.
    Good,
    /// It was not, for this reason.
    Bad(String),
}

/// Somebody's wish that a release stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Whose: a release has one pin of an owner at most.
    pub owner: String,
    /// What for.
    pub reason: String,
    /// Since when.
    pub since: u64,
    /// Until when; without it, until it is taken away.
    pub until: Option<u64>,
}

impl Pin {
    /// Whether it still counts at `now`.
    pub fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The host's administrator went back: until a newer release arrives, nobody on the network changes
/// what is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What was gone back from.
    pub from: ReleaseId,
    /// What people call it.
    pub label: Label,
    /// Epoch of the newest release that it stands against: that one, as a rule.
    pub epoch: u32,
    /// Its sequence.
    pub sequence: u64,
    /// Since when.
    pub since: u64,
}

impl Held {
    /// Whether it stands against a release of this rank: epoch and sequence.
    pub fn stands_against(&self, rank: (u32, u64)) -> bool {
        rank <= (self.epoch, self.sequence)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held by a local rollback from {} since {}", self.label, utc(self.since))
    }
}

/// What a release was, for who asks when it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What people call it.
    pub label: Label,
    /// What its image was.
    pub kind: ImageKind,
    /// Length of its image.
    pub bytes: u64,
    /// Epoch of its sequence.
    pub epoch: u32,
    /// Its sequence.
    pub sequence: u64,
}

/// What is remembered of one release.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When its image was whole.
    pub received: Option<u64>,
    /// When services could have used it first.
    pub staged: Option<u64>,
    /// When `current` came to point at it last.
    pub activated: Option<u64>,
    /// When `current` went on to another one; nothing while it is current.
    pub deactivated: Option<u64>,
    /// Its place in the order of activations; 0 before the first, or from before they were counted.
    pub turn: u64,
    /// How it did.
    pub verdict: Verdict,
    /// What lies on this disk is not what was verified, until it is received or verified anew.
    pub damaged: bool,
    /// Who wants it kept.
    pub pins: Vec<Pin>,
    /// When it was removed.
    pub pruned: Option<u64>,
    /// What it was.
    pub about: Option<About>,
}

impl Record {
    /// Whether it may be gone back to: it did well, and lies here as it came.
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Good && !self.damaged
    }
}
