//! Switching `current`, and pruning what is no longer needed afterwards.
//!
//! Not here: when to do either, which is the session's business. Invariant: `current` resolves at
//! every instant to one complete verified release; until the one rename nothing that services see
//! has changed, and after it nothing can fail the activation any more.

use common::id::{ImageKind, ReleaseId};
use common::wire::Fault;

use super::app::{App, Known, read_current};
use super::error::StoreError;
use super::layout::Layout;
use super::partial::{clean, open_alone};
use super::reconcile::list;
use super::state::AppState;
use super::step::Step;

/// Which releases may become current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// None older than accepted before: whoever is on the network asks.
    NotOlder,
    /// Any that is staged: the host's own administrator asks.
    Any,
}

impl App {
    /// Switches `current` to a staged release; lines for the log about what went wrong after.
    pub(super) fn activate(&self, id: &ReleaseId, rule: Rule) -> Result<Vec<String>, StoreError> {
        let mut state = self.lock();
        let known = self.staged(id)?;
        let manifest = &known.manifest;
        if rule == Rule::NotOlder {
            self.admit(&state, manifest, id)?;
        }
        let link = Layout::link_text(id, &manifest.label);
        let is_current = read_current(&self.layout)?.as_ref() == Some(&link);
        let mut next = state.clone();
        next.accept(manifest.epoch, manifest.sequence, *id);
        // Before the switch: after a crash between the two, an older release stays refused.
        if next != *state {
            self.save_state(&next)?;
            *state = next.clone();
        }
        if !is_current {
            self.switch(id, link)?;
        }
        next.switch_to(*id);
        Ok(self.settle(&mut state, next))
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
        let target = self.layout.release(id, &known.manifest.label);
        if !known.manifest.image.kind.is_mounted() || !target.is_dir() {
            return Err(absent());
        }
        self.mount(&known)?;
        Ok(known)
    }

    fn switch(&self, id: &ReleaseId, link: std::path::PathBuf) -> Result<(), StoreError> {
        let prepared = self.layout.prepared_link(id);
        self.apply(Step::Remove { path: prepared.clone() })?;
        self.apply(Step::Link { to: link, path: prepared.clone() })?;
        self.apply(Step::Switch { from: prepared.clone(), current: self.layout.current() })
            .inspect_err(|_| clean(&*self.world, &Step::Remove { path: prepared }))
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
        let mut errors = damaged;
        let mut left: Vec<&Known> = all.iter().collect();
        for known in surplus(&all, &state, self.config.keep) {
            left.retain(|other| other.id != known.id);
            let image = known.manifest.image.digest;
            let is_shared = left.iter().any(|other| other.manifest.image.digest == image);
            errors.extend(self.retire(known, is_shared).err());
        }
        errors.extend(self.remove_archives(&left, &state).err());
        errors.extend(self.remove_dead_partials().err());
        errors.iter().map(StoreError::to_string).collect()
    }

    /// Unfinished images that no session has open, but for the one written last: it may yet be
    /// finished, and the others belong to releases from before it.
    fn remove_dead_partials(&self) -> Result<(), StoreError> {
        let mut parts: Vec<_> = list(&self.layout.incoming())?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "part"))
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
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
    fn remove_archives(&self, left: &[&Known], state: &AppState) -> Result<(), StoreError> {
        let was_current = |known: &&&Known| {
            known.manifest.image.kind == ImageKind::Tar
                && [state.current, state.previous].contains(&Some(known.id))
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
fn surplus<'a>(all: &'a [Known], state: &AppState, keep: usize) -> Vec<&'a Known> {
    let rank = |known: &Known| (known.manifest.epoch, known.manifest.sequence);
    let current = all.iter().find(|known| Some(known.id) == state.current).map(rank);
    let is_protected = |known: &Known| {
        [state.current, state.previous].contains(&Some(known.id))
            || current.is_none_or(|current| rank(known) > current)
    };
    let protected = [state.current, state.previous].iter().flatten().count();
    let others = all.iter().filter(|known| !is_protected(known));
    others.skip(keep.saturating_sub(protected)).collect()
}
