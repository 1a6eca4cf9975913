//! A reader of `current` in a tight loop: what a service on the host would have seen.
//!
//! It opens `current` once, then reads through that directory only, as a request does that began on
//! one release. Invariant under test: from its first appearance on, `current` resolves at every
//! instant to one complete release, whose label files all name the label that the directory has.
#![expect(clippy::disallowed_methods, reason = "it reads real files on a thread of its own")]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags, openat};

use crate::fixture::{LABEL_FILE, LAST_FILE};

/// A thread that reads `current`.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What it has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Reads through `current`.
    pub reads: u64,
    /// Times that `current` led elsewhere than at the read before.
    pub switches: u64,
    /// Labels that it led to.
    pub labels: BTreeSet<String>,
    /// What must never be seen; the first few of it.
    pub faults: Vec<String>,
}

impl Watcher {
    /// Watches the symbolic link at `current` (a path that this process can follow), which must
    /// lead to trees of [`crate::fixture::make_tree`].
    pub fn of(current: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, current) = (Arc::clone(&stop), current.to_owned());
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            let mut last = String::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.look(&current, &mut last);
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the watch.
    ///
    /// # Panics
    /// When `current` was never there.
    pub fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken once");
        let seen = thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        assert!(seen.reads > 0, "the watched link never appeared");
        seen
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn look(&mut self, current: &Path, last: &mut String) {
        match label_behind(current) {
            Ok(label) => {
                self.reads += 1;
                if label != *last {
                    self.switches += u64::from(!last.is_empty());
                    self.labels.insert(label.clone());
                    *last = label;
                }
            }
            // Before the first release there is nothing to resolve.
            Err(Fault::Absent) if last.is_empty() => thread::yield_now(),
            Err(fault) if self.faults.len() < 10 => self.faults.push(fault.to_string()),
            Err(_) => {}
        }
    }
}

/// Why a read through `current` did not give one complete release.
#[derive(Debug)]
enum Fault {
    Absent,
    Unreadable(PathBuf, io::Error),
    Mixed { directory: PathBuf, first: String, last: String },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => write!(f, "current is gone"),
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Mixed { directory, first, last } => {
                write!(f, "{} holds {first:?} and {last:?}", directory.display())
            }
        }
    }
}

/// The label of the release behind `current`, read through one open directory.
fn label_behind(current: &Path) -> Result<String, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(current, flags, Mode::empty());
    let directory = match open() {
        Err(rustix::io::Errno::NOENT) if fs::symlink_metadata(current).is_err() => {
            return Err(Fault::Absent);
        }
        // The link may have appeared for the first time between the two looks.
        Err(rustix::io::Errno::NOENT) => open(),
        opened => opened,
    }
    .map_err(|error| Fault::Unreadable(current.to_owned(), error.into()))?;
    let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
        .unwrap_or_else(|_| current.to_owned());
    let read = |name: &str| {
        read_below(&directory, name).map_err(|error| Fault::Unreadable(path.join(name), error))
    };
    let (first, last) = (read(LABEL_FILE)?, read(LAST_FILE)?);
    if first != last || first.is_empty() {
        return Err(Fault::Mixed { directory: path, first, last });
    }
    Ok(first)
}

fn read_below(directory: &OwnedFd, name: &str) -> io::Result<String> {
    let file = openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    io::read_to_string(fs::File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    fn release(root: &Path, label: &str, last: &str) {
        fs::create_dir_all(root.join(label).join("zz")).unwrap();
        fs::write(root.join(label).join(LABEL_FILE), label).unwrap();
        fs::write(root.join(label).join(LAST_FILE), last).unwrap();
    }

    fn switch(root: &Path, label: &str) {
        symlink(label, root.join("new")).unwrap();
        fs::rename(root.join("new"), root.join("current")).unwrap();
    }

    #[test]
    fn renamed_links_are_seen_as_switches_without_fault() {
        let dir = tempfile::tempdir().unwrap();
        release(dir.path(), "a", "a");
        release(dir.path(), "b", "b");
        let watcher = Watcher::of(&dir.path().join("current"));
        for round in 0..50 {
            switch(dir.path(), ["a", "b"][round % 2]);
            thread::sleep(Duration::from_millis(2));
        }
        let seen = watcher.end();
        assert_eq!(seen.faults, Vec::<String>::new());
        assert!(seen.switches >= 20, "{seen:?}");
    }

    #[test]
    fn a_gap_and_a_half_release_are_faults() {
        let dir = tempfile::tempdir().unwrap();
        release(dir.path(), "a", "a");
        release(dir.path(), "half", "other");
        switch(dir.path(), "a");
        let watcher = Watcher::of(&dir.path().join("current"));
        thread::sleep(Duration::from_millis(50));
        switch(dir.path(), "half");
        thread::sleep(Duration::from_millis(50));
        fs::remove_file(dir.path().join("current")).unwrap();
        thread::sleep(Duration::from_millis(50));
        let faults = watcher.end().faults;
        assert!(faults.first().unwrap().contains("holds \"half\" and \"other\""), "{faults:?}");
    }
}
