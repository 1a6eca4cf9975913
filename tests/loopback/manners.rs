//! What a sender and a host take of the machine that they share with others.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use tests::process::Running;
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
