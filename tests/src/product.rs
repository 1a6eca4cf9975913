//! The product's command lines (DESIGN, chapter 8), built in one place.
//!
//! The binaries are those that `tests/run` built beside the running test. A test never builds them,
//! and never runs ones that are older than a source they were made from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::keyring::SiteKeys;
use crate::lab::{Family, INTERFACE, Lab, Node};
use crate::outcome::Outcome;
use crate::process::{Ending, Running, command};

/// How long `fanfare pack` may take in a test.
const PACK_PATIENCE: Duration = Duration::from_secs(300);

/// How long a send may take to get to a given place.
const SEND_PATIENCE: Duration = Duration::from_secs(60);

/// What an image is, as `--image` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// A plain ext2 file system.
    Ext2,
    /// An ext4 file system.
    Ext4,
    /// An erofs file system.
    Erofs,
    /// A squashfs file system.
    Squashfs,
    /// A tar archive, unpacked on the host.
    Tar,
    /// Any file.
    Raw,
}

/// One call of `fanfare pack`.
#[derive(Debug, Clone)]
pub struct Pack {
    source: PathBuf,
    app: String,
    label: String,
    image: Image,
    extra: Vec<String>,
}

/// A bundle that a test packed.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The file.
    pub path: PathBuf,
    /// The app that it is a release of.
    pub app: String,
    /// The release's label.
    pub label: String,
    /// What its image is.
    pub image: Image,
}

/// One call of `fanfare send`.
#[derive(Debug, Clone)]
pub struct Send {
    bundle: PathBuf,
    expect: Option<String>,
    interface: String,
    group: Option<String>,
    keys: Option<PathBuf>,
    extra: Vec<String>,
}

/// A `fanfare send` that runs.
pub struct Sending {
    /// The process.
    pub process: Running,
    /// What its machine had sent before.
    sent_before: u64,
}

/// The sender's tool.
///
/// # Panics
/// When it was not built, or not since its sources changed.
pub fn fanfare() -> PathBuf {
    built("fanfare")
}

/// The host's agent.
///
/// # Panics
/// As [`fanfare`].
pub fn fanhost() -> PathBuf {
    built("fanhost")
}

/// A program of `bench`, which measures the other two.
///
/// # Panics
/// As [`fanfare`].
pub fn bench(program: &str) -> PathBuf {
    built(program)
}

/// Runs `fanfare` with `arguments` on this machine, outside every lab.
pub fn run_fanfare(arguments: &[&str], logs: &Path) -> Ending {
    let name = format!("fanfare-{}", arguments.first().unwrap_or(&"bare"));
    Running::start(&name, command(fanfare()).args(arguments), logs).wait(PACK_PATIENCE)
}

impl Image {
    /// Its name on the command line and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext4 => "ext4",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Tar => "tar",
            Self::Raw => "raw",
        }
    }
}

impl Pack {
    /// Packs `source` as release `label` of the app called shop.
    pub fn of(source: &Path, label: &str, image: Image) -> Self {
        Self {
            source: source.to_owned(),
            app: "shop".to_owned(),
            label: label.to_owned(),
            image,
            extra: Vec::new(),
        }
    }

    /// For `app` instead.
    pub fn app(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    /// With one more argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.extra.push(argument.to_owned());
        self
    }

    /// Packs into `directory`, whatever becomes of it.
    pub fn attempt(&self, directory: &Path) -> (Bundle, Ending) {
        let name = format!("{}-{}-{}.fan", self.app, self.label, self.image.name());
        let path = directory.join(name);
        let mut command = self.command(&path);
        let ending =
            Running::start("pack", &mut command, &directory.join("logs")).wait(PACK_PATIENCE);
        let bundle =
            Bundle { path, app: self.app.clone(), label: self.label.clone(), image: self.image };
        (bundle, ending)
    }

    /// Packs into `directory`.
    ///
    /// # Panics
    /// When packing fails.
    pub fn run(&self, directory: &Path) -> Bundle {
        let (bundle, ending) = self.attempt(directory);
        assert_eq!(ending.code, Some(0), "pack failed: {}", ending.stderr);
        bundle
    }

    /// The command that packs to `output`.
    pub fn command(&self, output: &Path) -> Command {
        let mut command = command(fanfare());
        command.arg("pack").arg(&self.source).args(["--app", &self.app]);
        command.args(["--release", &self.label, "--image", self.image.name()]);
        command.arg(format!("--sequence={}", next_sequence()));
        command.args(&self.extra).arg("-o").arg(output);
        command
    }
}

/// A sequence higher than those of all releases packed before: left to itself, pack takes the time
/// in seconds, and a test packs and sends several in one.
fn next_sequence() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_max(common::clock::unix_seconds(), Ordering::Relaxed);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Bundle {
    /// Length of the file.
    ///
    /// # Panics
    /// When it is gone.
    pub fn bytes(&self) -> u64 {
        let facts = fs::metadata(&self.path);
        facts.unwrap_or_else(|error| panic!("{}: {error}", self.path.display())).len()
    }
}

