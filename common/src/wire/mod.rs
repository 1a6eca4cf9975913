//! The datagrams: what lies where in each, and nothing of when to send one.
//!
//! ```text
//!  0          2         3            4             8         12              14          16
//!  +----------+---------+------------+-------------+---------+---------------+-----------+
//!  | magic u16| kind u8 | version u8 | session u32 | seq u32 | key_epoch u16 | flags u16 |
//!  +----------+---------+------------+-------------+---------+---------------+-----------+
//!  | body of the kind, for control messages ending in extensions    | trailer            |
//!  +----------------------------------------------------------------+--------------------+
//! ```
//!
//! All numbers are big-endian; times are microseconds. The first eight bytes stay as they are in
//! every version of the protocol (PROTOCOL 2.3). Invariants: nothing that a peer sends makes a
//! parser panic, or take more memory than its datagram has bytes; what `emit` writes, `parse` reads
//! back (PROTOCOL 2 and 4).

mod activated;
mod advertise;
mod alarm;
mod announce;
mod catch_up;
mod checksum;
mod cursor;
#[cfg(test)]
mod document;
mod doubt;
mod error;
mod fault;
mod hashes;
mod have;
mod join;
mod need;
mod order;
mod poll;
mod rate;
mod solicit;
mod status;
mod symbol;
#[cfg(test)]
mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod tlv;
mod trial;

pub use activated::{Activated, Outcome};
pub use advertise::{ADVERTISE_BLOCKS_MAX, Advertise};
pub use alarm::Alarm;
pub use announce::{
    Activation, Announce, AnnounceVersions, SENDER_HOST_BYTES_MAX, SENDER_USER_BYTES_MAX,
    SenderFacts, SenderStage, SessionTimers,
};
pub use catch_up::CatchUp;
pub use checksum::{CHECKSUM_BYTES, close_plain, open_plain};
pub use doubt::{DOUBT_BLOCKS_MAX, Doubt};
pub use error::WireError;
pub use fault::Fault;
pub use hashes::Hashes;
pub use have::{HAVE_PARTS_MAX, HAVE_RANGES_MAX, Have};
pub use join::{Join, JoinAck, JoinVerdict, KindSet};
pub use need::{NEED_BLOCKS_MAX, Need};
pub use order::{Order, REASON_BYTES_MAX};
pub use poll::{BlockCount, POLL_BLOCKS_MAX, POLL_LIST_BYTES_MAX, POLL_RANGES_MAX, Poll, Sweep};
pub use rate::{Rate, SHARE_PPM_MAX};
pub use solicit::{Solicit, SolicitReason};
pub use status::{DETAIL_BYTES_MAX, HostPhase, Status};
pub use symbol::SymbolHeader;
pub use text::{Printable, escaped, escaped_bytes};
pub use tlv::{TLV_CRITICAL, Tlv};
pub use trial::{TRIAL, TRIAL_OUTPUT_BYTES_MAX, TRIAL_RESULTS_MAX, Trial, TrialVerdict};

use crate::id::SessionId;
use crate::limits;
use cursor::{Reader, Writer, wire_numbers};

/// First two bytes of every datagram.
pub const MAGIC: u16 = 0xFA4E;
/// The version of the protocol that this program writes, and the only one that it reads.
pub const VERSION: u8 = 1;
/// Length of the common header.
pub const COMMON_HEADER_BYTES: usize = 16;
/// Largest control datagram: IPv6's smallest MTU (1280) − 40 (IPv6) − 8 (UDP), so that none is ever
/// fragmented, whatever the symbols' size (PROTOCOL 2.7).
pub const CONTROL_BYTES_MAX: usize = 1232;

/// The operator's signature at the end of a message: type, length, key id, Ed25519 (PROTOCOL 10.4).
pub const SIGNATURE_BYTES: usize = 3 + 8 + 64;
/// When a signed message expires, before its signature: type, length, unix seconds.
pub const EXPIRY_BYTES: usize = 3 + 8;

/// Compile-time check that a body of `body_bytes` fits into a control datagram.
const fn assert_control_fits(body_bytes: usize) {
    assert!(
        COMMON_HEADER_BYTES + body_bytes + limits::TAG_BYTES_MAX <= CONTROL_BYTES_MAX,
        "a control message must fit into one datagram"
    );
}

