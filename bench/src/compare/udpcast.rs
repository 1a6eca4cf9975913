//! udpcast, as packaged, with the options that it needs to be fast.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::lab::{Host, INTERFACE, Node};
use common::units::Bitrate;

use crate::arena::{Arena, FILE};
use crate::cell::Cell;
use crate::contestant::{Contestant, Setting, rates};

/// Socket buffers that are asked for; the kernel grants net.core.rmem_max.
const BUFFER_BYTES: &str = "104857600";
/// Slices, which two are in flight of; the shorter ones are answered more often.
const LOSSLESS: [&str; 4] =
    ["--default-slice-size 1024", "--default-slice-size 512", "--default-slice-size 256", ""];
/// Stripes x repair blocks / data blocks of a stripe. Without, 64 MiB took 54 s to 8 hosts at 1 %
/// loss in slices of 1024 and 17 s in slices of 256; with them 10 s.
const LOSSY: [&str; 5] = [
    "--fec 8x16/128",
    "--fec 8x8/128",
    "--fec 8x24/128",
    "--default-slice-size 256",
    "--default-slice-size 512",
];
/// Port of receivers.
const PORT: u16 = 9000;

/// A receiver started on each host for this transfer, two slices in flight, answered by everybody.
pub struct Udpcast;

impl Contestant for Udpcast {
    fn name(&self) -> &'static str {
        "udpcast"
    }

    fn needs(&self) -> (Vec<PathBuf>, &'static str) {
        (vec!["udp-sender".into(), "udp-receiver".into()], "apt-get install udpcast")
    }

    fn settings(&self, cell: &Cell) -> Vec<Setting> {
        let has_loss = cell.loss_per_mille > 0;
        let free: &[&str] = if has_loss { &LOSSY } else { &LOSSLESS };
        let paced = |megabits: u64| {
            let rate = Bitrate::from_megabits(megabits);
            Setting::new(&format!("{} --max-bitrate {megabits}m", free[0]), Some(rate))
        };
        let free = free.iter().map(|arguments| Setting::new(arguments, None));
        free.chain(rates(cell, &[600, 300, 800, 450, 150]).into_iter().map(paced)).collect()
    }

    fn host_command(&self, host: &Host) -> Command {
        let mut command = host.node().command("udp-receiver");
        command.args(["--nokbd", "--no-progress", "--interface", INTERFACE]);
        command.args(["--rcvbuf", BUFFER_BYTES, "--file"]).arg(host.store().join(FILE));
        command
    }

    fn is_ready(&self, node: &Node) -> bool {
        node.udp_ports().contains(&PORT)
    }

    fn send_command(&self, arena: &Arena, setting: &Setting) -> Command {
        let mut command = arena.lab().sender().command("udp-sender");
        command.args(["--nokbd", "--no-progress", "--interface", INTERFACE, "--full-duplex"]);
        command.args(["--nopointopoint", "--min-receivers", &arena.cell().hosts.to_string()]);
        // Without this a hello that is lost is never said again.
        command.args(["--rexmit-hello-interval", "200"]);
        // A receiver that dies holds the others up for three minutes otherwise.
        command.args(["--retries-until-drop", "30"]);
        command.args(&setting.arguments).arg("--file").arg(arena.source());
        command
    }

    fn receivers_end(&self) -> bool {
        true
    }

    fn received(&self, store: &Path) -> Option<PathBuf> {
        Some(store.join(FILE))
    }
}
