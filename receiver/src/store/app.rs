//! One app of the store: its configuration, its paths, its state, its releases on disk.
//!
//! Not here: staging, switching, pruning and recovery, which have files of their own and add to
//! [`App`]. Invariant: what changes an app's releases holds the app's lock.

#![expect(clippy::disallowed_methods, reason = "reads manifests, state and links")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::bundle::{Manifest, release_id};
use common::digest::Digest;
use common::id::{AppName, ImageKind, ReleaseId};
use common::keys::KeyId;
use common::wire::{Fault, KindSet};

use super::error::StoreError;
use super::layout::Layout;
use super::limits::{DRAIN_DEFAULT, KEEP_DEFAULT};
use super::offer::Offer;
use super::probe::left_out;
use super::record::About;
use super::retention::Policy;
use super::space::Ledger;
use super::state::AppState;
use super::step::{Owner, Step};
use super::trust::{Dates, Trust, judge_dates};
use super::world::{With, World};

/// How services get to the current release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchMode {
    /// By the link `current`.
    #[default]
    Link,
    /// By that, and by the mount `live`, a path that never changes.
    Mount,
}

/// What the administrator decides about an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppConfig {
    /// Its name.
    pub app: AppName,
    /// Where services see it.
    pub root: PathBuf,
    /// What stays, and how long.
    pub policy: Policy,
    /// Whether a tar stays after its release is active.
    pub keep_image: bool,
    /// The image kinds that are taken and mounted.
    pub kinds: KindSet,
    /// How services get to the current release.
    pub switch: SwitchMode,
    /// Whose releases are taken; anybody's, where nobody says.
    pub trust: Option<Trust>,
    /// From which epoch and sequence on a release is taken although a newer one was accepted.
    pub allow: Option<(u32, u64)>,
}

impl AppConfig {
    /// An app whose administrator decides nothing but where services see it.
    pub fn new(app: AppName, root: PathBuf) -> Self {
        let kinds = ImageKind::ALL.into_iter().collect();
        let switch = SwitchMode::default();
        let policy = Policy { keep: KEEP_DEFAULT, drain_after: DRAIN_DEFAULT };
        Self { app, root, policy, keep_image: false, kinds, switch, trust: None, allow: None }
    }
}

/// A release whose manifest is in the store.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: ReleaseId,
    pub(super) manifest: Manifest,
}

impl Known {
    /// What makes it newer or older than another release of its app.
    pub(super) fn rank(&self) -> (u32, u64) {
        (self.manifest.epoch, self.manifest.sequence)
    }

    /// Its image's.
    pub(super) fn digest(&self) -> Digest {
        self.manifest.image.digest
    }

    /// What is remembered of it when it is gone.
    pub(super) fn about(&self) -> About {
        let manifest = &self.manifest;
        About {
            label: manifest.label.clone(),
            kind: manifest.image.kind,
            bytes: manifest.image.bytes,
            epoch: manifest.epoch,
            sequence: manifest.sequence,
        }
    }
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) config: AppConfig,
    pub(super) layout: Layout,
    pub(super) world: Arc<dyn World>,
    /// Who receives its images, if it is another user.
    pub(super) tenant: Option<Owner>,
    pub(super) ledger: Arc<Ledger>,
    /// What the start found half done, and put right.
    pub(super) cleaned: Mutex<Vec<String>>,
    state: Mutex<AppState>,
}

