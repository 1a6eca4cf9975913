//! Staging: a verified image becomes a release beside the active one.
//!
//! Not here: the switch. Invariant: a name under `releases` is a complete verified release from
//! the moment it exists, or a mount point that is empty and that nobody may enter.

#![expect(clippy::disallowed_methods, reason = "opens the image that is unpacked")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use common::bundle::ImageFacts;
use common::digest::Digest;
use common::id::{ImageKind, ReleaseId};
use common::wire::Fault;

use super::app::{App, Known};
use super::audit::CHANGED;
use super::error::StoreError;
use super::offer::Offer;
use super::partial::{VerifiedImage, clean, unpack_step};
use super::prefix::Prefix;
use super::state::AppState;
use super::step::Step;
use super::trust::Dates;
use super::world::With;

/// A release that services could use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Which.
    pub release: ReleaseId,
    /// Where it lies.
    pub path: PathBuf,
}

/// An image that should be there from before.
enum Held {
    Absent,
    /// It is not what its name says.
    Changed(PathBuf),
    Good(VerifiedImage),
}

/// Digest of an open file, read from its start.
pub(super) fn digest_of(file: &File) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize().into())
}

impl App {
    /// An image that is held from before, if it still is what its name says, else the line about
    /// it. What changed it is unknown, and so is what it would do to a filesystem driver.
    pub(super) fn verify_held(
        &self,
        facts: &ImageFacts,
    ) -> Result<(Option<VerifiedImage>, Option<String>), StoreError> {
        match self.hash(facts)? {
            Held::Absent => Ok((None, None)),
            Held::Good(image) => Ok((Some(image), None)),
            Held::Changed(path) => {
                let line = format!(
                    "{} {CHANGED}: it is removed and received again, check this disk and who may \
                     write to it",
                    path.display()
                );
                self.apply(Step::Remove { path })?;
                Ok((None, Some(line)))
            }
        }
    }

