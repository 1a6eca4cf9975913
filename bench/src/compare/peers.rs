//! The peers: UFTP and udpcast, as packaged, with the options that they need to be fast.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::lab::{Family, Host, INTERFACE, Node};

use super::arena::{Arena, FILE};
use super::contestant::{Contestant, Setting};

/// Socket buffers that are asked for; the kernel grants net.core.rmem_max.
const BUFFER_BYTES: &str = "104857600";
/// Write cache of uftpd: its maximum.
const CACHE_BYTES: &str = "20971520";
/// UFTP's public group.
const UFTP_GROUP: [u8; 4] = [230, 4, 4, 1];
/// udpcast's port for receivers.
const UDPCAST_PORT: u16 = 9000;

/// UFTP: a daemon on each host, NAKs after a pass at a fixed rate.
///
/// The group is open, as fanfare's `--expect N` is: nobody lists the hosts.
pub struct Uftp;

/// udpcast: a receiver started on each host for this transfer, two slices in flight, answered by
/// everybody.
pub struct Udpcast;

impl Contestant for Uftp {
    fn name(&self) -> &'static str {
        "uftp"
    }

    fn needs(&self) -> (Vec<PathBuf>, &'static str) {
        (vec!["uftp".into(), "uftpd".into()], "apt-get install uftp")
    }

    fn settings(&self) -> Vec<Setting> {
        let rate = |megabits: u64| {
            Setting::new(&format!("-R {} -b 1424", megabits * 1000), Some(megabits))
        };
        let mut settings: Vec<Setting> = [350, 250, 450, 600, 900, 150, 100].map(rate).to_vec();
        settings.push(Setting::new("-R -1 -b 1424", None));
        // Where datagrams are lost, clients are given up otherwise.
        settings.push(Setting::new("-R 250000 -b 1424 -s 50 -r 0.5:0.05:15", Some(250)));
        settings
    }

    fn host_command(&self, host: &Host) -> Command {
        let mut command = host.node().command("uftpd");
        command.args(["-d", "-q", "-x", "1", "-I", INTERFACE, "-B", BUFFER_BYTES]);
        command.args(["-c", CACHE_BYTES, "-D"]).arg(host.store());
        command
    }

    fn is_ready(&self, node: &Node) -> bool {
        node.groups(Family::V4).contains(&IpAddr::from(UFTP_GROUP))
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

impl Contestant for Udpcast {
    fn name(&self) -> &'static str {
        "udpcast"
    }

    fn needs(&self) -> (Vec<PathBuf>, &'static str) {
        (vec!["udp-sender".into(), "udp-receiver".into()], "apt-get install udpcast")
    }

    fn settings(&self) -> Vec<Setting> {
        let rate = |megabits: u64| {
            let arguments = format!("--default-slice-size 1024 --max-bitrate {megabits}m");
            Setting::new(&arguments, Some(megabits))
        };
        let mut settings =
            vec![Setting::new("--default-slice-size 1024", None), Setting::new("", None)];
        settings.extend([800, 600, 450, 300, 150].map(rate));
        settings
    }

    fn host_command(&self, host: &Host) -> Command {
        let mut command = host.node().command("udp-receiver");
        command.args(["--nokbd", "--no-progress", "--interface", INTERFACE]);
        command.args(["--rcvbuf", BUFFER_BYTES, "--file"]).arg(host.store().join(FILE));
        command
    }

    fn is_ready(&self, node: &Node) -> bool {
        node.udp_ports().contains(&UDPCAST_PORT)
    }

    fn send_command(&self, arena: &Arena, setting: &Setting) -> Command {
        let mut command = arena.lab().sender().command("udp-sender");
        command.args(["--nokbd", "--no-progress", "--interface", INTERFACE, "--full-duplex"]);
        command.args(["--nopointopoint", "--min-receivers", &arena.hosts().to_string()]);
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
