//! Whether a release does well where it is current: asked again and again for a while.
//!
//! Not here: what follows from the answer. A run of failures that is longer than the retries is
//! bad; one that has begun when the soak ends is brought to its end first.
#![expect(clippy::disallowed_methods, reason = "a soak takes real time")]

use std::time::{Duration, Instant};

use super::trial::Trial;
use crate::hooks::{Hook, HttpTarget, Point, Ran, get, run};

/// What a probe may take unless configured otherwise.
pub const PROBE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Between two probes: a service that was just reloaded needs a moment, and is asked a few times.
pub const PROBE_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
/// Failures in a row that are forgiven.
pub const PROBE_RETRIES_DEFAULT: u32 = 2;
/// The most of them that may be.
pub const PROBE_RETRIES_MAX: u32 = 100;
/// How long a release is on trial.
pub const SOAK_DEFAULT: Duration = Duration::from_secs(30);
/// The longest that it may be: a sender and an operator wait for it.
pub const SOAK_MAX: Duration = Duration::from_secs(3600);

/// How the health of an app is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// What one probe may take.
    pub timeout: Duration,
    /// Between two of them.
    pub interval: Duration,
    /// Failures in a row that are forgiven.
    pub retries: u32,
    /// For how long it is asked.
    pub soak: Duration,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A command whose status is the answer.
    Command(Vec<String>),
    /// A GET.
    Http {
        /// Where.
        target: HttpTarget,
        /// The Host header, where it is not the address.
        host: Option<String>,
        /// The status that is health.
        status: u16,
    },
}

/// What came of a soak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Good,
    /// With the last answer.
    Bad(Ran),
    Cancelled,
}

impl Health {
    /// What it takes to find a release bad that never answers.
    pub fn patience(&self) -> Duration {
        self.timeout * (self.retries + 1) + self.interval * self.retries
    }

    /// Until when a verdict is there, whatever happens.
    pub fn longest(&self) -> Duration {
        self.soak + self.patience()
    }

    /// Asks until it is known how the release of `trial` does.
    pub(super) fn watch(&self, trial: &Trial) -> Finding {
        let end = Instant::now() + self.soak;
        let mut failures = 0;
        loop {
            let ran = self.ask(trial);
            let is_success = ran.is_success();
            trial.note_probe(ran.clone());
            let now = Instant::now();
            match is_success {
                true if now >= end => return Finding::Good,
                true => failures = 0,
                false if failures == self.retries => return Finding::Bad(ran),
                false => failures += 1,
            }
            // The last probe of a release that does well is at the end of the soak.
            let left = end.saturating_duration_since(now);
            let wait = if is_success { self.interval.min(left) } else { self.interval };
            if trial.is_cancelled_within(wait) {
                return Finding::Cancelled;
            }
        }
    }

    fn ask(&self, trial: &Trial) -> Ran {
        match &self.probe {
            Probe::Command(command) => {
                let hook = Hook { command: command.clone(), timeout: self.timeout };
                run(&hook, Point::Health, trial.facts())
            }
            Probe::Http { target, host, status } => {
                get(target, host.as_deref(), *status, self.timeout)
            }
        }
    }
}
