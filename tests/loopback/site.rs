//! Hosts and a sender on this machine's loopback interface, each host with a store of its own.
#![expect(clippy::disallowed_methods, reason = "it makes directories and writes configurations")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tests::fixture;
use tests::lab::Family;
use tests::outcome::Outcome;
use tests::process::{Ending, Running, command};
use tests::product::{self, Bundle, Image, Pack, Send};

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A directory, a group of its own, and the hosts that listen there.
pub(crate) struct Site {
    directory: TempDir,
    family: Family,
    group: SocketAddr,
    hosts: Vec<Running>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::over(Family::V4)
    }

    pub(crate) fn over(family: Family) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self { directory, family, group: fresh_group(family), hosts: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn group(&self) -> SocketAddr {
        self.group
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path().join("logs")
    }

    /// A generated tree of about a hundred files, the same for the same `label`.
    pub(crate) fn tree(&self, label: &str) -> PathBuf {
        let tree = self.path().join("trees").join(label);
        if !tree.exists() {
            fixture::make_tree(&tree, label, 100);
        }
        tree
    }

    /// That tree as a bundle.
    pub(crate) fn bundle(&self, label: &str, image: Image) -> Bundle {
        Pack::of(&self.tree(label), label, image).run(self.path())
    }

    /// The release `r<number>`, a file of some megabytes as it is.
    pub(crate) fn raw_bundle(&self, number: u32) -> Bundle {
        let bytes: Vec<u8> =
            (0..1_000_000).flat_map(|at: u32| (at * number).to_le_bytes()).collect();
        let path = self.path().join(format!("r{number}"));
        fs::write(&path, bytes).expect("the directory is ours");
        let pack = Pack::of(&path, &format!("r{number}"), Image::Raw);
        pack.arg(&format!("--sequence={number}")).run(self.path())
    }

    pub(crate) fn store(&self, host: &str) -> PathBuf {
        self.path().join(host).join("store")
    }

    pub(crate) fn current(&self, host: &str) -> PathBuf {
        self.store(host).join("shop/root/current")
    }

    /// The command of a host's daemon with nothing but its configuration.
    pub(crate) fn daemon_command(&self, host: &str) -> Command {
        let mut command = command(product::fanhost());
        command.args(["run", "--insecure", "--interface", "lo", "--app", "shop", "--host", host]);
        command.args(["--group", &self.group.to_string()]);
        command.arg("--store").arg(self.store(host));
        command
    }

    /// Starts the daemon of `host` and waits until it listens; returns its place.
    pub(crate) fn start(&mut self, host: &str) -> usize {
        let mut command = self.daemon_command(host);
        self.start_command(host, &mut command)
    }

    /// The same by another command, whose process becomes the daemon.
    pub(crate) fn start_command(&mut self, host: &str, command: &mut Command) -> usize {
        let mut daemon = Running::start(host, command, &self.logs());
        // It says so when it has joined; another line, before that, has the same words.
        daemon.wait_for_stderr(&format!(" listens to {} on ", self.group), DEADLINE);
        self.hosts.push(daemon);
        self.hosts.len() - 1
    }

    pub(crate) fn host(&mut self, place: usize) -> &mut Running {
        &mut self.hosts[place]
    }

    pub(crate) fn send(&self, bundle: &Bundle) -> Send {
        Send::of(bundle).through("lo").to_group(&self.group.to_string())
    }

    pub(crate) fn run(&self, send: &Send) -> Outcome {
        send.start_here(self.family, &self.logs()).wait(DEADLINE)
    }

    /// Runs `fanfare` with `arguments`.
    pub(crate) fn fanfare(&self, arguments: &[&str]) -> Ending {
        product::run_fanfare(arguments, &self.logs())
    }

    /// Runs a verb of `fanhost` on the store of `host`.
    pub(crate) fn verb(&self, host: &str, arguments: &[&str]) -> Ending {
        let mut command = command(product::fanhost());
        command.args(arguments).arg("--store").arg(self.store(host));
        let name = format!("fanhost-{}", arguments.first().unwrap_or(&"bare"));
        Running::start(&name, &mut command, &self.logs()).wait(DEADLINE)
    }

    /// Changes a byte of the newest image in the store of `host`, as a failing disk would.
    pub(crate) fn damage_image(&self, host: &str) {
        let images = self.store(host).join("shop/images");
        let entries = fs::read_dir(images).expect("the host has images");
        let paths = entries.map(|entry| entry.expect("it can be listed").path());
        let modified = |path: &PathBuf| {
            fs::metadata(path).and_then(|facts| facts.modified()).expect("it can be looked at")
        };
        let image = paths.max_by_key(modified).expect("there is one");
        fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let mut bytes = fs::read(&image).expect("it can be read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&image, bytes).expect("it is ours");
    }

    /// Writes `text` to a file called `name` here.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("the directory is ours");
        path
    }
}

/// A group and port that no other test of this machine uses at this time.
fn fresh_group(family: Family) -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let port = 20_000 + u16::try_from((process * 64 + u32::from(count)) % 12_000).unwrap_or(0);
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(239, 192, 71, (count % 250 + 1) as u8)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xFF11, 0, 0, 0, 0, 0, 0x7071, count + 1)),
    };
    SocketAddr::new(address, port)
}
