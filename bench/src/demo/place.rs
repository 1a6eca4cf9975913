//! Where the demo plays: the loopback interface, and a group that no other demo has.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use common::clock::Clock;
use common::net::{
    Family, Interface, LinkOptions, Network, RecvBatch, SystemNetwork, interfaces, wait,
};

/// Loopback delivers within microseconds; a busy machine may take longer to wake us.
const PATIENCE: Duration = Duration::from_secs(2);
const PROBE: &[u8] = b"fanfare demo: does multicast work here?";
/// Lowest port; the data group takes the one above.
const FIRST_PORT: u16 = 17_070;

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
    fn multicast_works_on_this_machines_loopback() {
        let interface = loopback(group(std::process::id())).unwrap();
        assert!(interface.is_loopback);
    }
}
