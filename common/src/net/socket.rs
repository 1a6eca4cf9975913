//! [`Link`]s and the [`Network`] that are the kernel's: UDP sockets, set up and used in trains.
//!
//! Not here: unsafe calls ([`sockets`]), and any meaning of a datagram.
//! Invariants: a group link receives what is sent to its group over its interface, nothing else; no
//! datagram leaves in fragments; a send never spins.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{MsgHdr, Protocol, SockAddr, Socket, Type};

use super::find_interface;
use super::wait::{wait, wait_for_room};
use super::{Buffers, Family, Interface, Link, LinkCounters, LinkOptions, Network, RecvBatch};
use crate::sys::sockets;

/// Datagrams that the kernel cuts out of one train; newer kernels take 128.
const TRAIN_DATAGRAMS_MAX: usize = 64;
/// Payload of the longest UDP packet over IPv4, and so of the longest train.
const TRAIN_BYTES_MAX: usize = 65_507;
/// A full send buffer is looked at again after this long at the latest: the kernel calls it
/// writable only when it is half empty.
const SEND_RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// How often.
const SEND_RETRIES_MAX: u32 = 10;
/// Longest time that one send waits for room before it drops: beyond it, the receivers' repair
/// serves better than a session that stands still.
pub const SEND_WAIT_MAX: Duration =
    Duration::from_millis(SEND_RETRY_INTERVAL.as_millis() as u64 * SEND_RETRIES_MAX as u64);

/// The machine's own network.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn join_group(
        &self,
        group: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Box<dyn Link>> {
        Ok(Box::new(SystemLink::join(group, interface, options)?))
    }

    fn unicast(
        &self,
        bind: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Box<dyn Link>> {
        Ok(Box::new(SystemLink::unicast(bind, interface, options)?))
    }
}

/// A UDP socket.
#[derive(Debug)]
pub struct SystemLink {
    socket: Socket,
    local: SocketAddr,
    interface: Interface,
    options: LinkOptions,
    buffers: Buffers,
    has_gso: bool,
    drops: Drops,
    counters: LinkCounters,
}