    /// Hashes an image that is held from before, through the descriptor that is used afterwards.
    fn hash(&self, facts: &ImageFacts) -> Result<Held, StoreError> {
        let path = self.layout.image(&facts.digest, facts.kind);
        let unreadable = |error: &io::Error| StoreError::of_read(path.display(), error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Absent),
            Err(error) => return Err(unreadable(&error)),
        };
        let is_whole = file.metadata().map_err(|error| unreadable(&error))?.len() == facts.bytes;
        let is_good =
            is_whole && digest_of(&file).map_err(|error| unreadable(&error))? == facts.digest;
        if !is_good {
            return Ok(Held::Changed(path));
        }
        let (digest, kind) = (facts.digest, facts.kind);
        Ok(Held::Good(VerifiedImage { digest, kind, path, file, tree: None }))
    }

    /// Makes a release of a verified image.
    pub(super) fn stage(&self, offer: &Offer, image: &VerifiedImage) -> Result<Staged, StoreError> {
        let mut state = self.lock();
        let known = Known { id: offer.release, manifest: offer.manifest.clone() };
        let path = self.layout.release(&known.id, &known.manifest.label);
        let staged = Staged { release: known.id, path: path.clone() };
        self.vouch(&state, &offer.manifest_bytes, &offer.signatures, Dates::Unasked)?;
        self.admit(&state, &known.manifest, &known.id)?;
        let is_known = self.known(&known.id)?.is_some();
        let is_signed_anew = is_known && !offer.signatures.is_empty();
        if is_signed_anew && self.signatures(&known.id)? != offer.signatures {
            self.save(&self.layout.signatures(&offer.release), offer.signatures.clone())?;
        }
        if is_known && self.is_staged(&known)? {
            if let Some(tree) = &image.tree {
                clean(&*self.world, &Step::RemoveTree { path: tree.clone() });
            }
            if state.record(&known.id).damaged {
                self.replace(&known, image, &path)?;
            }
        } else {
            self.stage_anew(&known, is_known, offer, image, &path)?;
        }
        if state.current == Some(known.id) {
            self.show_live()?;
        }
        self.remember_staged(&mut state, &known)?;
        Ok(staged)
    }

    fn stage_anew(
        &self,
        known: &Known,
        is_known: bool,
        offer: &Offer,
        image: &VerifiedImage,
        path: &Path,
    ) -> Result<(), StoreError> {
        if !is_known {
            if path.exists() {
                let line = format!("{} exists and is not of fanhost: remove it", path.display());
                return Err(StoreError::new(Fault::DiskFailed, line));
            }
            self.save_manifest(offer)?;
        }
        match known.manifest.image.kind {
            ImageKind::Tar => self.stage_tree(offer, image, path),
            ImageKind::Raw => self.stage_raw(&known.id, image, path),
            _ => self.stage_mount(known, image, path),
        }
    }

    /// Puts a verified image in the place of a damaged one that services may be on. A tree has no
    /// digest, so nothing of it was found damaged.
    fn replace(&self, known: &Known, image: &VerifiedImage, path: &Path) -> Result<(), StoreError> {
        match known.manifest.image.kind {
            ImageKind::Tar => Ok(()),
            ImageKind::Raw => {
                let tree = self.prepare_raw(&known.id, image)?;
                let name = self.layout.raw_name();
                let (from, to) = (tree.join(&name), path.join(&name));
                self.apply(Step::Rename { from, to })?;
                self.apply(Step::Sync { path: path.to_path_buf() })?;
                self.apply(Step::RemoveTree { path: tree })
            }
            _ => {
                // Whoever is in it stays there, and an instant later finds the other.
                self.apply(Step::Uncover { target: path.to_path_buf() })?;
                self.mount_image(known, image)
            }
        }
    }

    /// Remembers when the release was received and staged, unless that is remembered.
    fn remember_staged(&self, state: &mut AppState, known: &Known) -> Result<(), StoreError> {
        let image = &known.manifest.image;
        let now = self.world.unix_seconds();
        // Nothing was written to the image since it was whole.
        let written = self.layout.image(&image.digest, image.kind).metadata();
        let written = written.and_then(|facts| facts.modified()).ok();
        let received = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let mut next = state.clone();
        let received = received.map_or(now, |at| at.as_secs());
        next.stage(known.id, known.about(), received, now);
        self.remember(state, next)
    }

    fn save_manifest(&self, offer: &Offer) -> Result<(), StoreError> {
        if !offer.signatures.is_empty() {
            self.save(&self.layout.signatures(&offer.release), offer.signatures.clone())?;
        }
        self.save(&self.layout.manifest(&offer.release), offer.manifest_bytes.clone())
    }

    fn stage_tree(
        &self,
        offer: &Offer,
        image: &VerifiedImage,
        path: &Path,
    ) -> Result<(), StoreError> {
        let tree = match &image.tree {
            Some(tree) => tree.clone(),
            None => self.unpack_held(offer, image)?,
        };
        self.apply(Step::SyncTree { path: tree.clone() })?;
        self.publish(&tree, path)
    }

    fn unpack_held(&self, offer: &Offer, image: &VerifiedImage) -> Result<PathBuf, StoreError> {
        let tree = self.layout.tree(&offer.release);
        self.apply(Step::RemoveTree { path: tree.clone() })?;
        let step = unpack_step(&offer.manifest, image.path.clone(), tree.clone());
        let prefix = Prefix::complete(offer.manifest.image.bytes).into();
        self.world.apply(&step, With::Growing(&image.file, &prefix)).map_err(|error| {
            clean(&*self.world, &Step::RemoveTree { path: tree.clone() });
            StoreError::of_step(&step, error)
        })?;
        Ok(tree)
    }

    fn stage_raw(
        &self,
        id: &ReleaseId,
        image: &VerifiedImage,
        path: &Path,
    ) -> Result<(), StoreError> {
        let tree = self.prepare_raw(id, image)?;
        self.publish(&tree, path)
    }

    /// A tree with the image as its one file, durable under a name that nobody looks at.
    fn prepare_raw(&self, id: &ReleaseId, image: &VerifiedImage) -> Result<PathBuf, StoreError> {
        let tree = self.layout.tree(id);
        let file = tree.join(self.layout.raw_name());
        self.apply(Step::RemoveTree { path: tree.clone() })?;
        self.apply(Step::MakeDirectory { path: tree.clone(), mode: 0o755 })?;
        self.apply(Step::Place { image: image.path.clone(), path: file.clone() })?;
        // Services read it; where it is a hard link, the image in the store gets this mode too,
        // and stays hidden by the store's own directories.
        self.apply(Step::SetMode { path: file.clone(), mode: 0o444 })?;
        self.apply(Step::Sync { path: file })?;
        self.apply(Step::Sync { path: tree.clone() })?;
        Ok(tree)
    }

    /// A complete durable tree gets its final name.
    fn publish(&self, tree: &Path, path: &Path) -> Result<(), StoreError> {
        self.apply(Step::Rename { from: tree.to_path_buf(), to: path.to_path_buf() })?;
        self.apply(Step::Sync { path: self.layout.releases() })
    }

    fn stage_mount(
        &self,
        known: &Known,
        image: &VerifiedImage,
        path: &Path,
    ) -> Result<(), StoreError> {
        // Without the mount, after a reboot say, nobody may take the empty directory for a release.
        self.apply(Step::MakeDirectory { path: path.to_path_buf(), mode: 0 })?;
        self.apply(Step::Sync { path: self.layout.releases() })?;
        self.mount_image(known, image).inspect_err(|error| {
            clean(&*self.world, &Step::Remove { path: path.to_path_buf() });
            if error.fault() == Fault::VerifyFailed {
                self.forget(known);
            }
        })
    }

    /// Mounts a release whose image was received before and whose mount point is there: the whole
    /// image is hashed first, by the descriptor that is mounted.
    pub(super) fn mount(&self, known: &Known) -> Result<(), StoreError> {
        let facts = &known.manifest.image;
        let name = format!("{} {}", self.config.app, known.manifest.label);
        self.allow(facts.kind)?;
        let image = match self.hash(facts)? {
            Held::Good(image) => image,
            Held::Changed(path) => {
                let line = format!("{name} is not mounted: {} {CHANGED}", path.display());
                return Err(StoreError::damage(line));
            }
            Held::Absent => {
                return Err(StoreError::damage(format!(
                    "{name} is not mounted: its image is gone"
                )));
            }
        };
        self.mount_image(known, &image)
    }

    fn mount_image(&self, known: &Known, image: &VerifiedImage) -> Result<(), StoreError> {
        let step = Step::Mount {
            image: image.path.clone(),
            kind: image.kind,
            options: known.manifest.mount_options.clone(),
            target: self.layout.release(&known.id, &known.manifest.label),
        };
        let mounted = self.world.apply(&step, With::File(&image.file));
        mounted.map_err(|error| StoreError::of_step(&step, error))
    }

    /// Removes what would be taken for a good image another time.
    fn forget(&self, known: &Known) {
        let image = &known.manifest.image;
        let image = self.layout.image(&image.digest, image.kind);
        for path in [image, self.layout.signatures(&known.id), self.layout.manifest(&known.id)] {
            clean(&*self.world, &Step::Remove { path });
        }
    }
}
