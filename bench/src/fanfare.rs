//! fanfare as a contestant: the release binaries, beside which this program lies.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::tests::keyring::SiteKeys;
use ::tests::lab::{Family, Host, INTERFACE, Node};
use ::tests::process::Running;
use anyhow::ensure;
use common::units::Bitrate;

use crate::arena::Arena;
use crate::cell::Cell;
use crate::contestant::{Contestant, OURS, SEALED, Setting, only_file, rates};
use crate::program;

const APP: &str = "shop";
/// The host that runs under a profiler: the lab's first.
const PROFILED_HOST: &str = "h1";
/// Packing 1 GiB of noise takes a few seconds.
const PACK_PATIENCE: Duration = Duration::from_secs(300);

/// The product.
pub struct Fanfare {
    directory: PathBuf,
    profiler: Option<Profiler>,
    seals: Seals,
}

/// Whether sessions are sealed, and with which keys.
enum Seals {
    None,
    /// With keys that are made for each cell.
    Fresh(Mutex<Option<Box<SiteKeys>>>),
}

/// What sender and first host run under when they are profiled.
#[derive(Debug, Clone)]
pub struct Profiler {
    /// The tool.
    pub tool: Tool,
    /// Where the profiles go.
    pub directory: PathBuf,
}

/// A profiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Samples by the clock.
    Perf,
    /// Counts simulated instructions.
    Callgrind,
}

impl Tool {
    /// Its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Callgrind => "valgrind",
        }
    }
}

impl Profiler {
    /// The profile of `who`.
    pub fn file(&self, who: &str) -> PathBuf {
        let extension = match self.tool {
            Tool::Perf => "perf",
            Tool::Callgrind => "callgrind",
        };
        self.directory.join(format!("{who}.{extension}"))
    }

    /// A command on `node` that runs the program given to it as an argument under the tool.
    fn command(&self, node: &Node, who: &str) -> Command {
        let (mut command, file) = (node.command(self.tool.program()), self.file(who));
        match self.tool {
            Tool::Perf => {
                // Hardware counters are not to be had in every virtual machine.
                command.args(["record", "--quiet", "--event", "cpu-clock", "--freq", "999"]);
                command.arg("--output").arg(file).arg("--")
            }
            Tool::Callgrind => {
                let file = format!("--callgrind-out-file={}", file.display());
                command.args(["--quiet", "--tool=callgrind", &file, "--"])
            }
        };
        command
    }
}

impl Fanfare {
    /// The binaries beside this program.
    ///
    /// # Errors
    /// When this program does not know its own place.
    pub fn beside_us() -> anyhow::Result<Self> {
        Ok(Self { directory: program::directory()?, profiler: None, seals: Seals::None })
    }

    /// The same, under keys.
    pub fn sealed(self) -> Self {
        Self { seals: Seals::Fresh(Mutex::default()), ..self }
    }

    /// Adds what keys or their absence ask for.
    fn seal(&self, command: &mut Command, directory: impl FnOnce(&SiteKeys) -> PathBuf) {
        match &self.seals {
            Seals::None => command.arg("--insecure"),
            Seals::Fresh(keys) => {
                let keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
                let keys = keys.as_ref().expect("they are made with the bundle");
                command.arg("--keys").arg(directory(keys))
            }
        };
    }

    /// The same, with the sender and the first host under a profiler.
    pub fn under(self, profiler: Profiler) -> Self {
        Self { profiler: Some(profiler), ..self }
    }

    /// Packs the arena's file. A bundle is packed once and sent many times: packing is not part of
    /// a run.
    ///
    /// # Errors
    /// What `fanfare pack` said.
    pub fn pack(&self, arena: &Arena) -> anyhow::Result<()> {
        let mut command = arena.lab().sender().command(self.directory.join("fanfare"));
        command.arg("pack").arg(arena.source());
        if let Seals::Fresh(keys) = &self.seals {
            let fresh = Box::new(SiteKeys::make(arena.lab().directory(), "bench"));
            command.arg("--key").arg(fresh.release_key());
            keys.lock().unwrap_or_else(PoisonError::into_inner).replace(fresh);
        }
        command.args(["--app", APP, "--release", "1", "--image", "raw", "-o"]);
        command.arg(self.bundle(arena));
        let ending = Running::start("pack", &mut command, &arena.lab().logs()).wait(PACK_PATIENCE);
        ensure!(ending.code == Some(0), "fanfare pack failed: {}", ending.stderr.trim());
        Ok(())
    }

    /// `program` on `node`, under the profiler if `who` is to be profiled.
    fn command(&self, node: &Node, program: &str, who: Option<&str>) -> Command {
        let program = self.directory.join(program);
        match self.profiler.as_ref().zip(who) {
            Some((profiler, who)) => {
                let mut command = profiler.command(node, who);
                command.arg(program);
                command
            }
            None => node.command(program),
        }
    }

    fn bundle(&self, arena: &Arena) -> PathBuf {
        arena.desk().join(match self.seals {
            Seals::None => "release.fan",
            Seals::Fresh(_) => "signed.fan",
        })
    }
}

impl Contestant for Fanfare {
    fn name(&self) -> &'static str {
        match self.seals {
            Seals::None => OURS,
            Seals::Fresh(_) => SEALED,
        }
    }

    fn needs(&self) -> (Vec<PathBuf>, &'static str) {
        let ours = ["fanfare", "fanhost"].map(|name| self.directory.join(name));
        let tool = self.profiler.as_ref().map(|profiler| profiler.tool.program().into());
        let remedy =
            "cargo build --release --workspace --bins; apt-get install linux-perf valgrind";
        (ours.into_iter().chain(tool).collect(), remedy)
    }

    fn settings(&self, cell: &Cell) -> Vec<Setting> {
        let rate = |megabits: u64| {
            let rate = Bitrate::from_megabits(megabits);
            Setting::new(&format!("--rate {megabits}Mbit"), Some(rate))
        };
        let rates = rates(cell, &[3000, 5000, 2000, 1500, 1000, 700, 500]).into_iter().map(rate);
        [Setting::new("", None)].into_iter().chain(rates).collect()
    }

    fn prepare(&self, arena: &Arena) -> anyhow::Result<()> {
        self.pack(arena)
    }

    fn host_command(&self, host: &Host) -> Command {
        let who = (host.name() == PROFILED_HOST).then_some("host");
        let mut command = self.command(host.node(), "fanhost", who);
        command.args(["run", "--interface", INTERFACE, "--app", APP]);
        self.seal(&mut command, |keys| keys.host(host.name(), None));
        command.args(["--host", host.name(), "--store"]).arg(host.store());
        command
    }

    fn is_ready(&self, node: &Node) -> bool {
        node.groups(Family::V4).contains(&Family::V4.group().ip())
    }

    fn send_command(&self, arena: &Arena, setting: &Setting) -> Command {
        let mut command = self.command(arena.lab().sender(), "fanfare", Some("sender"));
        command.arg("send").arg(self.bundle(arena));
        self.seal(&mut command, SiteKeys::sender);
        command.args(["--json", "--progress", "none", "--interface", INTERFACE]);
        // The peers switch nothing: neither does this.
        command.args(["--activate", "hold", "--expect", &arena.cell().hosts.to_string()]);
        command.args(&setting.arguments);
        command
    }

    fn checks_itself(&self) -> bool {
        true
    }

    /// A profile is written at the end.
    fn ends_cleanly(&self) -> bool {
        self.profiler.is_some()
    }

    fn received(&self, store: &Path) -> Option<PathBuf> {
        only_file(&store.join(APP).join("images"))
    }
}
