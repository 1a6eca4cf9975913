//! ANNOUNCE: all that a host must know to take part in a session, repeated as long as it lasts.
//!
//! ```text
//!  16            17            18      20                     52               84
//!  +-------------+-------------+-------+----------------------+----------------+
//!  | version_min | version_max | flags | release (32)         | image (32)     |
//!  +------+------+-----+-------+-------+------+---------------+----------------+
//!  | kind | activation | stage | family| image_bytes u64      |
//!  +------+------------+-------+-------+------+---------------+ 96
//!  | symbol_bytes u16 | block_symbols u16 | repair_symbols u16 | window_blocks u16 |
//!  | preamble_bytes u32 | payload_bytes u64 |                                       116
//!  | manifest u32 | signatures u32 | chunk_table u32 | plan u32 |                   132
//!  | join_window u32 | announce_interval u32 | grtt u32 | backoff u32 | slot u32 |  152
//!  | group_size u32 | started u64 | instance u64 | salt (16) | sent_at_us u64 |     196
//!  | data port u16 | feedback port u16 | data address (4|16) | feedback address (4|16) |
//!  | app | label | host | user: each a length in one byte and a text | extensions
//! ```
//!
//! The first two bytes behind the common header say which versions the session can be joined with
//! and stay where they are for ever. Invariants of a parsed announce: its geometry is valid, its
//! preamble is the sum of its parts, its addresses can be what they are meant for (PROTOCOL 4.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::cursor::{Field, NAME_BYTES_MAX, Reader, Writer, wire_numbers};
use super::{COMMON_HEADER_BYTES, CommonHeader, Kind, WireError, assert_control_fits, tlv};
use crate::digest::Digest;
use crate::geometry::{Geometry, PreambleLengths};
use crate::id::{AppName, ImageKind, Label, ReleaseId, SessionId};

/// Longest host name of a sender.
pub const SENDER_HOST_BYTES_MAX: u8 = 64;
/// Longest user name of a sender.
pub const SENDER_USER_BYTES_MAX: u8 = 32;

wire_numbers! {
    /// When hosts switch to the release.
    Activation {
        /// All at once, when every expected host has staged it.
        Together = 1 "together",
        /// Every host when it has staged it.
        Each = 2 "each",
        /// Not in this session.
        Hold = 3 "hold",
    }
}

wire_numbers! {
    /// Where the sender stands.
    SenderStage {
        /// Hosts are gathered.
        Joining = 1 "joining",
        /// The preamble goes out.
        Preamble = 2 "preamble",
        /// Once through all blocks.
        Pass = 3 "pass",
        /// Repairs after the pass.
        Flush = 4 "flush",
        /// Hosts verify and stage; their status is swept.
        Settling = 5 "settling",
        /// The switch is ordered and acknowledged.
        Activating = 6 "activating",
        /// The outcome is settled; the session ends.
        Closing = 7 "closing",
    }
}

/// The times that hosts keep to in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimers {
    /// Joins are spread over this time.
    pub join_window: Duration,
    /// Time between two announces.
    pub announce_interval: Duration,
    /// Round-trip time of the group.
    pub grtt: Duration,
    /// Interval that NEEDs are spread over.
    pub backoff: Duration,
    /// Length of one status slot.
    pub slot: Duration,
}

/// Who sends, for the message that refuses a second sender. Texts as the sender gave them: print
/// them through [`super::escaped`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderFacts {
    /// Name of the machine, at most [`SENDER_HOST_BYTES_MAX`] bytes.
    pub host: String,
    /// Who started the sender, at most [`SENDER_USER_BYTES_MAX`] bytes.
    pub user: String,
    /// When it was started, unix seconds.
    pub started: u64,
    /// Chosen at random per machine and user: a restarted sender is told from a second one.
    pub instance: u64,
}

