//! Sockets of the harness itself inside a machine's network: for probes and for rubbish.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::netdevice::name_to_index;
use rustix::net::{self, AddressFamily, SocketType, sockopt};

use super::node::{INTERFACE, Node};

/// Receive buffer: 1,000 small datagrams, which the kernel counts at 2.3 KB each.
const BUFFER_BYTES: usize = 4 << 20;

impl Node {
    /// A socket here that hears `group` and sends to groups through the lab's interface.
    ///
    /// It never blocks.
    ///
    /// # Panics
    /// When the machine gives none.
    pub fn listen(&self, group: SocketAddr) -> UdpSocket {
        let socket = self.run_inside(|| open(group.ip(), group.port(), true));
        let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        socket.unwrap_or_else(|error| panic!("{} cannot hear {group}: {error}", self.name()))
    }

    /// A socket here that sends to groups of the family of `group` and has joined none;
    /// it blocks while the interface's queue is full.
    ///
    /// # Panics
    /// When the machine gives none.
    pub fn speak(&self, group: SocketAddr) -> UdpSocket {
        let socket = self.run_inside(|| open(group.ip(), 0, false));
        socket.unwrap_or_else(|error| panic!("{} cannot send to {group}: {error}", self.name()))
    }
}

fn open(group: IpAddr, port: u16, is_joined: bool) -> io::Result<UdpSocket> {
    let socket = bind(group, port)?;
    let index = name_to_index(&socket, INTERFACE)?;
    let any = Ipv4Addr::UNSPECIFIED;
    match group {
        IpAddr::V4(_) => sockopt::set_ip_multicast_if_with_ifindex(&socket, &any, &any, index)?,
        IpAddr::V6(_) => sockopt::set_ipv6_multicast_if(&socket, index)?,
    }
    match group {
        _ if !is_joined => {}
        IpAddr::V4(group) => {
            sockopt::set_ip_add_membership_with_ifindex(&socket, &group, &any, index)?;
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, index)?,
    }
    Ok(socket)
}

/// A socket on every address of the family of `group`, with room for a probe's whole burst.
fn bind(group: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let (family, any) = match group {
        IpAddr::V4(_) => (AddressFamily::INET, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        IpAddr::V6(_) => (AddressFamily::INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let socket = net::socket(family, SocketType::DGRAM, None)?;
    if group.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
    net::bind(&socket, &SocketAddr::new(any, port))?;
    Ok(UdpSocket::from(socket))
}
