//! A new tree that is filled below one directory descriptor.
//!
//! Not here: what an archive may contain. Invariant: every name is opened below the tree's own
//! descriptor, one name at a time, through no symbolic link and across no mount, and created
//! exclusively; so neither an archive nor another process can lead a write out of the tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::Refusal;
use crate::store::error::StepError;
use crate::store::limits::{DIRECTORY_PATH_BYTES, HOLE_BYTES};

/// Mode of a directory that has no entry of its own.
const DIRECTORY_MODE: u32 = 0o755;

/// What is set beside the content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timespec,
}

/// Why a name could not be made.
#[derive(Debug)]
pub(super) enum Fault {
    Kernel(io::Error),
    Refused(String),
}

impl Fault {
    /// The fault of the entry called `name`.
    pub(super) fn of(self, name: &[u8]) -> StepError {
        match self {
            Self::Kernel(error) => error.into(),
            Self::Refused(reason) => Refusal::new(name, reason).into(),
        }
    }

    fn of_errno(errno: Errno) -> Self {
        let reason = match errno {
            Errno::LOOP => "leads through a symbolic link",
            Errno::NOTDIR => "leads through a file",
            Errno::XDEV => "leads out of the tree",
            Errno::EXIST => "occurs twice",
            Errno::NAMETOOLONG => "has a name that is too long for this filesystem",
            Errno::INVAL | Errno::ILSEQ => "has a name that this filesystem refuses",
            _ => return Self::Kernel(errno.into()),
        };
        Self::Refused(reason.into())
    }
}

/// A tree that is being filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// The directory of the last entry: archives list a directory's files together.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Every directory with what is set at the end; parents sort before their children.
    directories: BTreeMap<Box<[u8]>, Option<Facts>>,
    directory_path_bytes: usize,
    sets_owners: bool,
}

impl Tree {
    /// The tree in the directory `path`, which is empty.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::openat(CWD, path, flags, Mode::empty())?,
            parent: None,
            directories: BTreeMap::from([(Box::default(), None)]),
            directory_path_bytes: 0,
            sets_owners: rustix::process::geteuid().is_root(),
        })
    }

    /// Makes a directory, or takes new facts for one that exists; how many of its attributes this
    /// filesystem cannot keep.
    pub(super) fn directory(
        &mut self,
        path: &[&[u8]],
        facts: Facts,
        attributes: &Attributes,
    ) -> Result<u64, Fault> {
        let joined = path.join(&b'/');
        if !self.directories.contains_key(joined.as_slice()) || !attributes.is_empty() {
            let directory = self.enter(path)?;
            self.directories.insert(joined.into(), Some(facts));
            return set_attributes(&directory, attributes).map_err(Fault::Kernel);
        }
        self.directories.insert(joined.into(), Some(facts));
        Ok(0)
    }

    /// Whether an owner other than this process's own cannot be given.
    pub(super) fn drops_owner(&self, facts: &Facts) -> bool {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        !self.sets_owners && own != (facts.uid, facts.gid)
    }

    /// Makes an empty file that only its owner reads until [`Tree::finish_file`].
    pub(super) fn file(&mut self, path: &[&[u8]]) -> Result<File, Fault> {
        let (parent, name) = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, mode);
        file.map(File::from).map_err(Fault::of_errno)
    }

    /// Sets attributes, owner, mode and time of a file whose content is complete; how many
    /// attributes this filesystem cannot keep.
    pub(super) fn finish_file(
        &self,
        file: &File,
        facts: &Facts,
        attributes: &Attributes,
    ) -> Result<u64, StepError> {
        let dropped = set_attributes(file, attributes)?;
        if self.sets_owners {
            rustix::fs::fchown(
                file,
                Some(Uid::from_raw(facts.uid)),
                Some(Gid::from_raw(facts.gid)),
            )?;
        }
        // After the owner, because a change of owner clears bits.
        rustix::fs::fchmod(file, Mode::from_raw_mode(facts.mode))?;
        rustix::fs::futimens(file, &times(facts))?;
        Ok(dropped)
    }

    /// Makes a symbolic link; what it says is not followed, now or later.
    pub(super) fn symlink(
        &mut self,
        path: &[&[u8]],
        target: &[u8],
        facts: &Facts,
    ) -> Result<(), Fault> {
        let sets_owners = self.sets_owners;
        let (parent, name) = self.place(path)?;
        rustix::fs::symlinkat(target, parent, name).map_err(Fault::of_errno)?;
        let own = AtFlags::SYMLINK_NOFOLLOW;
        if sets_owners {
            let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), own)
                .map_err(Fault::of_errno)?;
        }
        rustix::fs::utimensat(parent, name, &times(facts), own).map_err(Fault::of_errno)
    }

    /// Makes a second name for a file or symbolic link of this tree.
    pub(super) fn hard_link(&mut self, path: &[&[u8]], target: &[&[u8]]) -> Result<(), Fault> {
        let Some((target_name, target_parent)) = target.split_last() else {
            return Err(Fault::Refused("is a hard link to the tree itself".into()));
        };
        let absent = |errno| match errno {
            Errno::NOENT => Fault::Refused("is a hard link to a name not unpacked before".into()),
            other => Fault::of_errno(other),
        };
        let from = self.open(target_parent).map_err(absent)?;
        let stat = rustix::fs::statat(&from, *target_name, AtFlags::SYMLINK_NOFOLLOW);
        let kind = FileType::from_raw_mode(stat.map_err(absent)?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
            return Err(Fault::Refused("is a hard link to a directory".into()));
        }
        let (parent, name) = self.place(path)?;
        rustix::fs::linkat(&from, *target_name, parent, name, AtFlags::empty())
            .map_err(Fault::of_errno)
    }

    /// Sets facts of all directories, children first.
    pub(super) fn finish(self) -> Result<(), StepError> {
        for (path, facts) in self.directories.iter().rev() {
            let directory = self.open_joined(path)?;
            let mode = facts.map_or(DIRECTORY_MODE, |facts| facts.mode);
            if let Some(facts) = facts.filter(|_| self.sets_owners) {
                let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
                rustix::fs::fchown(&directory, Some(uid), Some(gid))?;
            }
            // Without privileges a directory can be renamed into place only while it is writable.
            let writable = if path.is_empty() && !self.sets_owners { 0o200 } else { 0 };
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode | writable))?;
            if let Some(facts) = facts {
                rustix::fs::futimens(&directory, &times(facts))?;
            }
        }
        Ok(())
    }

    /// The directory and the name of an entry that is not there yet.
    fn place<'p>(&mut self, path: &[&'p [u8]]) -> Result<(&OwnedFd, &'p [u8]), Fault> {
        let Some((name, parent)) = path.split_last() else {
            return Err(Fault::Refused("would replace the tree itself".into()));
        };
        let joined = parent.join(&b'/');
        if self.parent.as_ref().is_none_or(|(path, _)| *path != joined) {
            let directory = self.enter(parent)?;
            self.parent = Some((joined, directory));
        }
        let (_, directory) = self.parent.as_ref().expect("set a line above");
        Ok((directory, name))
    }

    /// Opens a directory, making it and its parents where they do not exist.
    fn enter(&mut self, path: &[&[u8]]) -> Result<OwnedFd, Fault> {
        match self.open(path) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(Fault::of_errno),
        }
        let mut directory = self.open(&[]).map_err(Fault::of_errno)?;
        for depth in 1..=path.len() {
            let name = path[depth - 1];
            match rustix::fs::mkdirat(&directory, name, Mode::RWXU) {
                Ok(()) => self.remember(&path[..depth])?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(Fault::of_errno(errno)),
            }
            directory = open_beneath(directory.as_fd(), name).map_err(Fault::of_errno)?;
        }
        Ok(directory)
    }

    fn remember(&mut self, path: &[&[u8]]) -> Result<(), Fault> {
        let joined = path.join(&b'/');
        self.directory_path_bytes += joined.len();
        if self.directory_path_bytes > DIRECTORY_PATH_BYTES {
            let reason = format!("is beyond {DIRECTORY_PATH_BYTES} bytes of directory names");
            return Err(Fault::Refused(reason));
        }
        self.directories.insert(joined.into(), None);
        Ok(())
    }

    fn open(&self, path: &[&[u8]]) -> Result<OwnedFd, Errno> {
        let root = open_directory(self.root.as_fd(), b".")?;
        path.iter().try_fold(root, |directory, name| open_beneath(directory.as_fd(), name))
    }

    fn open_joined(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        self.open(&names.collect::<Vec<_>>())
    }
}

