//! What a sender and a host take of the machine that they share with others.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use tests::lab::Family;
use tests::process::{Running, holds_within};
use tests::product::{self, Image};

use crate::site::{DEADLINE, Site};

/// Whom programs run as that must not have privileges.
const NOBODY: u32 = 65_534;

/// `program` with the privileges of nobody; those of whoever tests, where that is not root.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        let nobody = NOBODY.to_string();
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A directory of `site` that nobody may write to.
fn open_to_nobody(site: &Site, directory: &Path) {
    fs::create_dir_all(directory).expect("the directory is ours");
    let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o755));
    for path in directory.ancestors().take_while(|path| path.starts_with(site.path())) {
        open(path).expect("the directory is ours");
    }
    if rustix::process::geteuid().is_root() {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
}

/// The line that is due where the kernel grants less than `wanted` bytes of `setting`.
fn due(setting: &str, wanted: u64) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/net/core/{setting}"));
    let granted: u64 = text.expect("Linux has it").trim().parse().expect("it is a number");
    (granted < wanted).then(|| format!("net.core.{setting}={wanted}"))
}

#[test]
fn small_socket_buffers_are_complained_of_once_with_what_to_set() {
    let mut site = Site::new();
    let bundle = site.bundle("r1", Image::Tar);
    open_to_nobody(&site, &site.store("a"));
    let mut command = unprivileged(&product::fanhost());
    command.args(site.daemon_command("a").get_args().skip(3));
    let place = site.start_command("a", &mut command);
    let mut command = unprivileged(&product::fanfare());
    command.args([
        "send",
        "--expect",
        "1",
        "--insecure",
        "--interface",
        "lo",
        "--progress",
        "plain",
    ]);
    command.args(["--group", &site.group().to_string()]).arg(&bundle.path);
    let sent = Running::start("fanfare", &mut command, &site.logs()).wait(DEADLINE);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    for (said, settings) in [
        (site.host(place).stderr(), [due("rmem_max", 16 << 20), None]),
        (sent.stderr, [due("rmem_max", 8 << 20), due("wmem_max", 1 << 20)]),
    ] {
        let lines: Vec<_> = said.lines().filter(|line| line.contains("kernel grants")).collect();
        let due: Vec<_> = settings.into_iter().flatten().collect();
        assert_eq!(lines.len(), usize::from(!due.is_empty()), "{said}");
        assert!(due.iter().all(|setting| lines[0].contains(setting)), "{lines:?}");
    }
}

/// Name and rank at the disk of each thread of a process, as `ionice` says it.
fn threads(site: &Site, process: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
    let thread = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        let mut ionice = Command::new("ionice");
        ionice.arg("--pid").arg(task.file_name());
        let said = Running::start("ionice", &mut ionice, &site.logs()).wait(DEADLINE);
        Some((name, said.stdout.trim().to_owned()))
    };
    tasks.filter_map(thread).collect()
}

#[test]
fn the_data_path_takes_half_of_the_cores_and_the_disk_when_nobody_else_wants_it() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (arguments, workers, is_idle) in [
        (&[][..], (cores / 2).max(1), true),
        (&["--workers", "3", "--io-class", "normal"], 3, false),
    ] {
        let mut site = Site::new();
        let mut command = site.daemon_command("a");
        let place = site.start_command("a", command.args(arguments));
        // A tar has all threads there are: two more unpack it while it comes.
        let bundle = site.bundle("r1", Image::Tar);
        let send = site.send(&bundle).expect(1).rate("2Mbit");
        let sending = send.start_here(Family::V4, &site.logs());
        let process = site.host(place).pid();
        let has_all = || threads(&site, process).iter().any(|(name, _)| name == "unpack");
        assert!(holds_within(DEADLINE, has_all), "{}", sending.process.tails());
        let threads = threads(&site, process);
        let (path, others): (Vec<_>, Vec<_>) = threads.iter().partition(|(name, _)| {
            // Pruning is no hurry either, and removing what was pruned.
            let others = ["installer", "unpack", "unpack-feed", "housekeeping", "trash"];
            name.starts_with("worker-") || others.contains(&name.as_str())
        });
        assert_eq!(path.len(), workers + 5, "{threads:#?}");
        assert!(path.iter().all(|(_, rank)| (rank == "idle") == is_idle), "{threads:#?}");
        assert!(others.len() >= 2 && others.iter().all(|it| it.1 != "idle"), "{threads:#?}");
    }
}
