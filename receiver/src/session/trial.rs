//! What the sender hears of the release's trial on this host (PROTOCOL 4.17, 8.4).

use common::time::Timestamp;
use common::wire::{Fault, Trial, TrialVerdict};

use super::Session;
use super::phase::Step;

impl Session {
    /// The trial has come further: a verdict is news, and so is every result.
    pub(super) fn on_trial(&mut self, now: Timestamp, trial: Trial, detail: String) {
        let verdict = trial.verdict;
        self.trial = Some((trial, now));
        if matches!(verdict, TrialVerdict::RolledBack | TrialVerdict::Bad) {
            self.advance(Step::Condemned);
            (self.fault, self.detail) = (Fault::Unhealthy, detail);
        }
        self.hasten_status(now);
    }

    /// The trial as it is told now: less time is left than when it was heard of.
    pub(super) fn trial(&self, now: Timestamp) -> Option<Trial> {
        let (trial, heard_at) = self.trial.as_ref()?;
        Some(Trial { left: trial.left.saturating_sub(now.since(*heard_at)), ..trial.clone() })
    }

    /// This host ends: its verdict will not come in this session.
    pub(super) fn abandon_trial(&mut self) {
        if let Some((trial, _)) = &mut self.trial
            && trial.verdict == TrialVerdict::Pending
        {
            trial.verdict = TrialVerdict::Unjudged;
        }
    }
}
