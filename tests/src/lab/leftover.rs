//! What a killed test may leave on the machine, and its removal by the next one.
//!
//! Only things whose name says that the lab made them, in a process that no longer lives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process::holds_within;

/// Before the process id in the name of everything that a lab makes.
const PREFIX: &str = "fanlab-";

/// A new directory called `fanlab-<pid>-<number>`; removes those of dead processes first.
///
/// # Panics
/// When it cannot be made.
pub(super) fn fresh_directory() -> PathBuf {
    static SWEPT: Once = Once::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let parent = std::env::temp_dir();
    SWEPT.call_once(|| sweep(&parent));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
    fs::create_dir(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
    path
}

/// Loop devices whose backing file lies below `directory`, once the kernel had time to clear them.
pub(super) fn loop_devices_of(directory: &Path) -> Vec<String> {
    let mut left = Vec::new();
    holds_within(Duration::from_secs(5), || {
        left = backing_files().filter(|file| Path::new(file).starts_with(directory)).collect();
        left.is_empty()
    });
    left
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let maker = entry.file_name().to_str().and_then(maker_of);
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process id in the name of a lab's directory.
fn maker_of(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

fn backing_files() -> impl Iterator<Item = String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok())
        .map(|file| file.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_dead_labs_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let living = format!("fanlab-{}-0", std::process::id());
        // Process ids end at 2^22.
        for name in ["fanlab-99999999-0", &living, "fanlab-notes", "other-99999999-0"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        sweep(parent.path());
        let mut left: Vec<String> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [living.as_str(), "fanlab-notes", "other-99999999-0"]);
    }
}
