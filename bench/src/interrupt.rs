//! Ctrl-C, SIGTERM and SIGHUP: the first one asks, the second one cleans up and ends at once.
//!
//! Invariant: whichever way the program ends short of SIGKILL, the processes and the directory that
//! were entered in [`Leftovers`] are gone afterwards.
#![expect(clippy::disallowed_methods, reason = "one thread waits for signals")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Exit code of an interrupted program, as a shell counts it.
pub const INTERRUPTED: u8 = 130;
/// A killed process may still be writing into the directory for a moment.
const REMOVAL_ATTEMPTS: u32 = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// Whether the person at the terminal wants it to stop. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Interrupted(Arc<AtomicBool>);

/// What must be gone at the end: processes by their id, one directory, changed settings of the
/// kernel. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Leftovers(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    pids: Vec<Pid>,
    directory: Option<PathBuf>,
    /// Settings below /proc/sys and what they were.
    settings: Vec<(PathBuf, String)>,
}

impl Interrupted {
    /// Whether it does.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Goes on unless the end was asked for.
    ///
    /// # Errors
    /// An error that says "interrupted" when it was.
    pub fn check(&self) -> io::Result<()> {
        match self.is_raised() {
            true => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }

    fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Leftovers {
    /// Enters the one directory.
    pub fn enter_directory(&self, directory: &Path) {
        self.lock().directory = Some(directory.to_owned());
    }

    /// Enters a process that must not outlive this one.
    pub fn enter_process(&self, pid: Pid) {
        self.lock().pids.push(pid);
    }

    /// Takes a process off the list. Its id must not have been given back to the system yet: call
    /// this before it is waited for.
    pub fn leave_process(&self, pid: Pid) {
        self.lock().pids.retain(|entered| *entered != pid);
    }

    /// Writes `value` to a setting of the kernel, a file below /proc/sys; what it was is written
    /// back at the end.
    ///
    /// # Errors
    /// Names the file.
    pub fn change(&self, setting: &Path, value: &str) -> io::Result<()> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot change {}: {error}", setting.display()))
        };
        let mut entries = self.lock();
        let before = fs::read_to_string(setting).map_err(named)?;
        fs::write(setting, value).map_err(named)?;
        entries.settings.push((setting.to_owned(), before));
        Ok(())
    }

    /// Kills, removes and writes back what is entered; a second caller waits until the first has
    /// done so.
    ///
    /// # Errors
    /// When the directory cannot be removed: one line that names it.
    pub fn remove(&self) -> io::Result<()> {
        let mut entries = self.lock();
        for (setting, before) in entries.settings.drain(..).rev() {
            // Whoever could write it before can write it now.
            let _ = fs::write(setting, before.trim());
        }
        for pid in entries.pids.drain(..) {
            // It may have ended by itself; it was not waited for, so the id is still its own.
            let _ = kill_process(pid, Signal::KILL);
        }
        entries.directory.take().map_or(Ok(()), |directory| remove_directory(&directory))
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    unmount_below(directory);
    for attempt in 1.. {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) if attempt == REMOVAL_ATTEMPTS => {
                let line = format!("cannot remove {}: {error}", directory.display());
                return Err(io::Error::new(error.kind(), line));
            }
            Err(_) => thread::sleep(REMOVAL_PAUSE),
            Ok(()) => break,
        }
    }
    Ok(())
}

/// A host that was killed while it tried what it can mount leaves that mounted.
fn unmount_below(directory: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for place in mounts_below(&table, directory) {
        // What cannot be unmounted cannot be removed either, and that is told.
        let _ = unmount(&place, UnmountFlags::DETACH);
    }
}

/// Mount points in `table`, as /proc/PID/mountinfo shows them, that lie below `directory`; the last
/// ones first, which may lie on the others.
fn mounts_below(table: &str, directory: &Path) -> Vec<PathBuf> {
    // Blanks in paths are written as octal numbers; no directory of ours has one.
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<_> = places.filter(|place| place.starts_with(directory)).collect();
    below.reverse();
    below
}

/// From now on the first signal raises the flag and calls `ask`; the second removes `leftovers` and
/// ends the process.
///
/// # Errors
/// When no thread or no signal handler can be had.
pub fn on_signals(
    leftovers: &Leftovers,
    ask: impl Fn() + Send + 'static,
) -> io::Result<Interrupted> {
    let interrupted = Interrupted::default();
    let (flag, leftovers) = (interrupted.clone(), leftovers.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Registered before this returns: a signal that comes early is not lost.
    let mut signals = {
        let _context = runtime.enter();
        Signals::register()?
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(signals.next());
        flag.raise();
        ask();
        runtime.block_on(signals.next());
        // The process ends at once; whether all could be removed changes nothing.
        let _ = leftovers.remove();
        std::process::exit(INTERRUPTED.into());
    })?;
    Ok(interrupted)
}

struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hangup: Stream,
}

impl Signals {
    fn register() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            _ = self.hangup.recv() => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn mounts_in_the_directory_are_found_and_no_others() {
        let table = "24 1 254:0 / / rw - ext4 /dev/vda rw\n\
                     31 24 7:0 / /tmp/x/host-1/@probe/mounted ro - ext2 /dev/loop0 ro\n\
                     32 24 7:1 / /tmp/xy/mounted ro - ext2 /dev/loop1 ro\n";
        let found = mounts_below(table, Path::new("/tmp/x"));
        assert_eq!(found, [Path::new("/tmp/x/host-1/@probe/mounted")]);
    }

    #[test]
    fn changed_settings_are_written_back_first_value_last() {
        let directory = tempfile::tempdir().unwrap();
        let setting = directory.path().join("rmem_max");
        fs::write(&setting, "212992\n").unwrap();
        let leftovers = Leftovers::default();
        leftovers.change(&setting, "1").unwrap();
        leftovers.change(&setting, "2").unwrap();
        assert_eq!(fs::read_to_string(&setting).unwrap(), "2");
        leftovers.remove().unwrap();
        assert_eq!(fs::read_to_string(&setting).unwrap(), "212992");
        let error = leftovers.change(Path::new("/no/such/setting"), "1").unwrap_err();
        assert!(error.to_string().contains("/no/such/setting"), "{error}");
    }

    #[test]
    fn entered_processes_and_the_directory_are_gone_after_removal() {
        let directory = tempfile::tempdir().unwrap().keep();
        fs::write(directory.join("file"), "content").unwrap();
        let spawn = || Command::new("sleep").arg("100").spawn().unwrap();
        let (mut entered, mut left) = (spawn(), spawn());
        let leftovers = Leftovers::default();
        leftovers.enter_directory(&directory);
        for child in [&entered, &left] {
            leftovers.enter_process(Pid::from_child(child));
        }
        leftovers.leave_process(Pid::from_child(&left));
        leftovers.remove().unwrap();
        assert!(!entered.wait().unwrap().success());
        assert!(left.try_wait().unwrap().is_none(), "it had left the list");
        assert!(!directory.exists());
        left.kill().unwrap();
        left.wait().unwrap();
    }
}
