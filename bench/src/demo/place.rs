//! Where the demo plays: the loopback interface, a group that no other demo has, a directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use common::clock::Clock;
use common::net::{
    Family, Interface, LinkOptions, Network, RecvBatch, SystemNetwork, interfaces, wait,
};
use rustix::fs::{statfs, statvfs};

use crate::machine::available_bytes;

/// Loopback delivers within microseconds; a busy machine may take longer to wake us.
const PATIENCE: Duration = Duration::from_secs(2);
const PROBE: &[u8] = b"fanfare demo: does multicast work here?";
/// Lowest port; the data group takes the one above.
const FIRST_PORT: u16 = 17_070;

/// Where files cost no disk: 18,000 small ones, synced and removed again, took a disk with online
/// discard 10 s, and memory 0.2 s.
const MEMORY: &str = "/dev/shm";
/// What /dev/shm must offer, and what must remain usable of the machine's memory: the demo writes
/// 400 MB.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// `f_type` of a tmpfs, from linux/magic.h.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The directory that the demo's own is made in: what TMPDIR says; else memory where there is
/// plenty, else the usual one.
pub fn parent_directory() -> PathBuf {
    let memory = Path::new(MEMORY);
    let is_chosen = std::env::var_os("TMPDIR").is_some_and(|value| !value.is_empty());
    if !is_chosen && has_room(memory) { memory.to_owned() } else { std::env::temp_dir() }
}

fn has_room(memory: &Path) -> bool {
    let is_tmpfs = statfs(memory).is_ok_and(|facts| u64::try_from(facts.f_type) == Ok(TMPFS_MAGIC));
    let free = statvfs(memory).map_or(0, |facts| facts.f_bavail * facts.f_frsize);
    is_tmpfs && free.min(available_bytes()) >= FREE_BYTES_MIN
}

/// The control group of the demo with this process id: no two that run at a time share one.
///
/// Fifteen bits of the id (of 22 at most) make the address, in the half of 239.192.0.0/16 that data
/// groups leave free, and the others the port.
pub fn group(pid: u32) -> SocketAddr {
    let [_, _, high, low] = pid.to_be_bytes();
    let port = FIRST_PORT + 2 * u16::try_from(pid >> 15 & 0x7F).unwrap_or(0);
    SocketAddr::from((Ipv4Addr::new(239, 192, high & 0x7F, low), port))
}

/// The loopback interface, after a datagram to `group` has come back through it.
///
/// # Errors
/// One line that says that multicast does not work here, and what may help.
pub fn loopback(group: SocketAddr) -> anyhow::Result<Interface> {
    let all = interfaces().context("cannot list the network interfaces")?;
    let found = all.into_iter().find(|it| it.is_loopback && it.is_up && it.v4.is_some());
    let interface =
        found.context("no loopback interface is up with an IPv4 address: try ip link set lo up")?;
    let name = interface.name.clone();
    let heard = hears_itself(group, &interface).with_context(|| blame(group, &name))?;
    if !heard {
        bail!("{}: what was sent did not come back within {PATIENCE:?}", blame(group, &name));
    }
    Ok(interface)
}

fn blame(group: SocketAddr, interface: &str) -> String {
    format!(
        "multicast on the loopback interface does not work here (group {group}, interface \
         {interface}; a firewall or a sandbox?)"
    )
}

fn hears_itself(group: SocketAddr, interface: &Interface) -> std::io::Result<bool> {
    let options = LinkOptions::default();
    let bind = interface.bind_address(Family::V4, 0).expect("it was chosen for its address");
    let mut ear = SystemNetwork.join_group(group, interface, &options)?;
    let mut mouth = SystemNetwork.unicast(bind, interface, &options)?;
    mouth.send(group, PROBE, PROBE.len())?;
    let (clock, mut batch) = (Clock::start(), RecvBatch::new());
    let until = clock.now() + PATIENCE;
    while clock.now() < until {
        wait(&[ear.as_fd()], Some(until.since(clock.now())))?;
        ear.recv(&mut batch)?;
        if batch.iter().any(|(_, datagram)| datagram == PROBE) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_process_ids_share_a_group_and_port() {
        let ids = (1..70_000).chain([1 << 21, (1 << 22) - 1]);
        let count = ids.clone().count();
        let groups: BTreeSet<_> = ids.map(group).collect();
        assert_eq!(groups.len(), count);
        assert!(groups.iter().all(|group| group.ip().is_multicast()));
        assert_eq!(group(0x7FFF).to_string(), "239.192.127.255:17070");
        assert_eq!(group((1 << 22) - 1).port(), 17_324);
    }

    #[test]
    fn memory_is_taken_only_where_it_is_plenty() {
        assert!(!has_room(Path::new("/proc")), "it is no tmpfs");
        assert!(!has_room(Path::new("/no/such/place")));
    }

    #[test]
    fn multicast_works_on_this_machines_loopback() {
        let interface = loopback(group(std::process::id())).unwrap();
        assert!(interface.is_loopback);
    }
}
