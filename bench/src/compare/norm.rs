//! NORM (RFC 5740): a small program of our own on the distribution's library, `norm/norm-file.cc`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::lab::{Family, Host, INTERFACE, Node};
use common::units::Bitrate;

use crate::arena::Arena;
use crate::cell::Cell;
use crate::contestant::{Contestant, Setting, only_file, rates};

/// The program's group.
const GROUP: [u8; 4] = [239, 192, 70, 72];
/// Source and repair segments of a block, and repair segments sent unasked.
const BLOCKS: [&str; 2] = ["64 16 0", "32 8 0"];
/// The same where datagrams are lost.
const BLOCKS_LOSSY: [&str; 3] = ["64 32 4", "64 32 0", "128 64 16"];

/// A receiver on each host, parity on demand at a fixed rate, acknowledged by every host.
pub struct Norm {
    program: PathBuf,
}

impl Norm {
    /// The program `norm-file` in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self { program: directory.join("norm-file") }
    }
}

impl Contestant for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn needs(&self) -> (Vec<PathBuf>, &'static str) {
        let remedy = "apt-get install g++ libnorm-dev; \
                      g++ -O2 bench/norm/norm-file.cc -lnorm -o target/release/norm-file";
        (vec![self.program.clone()], remedy)
    }

    fn settings(&self, cell: &Cell) -> Vec<Setting> {
        let (blocks, megabits): (&[&str], &[u64]) = match cell.loss_per_mille {
            0 => (&BLOCKS, &[250, 400, 150, 600, 100]),
            _ => (&BLOCKS_LOSSY, &[250, 150, 100, 50]),
        };
        let setting = |megabits: u64, block: &str| {
            let rate = Bitrate::from_megabits(megabits);
            Setting::new(&format!("{megabits} {block}"), Some(rate))
        };
        let rates = rates(cell, megabits);
        let all = rates.iter().flat_map(|rate| blocks.iter().map(|block| setting(*rate, block)));
        all.collect()
    }

    fn host_command(&self, host: &Host) -> Command {
        let number = host.name().trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let mut command = host.node().command(&self.program);
        command.args(["receive", INTERFACE, number]).arg(host.store());
        command
    }

    fn is_ready(&self, node: &Node) -> bool {
        node.groups(Family::V4).contains(&IpAddr::from(GROUP))
    }

    fn send_command(&self, arena: &Arena, setting: &Setting) -> Command {
        let mut command = arena.lab().sender().command(&self.program);
        command.args(["send", INTERFACE]).arg(arena.source());
        command.arg(arena.cell().hosts.to_string()).args(&setting.arguments);
        command
    }

    fn received(&self, store: &Path) -> Option<PathBuf> {
        only_file(store)
    }
}
