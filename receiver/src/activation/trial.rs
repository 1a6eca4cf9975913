//! One activation: how far it has come, and how what follows the switch is cut short.
#![expect(clippy::disallowed_methods, reason = "it says how long something may still take")]

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use common::id::ReleaseId;
use serde::{Deserialize, Serialize};

use super::lock;
use crate::hooks::{Facts, Point, Ran};

/// What became of a release that was switched to, or was about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Not known yet, and worth waiting for.
    Pending,
    /// Nobody asks how the release does.
    Unjudged,
    /// Its health was asked, and it does well.
    Good,
    /// It does not, and the release before it is current again.
    RolledBack,
    /// It does not, and there is nothing to go back to: it stays.
    Bad,
    /// A hook refused it before the switch.
    Refused,
    /// Another switch came before the verdict.
    Superseded,
}

/// Where an activation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Hooks are asked whether it may be.
    PreActivate,
    /// Switched; its hooks wait for this host's moment.
    Splay,
    /// They run.
    PostActivate,
    /// Its health is asked.
    Health,
    /// Nothing more will come.
    Over,
}

/// How far an activation has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which activation since the daemon's start.
    pub number: u64,
    /// The app.
    pub app: String,
    /// The release's label.
    pub label: String,
    /// The release's id.
    pub release: ReleaseId,
    /// When it began, Unix seconds.
    pub since: u64,
    /// Where it stands.
    pub stage: Stage,
    /// What is known of the release.
    pub verdict: Verdict,
    /// Time until the verdict is there at the latest; zero where none is awaited.
    #[serde(rename = "left_seconds", with = "common::hook::seconds")]
    pub left: Duration,
    /// What ran, in order; of the probes the last one.
    pub results: Vec<Ran>,
    /// How often its health was asked.
    pub probes: u32,
    /// Why the release is bad, where it is.
    pub reason: String,
}

impl Progress {
    /// Where it stands, in words for people.
    pub fn standing(&self) -> &'static str {
        match (self.stage, self.verdict) {
            (Stage::PreActivate, _) => "its pre-activate hooks run",
            (Stage::Splay, _) => "is current; its hooks wait for their moment",
            (Stage::PostActivate, _) => "is current; its hooks run",
            (Stage::Health, _) => "is current; its health is asked",
            (Stage::Over, Verdict::Good) => "is good",
            (Stage::Over, Verdict::RolledBack) => "was bad; the release before it is current again",
            (Stage::Over, Verdict::Bad) => "is bad and stays: there is no good release before it",
            (Stage::Over, Verdict::Refused) => "was refused by a hook",
            (Stage::Over, Verdict::Superseded) => "was superseded before it was through",
            (Stage::Over, _) if self.results.is_empty() => "was switched to; it has no hooks",
            (Stage::Over, _) => "its hooks have run",
        }
    }
}

/// One activation.
#[derive(Debug)]
pub(super) struct Trial {
    facts: Facts,
    shown: Mutex<Shown>,
    is_cancelled: Mutex<bool>,
    cancelled: Condvar,
}

#[derive(Debug)]
struct Shown {
    progress: Progress,
    due: Option<Instant>,
}

impl Trial {
    pub(super) fn new(number: u64, facts: Facts) -> Self {
        let progress = Progress {
            number,
            app: facts.app.to_string(),
            label: facts.label.to_string(),
            release: facts.release,
            since: common::clock::unix_seconds(),
            stage: Stage::PreActivate,
            verdict: Verdict::Unjudged,
            left: Duration::ZERO,
            results: Vec::new(),
            probes: 0,
            reason: String::new(),
        };
        Self {
            facts,
            shown: Mutex::new(Shown { progress, due: None }),
            is_cancelled: Mutex::new(false),
            cancelled: Condvar::new(),
        }
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Progress {
        let shown = lock(&self.shown);
        let left = shown.due.map(|due| due.saturating_duration_since(Instant::now()));
        Progress { left: left.unwrap_or_default(), ..shown.progress.clone() }
    }

    /// A verdict comes within `time`.
    pub(super) fn expect_within(&self, time: Duration) {
        let mut shown = lock(&self.shown);
        shown.progress.verdict = Verdict::Pending;
        shown.due = Some(Instant::now() + time);
    }

    /// Nobody need wait for what comes.
    pub(super) fn expect_nothing(&self) {
        let mut shown = lock(&self.shown);
        (shown.progress.verdict, shown.due) = (Verdict::Unjudged, None);
    }

    pub(super) fn enter(&self, stage: Stage) {
        lock(&self.shown).progress.stage = stage;
    }

    /// Why it is bad.
    pub(super) fn blame(&self, reason: &str) {
        reason.clone_into(&mut lock(&self.shown).progress.reason);
    }

    /// It is over, with this result.
    pub(super) fn settle(&self, verdict: Verdict) {
        let mut shown = lock(&self.shown);
        shown.due = None;
        (shown.progress.stage, shown.progress.verdict) = (Stage::Over, verdict);
    }

    pub(super) fn add(&self, ran: Ran) {
        lock(&self.shown).progress.results.push(ran);
    }

    /// A probe came back; only the last one is kept.
    pub(super) fn note_probe(&self, ran: Ran) {
        let mut shown = lock(&self.shown);
        shown.progress.probes += 1;
        shown.progress.results.retain(|it| it.point != Point::Health);
        shown.progress.results.push(ran);
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.shown).progress.stage == Stage::Over
    }

    /// Cuts every wait short, now and later.
    pub(super) fn cancel(&self) {
        *lock(&self.is_cancelled) = true;
        self.cancelled.notify_all();
    }

    /// Waits for `time`; true at once when it is cancelled.
    pub(super) fn is_cancelled_within(&self, time: Duration) -> bool {
        let guard = lock(&self.is_cancelled);
        let waited = self.cancelled.wait_timeout_while(guard, time, |is_cancelled| !*is_cancelled);
        *waited.map_or_else(|error| error.into_inner().0, |(guard, _)| guard)
    }
}
