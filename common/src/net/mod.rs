//! The world's edge on the network: interfaces, multicast and unicast sockets, batches, waiting.
//!
//! Moves bytes and knows no datagram's meaning: sessions decide, drivers carry, this module sends
//! and receives. A socket is a [`Link`]; links come from a [`Network`], so that a test can put a
//! lossy network in the place of [`SystemNetwork`].
//! Invariant: nothing here blocks for longer than the caller asked (a send waits for a full send
//! buffer at most [`SEND_WAIT_MAX`]), and what the kernel or we threw away is counted.
//!
//! Our own layer instead of a crate: quinn-udp clears the DSCP with every send, loses the ECN marks
//! of coalesced receives, and offers neither the kernel's drop counter nor group membership.

mod batch;
mod buffers;
mod group;
mod interface;
mod link;
mod socket;
mod wait;

pub use batch::RecvBatch;
pub use buffers::Buffers;
pub use group::{GroupError, parse_group};
pub use interface::{Family, Interface, InterfaceError};
pub use interface::{default_interface, find_interface, interfaces};
pub use link::{Link, LinkCounters, LinkOptions, Network};
pub use socket::{SEND_WAIT_MAX, SystemLink, SystemNetwork};
pub use wait::{Ready, StopFlag, WAIT_LINKS_MAX, Waker, wait};
