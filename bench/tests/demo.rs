//! The demo as a person starts it: what it ends with, and that nothing is left whichever way it
//! ends. Real processes on loopback.
#![expect(clippy::disallowed_methods, reason = "it looks for what is left on the machine")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bench::demo::place::parent_directory;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::process::{Ending, Running, command, holds_within};

/// A debug build on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// An empty directory for the demo's files, and one for its output.
fn directories() -> (TempDir, TempDir) {
    let make = || tempfile::tempdir_in(parent_directory());
    (make().expect("files can be made"), make().expect("files can be made"))
}

/// A demo whose temporary files go to `place`.
fn start(place: &Path, logs: &Path) -> Running {
    let mut demo: Command = command(env!("CARGO_BIN_EXE_demo"));
    demo.env("TMPDIR", place).env_remove("CI");
    Running::start("demo", &mut demo, logs)
}

/// Waits for the end and asserts that no file in `place` and no process that knows it is left.
fn end(demo: &mut Running, place: &Path) -> Ending {
    let ending = demo.wait(PATIENCE);
    let said = format!("{}{}", ending.stdout, ending.stderr);
    let files: Vec<_> = fs::read_dir(place).expect("the place is ours").flatten().collect();
    assert!(files.is_empty(), "{files:?} left; it said:\n{said}");
    // A killed host needs a moment to go.
    let is_alone = holds_within(Duration::from_secs(5), || processes_naming(place).is_empty());
    assert!(is_alone, "{:?} left; it said:\n{said}", processes_naming(place));
    ending
}

/// Ids of processes with `place` on their command line.
fn processes_naming(place: &Path) -> Vec<String> {
    let names = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let place = place.as_os_str().as_bytes();
        line.windows(place.len()).any(|part| part == place)
    };
    let entries = fs::read_dir("/proc").expect("this is Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && names(pid)).collect()
}

#[test]
fn five_hosts_end_active_with_losses_repaired_and_nothing_is_left() {
    let (place, logs) = directories();
    let ending = end(&mut start(place.path(), logs.path()), place.path());
    assert_eq!(ending.code, Some(0), "{}{}", ending.stdout, ending.stderr);
    let rows: Vec<&str> = ending.stdout.lines().filter(|line| line.starts_with("host-")).collect();
    assert_eq!(rows.len(), 5, "{}", ending.stdout);
    for row in rows {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((cells[1], cells[6], cells[7]), ("active", "same", "same"), "{row}");
        assert!(cells[8].starts_with("releases/demo-"), "{row}");
        let number = |cell: &str| cell.parse::<u64>().unwrap();
        let (datagrams, lost, repaired) = (number(cells[3]), number(cells[4]), number(cells[5]));
        let share = lost as f64 / datagrams as f64;
        assert!((0.02..0.04).contains(&share), "3 % are lost: {row}");
        assert!(repaired > 0 && repaired <= lost, "{row}");
    }
    assert!(ending.stdout.contains("symbols sent per source symbol"), "{}", ending.stdout);
}

#[test]
fn an_interrupted_demo_says_so_and_leaves_nothing() {
    for moment in ["made ", "packed ", "hosts joined"] {
        let (place, logs) = directories();
        let mut demo = start(place.path(), logs.path());
        demo.wait_until(moment, PATIENCE, |it| (it.stdout() + &it.stderr()).contains(moment));
        demo.signal(Signal::INT);
        let ending = end(&mut demo, place.path());
        assert_eq!(ending.code, Some(130), "{moment}: {}{}", ending.stdout, ending.stderr);
        assert!(ending.stderr.contains("demo: interrupted"), "{moment}: {}", ending.stderr);
    }
}

#[test]
fn a_second_signal_ends_the_demo_at_once_and_leaves_nothing() {
    let (place, logs) = directories();
    let mut demo = start(place.path(), logs.path());
    demo.wait_for_stderr("hosts joined", PATIENCE);
    demo.signal(Signal::INT);
    demo.signal(Signal::TERM);
    let ending = end(&mut demo, place.path());
    assert_eq!(ending.code, Some(130), "{}{}", ending.stdout, ending.stderr);
}

#[test]
fn an_argument_is_refused_in_one_line() {
    let logs = tempfile::tempdir().unwrap();
    let mut demo = command(env!("CARGO_BIN_EXE_demo"));
    let ending = Running::start("demo", demo.arg("--loss"), logs.path()).wait(PATIENCE);
    assert_eq!(ending.code, Some(2));
    assert_eq!(ending.stderr, "demo: \"--loss\": the demo takes no arguments\n");
}
