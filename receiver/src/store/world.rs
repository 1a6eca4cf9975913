//! The one seam: a [`World`] does steps; everything that changes disk, mounts or links passes it.
//!
//! Not here: which steps and in what order. Invariant: a step names everything that it changes,
//! and what it is given beside (an open file, a growing prefix) only says how to do it.

#![expect(clippy::disallowed_methods, reason = "this is the module that touches the disk")]

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::net::StopFlag;
use common::sys::files;
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::error::StepError;
use super::holders::{holders, in_use};
use super::limits::WRITEBACK_BYTES;
use super::mount;
use super::prefix::Prefix;
use super::step::{Owner, Step};
use super::table::{self, Mounted};
use super::trash::remove_tree;
use super::unpack;

/// What a step is given beside its names.
#[derive(Debug, Clone, Copy)]
pub enum With<'a> {
    /// Nothing: the names suffice.
    Nothing,
    /// The open file that the step is about.
    File(&'a File),
    /// The open file that the step is about, and the bytes for it.
    Bytes(&'a File, &'a [u8]),
    /// The open image, which may get another name meanwhile, and how far it is verified.
    Growing(&'a File, &'a Arc<Prefix>),
    /// What ends the step before it is done.
    Until(&'a StopFlag),
}

/// Does steps.
pub trait World: Send + Sync + fmt::Debug {
    /// Does one step; when it returns, the step is done or has failed.
    ///
    /// # Errors
    /// Why it could not be done. A failed step may be done in part, for `Store` to clean up.
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError>;

    /// Leaves the page cache of the first `bytes` of `file` to others, as far as they are written
    /// out and not mapped. No step: it changes nothing, and where it cannot be done the pages go
    /// when memory is short.
    fn uncache(&self, file: &File, bytes: u64) {
        drop_cache(file, bytes);
    }

    /// Seconds since 1970 by the wall clock, for what is remembered of releases.
    fn unix_seconds(&self) -> u64 {
        common::clock::unix_seconds()
    }

    /// For each place, who uses it, in words.
    ///
    /// # Errors
    /// The kernel's answer when processes cannot be listed.
    fn users(&self, places: &[PathBuf]) -> io::Result<Vec<Option<String>>> {
        users(places)
    }

    /// What is mounted.
    ///
    /// # Errors
    /// The kernel's answer when the mount table cannot be read.
    fn mounted(&self) -> io::Result<Vec<Mounted>> {
        table::mount_table()
    }
}

/// For each place, who uses it, in words.
///
/// # Errors
/// The kernel's answer when processes cannot be listed.
pub(super) fn users(places: &[PathBuf]) -> io::Result<Vec<Option<String>>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
    Ok(holders(&places)?.holders.iter().map(|holders| in_use(holders)).collect())
}

/// The machine itself.
#[derive(Debug)]
pub struct SystemWorld;