/// A session, as its sender describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// Oldest protocol version that a host may join with.
    pub version_min: u8,
    /// Newest protocol version that a host may join with.
    pub version_max: u8,
    /// The release: the digest of its manifest.
    pub release: ReleaseId,
    /// Digest of the image inside.
    pub image: Digest,
    /// What the release is a release of.
    pub app: AppName,
    /// What people call the release.
    pub label: Label,
    /// Kind of the image.
    pub kind: ImageKind,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// How preamble and payload are cut.
    pub geometry: Geometry,
    /// Where the parts of the preamble lie; their sum is the geometry's preamble.
    pub preamble: PreambleLengths,
    /// Multicast group of the symbols.
    pub data_group: SocketAddr,
    /// Unicast address for feedback, of the same family. The scope of a link-local address is the
    /// interface that the announce came in on.
    pub feedback: SocketAddr,
    /// The times that hosts keep to.
    pub timers: SessionTimers,
    /// Number of hosts that the suppression reckons with.
    pub group_size: u32,
    /// When hosts switch.
    pub activation: Activation,
    /// Where the sender stands.
    pub stage: SenderStage,
    /// Who sends.
    pub sender: SenderFacts,
    /// Random bytes that a session key is derived from.
    pub salt: [u8; 16],
    /// The sender's clock, for echoes; any zero.
    pub sent_at_us: u64,
    /// Nothing in this session is sealed or signed; a host must have been told to accept that.
    pub insecure: bool,
}

/// Which versions a session can be joined with: the part of an announce that never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceVersions {
    /// Version of the announce itself.
    pub version: u8,
    /// The session announced.
    pub session: SessionId,
    /// Oldest version that a host may join with.
    pub version_min: u8,
    /// Newest version that a host may join with.
    pub version_max: u8,
}

const FLAG_INSECURE: u16 = 1 << 0;
const FAMILY_IPV4: u8 = 4;
const FAMILY_IPV6: u8 = 6;
const FIXED_BYTES: usize = 184 + 2 * 16;

const _: () = assert_control_fits(
    FIXED_BYTES
        + 2 * (1 + NAME_BYTES_MAX)
        + (1 + SENDER_HOST_BYTES_MAX as usize)
        + (1 + SENDER_USER_BYTES_MAX as usize),
);

impl Announce {
    /// Reads the frozen part of an announce of any version of the protocol.
    ///
    /// # Errors
    /// When this is no announce, or ends before its versions.
    pub fn parse_versions(datagram: &[u8]) -> Result<AnnounceVersions, WireError> {
        let (kind, version, session) = CommonHeader::parse_frozen(datagram)?;
        if kind != Kind::Announce as u8 {
            return Err(WireError::Unexpected);
        }
        let body = datagram.get(COMMON_HEADER_BYTES..).ok_or(WireError::Truncated)?;
        let (&[version_min, version_max], _) =
            body.split_first_chunk().ok_or(WireError::Truncated)?;
        Ok(AnnounceVersions { version, session, version_min, version_max })
    }

    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or says something that no session can be.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (version_min, version_max) = reader.read::<(u8, u8)>()?;
        if version_min > version_max {
            return Err(WireError::Range);
        }
        let insecure = reader.read::<u16>()? & FLAG_INSECURE != 0;
        let (release, image) = reader.read()?;
        let (kind, activation) = reader.read()?;
        let (stage, family) = reader.read()?;
        let image_bytes = reader.read()?;
        let (geometry, preamble) = read_geometry(&mut reader)?;
        let timers = reader.read()?;
        let group_size = reader.read()?;
        let (started, instance) = reader.read()?;
        let (salt, sent_at_us) = reader.read()?;
        let (data_group, feedback) = read_addresses(&mut reader, family)?;
        let (app, label) = (reader.name()?, reader.name()?);
        let host = reader.text(SENDER_HOST_BYTES_MAX.into())?;
        let user = reader.text(SENDER_USER_BYTES_MAX.into())?;
        let sender = SenderFacts { host, user, started, instance };
        tlv::skip_unknown(reader)?;
        Ok(Self {
            version_min,
            version_max,
            release,
            image,
            app,
            label,
            kind,
            image_bytes,
            geometry,
            preamble,
            data_group,
            feedback,
            timers,
            group_size,
            activation,
            stage,
            sender,
            salt,
            sent_at_us,
            insecure,
        })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When the two addresses are of different families.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let family = if self.data_group.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 };
        writer
            .put((self.version_min, self.version_max))
            .put(if self.insecure { FLAG_INSECURE } else { 0 })
            .put((self.release, self.image))
            .put((self.kind, self.activation))
            .put((self.stage, family))
            .put(self.image_bytes);
        self.write_geometry(&mut writer);
        writer
            .put(self.timers)
            .put(self.group_size)
            .put((self.sender.started, self.sender.instance))
            .put((self.salt, self.sent_at_us));
        self.write_addresses(&mut writer);
        writer
            .text(self.app.as_str(), NAME_BYTES_MAX as u8)
            .text(self.label.as_str(), NAME_BYTES_MAX as u8)
            .text(&self.sender.host, SENDER_HOST_BYTES_MAX)
            .text(&self.sender.user, SENDER_USER_BYTES_MAX);
    }

    fn write_geometry(&self, writer: &mut Writer<'_>) {
        let (geometry, preamble) = (&self.geometry, &self.preamble);
        writer
            .put((geometry.symbol_bytes(), geometry.block_symbols()))
            .put((geometry.repair_symbols(), geometry.window_blocks()))
            .put((geometry.preamble_bytes(), geometry.payload_bytes()))
            .put((preamble.manifest, preamble.signatures))
            .put((preamble.chunk_table, preamble.plan));
    }

    fn write_addresses(&self, writer: &mut Writer<'_>) {
        writer.put((self.data_group.port(), self.feedback.port()));
        match (self.data_group.ip(), self.feedback.ip()) {
            (IpAddr::V4(group), IpAddr::V4(feedback)) => {
                writer.put((group.octets(), feedback.octets()))
            }
            (IpAddr::V6(group), IpAddr::V6(feedback)) => {
                writer.put((group.octets(), feedback.octets()))
            }
            (group, feedback) => panic!("{group} and {feedback} are of different families"),
        };
    }
}

