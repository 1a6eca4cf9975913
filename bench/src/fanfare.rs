//! fanfare as a contestant: the release binaries, beside which this program lies.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::tests::lab::{Family, Host, INTERFACE, Node};
use ::tests::process::Running;
use anyhow::ensure;
use common::units::Bitrate;

use crate::arena::Arena;
use crate::cell::Cell;
use crate::contestant::{Contestant, Setting, only_file, rates};
use crate::program;

const APP: &str = "shop";
/// Packing 1 GiB of noise takes a few seconds.
const PACK_PATIENCE: Duration = Duration::from_secs(300);

/// The product.
pub struct Fanfare {
    directory: PathBuf,
}

impl Fanfare {
    /// The binaries beside this program.
    ///
    /// # Errors
    /// When this program does not know its own place.
    pub fn beside_us() -> anyhow::Result<Self> {
        Ok(Self { directory: program::directory()? })
    }

    /// Packs the arena's file. A bundle is packed once and sent many times: packing is not part of
    /// a run.
    ///
    /// # Errors
    /// What `fanfare pack` said.
    pub fn pack(&self, arena: &Arena) -> anyhow::Result<()> {
        let mut command = arena.lab().sender().command(self.directory.join("fanfare"));
        command.arg("pack").arg(arena.source());
        command.args(["--app", APP, "--release", "1", "--image", "raw", "-o"]);
        command.arg(Self::bundle(arena));
        let ending = Running::start("pack", &mut command, &arena.lab().logs()).wait(PACK_PATIENCE);
        ensure!(ending.code == Some(0), "fanfare pack failed: {}", ending.stderr.trim());
        Ok(())
    }

    fn bundle(arena: &Arena) -> PathBuf {
        arena.desk().join("release.fan")
    }
}

impl Contestant for Fanfare {
    fn name(&self) -> &'static str {
        "fanfare"
    }

    fn needs(&self) -> (Vec<PathBuf>, &'static str) {
        let program = |name: &str| self.directory.join(name);
        (vec![program("fanfare"), program("fanhost")], "cargo build --release --workspace --bins")
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
        let mut command = host.node().command(self.directory.join("fanhost"));
        command.args(["run", "--insecure", "--interface", INTERFACE, "--app", APP]);
        command.args(["--host", host.name(), "--store"]).arg(host.store());
        command
    }

    fn is_ready(&self, node: &Node) -> bool {
        node.groups(Family::V4).contains(&Family::V4.group().ip())
    }

    fn send_command(&self, arena: &Arena, setting: &Setting) -> Command {
        let mut command = arena.lab().sender().command(self.directory.join("fanfare"));
        command.arg("send").arg(Self::bundle(arena));
        command.args(["--insecure", "--json", "--progress", "none", "--interface", INTERFACE]);
        // The peers switch nothing: neither does this.
        command.args(["--activate", "hold", "--expect", &arena.cell().hosts.to_string()]);
        command.args(&setting.arguments);
        command
    }

    fn checks_itself(&self) -> bool {
        true
    }

    fn received(&self, store: &Path) -> Option<PathBuf> {
        only_file(&store.join(APP).join("images"))
    }
}
