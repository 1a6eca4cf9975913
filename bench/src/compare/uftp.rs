//! UFTP, as packaged, with the options that it needs to be fast.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::lab::{Family, Host, INTERFACE, Node};
use common::units::Bitrate;

use crate::arena::{Arena, FILE};
use crate::cell::Cell;
use crate::contestant::{Contestant, Setting, rates};

/// Socket buffers that are asked for; the kernel grants net.core.rmem_max.
const BUFFER_BYTES: &str = "104857600";
/// Write cache of uftpd: its maximum.
const CACHE_BYTES: &str = "20971520";
/// A round-trip time nearer to that of a LAN than the default's half a second: it paces announces,
/// and the rounds of repair (5.5 s became 4.0 s with 64 MiB to 8 hosts).
const QUICK: &str = "-r 0.1:0.01:1";
/// The same with more repetitions: where datagrams are lost, clients are given up otherwise.
const PATIENT: &str = "-s 50 -r 0.05:0.01:0.5";
/// UFTP's public group.
const GROUP: [u8; 4] = [230, 4, 4, 1];

/// A daemon on each host, NAKs after a pass at a fixed rate.
///
/// The group is open, as fanfare's `--expect N` is: nobody lists the hosts.
pub struct Uftp;

impl Contestant for Uftp {
    fn name(&self) -> &'static str {
        "uftp"
    }

    fn needs(&self) -> (Vec<PathBuf>, &'static str) {
        (vec!["uftp".into(), "uftpd".into()], "apt-get install uftp")
    }

    fn settings(&self, cell: &Cell) -> Vec<Setting> {
        // Under loss one try may take minutes, and rates matter less than time-outs.
        let (tails, megabits): (&[&str], &[u64]) = match cell.loss_per_mille {
            0 => (&[QUICK, ""], &[450, 600, 350, 250, 900, 150, 100]),
            _ => (&[PATIENT, "", QUICK], &[450, 250, 150]),
        };
        let setting = |megabits: u64, tail: &str| {
            let rate = Bitrate::from_megabits(megabits);
            Setting::new(&format!("-R {} -b 1424 {tail}", megabits * 1000), Some(rate))
        };
        let rates = rates(cell, megabits);
        let paced = rates.iter().flat_map(|rate| tails.iter().map(|tail| setting(*rate, tail)));
        paced.chain([Setting::new("-R -1 -b 1424", None)]).collect()
    }

    fn host_command(&self, host: &Host) -> Command {
        let mut command = host.node().command("uftpd");
        command.args(["-d", "-q", "-x", "1", "-I", INTERFACE, "-B", BUFFER_BYTES]);
        command.args(["-c", CACHE_BYTES, "-D"]).arg(host.store());
        command
    }

    fn is_ready(&self, node: &Node) -> bool {
        node.groups(Family::V4).contains(&IpAddr::from(GROUP))
    }

    fn send_command(&self, arena: &Arena, setting: &Setting) -> Command {
        let mut command = arena.lab().sender().command("uftp");
        command.args(["-x", "1", "-Y", "none", "-I", INTERFACE, "-B", BUFFER_BYTES]);
        command.args(&setting.arguments).arg(arena.source());
        command
    }

    fn received(&self, store: &Path) -> Option<PathBuf> {
        Some(store.join(FILE))
    }
}
