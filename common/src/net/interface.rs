//! The machine's network interfaces: which there are, what they carry, which one to take.
//!
//! Not here: sockets. A description is a snapshot; nothing notices when the machine changes.
//! Invariant: [`default_interface`] never guesses between two networks; it names them instead.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::sockets;
use crate::units::Bitrate;

/// Where a packet to the default group would go; connecting asks for the route and sends nothing.
const PROBE_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 192, 70, 70)), 7070);
/// The same for IPv6: ff15::7070.
const PROBE_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x7070)), 7070);

/// Version of the Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(super) const fn domain(self) -> Domain {
        match self {
            Self::V4 => Domain::IPV4,
            Self::V6 => Domain::IPV6,
        }
    }

    const fn probe(self) -> SocketAddr {
        match self {
            Self::V4 => PROBE_V4,
            Self::V6 => PROBE_V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One network interface, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name, such as `eth0`.
    pub name: String,
    /// The kernel's number for it; a new one when it is made anew under its old name.
    pub index: u32,
    /// Largest packet in bytes, IP header included.
    pub mtu: u32,
    /// First IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// First IPv6 address that is not link-local, else the link-local one.
    pub v6: Option<Ipv6Addr>,
    /// All addresses, in the kernel's order.
    pub addresses: Vec<IpAddr>,
    /// Negotiated speed; empty where the driver knows none (lo, virtio).
    pub speed: Option<Bitrate>,
    /// Whether it leads to this machine only.
    pub is_loopback: bool,
    /// Whether it is switched on and its link is there.
    pub is_up: bool,
}

impl Interface {
    /// The interface's address and `port`, as a link is bound to it; empty when it has no address
    /// of this family.
    pub fn bind_address(&self, family: Family, port: u16) -> Option<SocketAddr> {
        match family {
            Family::V4 => self.v4.map(|v4| SocketAddr::new(v4.into(), port)),
            Family::V6 => {
                let v6 = self.v6?;
                let scope = if v6.is_unicast_link_local() { self.index } else { 0 };
                Some(SocketAddrV6::new(v6, port, 0, scope).into())
            }
        }
    }
}

/// No interface to take.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// Neither a name nor an address of any.
    #[error("no such interface {wanted} (there are: {present})")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The names there are.
        present: String,
    },
    /// Several could be meant.
    #[error(
        "{candidates} are up and none has the {family} route to {}: choose one with --interface",
        family.probe().ip()
    )]
    Ambiguous {
        /// The family that was asked for.
        family: Family,
        /// The names that could be meant.
        candidates: String,
    },
    /// Nothing but perhaps loopback speaks this family.
    #[error(
        "no interface to other machines is up with an {family} address (there are: {present}); \
         --interface lo stays on this machine"
    )]
    NoAddress {
        /// The family that was asked for.
        family: Family,
        /// The names there are.
        present: String,
    },
    /// The kernel does not say.
    #[error("cannot list the network interfaces: {0}")]
    System(#[from] io::Error),
}

/// Every interface, in the order of the kernel's numbers.
///
/// # Errors
/// The kernel's.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let addresses = sockets::interface_addresses()?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)))?;
    let mut found: Vec<Interface> = Vec::new();
    for link in &addresses {
        let Some(index) = link.index else { continue };
        let name = &link.label;
        let is = |flag: i32| link.flags & flag.cast_unsigned() != 0;
        found.push(Interface {
            name: name.clone(),
            index,
            // The interface may be gone since it was listed; an mtu of zero fits no datagram.
            mtu: sockets::interface_mtu(socket.as_fd(), name).unwrap_or(0),
            v4: None,
            v6: None,
            addresses: Vec::new(),
            speed: sockets::interface_speed_megabits(socket.as_fd(), name)
                .map(|megabits| Bitrate::from_megabits(megabits.into())),
            is_loopback: is(libc::IFF_LOOPBACK),
            is_up: is(libc::IFF_UP) && is(libc::IFF_RUNNING),
        });
    }
    for entry in &addresses {
        // An IPv4 address carries a label, which is the name and perhaps ":" and more.
        let name = entry.label.split(':').next().unwrap_or_default();
        let interface = found.iter_mut().find(|interface| interface.name == name);
        if let (Some(interface), Some(address)) = (interface, entry.address) {
            interface.add_address(address);
        }
    }
    found.sort_by_key(|interface| interface.index);
    Ok(found)
}

