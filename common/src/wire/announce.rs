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
use super::{
    COMMON_HEADER_BYTES, CommonHeader, EXPIRY_BYTES, Kind, SIGNATURE_BYTES, WireError,
    assert_control_fits, tlv,
};
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
        /// Asks whether somebody else sends the app; hosts take no notice.
        Listening = 8 "listening",
        /// Stragglers are served apart from the fleet.
        CatchUp = 9 "catch-up",
        /// Hosts have switched; their verdicts on the release are awaited.
        Judging = 10 "judging",
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
    /// The same whenever the same sender starts again: its later session supersedes the earlier.
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
    /// Hosts that found the release bad are to take it again (PROTOCOL 8.4).
    pub force: bool,
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
const FLAG_FORCE: u16 = 1 << 1;
const FAMILY_IPV4: u8 = 4;
const FAMILY_IPV6: u8 = 6;
const FIXED_BYTES: usize = 184 + 2 * 16;

const _: () = assert_control_fits(
    FIXED_BYTES
        + 2 * (1 + NAME_BYTES_MAX)
        + (1 + SENDER_HOST_BYTES_MAX as usize)
        + (1 + SENDER_USER_BYTES_MAX as usize)
        + EXPIRY_BYTES
        + SIGNATURE_BYTES,
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
        let flags = reader.read::<u16>()?;
        let (insecure, force) = (flags & FLAG_INSECURE != 0, flags & FLAG_FORCE != 0);
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
            force,
        })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When the two addresses are of different families.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let family = family_of(self.data_group);
        writer
            .put((self.version_min, self.version_max))
            .put(u16::from(self.insecure) * FLAG_INSECURE + u16::from(self.force) * FLAG_FORCE)
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

/// Geometry and preamble, refused outside the limits of PROTOCOL 3.2.
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
    let (address, feedback) = (read_address(reader, family)?, read_address(reader, family)?);
    let group = group(address, group_port)?;
    if !is_unicast(feedback) || feedback_port == 0 {
        return Err(WireError::Feedback);
    }
    Ok((group, SocketAddr::new(feedback, feedback_port)))
}

/// The number that stands for the family of `address`.
pub(super) fn family_of(address: SocketAddr) -> u8 {
    if address.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 }
}

/// An address of `family`.
pub(super) fn read_address(reader: &mut Reader<'_>, family: u8) -> Result<IpAddr, WireError> {
    match family {
        FAMILY_IPV4 => reader.read::<[u8; 4]>().map(|bytes| Ipv4Addr::from(bytes).into()),
        FAMILY_IPV6 => reader.read::<[u8; 16]>().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => Err(WireError::Family),
    }
}

/// A group that symbols may come to.
pub(super) fn group(address: IpAddr, port: u16) -> Result<SocketAddr, WireError> {
    if !address.is_multicast() || port == 0 {
        return Err(WireError::Group);
    }
    Ok(SocketAddr::new(address, port))
}

