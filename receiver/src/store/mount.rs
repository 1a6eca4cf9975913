//! Mounting an image read-only, and telling kinds by their superblocks.
//!
//! Not here: which releases are mounted and when, and what is mounted now ([`super::table`]).
//! Invariant: an image is handed to a filesystem driver only when its own superblock confirms the
//! kind that the manifest states.

#![expect(clippy::disallowed_methods, reason = "opens images and loop devices")]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::id::ImageKind;
use common::sys::files;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::error::StepError;
use super::limits::LOOP_ATTEMPTS;

/// Bytes at an image's start that tell its kind: the ext and erofs superblocks end before.
const HEAD_BYTES: usize = 2048;

const EXT_MAGIC_AT: usize = 1024 + 0x38;
const EXT_COMPAT_AT: usize = 1024 + 0x5C;
const EXT_INCOMPAT_AT: usize = 1024 + 0x60;
const EXT_COMPAT_JOURNAL: u32 = 0x4;
/// Filetype and meta_bg: what the ext2 driver understands.
const EXT2_INCOMPAT: u32 = 0x2 | 0x10;

/// What the first bytes of an image say it is; `None` for none of the kinds with a mark.
pub(super) fn kind_of(head: &[u8]) -> Option<ImageKind> {
    let word = |at: usize| {
        head.get(at..at + 4)
            .map(|bytes| bytes.iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte)))
    };
    if word(EXT_MAGIC_AT).is_some_and(|word| word & 0xFFFF == 0xEF53) {
        let has_journal = word(EXT_COMPAT_AT)? & EXT_COMPAT_JOURNAL != 0;
        let is_ext2 = !has_journal && word(EXT_INCOMPAT_AT)? & !EXT2_INCOMPAT == 0;
        return Some(if is_ext2 { ImageKind::Ext2 } else { ImageKind::Ext4 });
    }
    if word(1024) == Some(0xE0F5_E1E2) {
        return Some(ImageKind::Erofs);
    }
    if word(0) == Some(0x7371_7368) {
        return Some(ImageKind::Squashfs);
    }
    is_tar(head).then_some(ImageKind::Tar)
}

/// Whether a tar header with a right checksum, or the end of an empty archive, stands first.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else { return false };
    if header.iter().all(|byte| *byte == 0) {
        return true;
    }
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    let text =
        header[148..156].split(|byte| *byte == 0 || *byte == b' ').find(|part| !part.is_empty());
    text.and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        == Some(sum)
}

/// Refuses an image whose first bytes are not those of its stated kind.
///
/// # Errors
/// [`StepError::Kind`] with what was found, or the kernel's answer.
pub(super) fn check_kind(image: &File, kind: ImageKind) -> Result<(), StepError> {
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        match image.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    let found = kind_of(&head[..filled]);
    let fits = match kind {
        ImageKind::Raw => true,
        // The ext4 driver mounts every ext2 image, and a packer may call either so.
        ImageKind::Ext4 => matches!(found, Some(ImageKind::Ext4 | ImageKind::Ext2)),
        _ => found == Some(kind),
    };
    if fits {
        return Ok(());
    }
    let found = found.map_or("no image of a known kind", ImageKind::as_str);
    Err(StepError::Kind(format!("the manifest says {kind}, the image is {found}; pack it again")))
}

/// Mounts the open `image` at `target`: read-only, no setuid, no devices, no access times. The
/// descriptor is what is mounted: nothing that its name leads to meanwhile.
///
/// # Errors
/// [`StepError::Kind`] when the superblock disagrees, [`StepError::Mount`] when nothing works.
pub(super) fn mount_image(
    image: &File,
    kind: ImageKind,
    options: &[String],
    target: &Path,
) -> Result<(), StepError> {
    check_kind(image, kind)?;
    let options = Options::of(kind, options).map_err(StepError::Mount)?;
    if kind == ImageKind::Erofs {
        match mount(&descriptor(image), kind, &options, target) {
            Ok(()) => return Ok(()),
            // A kernel before 6.12 wants a block device.
            Err(Errno::NOTBLK) => {}
            Err(errno) => return Err(StepError::Mount(mount_advice(errno))),
        }
    }
    // Direct, so that memory holds what services read once and not twice. Where the disk's blocks
    // are larger than the filesystem's, that filesystem cannot be mounted so.
    match mount_by_loop(image, kind, &options, target, true) {
        Err(Failure::Mount(Errno::INVAL)) => mount_by_loop(image, kind, &options, target, false),
        other => other,
    }
    .map_err(|failure| StepError::Mount(failure.advice()))
}

/// Mounts the tree at `tree` once more at `target`; with `is_beneath` beneath the topmost mount
/// there, which takes Linux 6.5. It has the options of the mount that the tree lies on.
///
/// # Errors
/// The kernel's answer.
pub(super) fn bind(tree: &Path, target: &Path, is_beneath: bool) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, tree, flags)?;
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    flags.set(MoveMountFlags::MOVE_MOUNT_BENEATH, is_beneath);
    move_mount(mount, "", CWD, target, flags)
}