impl Interface {
    fn add_address(&mut self, address: IpAddr) {
        self.addresses.push(address);
        match address {
            IpAddr::V4(v4) => {
                self.v4.get_or_insert(v4);
            }
            IpAddr::V6(v6) if self.v6.is_none_or(|known| known.is_unicast_link_local()) => {
                self.v6 = Some(v6);
            }
            IpAddr::V6(_) => {}
        }
    }
}

/// The interface with this name or address.
///
/// # Errors
/// One line that lists the names there are.
pub fn find_interface(name_or_address: &str) -> Result<Interface, InterfaceError> {
    let all = interfaces()?;
    let address: Option<IpAddr> = name_or_address.parse().ok();
    let is_meant = |interface: &&Interface| {
        interface.name == name_or_address
            || address.is_some_and(|address| interface.addresses.contains(&address))
    };
    let unknown =
        || InterfaceError::Unknown { wanted: name_or_address.to_owned(), present: names(&all) };
    all.iter().find(is_meant).cloned().ok_or_else(unknown)
}

/// The interface that groups of this family go over when nobody says which: the one with the route
/// to the default group (mostly the default route), else the only one that is up; never loopback
/// unless a route says so.
///
/// # Errors
/// One line: several could be meant, or none speaks the family.
pub fn default_interface(family: Family) -> Result<Interface, InterfaceError> {
    let all = interfaces()?;
    choose(&all, family, routed_address(family).ok())
}