impl SystemLink {
    /// See [`Network::join_group`].
    ///
    /// # Errors
    /// One line that names the group, the interface and what to do.
    pub fn join(
        group: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Self> {
        let failed = |error| explained(&format!("join {group} on {}", interface.name), error);
        if !interface.is_up {
            let why = format!("the interface is down: ip link set {} up", interface.name);
            return Err(failed(io::Error::new(ErrorKind::NetworkDown, why)));
        }
        if let Some(source) = options.source.filter(|it| it.is_ipv4() != group.is_ipv4()) {
            let why = format!("source {source} is no {} address", Family::of(group.ip()));
            return Err(failed(io::Error::new(ErrorKind::InvalidInput, why)));
        }
        let link = Self::open(group, interface, options).map_err(failed)?;
        link.confine().map_err(failed)?;
        link.change_membership(true).map_err(failed)?;
        link.check_route().map_err(failed)?;
        Ok(link)
    }

    /// See [`Network::unicast`].
    ///
    /// # Errors
    /// One line that names the address, the interface and what to do.
    pub fn unicast(
        bind: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Self> {
        let failed = |error| explained(&format!("bind {bind} on {}", interface.name), error);
        let mut link = Self::open(bind, interface, options).map_err(failed)?;
        let local = link.socket.local_addr().map_err(failed)?;
        link.local = local.as_socket().unwrap_or(bind);
        Ok(link)
    }

    /// A bound socket that sends over `interface`; member of nothing yet.
    fn open(bind: SocketAddr, interface: &Interface, options: &LinkOptions) -> io::Result<Self> {
        let domain = Family::of(bind.ip()).domain();
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let buffers = set_buffers(&socket, &options.buffers)?;
        match bind {
            SocketAddr::V4(_) => set_up_v4(&socket, interface, options)?,
            SocketAddr::V6(_) => set_up_v6(&socket, interface, options)?,
        }
        if options.has_gro {
            // A kernel without it hands the datagrams over one by one.
            let _ = sockets::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        if bind.ip().is_multicast() {
            // Several processes of a machine may listen to a group; each gets a copy. Never for
            // our own address, where they would take each other's datagrams.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&with_scope(bind, interface.index).into())?;
        Ok(Self {
            socket,
            local: bind,
            interface: interface.clone(),
            options: options.clone(),
            buffers,
            has_gso: options.has_gso,
            drops: Drops::default(),
            counters: LinkCounters::default(),
        })
    }

    /// Keeps the same group's datagrams from other interfaces out. For IPv4 the membership does
    /// that by itself; for IPv6 it looks at the group only.
    fn confine(&self) -> io::Result<()> {
        let index = NonZeroU32::new(self.interface.index);
        match self.local {
            SocketAddr::V4(_) => Ok(()),
            SocketAddr::V6(_) => match self.socket.bind_device_by_index_v6(index) {
                // Kernels before 5.7 ask for a privilege. Without it the datagrams of another
                // network may come in, and are sorted out by their session.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
                other => other,
            },
        }
    }

    /// Finds out now whether the group can be sent to at all: connecting asks for the route. The
    /// loopback interface has none for IPv6 groups, and a session would find out with its data.
    fn check_route(&self) -> io::Result<()> {
        let probe =
            Socket::new(Family::of(self.local.ip()).domain(), Type::DGRAM, Some(Protocol::UDP))?;
        set_outgoing(&probe, self.local, &self.interface)?;
        let route = probe.connect(&with_scope(self.local, self.interface.index).into());
        route.map_err(|error| self.with_hint(error))
    }

    fn with_hint(&self, error: io::Error) -> io::Error {
        let is_lo = self.interface.is_loopback && self.local.is_ipv6();
        if error.kind() != ErrorKind::NetworkUnreachable || !is_lo {
            return error;
        }
        let hint = format!(
            "{} has no route for IPv6 groups: \
             ip -6 route add local ff00::/8 dev {0} table local",
            self.interface.name
        );
        io::Error::new(error.kind(), hint)
    }

    /// Sends one piece that the kernel takes in one call, cut into segments where asked for.
    fn send_train(&mut self, to: &SockAddr, train: &[u8], segment_bytes: usize) -> io::Result<()> {
        if self.has_gso && train.len() > segment_bytes {
            match self.transmit(to, train, segment_bytes) {
                Err(error) if is_refusal(&error) => {}
                other => return other,
            }
        }
        for datagram in train.chunks(segment_bytes) {
            self.transmit(to, datagram, segment_bytes)?;
        }
        // Refused as a train and taken one by one: the interface cannot (no checksum offload, a
        // tunnel). When single datagrams fail too, the fault lies elsewhere and trains stay on.
        if self.has_gso && train.len() > segment_bytes {
            self.has_gso = false;
            self.counters.refused_trains = 1;
        }
        Ok(())
    }

    /// One call of `sendmsg`, repeated while there is no room and some time is left.
    fn transmit(&mut self, to: &SockAddr, bytes: &[u8], segment_bytes: usize) -> io::Result<()> {
        let datagrams = bytes.len().div_ceil(segment_bytes).max(1) as u64;
        let control = SegmentControl::of(segment_bytes);
        let buffers = [IoSlice::new(bytes)];
        let mut message = MsgHdr::new().with_addr(to).with_buffers(&buffers);
        if datagrams > 1 {
            message = message.with_control(&control.bytes);
        }
        for _ in 0..=SEND_RETRIES_MAX {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let Err(error) = self.socket.sendmsg(&message, flags) else {
                self.counters.sent_datagrams += datagrams;
                self.counters.sent_bytes += bytes.len() as u64;
                return Ok(());
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => wait_for_room(self.as_fd(), SEND_RETRY_INTERVAL)?,
                // The interface's own queue is full; the socket is writable all the while.
                Some(libc::ENOBUFS | libc::ENOMEM) => drop(wait(&[], Some(SEND_RETRY_INTERVAL))?),
                // A packet filter threw it away, which is how a lossy network looks from here.
                Some(libc::EPERM) => break,
                _ => return Err(error),
            }
        }
        self.counters.unsent_datagrams += datagrams;
        Ok(())
    }

    fn change_membership(&self, is_joining: bool) -> io::Result<()> {
        let (group, source) = (self.local, self.options.source);
        sockets::change_membership(self.as_fd(), group, source, self.interface.index, is_joining)
    }

    /// Opens the group anew on the interface that has our interface's name now: a socket belongs
    /// to an interface's number, and an unprivileged one cannot be given another.
    fn reopen(&mut self) -> io::Result<()> {
        let interface = find_interface(&self.interface.name).map_err(io::Error::other)?;
        let anew = Self::join(self.local, &interface, &self.options)?;
        let drops = Drops { kernel_last: 0, ..self.drops };
        *self = Self { drops, counters: self.counters, ..anew };
        Ok(())
    }
}

impl Link for SystemLink {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        match batch.fill(self.socket.as_fd()) {
            Ok(filled) => {
                self.counters.cut_buffers += filled.cut as u64;
                self.counters.received_datagrams += filled.datagrams as u64;
                self.drops.on_received(filled.datagrams as u64, filled.buffers as u64);
                let bytes: usize = batch.iter().map(|(_, datagram)| datagram.len()).sum();
                self.counters.received_bytes += bytes as u64;
                Ok(filled.datagrams)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(0),
                _ => Err(explained(&format!("receive at {}", self.local), error)),
            },
        }
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8], segment_bytes: usize) -> io::Result<()> {
        assert!(segment_bytes > 0, "a datagram of a train has a length");
        let address = SockAddr::from(with_scope(to, self.interface.index));
        let train_datagrams = (TRAIN_BYTES_MAX / segment_bytes).clamp(1, TRAIN_DATAGRAMS_MAX);
        for train in bytes.chunks(train_datagrams * segment_bytes) {
            self.send_train(&address, train, segment_bytes).map_err(|error| {
                let what = format!("send {segment_bytes} bytes to {to} on {}", self.interface.name);
                explained(&what, self.with_hint(error))
            })?;
        }
        Ok(())
    }

    fn kernel_drops(&mut self) -> u64 {
        // Asked for and not read from a control message (SO_RXQ_OVFL), which comes only with the
        // next datagram: a host that lost everything would report nothing.
        if let Ok(drops) = sockets::socket_drops(self.socket.as_fd()) {
            self.drops.on_kernel_count(drops);
        }
        self.drops.datagrams
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn buffers(&self) -> Buffers {
        self.buffers
    }

    fn rejoin(&mut self) -> io::Result<()> {
        if !self.local.ip().is_multicast() {
            return Ok(());
        }
        let name = &self.interface.name;
        let failed = |error| explained(&format!("rejoin {} on {name}", self.local), error);
        let index = rustix::net::netdevice::name_to_index(&self.socket, name)
            .map_err(|error| failed(error.into()))?;
        if index != self.interface.index {
            return self.reopen();
        }
        // Fails when an earlier attempt left and could not join; then joining is what matters.
        let _ = self.change_membership(false);
        self.change_membership(true).map_err(failed)
    }

    fn counters(&self) -> LinkCounters {
        self.counters
    }
}

/// The kernel's count of drops, widened to 64 bits and from buffers to datagrams.
#[derive(Debug, Clone, Copy, Default)]
struct Drops {
    /// Datagrams dropped; only rises.
    datagrams: u64,
    /// The kernel's count when it was last asked for: 32 bits, and a train dropped whole is one.
    kernel_last: u32,
    /// What was received since then, or the last time that anything was: how long trains are.
    received_datagrams: u64,
    received_buffers: u64,
    /// Whether what was received has been used, and the next reception starts a new sample.
    is_sample_used: bool,
}

impl Drops {
    fn on_received(&mut self, datagrams: u64, buffers: u64) {
        if std::mem::take(&mut self.is_sample_used) {
            (self.received_datagrams, self.received_buffers) = (0, 0);
        }
        self.received_datagrams += datagrams;
        self.received_buffers += buffers;
    }

    fn on_kernel_count(&mut self, count: u32) {
        let buffers = u64::from(count.wrapping_sub(self.kernel_last));
        self.kernel_last = count;
        self.is_sample_used = true;
        self.datagrams += match self.received_buffers {
            0 => buffers,
            received => buffers * self.received_datagrams / received,
        };
    }
}

/// The control message that asks the kernel to cut a train (`UDP_SEGMENT`).
struct SegmentControl {
    bytes: [u8; Self::BYTES],
}

impl SegmentControl {
    /// `struct cmsghdr`: length, level, type; then the value, padded to the alignment of a word.
    const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();
    const BYTES: usize = Self::HEADER_BYTES + size_of::<usize>();

    fn of(segment_bytes: usize) -> Self {
        const WORD: usize = size_of::<usize>();
        let segment_bytes = u16::try_from(segment_bytes).unwrap_or(u16::MAX);
        let mut bytes = [0; Self::BYTES];
        let length = Self::HEADER_BYTES + size_of_val(&segment_bytes);
        bytes[..WORD].copy_from_slice(&length.to_ne_bytes());
        bytes[WORD..WORD + 4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        bytes[WORD + 4..WORD + 8].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        bytes[Self::HEADER_BYTES..][..2].copy_from_slice(&segment_bytes.to_ne_bytes());
        Self { bytes }
    }
}

/// Whether the kernel says that it cannot cut a train, and not that it cannot send it.
///
/// EMSGSIZE belongs here: newer kernels say it for a segment that is longer than the interface
/// takes, which single datagrams then say again.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP)
    )
}

/// Asks for buffers; what was granted.
fn set_buffers(socket: &Socket, wanted: &Buffers) -> io::Result<Buffers> {
    // Privileged processes may exceed net.core.rmem_max and wmem_max; others get what they allow.
    let force = |option, bytes: usize| {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
        sockets::set_option(socket.as_fd(), libc::SOL_SOCKET, option, bytes)
    };
    if force(libc::SO_RCVBUFFORCE, wanted.receive_bytes).is_err() {
        socket.set_recv_buffer_size(wanted.receive_bytes)?;
    }
    if force(libc::SO_SNDBUFFORCE, wanted.send_bytes).is_err() {
        socket.set_send_buffer_size(wanted.send_bytes)?;
    }
    // The kernel doubles the figures to pay for its own bookkeeping.
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    Ok(Buffers { receive_bytes: receive / 2, send_bytes: send / 2 })
}

fn set_up_v4(socket: &Socket, interface: &Interface, options: &LinkOptions) -> io::Result<()> {
    set_outgoing(socket, SocketAddr::from(([0; 4], 0)), interface)?;
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(options.ttl.into())?;
    socket.set_tos_v4(u32::from(options.dscp) << 2)?;
    // PROBE: don't fragment, and believe no "fragmentation needed" of a stranger.
    let probe = libc::IP_PMTUDISC_PROBE;
    sockets::set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)
}

fn set_up_v6(socket: &Socket, interface: &Interface, options: &LinkOptions) -> io::Result<()> {
    set_outgoing(socket, SocketAddr::from(([0_u16; 8], 0)), interface)?;
    socket.set_only_v6(true)?;
    // Kernels before 4.20 do not know it; there another process's memberships show through.
    let _ = socket.set_multicast_all_v6(false);
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_hops_v6(options.ttl.into())?;
    socket.set_tclass_v6(u32::from(options.dscp) << 2)?;
    let probe = libc::IPV6_PMTUDISC_PROBE;
    sockets::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, probe)?;
    sockets::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
}

