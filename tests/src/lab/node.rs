//! One machine of the lab: a network and a mount namespace that live and die with a process.
//!
//! The namespaces have no name in the file system; an anchor process holds them. When the test
//! ends, panics, or is killed with -9, the kernel ends the anchor, and with it go the interfaces,
//! the routes, the mounts and the loop devices of this machine: nothing can be left behind by name.
#![expect(clippy::disallowed_methods, reason = "the harness reads /proc and moves threads")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Family;
use super::tool;
use crate::process::{Running, command, holds_within};

/// The interface that every node of the lab has.
pub const INTERFACE: &str = "eth0";

/// A machine of the lab.
pub struct Node {
    name: String,
    anchor: Running,
    number: u16,
}

impl Node {
    /// A machine called `name` whose addresses end in `number`; it has no interface yet.
    ///
    /// # Panics
    /// When the namespaces cannot be made (that needs root).
    pub fn new(lab: &str, name: &str, number: u16, logs: &Path) -> Self {
        // /sys shows the interfaces of the namespace that mounted it: each machine mounts its own.
        let script = format!("mount -t sysfs sysfs /sys && exec -a {lab}-{name} sleep infinity");
        let mut unshare = command("unshare");
        unshare.args(["--net", "--mount", "--propagation", "private", "bash", "-c", &script]);
        let mut anchor = Running::start(&format!("{name}-anchor"), &mut unshare, logs);
        let comm = PathBuf::from(format!("/proc/{}/comm", anchor.pid()));
        anchor.wait_until("its namespaces stand", Duration::from_secs(10), |_| {
            fs::read_to_string(&comm).is_ok_and(|comm| comm.trim() == "sleep")
        });
        let node = Self { name: name.to_owned(), anchor, number };
        node.sysctl("net/ipv6/conf/default/accept_dad", "0");
        node.ip("link set lo up");
        node
    }

    /// Its name in logs and, for a host, on the wire.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in `family`.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(0xC612_0000 + u32::from(self.number))),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xFD00, 0xFA, 0, 0, 0, 0, 0, self.number)),
        }
    }

    /// A command that will run in this machine and die with the test.
    ///
    /// Its working directory is `/`: paths must be absolute.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command("nsenter");
        command.args(["--net", "--mount", "--target", &self.anchor.pid().to_string(), "--"]);
        command.arg(program);
        command
    }

    /// Runs `program` with `arguments` (split at blanks) in this machine.
    ///
    /// # Panics
    /// When it fails.
    pub fn tool(&self, program: &str, arguments: &str) -> String {
        tool::run(self.command(program).args(arguments.split_whitespace()))
    }

    /// Runs `ip` with `arguments` in this machine.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, arguments: &str) -> String {
        self.tool("ip", arguments)
    }

    /// Runs `work` on a thread inside this machine's network: sockets made there stay there.
    ///
    /// # Panics
    /// When the network cannot be entered, or `work` panics.
    pub fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entry = self.network().expect("the anchor lives as long as the node");
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(&entry);
                work()
            });
            worker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }

    /// Sets `key` (a path below /proc/sys) in this machine's network.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys").join(key);
        self.run_inside(|| {
            fs::write(&path, value)
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        });
    }

    /// `path` as this machine sees it, mounts included, for a reader outside.
    ///
    /// Only relative symbolic links lead where they lead inside.
    pub fn view(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("paths of a node are absolute");
        Path::new("/proc").join(self.anchor.pid().to_string()).join("root").join(inside)
    }

    /// Bytes that have left through the interface.
    pub fn sent_bytes(&self) -> u64 {
        self.interface_count(8)
    }

    /// Bytes that have come in through the interface.
    pub fn received_bytes(&self) -> u64 {
        self.interface_count(0)
    }

    /// Joined multicast groups of this machine in `family`, link-local ones left out.
    pub fn groups(&self, family: Family) -> Vec<IpAddr> {
        match family {
            Family::V4 => parse_igmp(&self.proc_net("igmp")),
            Family::V6 => parse_igmp6(&self.proc_net("igmp6")),
        }
    }

    /// Local ports of this machine's UDP sockets.
    pub fn udp_ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> =
            ["udp", "udp6"].iter().flat_map(|file| parse_udp_ports(&self.proc_net(file))).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Waits until this machine has joined `group`.
    ///
    /// # Panics
    /// When it has not within `deadline`.
    pub fn wait_for_group(&self, group: IpAddr, deadline: Duration) {
        let family = if group.is_ipv4() { Family::V4 } else { Family::V6 };
        let joined = holds_within(deadline, || self.groups(family).contains(&group));
        assert!(joined, "{} has not joined {group} within {deadline:?}", self.name);
    }

    /// The process that holds the namespaces.
    pub fn anchor_pid(&self) -> u32 {
        self.anchor.pid()
    }

    fn network(&self) -> io::Result<File> {
        File::open(format!("/proc/{}/ns/net", self.anchor.pid()))
    }

    fn proc_net(&self, file: &str) -> String {
        let path = format!("/proc/{}/net/{file}", self.anchor.pid());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
    }

    /// The `nth` number of the interface's line in /proc/net/dev.
    fn interface_count(&self, nth: usize) -> u64 {
        let text = self.proc_net("dev");
        let numbers = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(INTERFACE)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("{} has no interface {INTERFACE}", self.name));
        let number = numbers.split_whitespace().nth(nth).and_then(|number| number.parse().ok());
        number.expect("the kernel prints sixteen numbers")
    }
}

/// Moves the calling thread into the network that `entry` names.
///
/// # Panics
/// When the kernel refuses.
pub(super) fn enter(entry: &File) {
    move_into_link_name_space(entry.as_fd(), Some(LinkNameSpaceType::Network))
        .unwrap_or_else(|error| panic!("cannot enter a network namespace: {error}"));
}

fn parse_igmp(text: &str) -> Vec<IpAddr> {
    // Group lines are indented by tabs; the group is the address as the machine holds it in memory.
    text.lines()
        .filter(|line| line.starts_with('\t'))
        .filter_map(|line| u32::from_str_radix(line.split_whitespace().next()?, 16).ok())
        .map(|word| Ipv4Addr::from(word.to_ne_bytes()))
        .filter(|group| group.octets()[..3] != [224, 0, 0])
        .map(IpAddr::V4)
        .collect()
}

fn parse_igmp6(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| u128::from_str_radix(line.split_whitespace().nth(2)?, 16).ok())
        .map(Ipv6Addr::from)
        .filter(|group| !matches!(group.segments()[0], 0xFF01 | 0xFF02))
        .map(IpAddr::V6)
        .collect()
}

fn parse_udp_ports(text: &str) -> Vec<u16> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1)?.rsplit_once(':'))
        .filter_map(|(_, port)| u16::from_str_radix(port, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_kernels_tables() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    2\teth0      :     2      V3\n\
                    \t\t\t\t4646C0EF     1 0:00000000\t\t0\n\
                    \t\t\t\t010000E0     1 0:00000000\t\t0\n";
        assert_eq!(parse_igmp(igmp), ["239.192.70.70".parse::<IpAddr>().unwrap()]);
        let igmp6 = "2    eth0            ff150000000000000000000000007070     1 00000004 0\n\
                     2    eth0            ff020000000000000000000000000001     1 0000000C 0\n";
        assert_eq!(parse_igmp6(igmp6), ["ff15::7070".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn ports_are_read_from_the_kernels_table() {
        let udp = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                   1031: 00000000:1B9E 00000000:0000 07 00000000:00000000 00:00000000 00000000\n";
        assert_eq!(parse_udp_ports(udp), [7070]);
    }
}
