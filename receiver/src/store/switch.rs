//! Switching `current`.
//!
//! Not here: when to do it, which is the session's business. Invariant: `current` resolves at
//! every instant to one complete verified release; until the one rename nothing that services see
//! has changed, and after it nothing can fail the activation any more.

use std::path::PathBuf;

use common::id::ReleaseId;
use common::wire::Fault;

use super::app::{App, Known, is_whole, read_current};
use super::error::StoreError;
use super::layout::Layout;
use super::partial::clean;
use super::record::{Held, Verdict};
use super::state::{AppState, Health};
use super::step::Step;

/// Why `current` goes to another release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Whoever is on the network asks: never for one that is older than accepted before.
    Deployed(Health),
    /// The host's own administrator asks, for any that is staged.
    Chosen {
        /// Also one that did not do well.
        even_bad: bool,
    },
    /// The host's own administrator goes back, and wants to stay there.
    WentBack,
    /// The current one is no good.
    FellBack,
}

impl App {
    /// Switches `current` to a staged release; lines for the log about what went wrong after.
    pub(super) fn activate(&self, id: &ReleaseId, way: Way) -> Result<Vec<String>, StoreError> {
        self.go(&mut self.lock(), id, way)
    }

    fn go(
        &self,
        state: &mut AppState,
        id: &ReleaseId,
        way: Way,
    ) -> Result<Vec<String>, StoreError> {
        let known = self.staged(id)?;
        let manifest = &known.manifest;
        let link = Layout::link_text(id, &manifest.label);
        let is_current = read_current(&self.layout)?.as_ref() == Some(&link);
        let is_done = is_current && state.current == Some(*id);
        self.permit(state, &known, way, is_done)?;
        let mut next = state.clone();
        next.held = self.hold_after(state, &known, way)?;
        next.accept(manifest.epoch, manifest.sequence, *id);
        // Going back asks for no signature, and so believes nothing new.
        if let Ok(Some(by)) = self.vouch_known(state, id) {
            next.believe(manifest, by);
        }
        if way == Way::Deployed(Health::Asked) && !is_done {
            next.trial = Some(*id);
        }
        // Before the switch: after a crash between the two, an older release stays refused, a
        // release whose health is asked is not taken for good, and a rollback is not undone.
        self.remember(state, next.clone())?;
        if is_done {
            return Ok(Vec::new());
        }
        let before = read_current(&self.layout)?;
        if !is_current {
            self.switch(id, link)?;
        }
        if let Err(error) = self.show_live() {
            self.switch_again(id, before);
            return Err(error);
        }
        let now = self.world.unix_seconds();
        match way {
            Way::Deployed(health) => next.switch_to(*id, health, now),
            Way::Chosen { .. } => next.switch_to(*id, Health::Assumed, now),
            Way::WentBack | Way::FellBack => next.switch_back(*id, now),
        }
        if let Way::Deployed(_) | Way::Chosen { .. } = way {
            next.held = None;
        }
        Ok(self.settle(state, next))
    }