/// A name for an open file that leads to the file itself, wherever its other names lead.
pub(super) fn descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

enum Failure {
    Loop(io::Error),
    Mount(Errno),
}

impl Failure {
    fn advice(&self) -> String {
        match self {
            Self::Loop(error) => loop_advice(error),
            Self::Mount(errno) => mount_advice(*errno),
        }
    }
}

fn mount_by_loop(
    image: &File,
    kind: ImageKind,
    options: &Options,
    target: &Path,
    is_direct: bool,
) -> Result<(), Failure> {
    let (device, _open) = attach(image, is_direct).map_err(Failure::Loop)?;
    // The descriptor stays open until after the mount: the device detaches at its last close.
    mount(&device, kind, options, target).map_err(Failure::Mount)
}

/// Flags and data of one mount.
struct Options {
    flags: MountFlags,
    data: &'static CStr,
}

impl Options {
    /// What every release is mounted with, and what its manifest asks for beside it: only words
    /// that take rights away.
    fn of(kind: ImageKind, asked: &[String]) -> Result<Self, String> {
        // SILENT: else each mount of an image with 32-bit times writes a line to the kernel log.
        let mut flags = MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOATIME
            | MountFlags::SILENT;
        // A journal is never replayed: the bytes on disk are the ones that were verified.
        let data = if kind == ImageKind::Ext4 { c"noload" } else { c"" };
        for word in asked {
            match word.as_str() {
                "ro" | "nosuid" | "nodev" | "noatime" | "noload" => {}
                "noexec" => flags |= MountFlags::NOEXEC,
                "nosymfollow" => flags |= MountFlags::NOSYMFOLLOW,
                other => return Err(format!("mount option {other:?} is not one that hosts take")),
            }
        }
        Ok(Self { flags, data })
    }
}

fn mount(source: &Path, kind: ImageKind, options: &Options, target: &Path) -> Result<(), Errno> {
    let mount = |driver| rustix::mount::mount(source, target, driver, options.flags, options.data);
    match mount(kind.as_str()) {
        // A kernel may know ext2 by its ext4 driver alone.
        Err(Errno::NODEV) if kind == ImageKind::Ext2 => mount(ImageKind::Ext4.as_str()),
        other => other,
    }
}

fn loop_advice(error: &io::Error) -> String {
    match error.kind() {
        // Whoever may not open the control device may not mount either: one reason, not two.
        io::ErrorKind::PermissionDenied => mount_advice(Errno::PERM),
        io::ErrorKind::NotFound => "no loop devices here; load the loop module".into(),
        _ => format!("no loop device: {error}"),
    }
}

fn mount_advice(errno: Errno) -> String {
    let advice = match errno {
        Errno::PERM | Errno::ACCESS => "; run fanhost as root, or send a tar or raw release",
        Errno::NODEV => "; this kernel has no such filesystem, send another image kind",
        Errno::INVAL | Errno::UCLEAN => "; the kernel log says more",
        _ => "",
    };
    format!("{}{advice}", io::Error::from(errno))
}

fn attach(image: &File, is_direct: bool) -> io::Result<(PathBuf, File)> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let mut last = io::Error::from(Errno::BUSY);
    for _ in 0..LOOP_ATTEMPTS {
        let path = PathBuf::from(format!("/dev/loop{}", files::free_loop(&control)?));
        let device = File::open(&path)?;
        match files::configure_loop(&device, image, is_direct) {
            Ok(()) => return Ok((path, device)),
            // Another process took the device between the two calls.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_superblocks() {
        let mut head = vec![0; HEAD_BYTES];
        assert_eq!(kind_of(&head), Some(ImageKind::Tar), "zeros are an empty tar");
        head[..4].copy_from_slice(b"hsqs");
        assert_eq!(kind_of(&head), Some(ImageKind::Squashfs));
        head[1024..1028].copy_from_slice(&[0xE2, 0xE1, 0xF5, 0xE0]);
        assert_eq!(kind_of(&head), Some(ImageKind::Erofs));
        head[EXT_MAGIC_AT..EXT_MAGIC_AT + 2].copy_from_slice(&[0x53, 0xEF]);
        assert_eq!(kind_of(&head), Some(ImageKind::Ext2));
        head[EXT_COMPAT_AT] = 4;
        assert_eq!(kind_of(&head), Some(ImageKind::Ext4), "a journal");
        head[EXT_COMPAT_AT] = 0;
        head[EXT_INCOMPAT_AT] = 0x42;
        assert_eq!(kind_of(&head), Some(ImageKind::Ext4), "extents");
        assert_eq!(kind_of(b"hs"), None);
        assert_eq!(kind_of(&[7; 4096]), None);
    }
}
