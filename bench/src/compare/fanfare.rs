//! fanfare as a contestant: the release binaries, beside which this program lies.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::tests::lab::{Family, Host, INTERFACE, Node};
use ::tests::process::Running;
use anyhow::{Context, ensure};

use super::arena::Arena;
use super::contestant::{Contestant, Setting, only_file};

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
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        let directory = program.parent().context("a program lies in a directory")?;
        Ok(Self { directory: directory.to_owned() })
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
        (vec![program("fanfare"), program("fanhost")], "cargo build --release --bins")
    }

    fn settings(&self) -> Vec<Setting> {
        let rate = |megabits: u64| Setting::new(&format!("--rate {megabits}Mbit"), Some(megabits));
        let mut settings = vec![Setting::new("", None)];
        settings.extend([3000, 2000, 1500, 1200, 1000, 800, 600].map(rate));
        settings
    }

    /// A bundle is packed once and sent many times: packing is not part of a run.
    fn prepare(&self, arena: &Arena) -> anyhow::Result<()> {
        let mut command = arena.lab().sender().command(self.directory.join("fanfare"));
        command.arg("pack").arg(arena.source());
        command.args(["--app", APP, "--release", "1", "--image", "raw", "-o"]);
        command.arg(Self::bundle(arena));
        let ending = Running::start("pack", &mut command, &arena.lab().logs()).wait(PACK_PATIENCE);
        ensure!(ending.code == Some(0), "fanfare pack failed: {}", ending.stderr.trim());
        Ok(())
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
        command.args(["--activate", "hold", "--expect", &arena.hosts().to_string()]);
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
