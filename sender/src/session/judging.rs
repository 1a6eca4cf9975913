//! Waiting for hosts that have the release on trial (PROTOCOL 8.4).
//!
//! Not here: how a release is judged, which is each host's own business.

use std::time::Duration;

use common::count::counted;
use common::time::Timestamp;
use common::wire::{Activation, Trial, TrialVerdict};

use super::host::Host;
use super::phase::Step;
use super::report::Outcome;
use super::{Output, Session, TimerName};

/// A host that said when its verdict comes is given so much longer.
const OVERDUE_AFTER: Duration = Duration::from_secs(3);

/// What a host said of its trial, and until when it may be waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTrial {
    /// What it said last.
    pub trial: Trial,
    due: Timestamp,
}

impl HostTrial {
    /// Heard at `now`.
    pub fn new(now: Timestamp, trial: Trial) -> Self {
        let due = now + trial.left + OVERDUE_AFTER;
        Self { trial, due }
    }

    /// Whether a verdict is still to come.
    pub fn is_pending(&self) -> bool {
        self.trial.verdict == TrialVerdict::Pending
    }
}

impl Session {
    /// Everybody has come as far as the policy goes: the end, unless verdicts are to be waited for.
    pub(super) fn conclude(&mut self, now: Timestamp) {
        let pending = self.roster.tally().on_trial();
        let is_wanted = self.config.announce.activation != Activation::Hold
            && !self.config.verdict_wait.is_zero();
        if pending > 0 && is_wanted && self.advance(Step::Watched) {
            self.judging_until = now + self.config.verdict_wait;
            let who = counted(pending, "host");
            let line = format!("switched; {who} yet to say how the release does");
            self.outputs.push_back(Output::Notice(line));
            self.timers.arm_earlier(TimerName::Sweep, now);
        } else {
            let outcome = self.reached();
            self.end(now, outcome);
        }
    }

    /// Looks whether a verdict is still worth waiting for.
    pub(super) fn consider_judged(&mut self, now: Timestamp) {
        if self.roster.tally().on_trial() == 0 || now >= self.judging_until {
            let outcome = self.reached();
            self.end(now, outcome);
        }
    }

    /// Hosts that would be there, had they not found the release bad and gone back.
    pub(super) fn rolled_back(&self) -> usize {
        self.roster.hosts().iter().filter(|host| host.has_rolled_back()).count()
    }

    /// What is missing is missing because hosts rolled the release back, not for another reason.
    pub(super) fn not_reached(&self, count: usize) -> Outcome {
        match self.rolled_back() {
            0 => Outcome::NotReached,
            hosts if count + hosts >= self.required() => Outcome::RolledBack,
            _ => Outcome::NotReached,
        }
    }
}

impl Host {
    /// What it said of its trial.
    pub fn trial(&self) -> Option<&Trial> {
        self.host_trial().map(|it| &it.trial)
    }

    /// Takes what it says of its trial.
    pub fn set_trial(&mut self, now: Timestamp, trial: Option<&Trial>) {
        if let Some(trial) = trial {
            self.rare_mut().trial = Some(HostTrial::new(now, trial.clone()));
        }
    }

    /// Whether its verdict is awaited.
    pub fn is_on_trial(&self) -> bool {
        self.is_present() && self.host_trial().is_some_and(HostTrial::is_pending)
    }

    /// Whether it found the release bad and went back.
    pub fn has_rolled_back(&self) -> bool {
        let verdict = self.trial().map(|trial| trial.verdict);
        self.twin().is_none() && verdict == Some(TrialVerdict::RolledBack)
    }

    /// A verdict that is overdue is not waited for.
    pub fn give_up_verdict(&mut self, now: Timestamp) {
        if let Some(trial) = &mut self.rare_mut().trial
            && trial.is_pending()
            && now >= trial.due
        {
            trial.trial.verdict = TrialVerdict::Unjudged;
        }
    }
}
