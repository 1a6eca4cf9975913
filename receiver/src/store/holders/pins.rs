//! Pins of `fanhost run-pinned`: a shared lock on the release's directory, for as long as the
//! command or a child of it lives.
//!
//! What a process has open only root's CAP_SYS_PTRACE may look at, and the helper has it not; a
//! lock anybody can run into. Not here: that a pinned release is kept.

#![expect(clippy::disallowed_methods, reason = "reads /proc, waits for somebody else who looks")]

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Longer than anybody else takes to look, which is done by locking for an instant.
const LOOK_WAIT: Duration = Duration::from_millis(50);
/// Between two looks.
const LOOK_RETRY: Duration = Duration::from_millis(2);

/// Pins the release at `path` until the answer, and every copy of it that a child has, is closed;
/// it stays open across an exec.
///
/// # Errors
/// The kernel's answer.
pub fn pin(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::fs::flock(&directory, FlockOperation::LockShared)?;
    Ok(directory)
}

/// Whether somebody has pinned the release at `path`.
pub(super) fn is_pinned(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else { return false };
    let until = Instant::now() + LOOK_WAIT;
    while let Err(Errno::WOULDBLOCK) =
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)
    {
        // While this is open, others take this process for a user of the release.
        if !owners_of(path).is_empty() || Instant::now() >= until {
            return true;
        }
        std::thread::sleep(LOOK_RETRY);
    }
    false
}

/// The processes that pinned the release at `path`, as far as the kernel names them.
pub(super) fn owners_of(path: &Path) -> Vec<u32> {
    let Ok(facts) = rustix::fs::stat(path) else { return Vec::new() };
    owners(&std::fs::read_to_string("/proc/locks").unwrap_or_default(), facts.st_ino)
}

/// The processes that `locks`, as /proc/locks has them, names for a shared lock on this inode; the
/// kernel names those that took it, not those that inherited it.
fn owners(locks: &str, inode: u64) -> Vec<u32> {
    let owner = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let words = [fields.next()?, fields.next()?, fields.next()?];
        let pid: u32 = fields.next()?.parse().ok()?;
        let place = fields.next()?;
        let is_ours = words == ["FLOCK", "ADVISORY", "READ"]
            && place.rsplit(':').next()?.parse() == Ok(inode);
        is_ours.then_some(pid)
    };
    locks.lines().filter_map(owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::comes_true;

    #[test]
    fn a_pin_is_told_while_any_copy_of_it_is_open_and_its_owner_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(!is_pinned(path));
        let pinned = pin(path).unwrap();
        let copy = pinned.try_clone().unwrap();
        drop(pinned);
        assert!(is_pinned(path));
        assert_eq!(owners_of(path), [std::process::id()]);
        drop(copy);
        assert!(comes_true(|| !is_pinned(path)));
    }

    #[test]
    fn only_shared_locks_of_files_on_that_inode_are_pins() {
        let locks = "1: FLOCK  ADVISORY  READ 4711 00:2f:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4712 00:2f:99 0 EOF\n\
                     2: -> FLOCK  ADVISORY  READ 4713 00:2f:99 0 EOF\n\
                     3: POSIX  ADVISORY  READ 4714 00:2f:99 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 4715 fd:01:98 0 EOF\n";
        assert_eq!(owners(locks, 99), [4711]);
    }
}