/// Whether one machine can be behind `address`.
fn is_unicast(address: IpAddr) -> bool {
    let is_other = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    !is_other && !address.is_multicast() && !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::super::tests::announce;
    use super::*;

    fn announce_ipv6() -> Announce {
        Announce {
            data_group: "[ff15::7070]:7071".parse().unwrap(),
            feedback: "[fe80::1]:40000".parse().unwrap(),
            ..announce()
        }
    }

    const GOLDEN_HEAD: &str = "
        01 01                       ; versions
        0001                        ; flags: insecure
        11111111111111111111111111111111 11111111111111111111111111111111
        22222222222222222222222222222222 22222222222222222222222222222222
        03                          ; erofs
        01                          ; together
        03                          ; pass
    ";
    const GOLDEN_MIDDLE: &str = "
        00000000b2d05e00            ; image bytes
        0580 0400 0100 0010         ; symbol bytes, k, r, window
        000003e8 0000000035a4e900   ; preamble, payload bytes
        00000258 00000000           ; manifest, signatures
        0000012c 00000064           ; chunk table, plan
        0007a120 0003d090           ; join window, announce interval
        00002710 000186a0 00000032  ; grtt, backoff, slot
        000007d0                    ; group size
        000000006ab13b80            ; started
        0123456789abcdef            ; instance
        33333333333333333333333333333333
        00000000004c4b41            ; sent at
        1b9f 9c40                   ; ports of group and feedback
    ";
    const GOLDEN_TEXTS: &str = "
        04 73686f70                 ; app
        03 763432                   ; label
        07 6465706c6f7931           ; host
        03 6f7073                   ; user
    ";

    #[test]
    fn announce_matches_golden_bytes() {
        let addresses = "efc04647 c6120001";
        let golden = [GOLDEN_HEAD, "04", GOLDEN_MIDDLE, addresses, GOLDEN_TEXTS].join("\n");
        assert_golden(&announce(), &golden);
        let addresses = "
            ff150000000000000000000000007070
            fe800000000000000000000000000001
        ";
        let golden = [GOLDEN_HEAD, "06", GOLDEN_MIDDLE, addresses, GOLDEN_TEXTS].join("\n");
        assert_golden(&announce_ipv6(), &golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&announce());
        assert_prefixes_refused(&announce_ipv6());
    }

    #[test]
    fn every_field_at_its_limits() {
        let long = Duration::from_micros(u32::MAX.into());
        let most = Announce {
            version_min: u8::MAX,
            version_max: u8::MAX,
            app: "x".repeat(63).parse().unwrap(),
            label: "y".repeat(63).parse().unwrap(),
            kind: ImageKind::Raw,
            image_bytes: u64::MAX,
            geometry: Geometry::new(8896, 4096, 4096, 64, 64 << 20, 1 << 40).unwrap(),
            preamble: PreambleLengths {
                manifest: 0,
                signatures: 0,
                chunk_table: 64 << 20,
                plan: 0,
            },
            timers: SessionTimers {
                join_window: long,
                announce_interval: long,
                grtt: long,
                backoff: long,
                slot: long,
            },
            group_size: u32::MAX,
            activation: Activation::Hold,
            stage: SenderStage::Closing,
            sender: SenderFacts {
                host: "h".repeat(64),
                user: "u".repeat(32),
                started: u64::MAX,
                instance: u64::MAX,
            },
            sent_at_us: u64::MAX,
            ..announce_ipv6()
        };
        assert_round_trip(&most);
        for (offset, bytes, error) in [
            (84, &[0][..], WireError::Value),
            (84, &[7], WireError::Value),
            (85, &[0], WireError::Value),
            (85, &[4], WireError::Value),
            (86, &[0], WireError::Value),
            (86, &[11], WireError::Value),
            (87, &[5], WireError::Family),
            (16, &[2, 1], WireError::Range),
            (232, &[64], WireError::Name),
            (233, b"/", WireError::Name),
            (296, &[64], WireError::Name),
            (360, &[65], WireError::Text),
            (361, &[0xff], WireError::Text),
            (425, &[33], WireError::Text),
        ] {
            assert_eq!(refusal(&most, offset, bytes), Some(error), "{offset} {bytes:x?}");
        }
    }

    // PROTOCOL 3.2
    #[test]
    fn numbers_that_are_no_geometry_are_refused() {
        let geometry = Some(WireError::Geometry);
        let message = announce();
        assert_eq!(refusal(&message, 96, &[0x05, 0x81]), geometry, "symbol of 1409 bytes");
        assert_eq!(refusal(&message, 98, &[0, 0]), geometry, "no symbols in a block");
        assert_eq!(refusal(&message, 100, &[0, 0]), geometry, "no repair symbols");
        assert_eq!(refusal(&message, 102, &[0, 65]), geometry, "a window of 65");
        assert_eq!(refusal(&message, 104, &[0, 0, 3, 0xe9]), geometry, "not the sum of its parts");
        assert_eq!(refusal(&message, 108, &[0xff]), geometry, "an endless payload");
        assert_eq!(refusal(&message, 116, &[0xff; 4]), geometry, "a part beyond the whole");
        assert_eq!(refusal(&message, 120, &[0xff; 12]), geometry, "a sum beyond four bytes");
    }

    // PROTOCOL 4.2
    #[test]
    fn addresses_that_cannot_be_what_they_are_for_are_refused() {
        let message = announce();
        for (offset, bytes, error) in [
            (196, &[0, 0][..], WireError::Group),
            (200, &[198, 18, 0, 1], WireError::Group),
            (200, &[0, 0, 0, 0], WireError::Group),
            (198, &[0, 0], WireError::Feedback),
            (204, &[0, 0, 0, 0], WireError::Feedback),
            (204, &[239, 1, 1, 1], WireError::Feedback),
            (204, &[255, 255, 255, 255], WireError::Feedback),
        ] {
            assert_eq!(refusal(&message, offset, bytes), Some(error), "{offset} {bytes:?}");
        }
        assert_eq!(refusal(&message, 204, &[127, 0, 0, 1]), None);
        let message = announce_ipv6();
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
        assert_eq!(refusal(&message, 200, &[0xfe, 0x80]), Some(WireError::Group));
        assert_eq!(refusal(&message, 216, &[0; 16]), Some(WireError::Feedback));
        assert_eq!(refusal(&message, 216, &mapped), Some(WireError::Feedback));
        assert_eq!(refusal(&message, 216, &[0xff, 0x02]), Some(WireError::Feedback));
    }

    #[test]
    fn flags_of_a_newer_sender_are_ignored() {
        let mut body = emitted(&announce());
        body[2..4].copy_from_slice(&[0xff, 0xfe]);
        assert_eq!(
            Announce::parse(&body),
            Ok(Announce { insecure: false, force: true, ..announce() })
        );
    }

    // PROTOCOL 2.3, 2.6
    #[test]
    fn the_versions_of_an_announce_from_the_far_future_are_read() {
        let datagram = bytes_of("fa4e 05 63 deadbeef ffffffff ffff ffff 07 63 00");
        let versions = AnnounceVersions {
            version: 99,
            session: SessionId(0xdead_beef),
            version_min: 7,
            version_max: 99,
        };
        assert_eq!(Announce::parse_versions(&datagram), Ok(versions));
        for end in 0..18 {
            assert_eq!(Announce::parse_versions(&datagram[..end]), Err(WireError::Truncated));
        }
        let poll = bytes_of("fa4e 03 63 deadbeef ffffffff ffff ffff 07 63");
        assert_eq!(Announce::parse_versions(&poll), Err(WireError::Unexpected));
        assert_eq!(Announce::parse_versions(&[0; 18]), Err(WireError::Magic));
    }

    #[test]
    #[should_panic(expected = "are of different families")]
    fn addresses_of_two_families_are_our_own_fault() {
        let feedback = announce_ipv6().feedback;
        emitted(&Announce { feedback, ..announce() });
    }

    fn any_addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let v4 = (224..=239u8, any::<[u8; 3]>(), 1..=223u8, any::<[u8; 3]>()).prop_map(
            |(group, [a, b, c], host, [d, e, f])| {
                (IpAddr::from([group, a, b, c]), IpAddr::from([host, d, e, f]))
            },
        );
        let v6 = any::<([u8; 15], [u8; 15])>().prop_map(|(group, host)| {
            let mut addresses = ([0xff; 16], [0xfe; 16]);
            addresses.0[1..].copy_from_slice(&group);
            addresses.1[1..].copy_from_slice(&host);
            (IpAddr::from(addresses.0), IpAddr::from(addresses.1))
        });
        (prop_oneof![v4, v6], 1..=u16::MAX, 1..=u16::MAX).prop_map(
            |((group, feedback), group_port, feedback_port)| {
                (SocketAddr::new(group, group_port), SocketAddr::new(feedback, feedback_port))
            },
        )
    }

    fn any_geometry() -> impl Strategy<Value = (Geometry, PreambleLengths)> {
        let preamble = (0..1u32 << 20, 0..1u32 << 20, 0..1u32 << 20, 0..1u32 << 20);
        let sizes = (1..=139u16, 1024..=4096u16, 1..=4096u16, 1..=64u16, 0..1u64 << 35);
        (sizes, preamble).prop_map(|((step, block, repair, window, payload), lengths)| {
            let (manifest, signatures, chunk_table, plan) = lengths;
            let lengths = PreambleLengths { manifest, signatures, chunk_table, plan };
            let preamble = lengths.total() as u32;
            let geometry = Geometry::new(64 * step, block, repair, window, preamble, payload);
            (geometry.unwrap(), lengths)
        })
    }

    fn any_timers() -> impl Strategy<Value = SessionTimers> {
        (any_micros(), any_micros(), any_micros(), any_micros(), any_micros()).prop_map(
            |(join_window, announce_interval, grtt, backoff, slot)| SessionTimers {
                join_window,
                announce_interval,
                grtt,
                backoff,
                slot,
            },
        )
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (version_min, more, insecure, force) in any::<(u8, u8, bool, bool)>(),
            (release, image, salt) in any::<([u8; 32], [u8; 32], [u8; 16])>(),
            (app, label) in (any_name(), any_name()),
            (kind, activation, stage) in (
                any_of(&ImageKind::ALL), any_of(Activation::ALL), any_of(SenderStage::ALL),
            ),
            (geometry, preamble) in any_geometry(),
            (data_group, feedback) in any_addresses(),
            (image_bytes, group_size, started, instance, sent_at_us) in
                any::<(u64, u32, u64, u64, u64)>(),
            (host, user) in (any_text(SENDER_HOST_BYTES_MAX), any_text(SENDER_USER_BYTES_MAX)),
            timers in any_timers(),
        ) {
            let version_max = version_min.saturating_add(more);
            let release = ReleaseId(Digest::from_bytes(release));
            let image = Digest::from_bytes(image);
            let sender = SenderFacts { host, user, started, instance };
            assert_round_trip(&Announce {
                version_min, version_max, release, image, app, label, kind, image_bytes, geometry,
                preamble, data_group, feedback, timers, group_size, activation, stage, sender,
                salt, sent_at_us, insecure, force,
            });
        }
    }
}