/// Our own address on the way to the default group.
fn routed_address(family: Family) -> io::Result<SocketAddr> {
    let socket = Socket::new(family.domain(), Type::DGRAM, Some(Protocol::UDP))?;
    socket.connect(&family.probe().into())?;
    let local = socket.local_addr()?;
    local.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn choose(
    all: &[Interface],
    family: Family,
    routed: Option<SocketAddr>,
) -> Result<Interface, InterfaceError> {
    if let Some(interface) = routed.and_then(|routed| all.iter().find(|it| it.carries(routed))) {
        return Ok(interface.clone());
    }
    let has_address =
        |interface: &&Interface| interface.is_up && interface.bind_address(family, 0).is_some();
    let outside: Vec<Interface> = all
        .iter()
        .filter(has_address)
        .filter(|interface| !interface.is_loopback)
        .cloned()
        .collect();
    match outside.as_slice() {
        [only] => Ok(only.clone()),
        // Loopback is never meant by saying nothing: at boot it would be taken for good.
        [] => Err(InterfaceError::NoAddress { family, present: names(all) }),
        _ => Err(InterfaceError::Ambiguous { family, candidates: names(&outside) }),
    }
}

impl Interface {
    /// Whether `address` is one of ours; a link-local one counts only with our number as its scope.
    fn carries(&self, address: SocketAddr) -> bool {
        let is_scope_ours = match address {
            SocketAddr::V6(v6) => v6.scope_id() == 0 || v6.scope_id() == self.index,
            SocketAddr::V4(_) => true,
        };
        is_scope_ours && self.addresses.contains(&address.ip())
    }
}

fn names(interfaces: &[Interface]) -> String {
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, index: u32, addresses: &[&str]) -> Interface {
        let mut interface = Interface {
            name: name.to_owned(),
            index,
            mtu: 1500,
            v4: None,
            v6: None,
            addresses: Vec::new(),
            speed: None,
            is_loopback: name == "lo",
            is_up: true,
        };
        for address in addresses {
            interface.add_address(address.parse().unwrap());
        }
        interface
    }

    fn chosen(all: &[Interface], family: Family, routed: Option<&str>) -> Result<String, String> {
        let routed = routed.map(|routed| routed.parse().unwrap());
        choose(all, family, routed).map(|it| it.name).map_err(|error| error.to_string())
    }

    #[test]
    fn loopback_is_listed_with_its_address_mtu_and_no_speed() {
        let lo = find_interface("lo").unwrap();
        assert_eq!(find_interface("127.0.0.1").unwrap(), lo);
        assert_eq!(lo.v4, Some(Ipv4Addr::LOCALHOST));
        assert!(lo.is_loopback && lo.is_up && lo.index > 0 && lo.mtu >= 1500, "{lo:?}");
        assert_eq!(lo.speed, None);
    }

    #[test]
    fn an_unknown_interface_is_refused_with_the_names_there_are() {
        let error = find_interface("eth999").unwrap_err().to_string();
        assert!(error.starts_with("no such interface eth999 (there are: lo"), "{error}");
        assert!(find_interface("198.51.100.255").is_err());
        assert!(find_interface("a name longer than fifteen bytes").is_err());
        assert!(find_interface("").is_err());
    }

    #[test]
    fn the_route_to_the_group_decides_before_anything_else() {
        let all = [
            interface("lo", 1, &["127.0.0.1"]),
            interface("eth0", 2, &["198.18.0.1", "fe80::1"]),
            interface("eth1", 3, &["198.18.1.1", "fe80::1"]),
        ];
        assert_eq!(chosen(&all, Family::V4, Some("198.18.1.1:9")), Ok("eth1".to_owned()));
        assert_eq!(chosen(&all, Family::V6, Some("[fe80::1%3]:9")), Ok("eth1".to_owned()));
    }

    #[test]
    fn without_a_route_the_only_outside_interface_is_taken_and_two_are_named() {
        let lo = interface("lo", 1, &["127.0.0.1"]);
        let eth0 = interface("eth0", 2, &["198.18.0.1"]);
        let eth1 = interface("eth1", 3, &["198.18.1.1"]);
        let down = Interface { is_up: false, ..interface("eth2", 4, &["198.18.2.1"]) };
        let some = [lo.clone(), eth0.clone(), down.clone()];
        assert_eq!(chosen(&some, Family::V4, None), Ok("eth0".to_owned()));
        let only_lo = chosen(&[lo.clone(), down], Family::V4, None).unwrap_err();
        assert!(only_lo.starts_with("no interface to other machines is up"), "{only_lo}");
        assert_eq!(
            chosen(&[lo, eth0, eth1], Family::V4, None),
            Err("eth0, eth1 are up and none has the IPv4 route to 239.192.70.70: \
                 choose one with --interface"
                .to_owned())
        );
    }

    #[test]
    fn a_machine_without_the_family_is_told_so() {
        let all = [interface("lo", 1, &["127.0.0.1"]), interface("eth0", 2, &["198.18.0.1"])];
        assert_eq!(
            chosen(&all, Family::V6, None),
            Err(
                "no interface to other machines is up with an IPv6 address (there are: lo, eth0); \
                 --interface lo stays on this machine"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_global_address_is_preferred_and_a_link_local_one_is_bound_with_its_scope() {
        let both = interface("eth0", 7, &["fe80::1", "fd00::2", "fd00::3"]);
        let bind = both.bind_address(Family::V6, 9).unwrap();
        assert_eq!(bind.to_string(), "[fd00::2]:9");
        let local = interface("eth0", 7, &["fe80::1"]);
        assert_eq!(local.bind_address(Family::V6, 9).unwrap().to_string(), "[fe80::1%7]:9");
        assert_eq!(local.bind_address(Family::V4, 9), None);
    }
}
