//! One daemon for each store: the lock, and who has it.
//!
//! Invariant: the file says which process holds the lock, or held it last.

#![expect(clippy::disallowed_methods, reason = "waits for a former daemon to be gone")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::StoreError;
use super::limits::{LOCK_RETRY, LOCK_WAIT};
use super::step::Step;

/// Name of the lock file; no app can have it, because of its first character.
const LOCK: &str = "@lock";

/// Locks the store at `root` for as long as the answer is kept; a lock that somebody else is about
/// to give up is waited for.
///
/// # Errors
/// When another process keeps it, which is named.
pub(super) fn take(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let step = Step::Save { path: path.clone(), content: Vec::new() };
    let mut file = file.map_err(|error| StoreError::of_step(&step, error.into()))?;
    match lock_within(&file, LOCK_WAIT) {
        Ok(()) => {
            let pid = format!("{}\n", std::process::id());
            let written = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
            written.map_err(|error| StoreError::of_step(&step, error.into()))?;
            Ok(file)
        }
        Err(Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let line = format!(
                "the store {} is in use by process {}: stop it, or give --store another directory",
                root.display(),
                pid.trim()
            );
            Err(StoreError::busy(line))
        }
        Err(errno) => Err(StoreError::of_read(path.display(), &errno.into())),
    }
}

/// Locks `file`, which somebody else may be about to give up.
fn lock_within(file: &File, patience: Duration) -> Result<(), Errno> {
    let until = Instant::now() + patience;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOCK_RETRY),
            result => return result,
        }
    }
}
