//! Which releases stay, and why: the invariants of pruning, as one decision.
//!
//! Pure: from what is remembered and what was seen. Invariant: a release with a reason is never
//! removed, however short space is; one without goes at the next prune.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use common::id::ReleaseId;
use serde::{Deserialize, Serialize};

use super::limits::ABANDONED_AGE;
use super::record::{Record, Verdict};
use super::state::AppState;
use crate::utc::utc;

/// Why a release is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Keep {
    /// Services are on it.
    Active,
    /// It is what this host goes back to.
    PreviousGood,
    /// Somebody wants it.
    Pinned {
        /// Who.
        owner: String,
        /// What for.
        reason: String,
        /// Until when, Unix seconds.
        until: Option<u64>,
    },
    /// Somebody uses it.
    InUse {
        /// Who and how, in words.
        how: String,
    },
    /// It was current a moment ago: requests that began on it may still read it.
    Draining {
        /// Until when, Unix seconds.
        until: u64,
    },
    /// A transfer builds on it.
    Transfer,
    /// It was never active and is newer than the current one.
    Waiting,
    /// It is one of the last good ones.
    Good,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::PreviousGood => f.write_str("previous good"),
            Self::Pinned { owner, reason, until } => {
                write!(f, "pinned by {owner}")?;
                if let Some(until) = until {
                    write!(f, " until {}", utc(*until))?;
                }
                if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
            Self::InUse { how } => f.write_str(how),
            Self::Draining { until } => write!(f, "drains until {}", utc(*until)),
            Self::Transfer => f.write_str("a transfer builds on it"),
            Self::Waiting => f.write_str("waits to be activated"),
            Self::Good => f.write_str("among the last good ones"),
        }
    }
}

/// What the administrator decides about keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Good releases kept, the current and the previous one among them.
    pub keep: usize,
    /// How long a release stays after `current` went on.
    pub drain_after: Duration,
}

/// What was seen of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: ReleaseId,
    /// What makes it newer or older: epoch and sequence.
    pub(super) rank: (u32, u64),
    /// Everything of it is on disk.
    pub(super) is_whole: bool,
    /// `current` points at it.
    pub(super) is_linked: bool,
    /// A transfer builds on it or its image.
    pub(super) is_in_transfer: bool,
    /// Who uses it, in words.
    pub(super) user: Option<String>,
}

/// Why each of `all`, given newest first, is kept at `now`, Unix seconds; no reason, and it goes.
pub(super) fn reasons(all: &[Seen], state: &AppState, policy: Policy, now: u64) -> Vec<Vec<Keep>> {
    let is_active = |seen: &Seen| seen.is_linked || state.current == Some(seen.id);
    let active_rank = all.iter().filter(|seen| is_active(seen)).map(|seen| seen.rank).max();
    let whole = all.iter().filter(|seen| seen.is_whole);
    let previous = state.previous_good(whole.clone().map(|seen| &seen.id));
    let mut good: Vec<(u64, (u32, u64), ReleaseId)> = whole
        .map(|seen| (seen, state.record(&seen.id)))
        .filter(|(_, record)| record.is_good())
        .map(|(seen, record)| (record.turn, seen.rank, seen.id))
        .collect();
    good.sort_by(|a, b| b.cmp(a));
    let good: BTreeSet<ReleaseId> = good.iter().take(policy.keep).map(|good| good.2).collect();
    let waits = |seen: &&Seen, record: &Record| {
        record.turn == 0
            && record.verdict == Verdict::Unjudged
            && !record.damaged
            && active_rank.is_none_or(|active| seen.rank > active)
    };
    let newest_waiting = all.iter().find(|seen| waits(seen, &state.record(&seen.id)));
    let newest_waiting = newest_waiting.map(|seen| seen.id);
    let why = |seen: &Seen| {
        let record = state.record(&seen.id);
        let mut why = Vec::new();
        why.extend(is_active(seen).then_some(Keep::Active));
        why.extend((previous == Some(seen.id)).then_some(Keep::PreviousGood));
        why.extend(record.pins.iter().filter(|pin| pin.holds(now)).map(|pin| Keep::Pinned {
            owner: pin.owner.clone(),
            reason: pin.reason.clone(),
            until: pin.until,
        }));
        why.extend(seen.user.clone().map(|how| Keep::InUse { how }));
        let drained = record.deactivated.map(|at| at.saturating_add(policy.drain_after.as_secs()));
        why.extend(drained.filter(|until| now < *until).map(|until| Keep::Draining { until }));
        why.extend(seen.is_in_transfer.then_some(Keep::Transfer));
        let is_fresh =
            record.staged.is_some_and(|at| now < at.saturating_add(ABANDONED_AGE.as_secs()));
        let is_waiting = waits(&seen, &record) && (newest_waiting == Some(seen.id) || is_fresh);
        why.extend(is_waiting.then_some(Keep::Waiting));
        why.extend(good.contains(&seen.id).then_some(Keep::Good));
        why
    };
    all.iter().map(why).collect()
}
