//! Switching `current`, and pruning what is no longer needed afterwards.
//!
//! Not here: when to do either, which is the session's business. Invariant: `current` resolves at
//! every instant to one complete verified release; until the one rename nothing that services see
//! has changed, and after it nothing can fail the activation any more.

use std::path::{Path, PathBuf};

use common::id::{ImageKind, ReleaseId};
use common::wire::Fault;

use super::app::{App, Known, is_whole, read_current};
use super::error::StoreError;
use super::holders::{holders, in_use};
use super::layout::Layout;
use super::partial::{clean, open_alone};
use super::reconcile::list;
use super::record::Verdict;
use super::state::{AppState, Health};
use super::step::Step;

/// Why `current` goes to another release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Whoever is on the network asks: never for one that is older than accepted before.
    Deployed(Health),
    /// The host's own administrator asks, for any that is staged.
    Chosen,
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
        if let Way::Deployed(_) = way {
            self.admit(state, manifest, id)?;
        }
        let link = Layout::link_text(id, &manifest.label);
        let is_current = read_current(&self.layout)?.as_ref() == Some(&link);
        let is_done = is_current && state.current == Some(*id);
        let mut next = state.clone();
        next.accept(manifest.epoch, manifest.sequence, *id);
        if way == Way::Deployed(Health::Asked) && !is_done {
            next.trial = Some(*id);
        }
        // Before the switch: after a crash between the two, an older release stays refused, and a
        // release whose health is asked is not taken for good.
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
            Way::Chosen => next.switch_to(*id, Health::Assumed, now),
            Way::FellBack => next.switch_back(*id, now),
        }
        Ok(self.settle(state, next))
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

    /// Removes releases beyond those that are kept, and archives whose trees are in use; lines
    /// about what could not be removed. Apart from the switch, because it may take seconds.
    pub(super) fn prune(&self) -> Vec<String> {
        let state = self.lock();
        let (all, damaged) = match self.all_known() {
            Ok(all) => all,
            Err(error) => return vec![error.to_string()],
        };
        let mut lines: Vec<String> = damaged.iter().map(StoreError::to_string).collect();
        let mut errors = Vec::new();
        let mut left: Vec<&Known> = all.iter().collect();
        let whole = all.iter().filter(|known| is_whole(&self.layout, known));
        let previous = state.previous_good(whole.map(|known| &known.id));
        let used = [state.current, previous];
        let surplus = surplus(&all, used, self.config.keep);
        for (known, use_of_it) in surplus.iter().zip(self.uses(&surplus)) {
            if let Some(by) = use_of_it {
                lines.push(format!("{} {} is kept: {by}", self.config.app, known.manifest.label));
                continue;
            }
            left.retain(|other| other.id != known.id);
            let image = known.manifest.image.digest;
            let is_shared = left.iter().any(|other| other.manifest.image.digest == image);
            errors.extend(self.retire(known, is_shared).err());
        }
        errors.extend(self.remove_archives(&left, used).err());
        errors.extend(self.remove_dead_partials().err());
        lines.extend(errors.iter().map(StoreError::to_string));
        lines
    }

    /// Who uses each of these releases, in words. Where /proc cannot be read, the kernel still
    /// refuses to unmount what is in use.
    fn uses(&self, releases: &[&Known]) -> Vec<Option<String>> {
        let path = |known: &&Known| self.layout.release(&known.id, &known.manifest.label);
        let paths: Vec<_> = releases.iter().map(path).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        if paths.is_empty() {
            return Vec::new();
        }
        match holders(&paths) {
            Ok(census) => {
                if census.unseen > 0 {
                    tracing::warn!("{} processes could not be looked into", census.unseen);
                }
                census.holders.iter().map(|holders| in_use(holders)).collect()
            }
            Err(error) => {
                tracing::warn!("cannot look who uses old releases: {error}");
                vec![None; paths.len()]
            }
        }
    }

    /// Unfinished images that no session has open, but for the one written last: it may yet be
    /// finished, and the others belong to releases from before it.
    fn remove_dead_partials(&self) -> Result<(), StoreError> {
        let mut parts: Vec<_> = list(&self.layout.incoming())?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "part"))
            .filter_map(|path| Some((path.symlink_metadata().ok()?.modified().ok()?, path)))
            .collect();
        parts.sort();
        parts.pop();
        for (_, path) in parts.into_iter().filter(|(_, path)| open_alone(path).is_ok()) {
            self.apply(Step::Remove { path: path.with_extension("journal") })?;
            self.apply(Step::Remove { path })?;
        }
        Ok(())
    }

    /// Archives of releases that are or were current: their trees are what is used.
    fn remove_archives(
        &self,
        left: &[&Known],
        used: [Option<ReleaseId>; 2],
    ) -> Result<(), StoreError> {
        let was_current = |known: &&&Known| {
            known.manifest.image.kind == ImageKind::Tar && used.contains(&Some(known.id))
        };
        for known in left.iter().filter(was_current).filter(|_| !self.config.keep_image) {
            let image = &known.manifest.image;
            let path = self.layout.image(&image.digest, image.kind);
            if path.exists() {
                self.apply(Step::Remove { path })?;
            }
        }
        Ok(())
    }

    /// Removes one release: first what services see, last the manifest that tells of it.
    fn retire(&self, known: &Known, image_is_shared: bool) -> Result<(), StoreError> {
        let image = &known.manifest.image;
        let target = self.layout.release(&known.id, &known.manifest.label);
        if image.kind.is_mounted() {
            if self.is_mounted(&target)? {
                self.apply(Step::Unmount { target: target.clone() })?;
            }
            self.apply(Step::Remove { path: target })?;
        } else if target.exists() {
            let trash = self.layout.trash(&known.id);
            self.apply(Step::Rename { from: target, to: trash.clone() })?;
            self.apply(Step::RemoveTree { path: trash })?;
        }
        if !image_is_shared {
            self.apply(Step::Remove { path: self.layout.image(&image.digest, image.kind) })?;
        }
        self.apply(Step::Remove { path: self.layout.signatures(&known.id) })?;
        self.apply(Step::Remove { path: self.layout.manifest(&known.id) })
    }
}

/// The releases beyond `keep`, given newest first. Never the current, the previous, or one that
/// is newer than the current: it is staged and waits.
fn surplus(all: &[Known], used: [Option<ReleaseId>; 2], keep: usize) -> Vec<&Known> {
    let current = all.iter().find(|known| Some(known.id) == used[0]).map(Known::rank);
    let is_protected = |known: &Known| {
        used.contains(&Some(known.id)) || current.is_none_or(|current| known.rank() > current)
    };
    let protected = used.iter().flatten().count();
    let others = all.iter().filter(|known| !is_protected(known));
    others.skip(keep.saturating_sub(protected)).collect()
}