impl App {
    /// The app with what its state file says.
    pub(super) fn load(
        store: &Path,
        config: AppConfig,
        world: Arc<dyn World>,
        ledger: Arc<Ledger>,
        tenant: Option<Owner>,
    ) -> Result<Self, StoreError> {
        let layout = Layout::new(store, &config.app, &config.root);
        let state = read_state(&layout)?.unwrap_or_else(|| AppState::new(config.root.clone()));
        Ok(Self {
            config,
            layout,
            world,
            tenant,
            ledger,
            cleaned: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// Refuses a kind that the configuration leaves out.
    pub(super) fn allow(&self, kind: ImageKind) -> Result<(), StoreError> {
        if self.config.kinds.contains(kind) {
            return Ok(());
        }
        let line = left_out(&self.config.app, self.config.kinds, kind);
        Err(StoreError::new(Fault::KindUnsupported, line))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, AppState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apply(&self, step: Step) -> Result<(), StoreError> {
        self.world.apply(&step, With::Nothing).map_err(|error| StoreError::of_step(&step, error))
    }

    /// Writes a small file so that after a crash it is there whole or not at all.
    pub(super) fn save(&self, path: &Path, content: Vec<u8>) -> Result<(), StoreError> {
        let new = temporary(path);
        let directory = path.parent().expect("store files lie in directories").to_path_buf();
        self.apply(Step::Save { path: new.clone(), content })?;
        self.apply(Step::Rename { from: new, to: path.to_path_buf() })?;
        self.apply(Step::Sync { path: directory })
    }

    pub(super) fn save_state(&self, state: &AppState) -> Result<(), StoreError> {
        self.save(&self.layout.state(), state.to_json())
    }

    /// Makes `next` the app's state, durably; does nothing when it is already.
    pub(super) fn remember(&self, state: &mut AppState, next: AppState) -> Result<(), StoreError> {
        if next != *state {
            self.save_state(&next)?;
            *state = next;
        }
        Ok(())
    }

    /// Refuses a release that is older than one accepted before.
    pub(super) fn admit(
        &self,
        state: &AppState,
        manifest: &Manifest,
        id: &ReleaseId,
    ) -> Result<(), StoreError> {
        let rank = (manifest.epoch, manifest.sequence);
        if self.config.allow.is_some_and(|allowed| rank >= allowed) {
            return Ok(());
        }
        state.admits(manifest.epoch, manifest.sequence, id).map_err(|(fault, reason)| {
            let newest = state.accepted.keys().last().filter(|_| fault == Fault::EpochOld);
            let epoch = newest.map_or_else(String::new, |epoch| format!(" --epoch {epoch}"));
            let line = format!(
                "{} {}: {reason}; fanfare sign --sequence next{epoch} makes a newer release of it",
                self.config.app, manifest.label
            );
            StoreError::new(fault, line)
        })
    }

    /// The trusted key that signed these bytes; none where everybody is believed.
    pub(super) fn vouch(
        &self,
        state: &AppState,
        manifest_bytes: &[u8],
        signatures: &[u8],
        dates: Dates,
    ) -> Result<Option<KeyId>, StoreError> {
        let Some(trust) = &self.config.trust else { return Ok(None) };
        let key = trust.vouch(&state.announced, manifest_bytes, signatures, dates);
        key.map(Some).map_err(|distrust| {
            let (app, release) = (&self.config.app, release_id(manifest_bytes).0.short());
            StoreError::new(distrust.fault(), format!("{app} {release}: {distrust}"))
        })
    }

    /// As [`App::vouch`], for a release that is here.
    pub(super) fn vouch_known(
        &self,
        state: &AppState,
        id: &ReleaseId,
    ) -> Result<Option<KeyId>, StoreError> {
        if self.config.trust.is_none() {
            return Ok(None);
        }
        let path = self.layout.manifest(id);
        let manifest_bytes =
            std::fs::read(&path).map_err(|error| StoreError::of_read(path.display(), &error))?;
        self.vouch(state, &manifest_bytes, &self.signatures(id)?, Dates::Unasked)
    }

    /// The signatures that came with a release; none, where none did.
    pub(super) fn signatures(&self, id: &ReleaseId) -> Result<Vec<u8>, StoreError> {
        let path = self.layout.signatures(id);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|error| StoreError::of_read(path.display(), &error)),
        }
    }

    /// Refuses a release that is to be accepted anew for its signatures, its age or its dates.
    pub(super) fn accept_anew(&self, state: &AppState, offer: &Offer) -> Result<(), StoreError> {
        let manifest = &offer.manifest;
        let (clock, youngest) = (self.world.unix_seconds(), state.youngest);
        // PROTOCOL 8.8: what was accepted is judged by no date again.
        let is_new = !state.has_accepted(&offer.release);
        let dates = if is_new { Dates::Judged(clock.max(youngest)) } else { Dates::Unasked };
        let signer = self.vouch(state, &offer.manifest_bytes, &offer.signatures, dates)?;
        self.admit(state, manifest, &offer.release)?;
        if !is_new {
            return Ok(());
        }
        judge_dates(manifest, clock, youngest, signer.is_some()).map_err(|(fault, reason)| {
            let line = format!("{} {}: {reason}", self.config.app, manifest.label);
            StoreError::new(fault, line)
        })
    }

    /// The manifest of a release, if it is in the store.
    pub(super) fn known(&self, id: &ReleaseId) -> Result<Option<Known>, StoreError> {
        read_manifest(&self.layout.manifest(id))
    }

    /// Every release whose manifest is in the store, newest first; unreadable ones are named.
    pub(super) fn all_known(&self) -> Result<(Vec<Known>, Vec<StoreError>), StoreError> {
        all_known(&self.layout)
    }

    pub(super) fn is_mounted(&self, target: &Path) -> Result<bool, StoreError> {
        let mounted = self.world.mounted();
        let mounted = mounted.map_err(|error| StoreError::of_read("the mount table", &error))?;
        let target = target.canonicalize().unwrap_or_else(|_| target.to_path_buf());
        Ok(mounted.iter().any(|mount| mount.target == target))
    }

    /// Whether services could use a release now: it lies complete under its final name.
    pub(super) fn is_staged(&self, known: &Known) -> Result<bool, StoreError> {
        let target = self.layout.release(&known.id, &known.manifest.label);
        if known.manifest.image.kind.is_mounted() {
            return self.is_mounted(&target);
        }
        Ok(target.is_dir())
    }

    pub(super) fn holds_image(&self, image: &Digest) -> Option<(PathBuf, ImageKind)> {
        ImageKind::ALL.into_iter().find_map(|kind| {
            let path = self.layout.image(image, kind);
            path.is_file().then_some((path, kind))
        })
    }
}

/// Whether everything of a release is on disk: it is staged, or only not mounted.
pub(super) fn is_whole(layout: &Layout, known: &Known) -> bool {
    let image = &known.manifest.image;
    let has_place = layout.release(&known.id, &known.manifest.label).is_dir();
    has_place && (!image.kind.is_mounted() || layout.image(&image.digest, image.kind).is_file())
}

/// Where a small file is written before it gets its name.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// What `current` says, or nothing when there is none.
///
/// # Errors
/// When something that is no link stands in its place.
pub(super) fn read_current(layout: &Layout) -> Result<Option<PathBuf>, StoreError> {
    let current = layout.current();
    match std::fs::read_link(&current) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let line = format!(
                "{} is no link but a {}: move it away, fanhost makes a link there",
                current.display(),
                if current.is_dir() { "directory" } else { "file" }
            );
            Err(StoreError::new(Fault::SwitchFailed, line))
        }
        Err(error) => Err(StoreError::of_read(current.display(), &error)),
    }
}

