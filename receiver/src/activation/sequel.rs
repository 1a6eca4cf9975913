//! What follows a switch: the host's moment, the hooks, the health, and the way back.
//!
//! Invariant: nothing is judged and nothing switched for a release that is not current any more;
//! whoever switches holds the app's turn.

use std::sync::Arc;
use std::time::Duration;

use common::id::{HostName, ReleaseId};
use common::wire::escaped;
use tracing::{info, warn};

use super::health::{Finding, Health};
use super::trial::{Stage, Trial, Verdict};
use super::{Lane, facts, lock, run_noted};
use crate::hooks::{Cause, Point};
use crate::store::{Store, StoreError, Verdict as Judgement};

/// The sequel of one switch.
pub(super) struct Sequel {
    pub(super) store: Arc<Store>,
    pub(super) host: HostName,
    pub(super) lane: Arc<Lane>,
    pub(super) trial: Arc<Trial>,
}

impl Sequel {
    /// Takes the release through; it ends early where another switch comes.
    pub(super) fn run(&self) {
        let verdict = self.take_through().unwrap_or_else(|error| {
            // What is not written down is asked again after the next start.
            warn!("{}: {error}", self.lane.app);
            Verdict::Unjudged
        });
        self.trial.settle(verdict);
    }

    fn take_through(&self) -> Result<Verdict, StoreError> {
        let delay = self.lane.delay(&self.host, self.trial.facts());
        self.trial.enter(Stage::Splay);
        if self.trial.is_cancelled_within(delay) {
            return Ok(Verdict::Superseded);
        }
        self.trial.enter(Stage::PostActivate);
        if !self.run_hooks() {
            return Ok(Verdict::Superseded);
        }
        let Some(health) = self.lane.health(self.trial.facts().cause) else {
            return self.judge_good(Verdict::Unjudged);
        };
        self.trial.enter(Stage::Health);
        match health.watch(&self.trial) {
            Finding::Good => self.judge_good(Verdict::Good),
            Finding::Bad(ran) => self.fall_back(health, &ran.to_string()),
            Finding::Cancelled => Ok(Verdict::Superseded),
        }
    }

    fn release(&self) -> ReleaseId {
        self.trial.facts().release
    }

    /// Runs the hooks in the app's turn; false where another switch came before.
    fn run_hooks(&self) -> bool {
        let _turn = lock(&self.lane.turn);
        if self.is_over() {
            return false;
        }
        for hook in &self.lane.policy.post_activate {
            run_noted(&self.trial, hook, Point::PostActivate, self.trial.facts());
        }
        true
    }

    /// Whether another switch came, also by somebody else's hand.
    fn is_over(&self) -> bool {
        self.trial.is_cancelled_within(Duration::ZERO)
            || !self.store.is_current(&self.lane.app, &self.release())
    }

    fn judge_good(&self, verdict: Verdict) -> Result<Verdict, StoreError> {
        let _turn = lock(&self.lane.turn);
        if self.is_over() {
            return Ok(Verdict::Superseded);
        }
        self.store.judge(&self.lane.app, self.release(), Judgement::Good)?;
        let (app, label) = (&self.lane.app, &self.trial.facts().label);
        if let (Some(health), Verdict::Good) = (&self.lane.policy.health, verdict) {
            info!("{app} {label}: good: healthy for {} s", health.soak.as_secs_f64());
        }
        Ok(verdict)
    }

    /// Marks the release bad, and goes back to the good one before it.
    fn fall_back(&self, health: &Health, words: &str) -> Result<Verdict, StoreError> {
        let (app, label) = (&self.lane.app, &self.trial.facts().label);
        let times = health.retries + 1;
        let reason = format!("{words} ({times} times in a row)");
        self.trial.blame(&format!("{app} {label}: {reason}"));
        let good = {
            let _turn = lock(&self.lane.turn);
            if self.is_over() {
                return Ok(Verdict::Superseded);
            }
            self.store.fall_back(app, self.release(), &escaped(&reason).to_string())?
        };
        let Some(good) = good else {
            warn!(
                "{app} {label}: bad: {}; there is no good release to go back to",
                escaped(&reason)
            );
            return Ok(Verdict::Bad);
        };
        self.after_falling_back(good, &reason)?;
        Ok(Verdict::RolledBack)
    }

    /// Ends what a crash cut short: the release before is current again, its services do not know.
    pub(super) fn finish_falling_back(&self, good: ReleaseId, reason: &str) {
        if let Err(error) = self.after_falling_back(good, reason) {
            warn!("{}: {error}", self.lane.app);
        }
        self.trial.settle(Verdict::RolledBack);
    }

    /// The services hear that the release before is current again.
    fn after_falling_back(&self, good: ReleaseId, reason: &str) -> Result<(), StoreError> {
        let (app, label) = (&self.lane.app, &self.trial.facts().label);
        let known = self.store.releases_of(app)?;
        let Some(target) = known.iter().find(|it| it.id == good) else { return Ok(()) };
        let bad = known.iter().find(|it| it.id == self.release());
        warn!("{app} {label}: bad: {}; back on {}", escaped(reason), target.label);
        let facts = facts(&self.lane, &self.host, target, bad, Cause::Unhealthy);
        let _turn = lock(&self.lane.turn);
        if !self.store.is_current(app, &good) {
            return Ok(());
        }
        for hook in &self.lane.policy.post_activate {
            run_noted(&self.trial, hook, Point::PostActivate, &facts);
        }
        Ok(())
    }
}
