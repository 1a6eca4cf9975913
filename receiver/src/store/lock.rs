//! One daemon for each store: the lock, and who has it.
//!
//! Invariant: the file says which process holds the lock, or held it last.

#![expect(clippy::disallowed_methods, reason = "waits for a former daemon to be gone")]

use std::fmt;
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
use crate::utc::utc;

/// Name of the lock file; no app can have it, because of its first character.
const LOCK: &str = "@lock";

/// Letters of a command line that the lock's file says: enough to know a daemon from a verb.
const COMMAND_LETTERS_MAX: usize = 120;

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
            let owner = Owner::this().to_lines();
            let written = file.set_len(0).and_then(|()| file.write_all(owner.as_bytes()));
            written.map_err(|error| StoreError::of_step(&step, error.into()))?;
            Ok(file)
        }
        Err(Errno::WOULDBLOCK) => {
            let mut lines = String::new();
            let _ = file.read_to_string(&mut lines);
            let line = format!(
                "the store {} is in use by process {}: stop it, or give --store another directory",
                root.display(),
                Owner::of(&lines)
            );
            Err(StoreError::busy(line))
        }
        Err(errno) => Err(StoreError::of_read(path.display(), &errno.into())),
    }
}

/// Who has the lock, as its file says in a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: String,
    /// Its command line, and since when it has the lock; a former version did not say.
    more: Option<(String, u64)>,
}

impl Owner {
    fn this() -> Self {
        let words: Vec<String> =
            std::env::args().map(|word| word.replace(char::is_control, " ")).collect();
        let command: String = words.join(" ").chars().take(COMMAND_LETTERS_MAX).collect();
        let more = Some((command, common::clock::unix_seconds()));
        Self { pid: std::process::id().to_string(), more }
    }

    fn of(lines: &str) -> Self {
        let mut lines = lines.lines();
        let pid = lines.next().unwrap_or_default().trim().to_owned();
        let command = lines.next().map(str::to_owned);
        let since = lines.next().and_then(|since| since.parse().ok());
        Self { pid, more: command.zip(since) }
    }

    fn to_lines(&self) -> String {
        let Self { pid, more } = self;
        let more = more.as_ref().map(|(command, since)| format!("{command}\n{since}\n"));
        format!("{pid}\n{}", more.unwrap_or_default())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pid)?;
        match &self.more {
            Some((command, since)) => write!(f, " ({command}) since {}", utc(*since)),
            None => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_read_from_its_lines_also_from_those_of_a_former_version() {
        let more = Some(("fanhost run".into(), 1_700_000_000));
        let owner = Owner { pid: "4711".into(), more };
        assert_eq!(Owner::of(&owner.to_lines()), owner);
        assert_eq!(owner.to_string(), "4711 (fanhost run) since 2023-11-14T22:13:20Z");
        assert_eq!(Owner::of("4711\n").to_string(), "4711");
    }
}
