//! Pruning: removing what [`super::retention`] finds no reason to keep, and what was given up.
//!
//! Not here: the reasons. Invariant: a release goes as a whole, first what services see, last the
//! manifest that tells of it, so that a crash in between leaves what the next prune removes.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::digest::Digest;
use common::id::{AppName, ImageKind, Label, ReleaseId};
use common::units::ByteSize;
use serde::{Deserialize, Serialize};

use super::app::{App, Known, is_whole, read_current};
use super::error::StoreError;
use super::layout::Layout;
use super::limits::ABANDONED_AGE;
use super::partial::open_alone;
use super::reconcile::list;
use super::retention::{Keep, Seen, reasons};
use super::state::AppState;
use super::step::Step;

/// What becomes of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Of which app.
    pub app: AppName,
    /// What people call it.
    pub label: Label,
    /// Its identity.
    pub id: ReleaseId,
    /// Why it stays; without a reason it goes.
    pub kept: Vec<Keep>,
    /// What its going frees.
    pub bytes: u64,
}

/// Something of no release that goes: an unfinished image, one that no release names, an archive
/// whose tree is what services use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// Where it lies.
    pub path: PathBuf,
    /// What its going frees.
    pub bytes: u64,
}

/// What a prune does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// Every release, newest first within an app.
    pub releases: Vec<Planned>,
    /// What else goes.
    pub leftovers: Vec<Leftover>,
    /// What could not be removed, in a line each.
    pub complaints: Vec<String>,
}

impl Pruned {
    /// The releases that go.
    pub fn gone(&self) -> impl Iterator<Item = &Planned> {
        self.releases.iter().filter(|planned| planned.kept.is_empty())
    }

    /// What all of it frees.
    pub fn bytes(&self) -> u64 {
        let releases = self.gone().map(|planned| planned.bytes);
        releases.chain(self.leftovers.iter().map(|leftover| leftover.bytes)).sum()
    }

    /// The releases that stay for no other reason than that somebody uses them, in a line each.
    pub fn in_use(&self) -> Vec<String> {
        let line = |planned: &Planned| match &planned.kept[..] {
            [Keep::InUse { how }] => {
                Some(format!("{} {} is kept: {how}", planned.app, planned.label))
            }
            _ => None,
        };
        self.releases.iter().filter_map(line).collect()
    }

    /// What went, for the log; nothing when nothing did.
    pub fn lines(&self) -> Vec<String> {
        let releases = self.gone().map(|planned| {
            let Planned { app, label, bytes, .. } = planned;
            format!("{app} {label}: pruned, {} freed", ByteSize(*bytes))
        });
        let leftovers = self.leftovers.iter().map(|leftover| {
            format!("{} removed, {} freed", leftover.path.display(), ByteSize(leftover.bytes))
        });
        releases.chain(leftovers).collect()
    }
}

/// How eagerly given up things go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Once they are old.
    Tidiness,
    /// At once, but for those of this image.
    SpaceFor(Digest),
}

impl App {
    /// What a prune would do now.
    pub(super) fn plan(&self, need: Need) -> Result<Pruned, StoreError> {
        let state = self.lock();
        let (all, damaged) = self.all_known()?;
        self.plan_of(&state, &all, damaged.is_empty(), need)
    }

    fn plan_of(
        &self,
        state: &AppState,
        all: &[Known],
        is_all: bool,
        need: Need,
    ) -> Result<Pruned, StoreError> {
        let reasons = self.reasons(state, all)?;
        let kept = || all.iter().zip(&reasons).filter(|(_, why)| !why.is_empty());
        let mut counted: BTreeSet<Digest> = kept().map(|(it, _)| it.digest()).collect();
        let mut releases = Vec::new();
        for (known, kept) in all.iter().zip(&reasons) {
            let goes = kept.is_empty();
            let bytes = if goes { self.bytes_of(known, counted.insert(known.digest())) } else { 0 };
            releases.push(Planned {
                app: self.config.app.clone(),
                label: known.manifest.label.clone(),
                id: known.id,
                kept: kept.clone(),
                bytes,
            });
        }
        let mut paths = self.abandoned(all, is_all, need)?;
        paths.extend(self.archives(state, kept().map(|(known, _)| known)));
        let leftover = |path: PathBuf| Leftover { bytes: disk_bytes(&path), path };
        let leftovers = paths.into_iter().map(leftover).collect();
        Ok(Pruned { releases, leftovers, complaints: Vec::new() })
    }

