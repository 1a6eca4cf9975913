//! Who may have made a datagram: seals of a session (PROTOCOL 10).
//!
//! ```text
//!  what                               closed with                        who can make it
//!  ANNOUNCE                           MAC (announce key), signature      an operator's sender
//!  symbols, ADVERTISE                 AES-256-GCM, the stream's key      who has the group key
//!  POLL, HASHES, orders               the same, and signature            an operator's sender
//!  JOIN-ACK, CATCH-UP, and orders     MAC (the host's key, downwards);   who has the master key
//!  to one host                        orders with signature
//!  JOIN … ACTIVATED                   MAC (the host's key, upwards)      that host
//! ```
//!
//! Every trailer is 16 bytes. Not here: files of keys ([`crate::keys`]), and what a session makes
//! of a datagram. Invariants: nothing of a datagram is believed before its seal is found right; a
//! window moves for what is right alone; no nonce is used twice under one key, since a session's
//! keys come from a salt of its own and a stream ends before its numbers do.

mod announce;
mod checks;
mod context;
mod control;
mod host;
mod mac;
mod replay;
mod sending;
mod signature;
mod stream;
#[cfg(test)]
mod tests;

pub use host::{HostKeys, HostSeal, MemberSeal};
pub use sending::{SenderKeys, SenderSeal, StreamSpent};
pub use stream::Stream;

/// Bytes of every trailer of a sealed session (PROTOCOL 2.4).
pub const TAG_BYTES: usize = crate::limits::TAG_BYTES_MAX;

/// Appends the checksum of `out[from..]`, plain mode's trailer.
fn append_checksum(from: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + crate::wire::CHECKSUM_BYTES, 0);
    crate::wire::close_plain(&mut out[from..]);
}
