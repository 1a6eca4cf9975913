//! The units in packaging/: whether systemd takes them, and how much they leave open.
#![expect(clippy::disallowed_methods, reason = "it reads the units and writes copies")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::product::fanhost;

/// Options that make a mount namespace: what the helper mounts in one is seen by nobody else.
const NAMESPACING: [&str; 18] = [
    "BindPaths",
    "BindReadOnlyPaths",
    "DynamicUser",
    "InaccessiblePaths",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivateTmp",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RootDirectory",
];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

/// The units in a directory of their own, with the program that was built here.
fn units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    for entry in fs::read_dir(packaging()).expect("it is there").flatten() {
        let text = fs::read_to_string(entry.path()).expect("a unit is text");
        let text = text.replace("/usr/bin/fanhost", &fanhost().to_string_lossy());
        fs::write(directory.path().join(entry.file_name()), text).expect("the directory is ours");
    }
    directory
}

fn analyze(arguments: &[&str], directory: &Path, units: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments);
    for unit in units {
        command.arg(format!("./{unit}"));
    }
    command.current_dir(directory).output().expect("tests/run installs it")
}

#[test]
fn systemd_takes_the_units_without_a_word() {
    let directory = units();
    let names = [
        "fanhost.service",
        "fanhost-helper.service",
        "fanhost-helper.socket",
        "fanhost-restore.service",
        "fanfare-releases.target",
    ];
    let output = analyze(&["verify", "--man=no"], directory.path(), &names);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Units of this machine are not ours.
    let is_ours = |line: &&str| line.contains("fanhost") || line.contains("fanfare");
    let ours: Vec<&str> = said.lines().filter(is_ours).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    let broken = fs::read_to_string(directory.path().join(names[0])).expect("it was written");
    let broken = broken.replace("NoNewPrivileges", "NoNewPriviledges");
    fs::write(directory.path().join(names[0]), broken).expect("the directory is ours");
    let output = analyze(&["verify", "--man=no"], directory.path(), &names);
    assert!(String::from_utf8_lossy(&output.stderr).contains("NoNewPriviledges"), "it would say");
}

#[test]
fn the_units_leave_little_open() {
    // Tenths of systemd's exposure level: 1.5 for the receiver, 4.0 for those that mount.
    let levels = [
        ("fanhost.service", "15"),
        ("fanhost-helper.service", "40"),
        ("fanhost-restore.service", "40"),
    ];
    for (unit, threshold) in levels {
        let directory = units();
        let arguments = ["security", "--offline=yes", "--threshold", threshold];
        let output = analyze(&arguments, directory.path(), &[unit]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("Overall exposure level for {unit}")), "{said}");
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn what_mounts_has_no_mount_namespace_of_its_own() {
    let text = |name: &str| fs::read_to_string(packaging().join(name)).expect("a unit");
    let (helper, restore) = (text("fanhost-helper.service"), text("fanhost-restore.service"));
    let receiver = fs::read_to_string(packaging().join("fanhost.service")).expect("a unit");
    let found = |unit: &str| {
        let keys = unit.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key);
        let keys = keys.filter(|key| NAMESPACING.contains(key)).map(str::to_owned);
        keys.collect::<Vec<_>>()
    };
    assert_eq!(found(&helper), [""; 0]);
    assert_eq!(found(&restore), [""; 0]);
    assert!(!found(&receiver).is_empty(), "the list is one of options that there are");
}

#[test]
fn the_documented_commands_install_every_file_of_packaging() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let manual = packaging.join("../docs/OPERATIONS.md");
    let manual = fs::read_to_string(manual).expect("it is there");
    let sources = manual.lines().filter_map(|line| line.strip_prefix("install -m 644 packaging/"));
    let sources: Vec<&str> = sources.filter_map(|line| line.split(' ').next()).collect();
    let is_installed = |file: &str| {
        sources.iter().any(|source| match source.strip_suffix('*') {
            Some(start) => file.starts_with(start),
            None => file == *source,
        })
    };
    let directories = fs::read_dir(&packaging).expect("it is there").flatten();
    let files = directories.filter_map(|it| fs::read_dir(it.path()).ok()).flatten().flatten();
    let below = |path: PathBuf| path.strip_prefix(&packaging).expect("below").to_owned();
    let names = files.map(|file| below(file.path()).to_string_lossy().into_owned());
    let (here, missing): (Vec<String>, Vec<String>) = names.partition(|file| is_installed(file));
    assert_eq!((here.len(), missing), (8, vec![]));
}