    fn reasons(&self, state: &AppState, all: &[Known]) -> Result<Vec<Vec<Keep>>, StoreError> {
        let place = |known: &Known| self.layout.release(&known.id, &known.manifest.label);
        let places: Vec<PathBuf> = all.iter().map(place).collect();
        let users = self.world.users(&places);
        let users = users.map_err(|error| StoreError::of_read("/proc", &error))?;
        let mut seen = see(&self.layout, all, users);
        for (seen, known) in seen.iter_mut().zip(all) {
            seen.is_in_transfer = self.is_in_transfer(known);
        }
        Ok(reasons(&seen, state, self.config.policy, self.world.unix_seconds()))
    }

    /// Removes what nobody needs, and remembers what went; trees are only put aside
    /// ([`App::empty_trash`]).
    pub(super) fn prune(&self, need: Need) -> Result<Pruned, StoreError> {
        let mut state = self.lock();
        let (all, damaged) = self.all_known()?;
        let mut pruned = self.plan_of(&state, &all, damaged.is_empty(), need)?;
        let mut errors = damaged;
        let mut next = state.clone();
        let goes = |planned: &Planned| planned.kept.is_empty();
        let due: Vec<usize> = (0..all.len()).filter(|at| goes(&pruned.releases[*at])).collect();
        let mut left: BTreeSet<usize> = (0..all.len()).collect();
        let mut failed = BTreeSet::new();
        for at in due {
            left.remove(&at);
            let is_shared = left.iter().any(|other| all[*other].digest() == all[at].digest());
            match self.retire(&all[at], is_shared) {
                Ok(()) => next.note_pruned(all[at].id, self.world.unix_seconds()),
                // The kernel knows of processes that this one may not look at.
                Err(error) if error.is_busy() => {
                    let how = "in use; fanhost holders, run by root, says by whom".into();
                    let planned = &mut pruned.releases[at];
                    (planned.kept, planned.bytes) = (vec![Keep::InUse { how }], 0);
                    left.insert(at);
                }
                Err(error) => {
                    failed.insert(all[at].id);
                    left.insert(at);
                    errors.push(error);
                }
            }
        }
        pruned.releases.retain(|planned| !failed.contains(&planned.id));
        for leftover in &pruned.leftovers {
            let path = leftover.path.clone();
            errors.extend(self.apply(Step::Remove { path }).err());
        }
        errors.extend(self.remember(&mut state, next).err());
        pruned.complaints = errors.iter().map(StoreError::to_string).collect();
        Ok(pruned)
    }

    /// Bytes that a release's going frees; `takes_image`: its image goes with it.
    fn bytes_of(&self, known: &Known, takes_image: bool) -> u64 {
        let image = &known.manifest.image;
        let path = self.layout.image(&image.digest, image.kind);
        let of_image = if takes_image { disk_bytes(&path) } else { 0 };
        let place = self.layout.release(&known.id, &known.manifest.label);
        // An archive's headers and padding come near to a filesystem's inodes and blocks.
        let has_tree = image.kind == ImageKind::Tar && place.is_dir();
        of_image + if has_tree { image.bytes } else { 0 }
    }