/// The app's state, if it has one.
pub(super) fn read_state(layout: &Layout) -> Result<Option<AppState>, StoreError> {
    let path = layout.state();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::of_read(path.display(), &error)),
    };
    AppState::parse(&bytes).map(Some).map_err(|reason| {
        let line = format!(
            "cannot use {}: {reason}; move it away to start anew, older releases are then accepted",
            path.display()
        );
        StoreError::new(Fault::DiskFailed, line)
    })
}

/// Every release of an app whose manifest is in the store, newest first.
pub(super) fn all_known(layout: &Layout) -> Result<(Vec<Known>, Vec<StoreError>), StoreError> {
    let directory = layout.manifests();
    let unreadable = |error: &io::Error| StoreError::of_read(directory.display(), error);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((vec![], vec![])),
        Err(error) => return Err(unreadable(&error)),
    };
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&error))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read_manifest(&path) {
            Ok(known) => all.extend(known),
            Err(error) => damaged.push(error),
        }
    }
    all.sort_by_key(|known| {
        let manifest = &known.manifest;
        std::cmp::Reverse((manifest.epoch, manifest.sequence, manifest.created, known.id))
    });
    Ok((all, damaged))
}

fn read_manifest(path: &Path) -> Result<Option<Known>, StoreError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::of_read(path.display(), &error)),
    };
    let bad = |reason: String| {
        let line = format!("cannot use {}: {reason}; remove it and send again", path.display());
        StoreError::new(Fault::DiskFailed, line)
    };
    let id = release_id(&bytes);
    if path.file_stem().is_none_or(|stem| *stem != *id.to_string()) {
        return Err(bad("its content does not have the digest in its name".into()));
    }
    let manifest = Manifest::parse(&bytes).map_err(|error| bad(error.to_string()))?;
    Ok(Some(Known { id, manifest }))
}
