//! Space: what a release will take, set aside before its first byte comes.
//!
//! Not here: allocating it, which [`super::partial`] does. Invariant: what several transfers are
//! promised together was free when the last of them was; what a transfer builds on is not pruned.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::digest::Digest;
use common::id::{AppName, ImageKind, ReleaseId};
use common::units::ByteSize;
use common::wire::Fault;

use super::app::{App, Known};
use super::error::StoreError;
use super::limits::SPARE_BYTES;
use super::offer::Offer;
use super::prune::disk_bytes;

/// The transfers of a store, each with what it was promised.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: Mutex<BTreeMap<u64, Transfer>>,
}

/// A transfer's claim on the store; dropping it gives back what was not used.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    number: u64,
}

/// One transfer.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    app: AppName,
    release: ReleaseId,
    image: Digest,
    needs: Vec<Need>,
}

/// What a transfer takes on one filesystem.
#[derive(Debug, Clone)]
struct Need {
    device: u64,
    /// Where, for people.
    place: PathBuf,
    bytes: u64,
    /// What is there of it already: under one of these names.
    files: Vec<PathBuf>,
}

impl Need {
    /// What will yet be taken. Of a tree nobody knows how much is there: all of it counts.
    fn outstanding(&self) -> u64 {
        let there: u64 = self.files.iter().map(|file| disk_bytes(file)).sum();
        self.bytes.saturating_sub(there)
    }
}

/// Not enough of it on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortage {
    place: PathBuf,
    needed: u64,
    free: u64,
    reserved: u64,
}

impl Shortage {
    /// Whether `more` bytes would suffice.
    pub(super) fn is_met_by(&self, more: u64) -> bool {
        self.free.saturating_add(more).saturating_sub(self.reserved) >= self.needed
    }

    /// The refusal. The figures come first: paths are long, and STATUS carries 200 bytes.
    pub(super) fn error(&self, app: &AppName, prunable: u64) -> StoreError {
        let size = |bytes: u64| format!("{bytes} bytes ({})", ByteSize(bytes));
        let line = format!(
            "{app}: not enough space: {} needed, {} free, {} of it promised to other transfers, \
             pruning could give {}; in {}: free some, or keep fewer releases",
            size(self.needed),
            size(self.free),
            ByteSize(self.reserved),
            ByteSize(prunable),
            self.place.display(),
        );
        StoreError::new(Fault::DiskFull, line)
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Transfer>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises a transfer what it needs, or says what is missing.
    pub(super) fn reserve(
        self: &Arc<Self>,
        transfer: Transfer,
    ) -> Result<Result<Reservation, Shortage>, StoreError> {
        let mut open = self.lock();
        let mut wanted: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
        for need in transfer.needs.iter().filter(|need| need.outstanding() > 0) {
            let entry =
                wanted.entry(need.device).or_insert_with(|| (need.place.clone(), SPARE_BYTES));
            entry.1 += need.outstanding();
        }
        for (device, (place, needed)) in wanted {
            // Another session of the same image is about to let go of it.
            let is_other = |it: &&Transfer| it.app != transfer.app || it.image != transfer.image;
            let others = open.values().filter(is_other).flat_map(|transfer| &transfer.needs);
            let reserved = others.filter(|need| need.device == device).map(Need::outstanding).sum();
            let free = free_bytes(&place)?;
            let shortage = Shortage { place, needed, free, reserved };
            if !shortage.is_met_by(0) {
                return Ok(Err(shortage));
            }
        }
        let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
        open.insert(number, transfer);
        Ok(Ok(Reservation { ledger: Arc::clone(self), number }))
    }

    fn has(&self, test: impl Fn(&Transfer) -> bool) -> bool {
        self.lock().values().any(test)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.lock().remove(&self.number);
    }
}

impl App {
    /// Whether a transfer builds on a release: it is the one that comes, or has its image.
    pub(super) fn is_in_transfer(&self, known: &Known) -> bool {
        let (app, image) = (&self.config.app, known.digest());
        self.ledger.has(|it| it.app == *app && (it.release == known.id || it.image == image))
    }

    /// Whether a transfer builds on the image at `path`.
    pub(super) fn is_image_in_transfer(&self, path: &Path) -> bool {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.ledger.has(|it| it.app == self.config.app && it.image.to_string() == stem)
    }

    /// What receiving and staging a release takes on each filesystem. Nothing when it is staged.
    pub(super) fn transfer_of(&self, offer: &Offer) -> Result<Transfer, StoreError> {
        let (release, image) = (offer.release, &offer.manifest.image);
        let is_staged = match self.known(&release)? {
            Some(known) => self.is_staged(&known)?,
            None => false,
        };
        let (store, root) = (self.layout.directory(), self.layout.root());
        let devices = (device(store)?, device(root)?);
        let data = offer.data_bytes;
        let on_root = match image.kind {
            // An archive's headers and padding come near to a filesystem's inodes and blocks.
            ImageKind::Tar => image.bytes,
            ImageKind::Raw if devices.0 != devices.1 => data,
            _ => 0,
        };
        let final_name = self.layout.image(&image.digest, image.kind);
        let on_store = if final_name.is_file() { 0 } else { data };
        let part = self.layout.part(&image.digest);
        let name = part.file_name().expect("an unfinished image has a name");
        let files = vec![self.layout.checking().join(name), part, final_name];
        let need = |device, place: &Path, bytes, files| Need {
            device,
            place: place.to_path_buf(),
            bytes: if is_staged { 0 } else { bytes },
            files,
        };
        let needs = vec![
            need(devices.0, store, on_store, files),
            need(devices.1, root, on_root, Vec::new()),
        ];
        Ok(Transfer { app: self.config.app.clone(), release, image: image.digest, needs })
    }
}

fn device(path: &Path) -> Result<u64, StoreError> {
    let facts = path.metadata();
    facts.map(|facts| facts.dev()).map_err(|error| StoreError::of_read(path.display(), &error))
}

/// Bytes that may be written on the filesystem of `path`.
pub(super) fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let facts = rustix::fs::statvfs(path)
        .map_err(|errno| StoreError::of_read(path.display(), &errno.into()))?;
    Ok(facts.f_bavail * facts.f_frsize)
}
