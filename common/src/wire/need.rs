//! NEED: how many transmissions of which blocks a host must still be able to hear.
//!
//! ```text
//!  16         20          28         32            40         44          46
//!  +----------+-----------+----------+-------------+----------+-----------+
//!  | slot u32 | nonce u64 | poll u32 | echo_us u64 | held u32 | count u16 |
//!  +----------+-----------+----------+-------------+----------+-----------+
//!  | count times: block u32, want u32 | extensions
//!  +----------------------------------+
//! ```
//!
//! Counts, never lists of symbols: idempotent, and merged by the maximum (PROTOCOL 4.9).

use std::time::Duration;

use super::cursor::{Reader, Writer};
use super::{WireError, assert_control_fits, tlv};
use crate::id::{BlockIndex, BootNonce, Slot};

/// Blocks in one NEED; a host that wants more asks again after the next poll.
pub const NEED_BLOCKS_MAX: usize = 128;

const _: () = assert_control_fits(30 + 8 * NEED_BLOCKS_MAX);

/// A host's wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// The last poll that it heard, zero for none.
    pub poll: u32,
    /// The `sent_at_us` of that poll.
    pub echo_us: u64,
    /// Time between that poll and this datagram.
    pub held: Duration,
    /// Block and want: the transmissions after which this host has k symbols if nothing more is
    /// lost. At most [`NEED_BLOCKS_MAX`].
    pub wants: Vec<(BlockIndex, u32)>,
}

impl Need {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete or its list is too long.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (slot, nonce) = reader.read()?;
        let (poll, echo_us) = reader.read()?;
        let held = reader.read()?;
        let wants = reader.list(NEED_BLOCKS_MAX)?;
        tlv::skip_unknown(reader)?;
        Ok(Self { slot, nonce, poll, echo_us, held, wants })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When there are too many blocks.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.slot, self.nonce))
            .put((self.poll, self.echo_us))
            .put(self.held)
            .list(&self.wants, NEED_BLOCKS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn need(wants: Vec<(BlockIndex, u32)>) -> Need {
        Need {
            slot: Slot(17),
            nonce: BootNonce(0x1122_3344_5566_7788),
            poll: 9,
            echo_us: 1_000_000,
            held: Duration::from_micros(3001),
            wants,
        }
    }

    #[test]
    fn need_matches_golden_bytes() {
        let golden = "
            00000011            ; slot
            1122334455667788    ; nonce
            00000009            ; poll
            00000000000f4240    ; echo
            00000bb9            ; held
            0002                ; count
            00000004 00000403   ; block, want
            00000100 00000001
        ";
        assert_golden(&need(vec![(BlockIndex(4), 1027), (BlockIndex(256), 1)]), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&need(vec![(BlockIndex(1), 2); 3]));
    }

    #[test]
    fn every_field_at_its_limits() {
        let least = Need {
            slot: Slot(0),
            nonce: BootNonce(0),
            poll: 0,
            echo_us: 0,
            held: Duration::ZERO,
            wants: vec![],
        };
        assert_round_trip(&least);
        let most = Need {
            slot: Slot(u32::MAX),
            nonce: BootNonce(u64::MAX),
            poll: u32::MAX,
            echo_us: u64::MAX,
            held: Duration::from_micros(u32::MAX.into()),
            wants: vec![(BlockIndex(u32::MAX), u32::MAX); NEED_BLOCKS_MAX],
        };
        assert_round_trip(&most);
        assert_eq!(refusal(&most, 44, &[0, 129]), Some(WireError::TooMany));
        assert_eq!(refusal(&most, 44, &[0xff, 0xff]), Some(WireError::TooMany));
    }

    #[test]
    fn a_time_that_the_wire_cannot_say_saturates() {
        let long = Need { held: Duration::from_secs(86_400), ..need(vec![]) };
        let parsed = Need::parse(&emitted(&long)).unwrap();
        assert_eq!(parsed.held, Duration::from_micros(4_294_967_295));
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (slot, nonce, poll, echo_us) in any::<(u32, u64, u32, u64)>(),
            held in any_micros(),
            wants in proptest::collection::vec((any::<u32>(), any::<u32>()), 0..=128),
        ) {
            let wants = wants.into_iter().map(|(block, want)| (BlockIndex(block), want)).collect();
            let (slot, nonce) = (Slot(slot), BootNonce(nonce));
            assert_round_trip(&Need { slot, nonce, poll, echo_us, held, wants });
        }
    }
}