/// Sends groups' datagrams over `interface` whatever the routes say, in the family of `of`.
fn set_outgoing(socket: &Socket, of: SocketAddr, interface: &Interface) -> io::Result<()> {
    if of.is_ipv6() {
        return socket.set_multicast_if_v6(interface.index);
    }
    // By number, because an address may be on two interfaces; with the address, because the kernel
    // would else take any of the machine's as the sender's on an interface of loopback scope.
    let address = interface.v4.unwrap_or(Ipv4Addr::UNSPECIFIED);
    sockets::set_multicast_interface_v4(socket.as_fd(), interface.index, address)
}

/// `address`, with `interface_index` as the scope of an IPv6 address that needs one and has none.
fn with_scope(address: SocketAddr, interface_index: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(mut v6) if v6.scope_id() == 0 => {
            if v6.ip().is_multicast() || v6.ip().is_unicast_link_local() {
                v6.set_scope_id(interface_index);
            }
            v6.into()
        }
        other => other,
    }
}

/// `error` with what failed in front, of the same kind.
fn explained(what: &str, error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EMSGSIZE) => "longer than the interface takes (lower --symbol-bytes)".to_owned(),
        Some(libc::EADDRINUSE) => "another process has it already".to_owned(),
        Some(libc::EADDRNOTAVAIL) => "no address of this interface".to_owned(),
        Some(libc::ENOBUFS) => {
            "no more groups allowed (sysctl net.ipv4.igmp_max_memberships)".to_owned()
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("cannot {what}: {why}"))
}

#[cfg(test)]
mod tests;
