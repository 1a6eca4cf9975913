//! Taking an image that another user has received, and who is not believed.
//!
//! Not here: receiving. Invariant: what gets a name under `images` lies where only this process may
//! write, belongs to it, was open for writing nowhere from then on, has no other name, and has
//! the digest of the manifest, read after all of that.
//!
//! The order: rename out of the tenant's directory; open without following links; take ownership
//! and the right to write away; have the kernel say, by a read lease, that nobody has it open for
//! writing or mapped writable; hash; fsync; rename into `images`. Whatever fails before the digest
//! was read gives the file back, so that the tenant can go on with it.

#![expect(clippy::disallowed_methods, reason = "opens directories and the received file")]

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use common::bundle::ImageFacts;
use common::sys::files;
use common::wire::Fault;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::app::App;
use super::error::StoreError;
use super::partial::{VerifiedImage, clean};
use super::reconcile::list;
use super::stage::digest_of;
use super::step::{Owner, Step};
use super::world::With;

/// Permission bits of an unfinished image.
const PART_MODE: u32 = 0o600;

impl App {
    /// Gives the incoming directory and what lies there to who receives: the tenant, or without
    /// one this process, which must not work where another user may make names.
    pub(super) fn assign_incoming(&self) -> Result<(), StoreError> {
        let (path, owner) = (self.layout.incoming(), self.tenant.unwrap_or_else(us));
        if self.tenant.is_some() {
            self.apply(Step::MakeDirectory { path: self.layout.checking(), mode: 0o700 })?;
        }
        let directory =
            File::open(&path).map_err(|error| StoreError::of_read(path.display(), &error))?;
        self.give(&directory, path.clone(), owner, 0o700)?;
        for entry in list(&path)? {
            // What is neither ours nor his is not opened again, and expires.
            let Ok(file) = open_beneath(&path, &entry) else { continue };
            let found = file.metadata().ok().filter(|facts| facts.is_file() && facts.nlink() == 1);
            if found.is_some_and(|facts| facts.uid() != owner.user) {
                self.give(&file, entry, owner, PART_MODE)?;
            }
        }
        Ok(())
    }

    /// Images that were being checked when the process ended go back to be finished again.
    pub(super) fn return_unadopted(&self) -> Result<(), StoreError> {
        let Some(tenant) = self.tenant else { return Ok(()) };
        for path in list(&self.layout.checking())? {
            self.give_back(&path, tenant)?;
            let app = &self.config.app;
            let line = format!("{app}: {} was being checked: it is given back", path.display());
            self.cleaned.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        Ok(())
    }

    /// Takes the image that the tenant says he has received.
    pub(super) fn adopt(&self, facts: &ImageFacts) -> Result<VerifiedImage, StoreError> {
        let tenant = self.tenant.expect("only who has a tenant adopts");
        // It was adopted before, and the answer got lost.
        let (held, _) = self.verify_held(facts)?;
        if let Some(image) = held {
            self.forget_partial(facts)?;
            return Ok(image);
        }
        let part = self.layout.part(&facts.digest);
        let name = part.file_name().expect("an unfinished image has a name");
        let taken = self.layout.checking().join(name);
        self.apply(Step::Rename { from: part, to: taken.clone() })?;
        let path = self.layout.image(&facts.digest, facts.kind);
        let file = self.check(facts, &taken, tenant).inspect_err(|error| match error.fault() {
            // It will be wrong again.
            Fault::VerifyFailed => clean(&*self.world, &removal(&taken)),
            _ => {
                if let Err(error) = self.give_back(&taken, tenant) {
                    tracing::warn!("{error}");
                }
            }
        })?;
        self.apply(Step::Rename { from: taken, to: path.clone() })?;
        self.apply(Step::Sync { path: self.layout.images() })?;
        self.forget_partial(facts)?;
        Ok(VerifiedImage { digest: facts.digest, kind: facts.kind, path, file, tree: None })
    }

    /// Takes what lies at `taken` out of its owner's hands and compares it with its digest: the
    /// file that was read.
    fn check(&self, facts: &ImageFacts, taken: &Path, tenant: Owner) -> Result<File, StoreError> {
        let wrong = |what: &str| {
            let line = format!("{} was received and {what}", taken.display());
            StoreError::new(Fault::VerifyFailed, line)
        };
        let unreadable = |error: io::Error| StoreError::of_read(taken.display(), &error);
        let file = match open_beneath(&self.layout.checking(), taken) {
            Err(Errno::LOOP | Errno::NXIO) => return Err(wrong("is no file")),
            file => file.map_err(|errno| unreadable(errno.into()))?,
        };
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Err(wrong("is no file"));
        }
        if found.uid() != tenant.user {
            return Err(wrong("belongs to another user than who receives"));
        }
        self.give(&file, taken.to_path_buf(), us(), 0o400)?;
        match files::nobody_writes(&file) {
            Ok(true) => {}
            Ok(false) => {
                let line = format!("{} is still open for writing somewhere", taken.display());
                return Err(StoreError::busy(line));
            }
            Err(error) => {
                let line = format!(
                    "cannot tell who has {} open: {error}; put the store on a local filesystem",
                    taken.display()
                );
                return Err(StoreError::new(Fault::DiskFailed, line));
            }
        }
        let found = file.metadata().map_err(unreadable)?;
        if found.nlink() != 1 {
            return Err(wrong("has another name elsewhere"));
        }
        let is_right =
            found.len() == facts.bytes && digest_of(&file).map_err(unreadable)? == facts.digest;
        if !is_right {
            return Err(wrong("does not have the digest of the manifest"));
        }
        let sync = Step::Sync { path: taken.to_path_buf() };
        self.apply_with(&sync, With::File(&file))?;
        Ok(file)
    }

