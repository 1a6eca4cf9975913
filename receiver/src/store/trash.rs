//! Trees that nobody sees any more, and how they are removed: later, behind everybody else.
//!
//! A tree of a few hundred thousand files takes minutes; nobody who switches, and no start, waits
//! for that. Not here: what becomes trash ([`super::prune`], [`super::reconcile`]), and whose
//! thread removes it. Invariant: whatever ends a removal, it goes on with what is left; no link is
//! followed, whatever somebody who still stands in the tree puts there.

#![expect(clippy::disallowed_methods, reason = "waits for a process that was killed")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::net::StopFlag;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::Store;
use super::app::App;
use super::error::StoreError;
use super::layout::Layout;
use super::limits::DYING_WAIT;
use super::reconcile::list;
use super::step::Step;
use super::world::With;

impl App {
    /// Puts a tree aside.
    pub(super) fn put_aside(&self, tree: PathBuf) -> Result<(), StoreError> {
        let to = self.unused_trash(&tree);
        self.apply(Step::Rename { from: tree, to })
    }

    /// A name for trash that none has yet.
    pub(super) fn unused_trash(&self, tree: &Path) -> PathBuf {
        let names = (0..).map(|number| self.layout.trash(tree, number));
        let mut unused = names.filter(|path| path.symlink_metadata().is_err());
        unused.next().expect("there is no end of numbers")
    }

    /// Removes what was put aside, until `stop` is raised; what could not be removed.
    pub(super) fn empty_trash(&self, stop: Option<&StopFlag>) -> Vec<StoreError> {
        let mut trash = match list(&self.layout.unpacking()) {
            Ok(all) => all,
            Err(error) => return vec![error],
        };
        trash.retain(|path| Layout::is_trash(path));
        let mut errors = Vec::new();
        for path in trash {
            let step = Step::RemoveTree { path };
            let with = stop.map_or(With::Nothing, With::Until);
            match self.world.apply(&step, with) {
                Err(_) if stop.is_some_and(StopFlag::is_raised) => break,
                Err(error) => errors.push(StoreError::of_step(&step, error)),
                Ok(()) => {}
            }
        }
        errors
    }
}

impl Store {
    /// Removes the trees of what was pruned, and half ones that a start found, until `stop` is
    /// raised; what is left then goes another time. What could not be removed is a complaint.
    pub fn empty_trash(&self, stop: Option<&StopFlag>) {
        self.trash.drain();
        for app in self.apps.values() {
            let errors = app.empty_trash(stop);
            self.complain(errors.iter().map(StoreError::to_string).collect());
        }
    }

    /// Can be read whenever there may be something to [remove](Self::empty_trash).
    pub fn trash(&self) -> BorrowedFd<'_> {
        self.trash.as_fd()
    }
}

/// Removes the tree at `path`.
///
/// # Errors
/// The kernel's answer; [`io::ErrorKind::Interrupted`] once `stop` was raised.
pub(super) fn remove_tree(path: &Path, stop: Option<&StopFlag>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(CWD, parent, flags, Mode::empty())?;
    let name = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?;
    remove_entry(parent.as_fd(), &name, stop)
}

fn remove_entry(
    directory: BorrowedFd<'_>,
    name: &CString,
    stop: Option<&StopFlag>,
) -> io::Result<()> {
    if stop.is_some_and(StopFlag::is_raised) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        // What POSIX says of directories, and what Linux does.
        Err(Errno::PERM | Errno::ISDIR) => {}
        // Somebody else removes it, too.
        Err(Errno::NOENT) => return Ok(()),
        done => return Ok(done?),
    }
    let until = Instant::now() + DYING_WAIT;
    loop {
        let Some(inner) = open(directory, name)? else { return Ok(()) };
        empty(&inner, stop)?;
        match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            // An unpacker that was killed with the daemon before this one makes its last file.
            Err(Errno::NOTEMPTY) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::NOENT) => return Ok(()),
            done => return Ok(done?),
        }
    }
}

/// Opens a directory that is to be emptied, unless it is gone. Without privileges, one that the
/// release made unreadable or unwritable stands in the way.
fn open(directory: BorrowedFd<'_>, name: &CString) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let is_root = rustix::process::geteuid().is_root();
    let mut opened = rustix::fs::openat(directory, name, flags, Mode::empty());
    if matches!(opened, Err(Errno::ACCESS)) && !is_root {
        rustix::fs::chmodat(directory, name, Mode::RWXU, AtFlags::empty())?;
        opened = rustix::fs::openat(directory, name, flags, Mode::empty());
    }
    let opened = match opened {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    if !is_root {
        rustix::fs::fchmod(&opened, Mode::RWXU)?;
    }
    Ok(Some(opened))
}

fn empty(directory: &OwnedFd, stop: Option<&StopFlag>) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            remove_entry(directory.as_fd(), &name, stop)?;
        }
    }
    Ok(())
}