    /// Unfinished images that nobody has open, their journals, and images that no release names;
    /// the latter only where `is_all` says that no manifest is unreadable.
    pub(super) fn abandoned(
        &self,
        all: &[Known],
        is_all: bool,
        need: Need,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let is_due = |path: &PathBuf| match need {
            Need::Tidiness => self.is_old(path),
            Need::SpaceFor(image) => !file_name(path).starts_with(&image.to_string()),
        };
        let mut out = Vec::new();
        for path in list(&self.layout.incoming())? {
            let is_journal = path.extension().is_some_and(|extension| extension == "journal");
            let part = path.with_extension("part");
            let goes = match is_journal {
                true => !part.exists() || is_due(&part) && open_alone(&part).is_ok(),
                false => is_due(&path) && open_alone(&path).is_ok(),
            };
            out.extend(goes.then_some(path));
        }
        let named: BTreeSet<PathBuf> = all
            .iter()
            .map(|known| &known.manifest.image)
            .map(|image| self.layout.image(&image.digest, image.kind))
            .collect();
        // A verified image without a release was finished just before a crash: its sender may come
        // back for it. Or a session is about to stage it.
        let images = list(&self.layout.images())?.into_iter();
        let is_spare =
            |path: &PathBuf| is_all && !named.contains(path) && !self.is_image_in_transfer(path);
        out.extend(images.filter(|path| is_spare(path) && is_due(path)));
        Ok(out)
    }

    fn is_old(&self, path: &Path) -> bool {
        let modified = std::fs::symlink_metadata(path).map(|facts| facts.mtime());
        let age = modified.map_or(0, |at| self.world.unix_seconds().saturating_add_signed(-at));
        age > ABANDONED_AGE.as_secs()
    }

    /// Archives of releases that are or were current: their trees are what is used.
    fn archives<'a>(
        &self,
        state: &AppState,
        kept: impl Iterator<Item = &'a Known>,
    ) -> Vec<PathBuf> {
        let was_current =
            |known: &&Known| state.current == Some(known.id) || state.record(&known.id).turn > 0;
        let is_tree = |known: &&Known| {
            known.manifest.image.kind == ImageKind::Tar && is_whole(&self.layout, known)
        };
        let tars = kept.filter(|_| !self.config.keep_image).filter(is_tree).filter(was_current);
        let archive = |known: &Known| self.layout.image(&known.digest(), ImageKind::Tar);
        let all: BTreeSet<PathBuf> = tars.map(archive).collect();
        all.into_iter().filter(|path| path.exists() && !self.is_image_in_transfer(path)).collect()
    }

    /// Removes one release: first what services see, last the manifest that tells of it. A tree
    /// only gets out of sight.
    fn retire(&self, known: &Known, image_is_shared: bool) -> Result<(), StoreError> {
        let image = &known.manifest.image;
        let target = self.layout.release(&known.id, &known.manifest.label);
        if image.kind.is_mounted() {
            if self.is_mounted(&target)? {
                self.apply(Step::Unmount { target: target.clone() })?;
            }
            self.apply(Step::Remove { path: target })?;
        } else if target.exists() {
            self.put_aside(target)?;
        }
        if !image_is_shared {
            self.apply(Step::Remove { path: self.layout.image(&image.digest, image.kind) })?;
        }
        self.apply(Step::Remove { path: self.layout.signatures(&known.id) })?;
        self.apply(Step::Remove { path: self.layout.manifest(&known.id) })
    }
}

/// What is seen of releases without changing anything.
pub(super) fn see(layout: &Layout, all: &[Known], users: Vec<Option<String>>) -> Vec<Seen> {
    let link = read_current(layout).unwrap_or(None);
    let seen = all.iter().zip(users).map(|(known, user)| Seen {
        id: known.id,
        rank: known.rank(),
        is_whole: is_whole(layout, known),
        is_linked: link.as_ref() == Some(&Layout::link_text(&known.id, &known.manifest.label)),
        is_in_transfer: false,
        user,
    });
    seen.collect()
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// What a file takes on its disk; nothing when it is not there.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |facts| facts.blocks() * 512)
}
