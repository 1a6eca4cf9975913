//! JOIN and JOIN-ACK: a host asks for a place in the roster, the sender gives or refuses it.
//!
//! ```text
//!  JOIN
//!  16            17            18          20            28          36         40
//!  +-------------+-------------+-----------+-------------+-----------+----------+
//!  | version_min | version_max | kinds u16 | machine u64 | nonce u64 | link u32 |
//!  +-------------+-------------+-----------+-------------+-----------+----------+
//!  | free_bytes u64 | clock_us u64 | echo_us u64 | held u32 |
//!  40               48             56            64         68
//!  | holds_release u8 | holds_image u8 | holds_partial u8 | host: length u8, text | extensions
//!  68                 69               70                 71
//!
//!  JOIN-ACK
//!  16          24         28           29              30
//!  +-----------+----------+------------+---------------+
//!  | nonce u64 | slot u32 | verdict u8 | have_seen u8  | extensions
//!  +-----------+----------+------------+---------------+
//! ```
//!
//! The nonce tells a restarted host from its former self, the machine two hosts of one name
//! (PROTOCOL 4.6, 4.7).

use std::time::Duration;

use super::cursor::{NAME_BYTES_MAX, Reader, Writer, wire_numbers};
use super::{WireError, assert_control_fits, tlv};
use crate::id::{BootNonce, HostName, ImageKind, Slot};
use crate::units::Bitrate;

/// A set of image kinds, one bit each: bit n is the kind with wire value n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct KindSet(pub u16);

impl KindSet {
    /// The set with `kind` added.
    pub const fn with(self, kind: ImageKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: ImageKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// The kinds in the set that this version knows, in wire order.
    pub fn iter(self) -> impl Iterator<Item = ImageKind> {
        ImageKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<ImageKind> for KindSet {
    fn from_iter<I: IntoIterator<Item = ImageKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), Self::with)
    }
}

/// A host that wants the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its name in the roster.
    pub host: HostName,
    /// Oldest protocol version that it speaks.
    pub version_min: u8,
    /// Newest protocol version that it speaks.
    pub version_max: u8,
    /// Hash of the machine's identity: tells two machines with one name apart.
    pub machine: u64,
    /// Chosen when its process started.
    pub nonce: BootNonce,
    /// Speed of its interface, none where unknown; whole Mbit/s on the wire.
    pub link: Option<Bitrate>,
    /// Bytes free where the image will go.
    pub free_bytes: u64,
    /// Its wall clock, unix microseconds.
    pub clock_us: u64,
    /// Image kinds that it can put in place.
    pub kinds: KindSet,
    /// It has this very release staged already.
    pub holds_release: bool,
    /// It has this very image already.
    pub holds_image: bool,
    /// It has verified frames of this image and will name them in HAVE.
    pub holds_partial: bool,
    /// The `sent_at_us` of the announce that it answers.
    pub echo_us: u64,
    /// Time between that announce and this datagram.
    pub held: Duration,
}

const JOIN_FIXED_BYTES: usize = 55;

const _: () = assert_control_fits(JOIN_FIXED_BYTES + 1 + NAME_BYTES_MAX);

impl Join {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or a name or a range is none.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (version_min, version_max) = reader.read::<(u8, u8)>()?;
        if version_min > version_max {
            return Err(WireError::Range);
        }
        let kinds = KindSet(reader.read()?);
        let (machine, nonce) = reader.read()?;
        let megabits = reader.read::<u32>()?;
        let link = (megabits > 0).then(|| Bitrate::from_megabits(megabits.into()));
        let (free_bytes, clock_us) = reader.read()?;
        let (echo_us, held) = reader.read()?;
        let (holds_release, holds_image) = reader.read()?;
        let holds_partial = reader.read()?;
        let host = reader.name()?;
        tlv::skip_unknown(reader)?;
        Ok(Self {
            host,
            version_min,
            version_max,
            machine,
            nonce,
            link,
            free_bytes,
            clock_us,
            kinds,
            holds_release,
            holds_image,
            holds_partial,
            echo_us,
            held,
        })
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let megabits = |link: Bitrate| (link.as_bits() / 1_000_000).clamp(1, u32::MAX.into());
        Writer::new(out)
            .put((self.version_min, self.version_max))
            .put(self.kinds.0)
            .put((self.machine, self.nonce))
            .put(self.link.map_or(0, megabits) as u32)
            .put((self.free_bytes, self.clock_us))
            .put((self.echo_us, self.held))
            .put((self.holds_release, self.holds_image))
            .put(self.holds_partial)
            .text(self.host.as_str(), NAME_BYTES_MAX as u8);
    }
}