wire_numbers! {
    /// What a datagram is. Numbers below 16 come from the sender, the others from hosts.
    Kind {
        /// A symbol of the block's own bytes.
        Source = 1 "SOURCE",
        /// A symbol of the block's parity.
        Repair = 2 "REPAIR",
        /// What has been sent, and who reports.
        Poll = 3 "POLL",
        /// Raised counts.
        Advertise = 4 "ADVERTISE",
        /// The session.
        Announce = 5 "ANNOUNCE",
        /// Digests of a block's symbols.
        Hashes = 6 "HASHES",
        /// Switch to the release.
        Activate = 7 "ACTIVATE",
        /// Do not switch after all.
        Cancel = 8 "CANCEL",
        /// The session ends without a switch.
        Stop = 9 "STOP",
        /// Answer to a JOIN.
        JoinAck = 10 "JOIN-ACK",
        /// Where a straggler is served.
        CatchUp = 11 "CATCH-UP",
        /// A host wants the release.
        Join = 16 "JOIN",
        /// Frames that a host holds.
        Have = 17 "HAVE",
        /// Transmissions that a host wants.
        Need = 18 "NEED",
        /// Where a host stands.
        Status = 19 "STATUS",
        /// What a host sees of the network.
        Rate = 20 "RATE",
        /// A host misses data or sender.
        Solicit = 21 "SOLICIT",
        /// A host obeyed an ACTIVATE.
        Activated = 22 "ACTIVATED",
        /// A host asks for digests.
        Doubt = 23 "DOUBT",
    }
}

impl Kind {
    /// Whether a symbol follows the header.
    pub const fn is_symbol(self) -> bool {
        matches!(self, Self::Source | Self::Repair)
    }

    /// Whether hosts send it.
    pub const fn is_feedback(self) -> bool {
        self as u8 >= Self::Join as u8
    }
}

/// The kind of a datagram, none where it is not ours or of a kind unknown here. Looks at nothing
/// else: for dispatch before the seal is opened.
pub fn peek_kind(datagram: &[u8]) -> Option<Kind> {
    CommonHeader::parse_frozen(datagram).ok().and_then(|(kind, ..)| Kind::from_wire(kind))
}

/// The session of a datagram, none where it is not ours.
pub fn peek_session(datagram: &[u8]) -> Option<SessionId> {
    CommonHeader::parse_frozen(datagram).ok().map(|(.., session)| session)
}

/// What every datagram begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommonHeader {
    /// What it is.
    pub kind: Kind,
    /// The session that it belongs to; zero where a host knows of none.
    pub session: SessionId,
    /// Number of the datagram in its stream, zero outside of one (PROTOCOL 2.9).
    pub seq: u32,
    /// Generation of the key that seals it; zero in plain mode.
    pub key_epoch: u16,
    /// Bits with a meaning of their own in each kind; unknown ones are ignored.
    pub flags: u16,
}

impl CommonHeader {
    /// Kind, version and session: the part that never changes.
    fn parse_frozen(datagram: &[u8]) -> Result<(u8, u8, SessionId), WireError> {
        let (&[m0, m1, kind, version, s0, s1, s2, s3], _) =
            datagram.split_first_chunk().ok_or(WireError::Truncated)?;
        if u16::from_be_bytes([m0, m1]) != MAGIC {
            return Err(WireError::Magic);
        }
        Ok((kind, version, SessionId(u32::from_be_bytes([s0, s1, s2, s3]))))
    }

    /// Takes a datagram without its trailer apart into header and body.
    ///
    /// # Errors
    /// When it is not complete, not ours, or of a version or kind unknown here.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (kind, version, session) = Self::parse_frozen(datagram)?;
        if version != VERSION {
            return Err(WireError::Version); // PROTOCOL 2.6
        }
        let kind = Kind::from_wire(kind).ok_or(WireError::Kind)?;
        let (head, body) =
            datagram.split_at_checked(COMMON_HEADER_BYTES).ok_or(WireError::Truncated)?;
        let mut reader = Reader::new(&head[8..]);
        let (seq, key_epoch) = reader.read()?;
        let flags = reader.read()?;
        Ok((Self { kind, session, seq, key_epoch, flags }, body))
    }

    /// Appends the header to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put(MAGIC)
            .put((self.kind, VERSION))
            .put((self.session, self.seq))
            .put((self.key_epoch, self.flags));
    }
}

/// A control message: everything but symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The session.
    Announce(Box<Announce>),
    /// What has been sent, and who reports.
    Poll(Poll),
    /// Raised counts.
    Advertise(Advertise),
    /// Digests of a block's symbols.
    Hashes(Hashes),
    /// Switch to the release.
    Activate(Order),
    /// Do not switch after all.
    Cancel(Order),
    /// The session ends without a switch.
    Stop(Order),
    /// Answer to a JOIN.
    JoinAck(JoinAck),
    /// Where a straggler is served.
    CatchUp(CatchUp),
    /// A host wants the release.
    Join(Join),
    /// Frames that a host holds.
    Have(Have),
    /// Transmissions that a host wants.
    Need(Need),
    /// Where a host stands.
    Status(Status),
    /// What a host sees of the network.
    Rate(Rate),
    /// A host misses data or sender.
    Solicit(Solicit),
    /// A host obeyed an ACTIVATE.
    Activated(Activated),
    /// A host asks for digests.
    Doubt(Doubt),
}