impl Field for SessionTimers {
    const BYTES: usize = 5 * Duration::BYTES;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            join_window: reader.read()?,
            announce_interval: reader.read()?,
            grtt: reader.read()?,
            backoff: reader.read()?,
            slot: reader.read()?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer
            .put((self.join_window, self.announce_interval))
            .put((self.grtt, self.backoff))
            .put(self.slot);
    }
}

fn read_geometry(reader: &mut Reader<'_>) -> Result<(Geometry, PreambleLengths), WireError> {
    let (symbol_bytes, block_symbols) = reader.read()?;
    let (repair_symbols, window_blocks) = reader.read()?;
    let (preamble_bytes, payload_bytes) = reader.read()?;
    let (manifest, signatures) = reader.read()?;
    let (chunk_table, plan) = reader.read()?;
    let preamble = PreambleLengths { manifest, signatures, chunk_table, plan };
    let geometry = Geometry::new(
        symbol_bytes,
        block_symbols,
        repair_symbols,
        window_blocks,
        preamble_bytes,
        payload_bytes,
    )
    .map_err(|_| WireError::Geometry)?;
    if preamble.total() != u64::from(preamble_bytes) {
        return Err(WireError::Geometry);
    }
    Ok((geometry, preamble))
}

fn read_addresses(
    reader: &mut Reader<'_>,
    family: u8,
) -> Result<(SocketAddr, SocketAddr), WireError> {
    let (group_port, feedback_port) = reader.read::<(u16, u16)>()?;
    let (group, feedback): (IpAddr, IpAddr) = match family {
        FAMILY_IPV4 => {
            let (group, feedback) = reader.read::<([u8; 4], [u8; 4])>()?;
            (Ipv4Addr::from(group).into(), Ipv4Addr::from(feedback).into())
        }
        FAMILY_IPV6 => {
            let (group, feedback) = reader.read::<([u8; 16], [u8; 16])>()?;
            (Ipv6Addr::from(group).into(), Ipv6Addr::from(feedback).into())
        }
        _ => return Err(WireError::Family),
    };
    if !group.is_multicast() || group_port == 0 {
        return Err(WireError::Group);
    }
    if !is_unicast(feedback) || feedback_port == 0 {
        return Err(WireError::Feedback);
    }
    Ok((SocketAddr::new(group, group_port), SocketAddr::new(feedback, feedback_port)))
}

/// Whether one machine can be behind `address`.
fn is_unicast(address: IpAddr) -> bool {
    let is_other = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    !is_other && !address.is_multicast() && !address.is_unspecified()
}