/// Opens the directory `name` of `directory`. Not by openat2, which could do more at once: a
/// service manager that refuses setuid bits (RestrictSUIDSGID=) cannot look into its argument, and
/// refuses it.
fn open_beneath(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    if name == b".." || name.contains(&b'/') {
        return Err(Errno::XDEV);
    }
    let opened = open_directory(directory, name).map_err(|errno| match errno {
        Errno::NOTDIR if is_symlink(directory, name) => Errno::LOOP,
        other => other,
    })?;
    match mount_of(&opened)? == mount_of(directory)? {
        true => Ok(opened),
        false => Err(Errno::XDEV),
    }
}

fn open_directory(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

fn is_symlink(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Device and mount of what is open; kernels before 5.8 know the device alone.
fn mount_of(file: impl AsFd) -> Result<(u32, u32, u64), Errno> {
    let facts = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok((facts.stx_dev_major, facts.stx_dev_minor, facts.stx_mnt_id))
}

fn times(facts: &Facts) -> Timestamps {
    let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access: kept, last_modification: facts.mtime }
}

/// Names and values of extended attributes.
pub(super) type Attributes = [(Vec<u8>, Vec<u8>)];

/// Sets attributes; how many of them the filesystem does not know.
fn set_attributes(file: impl AsFd, attributes: &Attributes) -> io::Result<u64> {
    let mut dropped = 0;
    for (name, value) in attributes {
        match rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => dropped += 1,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(dropped)
}

/// Writes `bytes` at `at` into a new file. Blocks of zeros are left out: they read the same as
/// holes, and [`set_length`] gives the file its end.
pub(super) fn write_at(file: &File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let is_zero = |block: &[u8]| block.iter().all(|byte| *byte == 0);
        let blocks = || Blocks { at, rest: bytes };
        let Some(first) = blocks().next() else { return Ok(()) };
        let skips = is_zero(first);
        let is_alike = |block: &&[u8]| is_zero(block) == skips;
        let run = blocks().take_while(is_alike).map(<[u8]>::len).sum();
        if !skips {
            file.write_all_at(&bytes[..run], at)?;
        }
        at += run as u64;
        bytes = &bytes[run..];
    }
    Ok(())
}

/// Gives a file its length, which a hole at its end did not.
pub(super) fn set_length(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)
}

/// Bytes cut where blocks of the file end.
struct Blocks<'a> {
    at: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let left = usize::try_from(HOLE_BYTES - self.at % HOLE_BYTES).expect("a block fits");
        let (block, rest) = self.rest.split_at(left.min(self.rest.len()));
        self.at += block.len() as u64;
        self.rest = rest;
        (!block.is_empty()).then_some(block)
    }
}