impl Send {
    /// Sends `bundle`; without an expectation, which the product refuses.
    pub fn of(bundle: &Bundle) -> Self {
        Self {
            bundle: bundle.path.clone(),
            expect: None,
            interface: INTERFACE.to_owned(),
            group: None,
            keys: None,
            extra: Vec::new(),
        }
    }

    /// With the keys of a site, instead of `--insecure`.
    pub fn keyed(self, keys: &SiteKeys) -> Self {
        self.keys_in(keys.sender())
    }

    /// With the keys in this directory.
    pub fn keys_in(mut self, directory: PathBuf) -> Self {
        self.keys = Some(directory);
        self
    }

    /// Expects `hosts` hosts.
    pub fn expect(self, hosts: usize) -> Self {
        self.expect_text(&hosts.to_string())
    }

    /// Expects what `text` says (`any`, `@FILE`).
    pub fn expect_text(mut self, text: &str) -> Self {
        self.expect = Some(text.to_owned());
        self
    }

    /// Switches by `policy`: together, each or hold.
    pub fn activate(self, policy: &str) -> Self {
        self.arg("--activate").arg(policy)
    }

    /// No faster than `rate`, for example `80Mbit`.
    pub fn rate(self, rate: &str) -> Self {
        self.arg("--rate").arg(rate)
    }

    /// Through `interface` instead of the lab's.
    pub fn through(mut self, interface: &str) -> Self {
        interface.clone_into(&mut self.interface);
        self
    }

    /// To `group` instead of the family's default.
    pub fn to_group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// With one more argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.extra.push(argument.to_owned());
        self
    }

    /// Starts it on the lab's sender.
    pub fn start(&self, lab: &Lab) -> Sending {
        self.start_on(lab.sender(), lab)
    }

    /// Starts it on `node`.
    pub fn start_on(&self, node: &Node, lab: &Lab) -> Sending {
        let mut command = node.command(fanfare());
        self.arguments(&mut command, lab.shape().family);
        let sent_before = node.sent_bytes();
        let process = Running::start(node.name(), &mut command, &lab.logs());
        Sending { process, sent_before }
    }

    /// Starts it outside every lab.
    pub fn start_here(&self, family: Family, logs: &Path) -> Sending {
        let mut command = command(fanfare());
        self.arguments(&mut command, family);
        let process = Running::start("fanfare-send", &mut command, logs);
        Sending { process, sent_before: 0 }
    }

    /// Runs it on the lab's sender to its end.
    ///
    /// # Panics
    /// When it has not ended within `deadline`.
    pub fn run(&self, lab: &Lab, deadline: Duration) -> Outcome {
        self.start(lab).wait(deadline)
    }

    fn arguments(&self, command: &mut Command, family: Family) {
        command.arg("send").arg(&self.bundle);
        match &self.keys {
            Some(directory) => command.arg("--keys").arg(directory),
            None => command.arg("--insecure"),
        };
        command.args(["--json", "--progress", "plain"]);
        command.args(["--interface", &self.interface]);
        if let Some(expect) = &self.expect {
            command.args(["--expect", expect]);
        }
        match (&self.group, family) {
            (Some(group), _) => command.args(["--group", group]),
            (None, Family::V6) => command.args(["--group", &family.group().to_string()]),
            (None, Family::V4) => command,
        };
        command.args(&self.extra);
    }
}

impl Sending {
    /// Waits until `node`, where it runs, has sent `bytes` since it was started.
    ///
    /// # Panics
    /// When it ends first, or takes more than a minute.
    pub fn wait_until_sent(&mut self, node: &Node, bytes: u64) {
        let (what, until) = (format!("it had sent {bytes} bytes"), self.sent_before + bytes);
        self.process.wait_until(&what, SEND_PATIENCE, |_| node.sent_bytes() >= until);
    }

    /// Waits for its end and reads what it answered.
    ///
    /// # Panics
    /// When it has not ended within `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Outcome {
        Outcome::of(self.process.wait(deadline))
    }
}

/// The binary called `name` beside the test that runs.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // <target>/<profile>/deps/<test>
    let profile = test.parent().and_then(Path::parent).expect("cargo puts tests two levels deep");
    let binary = profile.join(name);
    let made = modified(&binary).unwrap_or_else(|| {
        panic!("{} is not built: run tests/run, or cargo build --bins", binary.display())
    });
    if let Some(newer) = sources(&profile.join(format!("{name}.d")))
        .find(|source| modified(source).is_none_or(|changed| changed > made))
    {
        panic!(
            "{} is older than {}: run tests/run, or cargo build --bins",
            binary.display(),
            newer.display()
        );
    }
    binary
}

/// The sources that cargo's dependency file `path` names.
fn sources(path: &Path) -> impl Iterator<Item = PathBuf> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let list = text.split_once(": ").map(|(_, list)| list.trim().to_owned()).unwrap_or_default();
    // Spaces in paths are escaped; none of ours has one.
    list.split_whitespace().map(PathBuf::from).collect::<Vec<_>>().into_iter()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|facts| facts.modified()).ok()
}
