//! The seam between drivers and sockets: a [`Link`] carries datagrams, a [`Network`] opens links.
//!
//! Not here: the sockets themselves (`socket`), nor any meaning of a datagram.
//! Invariant: no call of a link waits for the network, except `send` for room in a full send
//! buffer, and that for a bounded time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use super::{Buffers, Interface, RecvBatch};

/// How a link is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// Hops of multicast datagrams; 1 stays on the local network.
    pub ttl: u8,
    /// The only sender whose datagrams a group link receives (SSM); any when empty.
    pub source: Option<IpAddr>,
    /// Differentiated services code point of what is sent, 0 to 63.
    pub dscp: u8,
    /// The buffers that are asked for; [`Link::buffers`] says what was granted.
    pub buffers: Buffers,
    /// Whether the kernel may hand over trains in one piece (GRO).
    pub has_gro: bool,
    /// Whether trains leave in one piece (GSO); datagram by datagram when not, for runs that count
    /// the cost of losing single datagrams.
    pub has_gso: bool,
}

impl Default for LinkOptions {
    /// TTL 1, any source, best effort, 16 MiB to receive (130 ms at 1 Gbit/s), 1 MiB to send (8 ms
    /// of it: more would only hide from the pacer that the interface is slower), trains both ways.
    fn default() -> Self {
        Self {
            ttl: 1,
            source: None,
            dscp: 0,
            buffers: Buffers { receive_bytes: 16 << 20, send_bytes: 1 << 20 },
            has_gro: true,
            has_gso: true,
        }
    }
}

/// What a link has done since it was opened. All counts only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Datagrams that the kernel took.
    pub sent_datagrams: u64,
    /// Their bytes, without UDP and IP headers.
    pub sent_bytes: u64,
    /// Datagrams given up before they were sent: no room for too long, or refused by a filter.
    pub unsent_datagrams: u64,
    /// Datagrams received.
    pub received_datagrams: u64,
    /// Their bytes, without UDP and IP headers.
    pub received_bytes: u64,
    /// Buffers that arrived cut short and were dropped.
    pub cut_buffers: u64,
    /// Trains that the kernel refused to cut, so that this link sends singly from then on: 0 or 1.
    pub refused_trains: u64,
}

/// One socket, on one interface: the group's or our own.
///
/// A test wraps it to lose, repeat or damage datagrams: received ones by [`RecvBatch::retain`].
pub trait Link: Send {
    /// Replaces the batch by the datagrams that are waiting, at most what it holds, and returns
    /// their number: 0 when there are none.
    ///
    /// # Errors
    /// The socket is lost.
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize>;

    /// Sends `bytes`, which are whole datagrams of `segment_bytes`, the last perhaps shorter. A
    /// link-local or multicast IPv6 destination without a scope gets this link's interface.
    ///
    /// Datagrams for which there is no room in time are dropped and counted; that is no error.
    ///
    /// # Errors
    /// What waiting does not mend, in one line: too long for the interface, no route, interface
    /// down. The link remains usable, and a caller that has been told may go on.
    ///
    /// # Panics
    /// When `segment_bytes` is zero.
    fn send(&mut self, to: SocketAddr, bytes: &[u8], segment_bytes: usize) -> io::Result<()>;

    /// Datagrams that the kernel dropped because this link was not read in time.
    ///
    /// An estimate where trains arrive whole: the kernel counts such a train as one, and its length
    /// is taken to be that of the ones received.
    fn kernel_drops(&mut self) -> u64;

    /// The address datagrams are received at: the group, or our own with the port the system chose.
    fn local_addr(&self) -> SocketAddr;

    /// What to [`wait`](super::wait()) for.
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// The buffers that were granted, comparable with those that were asked for.
    fn buffers(&self) -> Buffers;

    /// Leaves the group and joins it again, so that switches and routers hear of us; nothing on a
    /// link without a group. Finds the interface again if it was made anew under its old name.
    ///
    /// Only a machine's last member of a group on an interface is heard leaving and joining: while
    /// two links hold the same group there, neither renews it.
    ///
    /// # Errors
    /// The interface is gone or does not take members; the link stays open and may be tried again.
    fn rejoin(&mut self) -> io::Result<()>;

    /// What has happened on this link.
    fn counters(&self) -> LinkCounters;
}

/// Opens links.
pub trait Network: Send + Sync {
    /// A link that receives what is sent to `group` over `interface`, and nothing else.
    ///
    /// # Errors
    /// One line that names the group, the interface and what to do.
    fn join_group(
        &self,
        group: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Box<dyn Link>>;

    /// A link bound to `bind`, an address of `interface` ([`Interface::bind_address`]) and a port,
    /// 0 for any; what it sends to groups leaves over `interface`.
    ///
    /// # Errors
    /// One line that names the address, the interface and what to do.
    fn unicast(
        &self,
        bind: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Box<dyn Link>>;
}