impl Message {
    /// What the message is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Announce(_) => Kind::Announce,
            Self::Poll(_) => Kind::Poll,
            Self::Advertise(_) => Kind::Advertise,
            Self::Hashes(_) => Kind::Hashes,
            Self::Activate(_) => Kind::Activate,
            Self::Cancel(_) => Kind::Cancel,
            Self::Stop(_) => Kind::Stop,
            Self::JoinAck(_) => Kind::JoinAck,
            Self::CatchUp(_) => Kind::CatchUp,
            Self::Join(_) => Kind::Join,
            Self::Have(_) => Kind::Have,
            Self::Need(_) => Kind::Need,
            Self::Status(_) => Kind::Status,
            Self::Rate(_) => Kind::Rate,
            Self::Solicit(_) => Kind::Solicit,
            Self::Activated(_) => Kind::Activated,
            Self::Doubt(_) => Kind::Doubt,
        }
    }

    /// Parses a datagram without its trailer.
    ///
    /// # Errors
    /// When it is not a complete control message of this version.
    pub fn parse(datagram: &[u8]) -> Result<(CommonHeader, Self), WireError> {
        let (header, body) = CommonHeader::parse(datagram)?;
        let message = match header.kind {
            Kind::Source | Kind::Repair => return Err(WireError::Unexpected),
            Kind::Announce => Self::Announce(Box::new(Announce::parse(body)?)),
            Kind::Poll => Self::Poll(Poll::parse(body)?),
            Kind::Advertise => Self::Advertise(Advertise::parse(body)?),
            Kind::Hashes => Self::Hashes(Hashes::parse(body)?),
            Kind::Activate => Self::Activate(Order::parse(body)?),
            Kind::Cancel => Self::Cancel(Order::parse(body)?),
            Kind::Stop => Self::Stop(Order::parse(body)?),
            Kind::JoinAck => Self::JoinAck(JoinAck::parse(body)?),
            Kind::CatchUp => Self::CatchUp(CatchUp::parse(body)?),
            Kind::Join => Self::Join(Join::parse(body)?),
            Kind::Have => Self::Have(Have::parse(body)?),
            Kind::Need => Self::Need(Need::parse(body)?),
            Kind::Status => Self::Status(Status::parse(body)?),
            Kind::Rate => Self::Rate(Rate::parse(body)?),
            Kind::Solicit => Self::Solicit(Solicit::parse(body)?),
            Kind::Activated => Self::Activated(Activated::parse(body)?),
            Kind::Doubt => Self::Doubt(Doubt::parse(body)?),
        };
        Ok((header, message))
    }

    /// Appends header and body, without a trailer, to `out`.
    pub fn emit(&self, session: SessionId, seq: u32, key_epoch: u16, out: &mut Vec<u8>) {
        CommonHeader { kind: self.kind(), session, seq, key_epoch, flags: 0 }.emit(out);
        match self {
            Self::Announce(message) => message.emit(out),
            Self::Poll(message) => message.emit(out),
            Self::Advertise(message) => message.emit(out),
            Self::Hashes(message) => message.emit(out),
            Self::Activate(message) | Self::Cancel(message) | Self::Stop(message) => {
                message.emit(out);
            }
            Self::JoinAck(message) => message.emit(out),
            Self::CatchUp(message) => message.emit(out),
            Self::Join(message) => message.emit(out),
            Self::Have(message) => message.emit(out),
            Self::Need(message) => message.emit(out),
            Self::Status(message) => message.emit(out),
            Self::Rate(message) => message.emit(out),
            Self::Solicit(message) => message.emit(out),
            Self::Activated(message) => message.emit(out),
            Self::Doubt(message) => message.emit(out),
        }
    }

    /// Opens a datagram of plain mode as it came and parses it.
    ///
    /// # Errors
    /// When the checksum or the message is not right.
    pub fn open_plain(datagram: &[u8]) -> Result<(CommonHeader, Self), WireError> {
        Self::parse(open_plain(datagram)?)
    }

    /// Appends the whole datagram of plain mode, closed, to `out`.
    pub fn close_plain(&self, session: SessionId, seq: u32, out: &mut Vec<u8>) {
        let start = out.len();
        self.emit(session, seq, 0, out);
        out.resize(out.len() + CHECKSUM_BYTES, 0);
        close_plain(&mut out[start..]);
    }
}