    /// Hands a file that is not adopted back to who received it; what is no file goes.
    fn give_back(&self, taken: &Path, tenant: Owner) -> Result<(), StoreError> {
        let file = open_beneath(&self.layout.checking(), taken).ok();
        let Some(file) = file.filter(|it| it.metadata().is_ok_and(|facts| facts.is_file())) else {
            return self.apply(removal(taken));
        };
        let name = taken.file_name().expect("it lies in a directory");
        let path = self.layout.incoming().join(name);
        self.give(&file, taken.to_path_buf(), tenant, PART_MODE)?;
        self.apply(Step::Rename { from: taken.to_path_buf(), to: path })
    }

    fn forget_partial(&self, facts: &ImageFacts) -> Result<(), StoreError> {
        self.apply(Step::Remove { path: self.layout.part(&facts.digest) })?;
        self.apply(Step::Remove { path: self.layout.journal(&facts.digest) })
    }

    fn give(&self, file: &File, path: PathBuf, owner: Owner, mode: u32) -> Result<(), StoreError> {
        let found = file.metadata().map_err(|error| StoreError::of_read(path.display(), &error))?;
        let is_so = (found.uid(), found.gid()) == (owner.user, owner.group)
            && found.permissions().mode() & 0o7777 == Permissions::from_mode(mode).mode();
        if is_so {
            return Ok(());
        }
        self.apply_with(&Step::Give { path, owner, mode }, With::File(file))
    }

    fn apply_with(&self, step: &Step, with: With<'_>) -> Result<(), StoreError> {
        self.world.apply(step, with).map_err(|error| StoreError::of_step(step, error))
    }
}

/// The step that removes whatever lies there.
fn removal(path: &Path) -> Step {
    let path = path.to_path_buf();
    match path.symlink_metadata().is_ok_and(|facts| facts.is_dir()) {
        true => Step::RemoveTree { path },
        false => Step::Remove { path },
    }
}

/// Who this process is.
fn us() -> Owner {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    Owner { user: user.as_raw(), group: group.as_raw() }
}

/// Opens an entry of `directory` to read it: no link is followed, and a pipe is not waited for.
fn open_beneath(directory: &Path, path: &Path) -> Result<File, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let name = path.file_name().expect("an entry has a name, and that is one name");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(&directory, name, flags, Mode::empty()).map(File::from)
}