impl World for SystemWorld {
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError> {
        match (step, with) {
            (Step::MakeDirectory { path, mode }, _) => make_directory(path, *mode)?,
            (Step::Allocate { path, bytes, ranges }, _) => allocate(path, *bytes, ranges)?,
            (Step::Write { offset, .. }, With::Bytes(file, bytes)) => {
                write_image(file, *offset, bytes)?;
            }
            (Step::Claim { .. }, With::Bytes(mut file, record)) => file.write_all(record)?,
            (Step::OpenJournal { path, header, bytes }, _) => open_journal(path, header, *bytes)?,
            (Step::Save { path, content }, _) => save(path, content)?,
            (Step::Sync { .. }, With::File(file)) => file.sync_all()?,
            (Step::Sync { path }, _) => File::open(path)?.sync_all()?,
            (Step::SyncTree { path }, _) => rustix::fs::syncfs(File::open(path)?)?,
            (Step::SetMode { path, mode }, _) => {
                fs::set_permissions(path, Permissions::from_mode(*mode))?;
            }
            (Step::Give { owner, mode, .. }, With::File(file)) => give(file, *owner, *mode)?,
            (Step::Rename { from, to } | Step::Switch { from, current: to }, _) => {
                fs::rename(from, to)?;
            }
            (Step::Unpack { bytes, tree, bounds, .. }, With::Growing(image, prefix)) => {
                report(tree, &unpack::unpack_apart(image, prefix, *bytes, tree, *bounds)?);
            }
            (Step::Place { image, path }, _) => place(image, path)?,
            (Step::Mount { kind, options, target, .. }, With::File(image)) => {
                mount::mount_image(image, *kind, options, target)?;
            }
            (Step::Bind { tree, target, is_beneath }, _) => {
                mount::bind(tree, target, *is_beneath)?;
            }
            // Whoever is in it stays there.
            (Step::Uncover { target }, _) => {
                rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
            }
            (Step::Unmount { target }, _) => {
                rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)?;
            }
            (Step::Link { to, path }, _) => std::os::unix::fs::symlink(to, path)?,
            (Step::Remove { path }, _) => unless_absent(remove(path))?,
            (Step::RemoveTree { path }, With::Until(stop)) => {
                unless_absent(remove_tree(path, Some(stop)))?;
            }
            (Step::RemoveTree { path }, _) => unless_absent(remove_tree(path, None))?,
            (Step::Detach { device }, _) => files::clear_loop(&File::open(device)?)?,
            (Step::Write { .. } | Step::Claim { .. } | Step::Mount { .. }, _)
            | (Step::Give { .. } | Step::Unpack { .. }, _) => {
                unreachable!("the store gives these steps their file, bytes or prefix")
            }
        }
        Ok(())
    }
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    fs::create_dir(path)?;
    // Whatever the umask says.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn allocate(path: &Path, bytes: u64, ranges: &[Range<u64>]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_len(bytes)?;
    for range in ranges {
        let allocated = rustix::fs::fallocate(
            &file,
            FallocateFlags::empty(),
            range.start,
            range.end - range.start,
        );
        match allocated {
            Ok(()) => {}
            // Some filesystems cannot; free space was counted before, so this only loses the
            // early word of a disk that fills up meanwhile.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn write_image(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    let end = offset + bytes.len() as u64;
    if let Some(windows) = windows_passed(offset, end) {
        // Frames come nearly in order: what lies in the window before this one is mostly there.
        let start = (windows - 1) * WRITEBACK_BYTES;
        files::start_writeback(file, start, WRITEBACK_BYTES);
    }
    Ok(())
}

/// Has the kernel drop the pages of the first `bytes` of a file that are clean and not mapped.
pub(super) fn drop_cache(file: &File, bytes: u64) {
    // To the kernel no bytes are all of the file.
    if let Some(bytes) = NonZeroU64::new(bytes) {
        // A hint: some filesystems do not take it.
        let _ = rustix::fs::fadvise(file, 0, Some(bytes), Advice::DontNeed);
    }
}

/// How many windows of [`WRITEBACK_BYTES`] lie before the one that a range from `offset` to `end`
/// reaches into, if that is another than it begins in.
pub(super) fn windows_passed(offset: u64, end: u64) -> Option<u64> {
    let windows = end / WRITEBACK_BYTES;
    (windows > offset / WRITEBACK_BYTES).then_some(windows)
}

/// What may be dropped when so many windows were passed: the last is being written out only now.
pub(super) fn bytes_behind(windows: u64) -> u64 {
    windows.saturating_sub(1) * WRITEBACK_BYTES
}

fn open_journal(path: &Path, header: &[u8], bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_len(bytes)?;
    if bytes == 0 { file.write_all(header) } else { Ok(()) }
}

/// First the owner: whom it belonged to could change its mode back.
fn give(file: &File, owner: Owner, mode: u32) -> io::Result<()> {
    std::os::unix::fs::fchown(file, Some(owner.user), Some(owner.group))?;
    file.set_permissions(Permissions::from_mode(mode))
}

fn save(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn report(tree: &Path, unpacked: &unpack::Unpacked) {
    tracing::debug!(tree = %tree.display(), ?unpacked, "unpacked");
    let left_out = [
        (unpacked.modes_cleared, "setuid or setgid bit"),
        (unpacked.attributes_dropped, "extended attribute"),
        (unpacked.owners_dropped, "owner (only root gives files away)"),
    ];
    let left_out: Vec<_> = left_out.into_iter().filter(|(count, _)| *count > 0).collect();
    if !left_out.is_empty() {
        let words = left_out.iter().map(|(count, what)| format!("{count} × {what}"));
        let words = words.collect::<Vec<_>>().join(", ");
        tracing::info!("left out while unpacking {}: {words}", tree.display());
    }
}

fn place(image: &Path, path: &Path) -> io::Result<()> {
    if fs::hard_link(image, path).is_ok() {
        return Ok(());
    }
    // Another filesystem, or one without hard links.
    let mut from = File::open(image)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        io::copy(&mut from, &mut to)?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
}

fn unless_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