    /// Refuses a switch that whoever asks for it may not have.
    fn permit(
        &self,
        state: &AppState,
        known: &Known,
        way: Way,
        is_done: bool,
    ) -> Result<(), StoreError> {
        let (app, label) = (&self.config.app, &known.manifest.label);
        let record = state.record(&known.id);
        match (way, record.verdict) {
            (Way::Deployed(_), _) if is_done => Ok(()),
            (Way::Deployed(_), _) => {
                self.vouch_known(state, &known.id)?;
                self.admit(state, &known.manifest, &known.id)?;
                self.held_against(state, known.rank())
            }
            (Way::Chosen { even_bad: false } | Way::WentBack, Verdict::Bad(reason)) => {
                let line = format!("{app} {label} is bad ({reason}): fanhost activate --force");
                Err(StoreError::asked(line))
            }
            (Way::Chosen { even_bad: false } | Way::WentBack, _) if record.damaged => {
                let line =
                    format!("{app} {label} is damaged on this disk: fanhost activate --force");
                Err(StoreError::asked(line))
            }
            (Way::WentBack, Verdict::Unjudged) => {
                let line = format!("{app} {label} was not found good yet: fanhost activate");
                Err(StoreError::asked(line))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a release that a local rollback stands against.
    pub(super) fn held_against(
        &self,
        state: &AppState,
        rank: (u32, u64),
    ) -> Result<(), StoreError> {
        let Some(hold) = state.held.as_ref().filter(|hold| hold.stands_against(rank)) else {
            return Ok(());
        };
        let app = &self.config.app;
        let line = format!("{app} is {hold}: send a newer release, or fanhost activate there");
        Err(StoreError::new(Fault::Held, line))
    }

    /// What holds the app once `known` is current.
    fn hold_after(
        &self,
        state: &AppState,
        known: &Known,
        way: Way,
    ) -> Result<Option<Held>, StoreError> {
        match way {
            // What is held stays so until a newer release is there, which is after the switch.
            Way::Deployed(_) | Way::FellBack | Way::Chosen { .. } => return Ok(state.held.clone()),
            Way::WentBack => {}
        }
        let current = match &state.current {
            Some(current) => self.known(current)?,
            None => None,
        };
        let Some(from) = current.filter(|from| from.id != known.id) else {
            return Ok(state.held.clone());
        };
        let (epoch, sequence) = from.rank().max(known.rank());
        if state.held.as_ref().is_some_and(|hold| hold.stands_against((epoch, sequence))) {
            return Ok(state.held.clone());
        }
        let since = self.world.unix_seconds();
        let (from, label) = (from.id, from.manifest.label);
        Ok(Some(Held { from, label, epoch, sequence, since }))
    }

    /// Switches to `to`, or the previous good release, and stays there; which it is.
    pub(super) fn go_back(
        &self,
        to: Option<ReleaseId>,
    ) -> Result<(ReleaseId, Vec<String>), StoreError> {
        let mut state = self.lock();
        let target = match to {
            Some(to) => to,
            None => self.previous_good(&state)?.ok_or_else(|| {
                let app = &self.config.app;
                let line = format!("{app}: no good release was active before the current one");
                StoreError::lacking(line)
            })?,
        };
        let lines = self.go(&mut state, &target, Way::WentBack)?;
        Ok((target, lines))
    }

    /// Judges a release bad, and switches away from it.
    pub(super) fn fall_back(
        &self,
        id: ReleaseId,
        reason: &str,
    ) -> Result<(Option<ReleaseId>, Vec<String>), StoreError> {
        let mut state = self.lock();
        let mut next = state.clone();
        next.judge(id, Verdict::Bad(reason.to_owned()));
        // First: wherever this host can go, the release is bad.
        self.remember(&mut state, next)?;
        if state.current != Some(id) {
            return Ok((None, Vec::new()));
        }
        let Some(good) = self.previous_good(&state)? else { return Ok((None, Vec::new())) };
        let lines = self.go(&mut state, &good, Way::FellBack)?;
        Ok((Some(good), lines))
    }

    /// Remembers how a release did.
    pub(super) fn judge(&self, id: ReleaseId, verdict: Verdict) -> Result<(), StoreError> {
        let mut state = self.lock();
        let mut next = state.clone();
        next.judge(id, verdict);
        self.remember(&mut state, next)
    }

    /// Remembers whether what lies here of a release is not what was verified.
    pub(super) fn note_condition(&self, id: ReleaseId, damaged: bool) -> Result<(), StoreError> {
        let mut state = self.lock();
        let mut next = state.clone();
        next.note_condition(id, damaged);
        self.remember(&mut state, next)
    }

    /// The good release that was active last before the current one and can be switched to.
    pub(super) fn previous_good(&self, state: &AppState) -> Result<Option<ReleaseId>, StoreError> {
        let (all, _) = self.all_known()?;
        let whole = all.iter().filter(|known| is_whole(&self.layout, known));
        Ok(state.previous_good(whole.map(|known| &known.id)))
    }

    /// A release that may become current: known, and mounted where it must be.
    fn staged(&self, id: &ReleaseId) -> Result<Known, StoreError> {
        let absent = || {
            let line =
                format!("release {} of {} is not staged here", id.0.short(), self.config.app);
            StoreError::new(Fault::SwitchFailed, line)
        };
        let known = self.known(id)?.ok_or_else(absent)?;
        if self.is_staged(&known)? {
            return Ok(known);
        }
        if !is_whole(&self.layout, &known) {
            return Err(absent());
        }
        self.mount(&known)?;
        Ok(known)
    }

    fn switch(&self, id: &ReleaseId, link: PathBuf) -> Result<(), StoreError> {
        let prepared = self.layout.prepared_link(id);
        self.apply(Step::Remove { path: prepared.clone() })?;
        self.apply(Step::Link { to: link, path: prepared.clone() })?;
        self.apply(Step::Switch { from: prepared.clone(), current: self.layout.current() })
            .inspect_err(|_| clean(&*self.world, &Step::Remove { path: prepared }))
    }

    /// Puts `current` back to what it was: the switch of which it is a part failed.
    fn switch_again(&self, id: &ReleaseId, before: Option<PathBuf>) {
        let done = match before {
            Some(link) => self.switch(id, link),
            None => self.apply(Step::Remove { path: self.layout.current() }),
        };
        if let Err(error) = done {
            tracing::warn!("{error}");
        }
    }

    /// What follows the switch. Services are on the new release now: failures are only reported.
    fn settle(&self, state: &mut AppState, next: AppState) -> Vec<String> {
        if next == *state {
            return Vec::new();
        }
        let durable = self.apply(Step::Sync { path: self.layout.root().to_path_buf() });
        let saved = self.save_state(&next);
        *state = next;
        [durable, saved]
            .into_iter()
            .filter_map(Result::err)
            .map(|error| error.to_string())
            .collect()
    }
}