wire_numbers! {
    /// What becomes of a JOIN.
    JoinVerdict {
        /// The host is in the roster.
        Accepted = 1 "accepted",
        /// Another machine is in the roster under this name.
        NameTaken = 2 "name taken",
        /// No common protocol version.
        VersionUnsupported = 3 "version unsupported",
        /// The sender counts no more hosts.
        RosterFull = 4 "roster full",
        /// The operator did not list this host.
        NotExpected = 5 "not expected",
        /// One side insists on seals, the other has none.
        Insecure = 6 "insecure",
        /// The session takes nobody in any more.
        Closing = 7 "closing",
    }
}

/// The sender's answer to a JOIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinAck {
    /// The nonce of the JOIN.
    pub nonce: BootNonce,
    /// The host's slot in status sweeps; without meaning unless accepted.
    pub slot: Slot,
    /// Whether the host is taken in.
    pub verdict: JoinVerdict,
    /// Every part of the host's HAVE has arrived.
    pub have_seen: bool,
}

impl JoinAck {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete or a value is unassigned.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (nonce, slot) = reader.read()?;
        let (verdict, have_seen) = reader.read()?;
        tlv::skip_unknown(reader)?;
        Ok(Self { nonce, slot, verdict, have_seen })
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out).put((self.nonce, self.slot)).put((self.verdict, self.have_seen));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn join() -> Join {
        Join {
            host: "web-17".parse().unwrap(),
            version_min: 1,
            version_max: 2,
            machine: 0x0102_0304_0506_0708,
            nonce: BootNonce(0x1122_3344_5566_7788),
            link: Some(Bitrate::from_megabits(10_000)),
            free_bytes: 1 << 40,
            clock_us: 1_790_000_000_000_000,
            kinds: KindSet::default().with(ImageKind::Ext2).with(ImageKind::Tar),
            holds_release: false,
            holds_image: true,
            holds_partial: false,
            echo_us: 77,
            held: Duration::from_millis(3),
        }
    }

    fn join_ack(verdict: JoinVerdict) -> JoinAck {
        let nonce = BootNonce(0x1122_3344_5566_7788);
        JoinAck { nonce, slot: Slot(17), verdict, have_seen: true }
    }

    #[test]
    fn join_matches_golden_bytes() {
        let golden = "
            01 02               ; versions
            0022                ; kinds: bits 1 and 5
            0102030405060708    ; machine
            1122334455667788    ; nonce
            00002710            ; link in Mbit/s
            0000010000000000    ; free
            00065bfeda25e000    ; clock
            000000000000004d    ; echo
            00000bb8            ; held
            00 01 00            ; holds the release, the image, a part
            06 7765622d3137     ; host
        ";
        assert_golden(&join(), golden);
    }

    #[test]
    fn join_ack_matches_golden_bytes() {
        assert_golden(&join_ack(JoinVerdict::NameTaken), "1122334455667788 00000011 02 01");
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&join());
        assert_prefixes_refused(&join_ack(JoinVerdict::Accepted));
    }

    #[test]
    fn every_field_at_its_limits() {
        let most = Join {
            host: "x".repeat(63).parse().unwrap(),
            version_min: u8::MAX,
            version_max: u8::MAX,
            machine: u64::MAX,
            nonce: BootNonce(u64::MAX),
            link: Some(Bitrate::from_megabits(u32::MAX.into())),
            free_bytes: u64::MAX,
            clock_us: u64::MAX,
            kinds: KindSet(u16::MAX),
            holds_release: true,
            holds_image: true,
            holds_partial: true,
            echo_us: u64::MAX,
            held: Duration::from_micros(u32::MAX.into()),
        };
        assert_round_trip(&most);
        assert_eq!(refusal(&most, 16, &[2, 1]), Some(WireError::Range));
        assert_eq!(refusal(&most, 68, &[2]), Some(WireError::Value));
        assert_eq!(refusal(&most, 69, &[255]), Some(WireError::Value));
        assert_eq!(refusal(&most, 70, &[2]), Some(WireError::Value));
        assert_eq!(refusal(&most, 71, &[64]), Some(WireError::Name));
        assert_eq!(refusal(&most, 72, b"/"), Some(WireError::Name));
        assert_eq!(refusal(&most, 72, &[0xff]), Some(WireError::Name));
        for verdict in JoinVerdict::ALL {
            assert_round_trip(&join_ack(*verdict));
        }
        let ack = join_ack(JoinVerdict::Closing);
        assert_eq!(refusal(&ack, 28, &[0]), Some(WireError::Value));
        assert_eq!(refusal(&ack, 28, &[8]), Some(WireError::Value));
        assert_eq!(refusal(&ack, 29, &[2]), Some(WireError::Value));
    }

    #[test]
    fn a_known_link_is_never_sent_as_unknown() {
        for (bits, megabits) in [(1, 1), (999_999, 1), (1_999_999, 1), (u64::MAX, u32::MAX)] {
            let message = Join { link: Some(Bitrate::from_bits(bits)), ..join() };
            let parsed = Join::parse(&emitted(&message)).unwrap();
            assert_eq!(parsed.link, Some(Bitrate::from_megabits(megabits.into())));
        }
    }

    #[test]
    fn a_set_of_kinds_keeps_what_it_does_not_know_and_lists_what_it_does() {
        let set = KindSet(0b1000_0000_0100_1001);
        let kinds: Vec<_> = set.iter().collect();
        assert_eq!(kinds, [ImageKind::Erofs, ImageKind::Raw]);
        assert!(set.contains(ImageKind::Raw) && !set.contains(ImageKind::Tar));
        assert_eq!(ImageKind::ALL.into_iter().collect::<KindSet>(), KindSet(0b111_1110));
    }

    proptest! {
        #[test]
        fn generated_joins_come_back(
            host in any_name(),
            (version_min, more) in any::<(u8, u8)>(),
            (machine, nonce, free_bytes, clock_us, echo_us) in
                any::<(u64, u64, u64, u64, u64)>(),
            (kinds, megabits) in any::<(u16, u32)>(),
            (holds_release, holds_image, holds_partial) in any::<(bool, bool, bool)>(),
            held in any_micros(),
        ) {
            let link = (megabits > 0).then(|| Bitrate::from_megabits(megabits.into()));
            let version_max = version_min.saturating_add(more);
            let (nonce, kinds) = (BootNonce(nonce), KindSet(kinds));
            assert_round_trip(&Join {
                host, version_min, version_max, machine, nonce, link, free_bytes, clock_us, kinds,
                holds_release, holds_image, holds_partial, echo_us, held,
            });
        }

        #[test]
        fn generated_join_acks_come_back(
            (nonce, slot, have_seen) in any::<(u64, u32, bool)>(),
            verdict in any_of(JoinVerdict::ALL),
        ) {
            let (nonce, slot) = (BootNonce(nonce), Slot(slot));
            assert_round_trip(&JoinAck { nonce, slot, verdict, have_seen });
        }
    }
}
