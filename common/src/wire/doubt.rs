//! DOUBT: a host that was sent false symbols asks for the digests of blocks.
//!
//! ```text
//!  16         20          28
//!  +----------+-----------+-----------+------------------------------------+
//!  | slot u32 | nonce u64 | count u16 | count times: block u32, parts (16) | extensions
//!  +----------+-----------+-----------+------------------------------------+
//! ```
//!
//! Bit n of the parts, from the lowest of the last byte on, stands for part n of HASHES (PROTOCOL
//! 4.18).

use super::cursor::{Field, Reader, Writer};
use super::{WireError, assert_control_fits, tlv};
use crate::geometry::PartSet;
use crate::id::{BlockIndex, BootNonce, Slot};

/// Blocks in one DOUBT; a host that misses the digests of more asks again.
pub const DOUBT_BLOCKS_MAX: usize = 48;

const _: () = assert_control_fits(14 + 20 * DOUBT_BLOCKS_MAX);

impl Field for PartSet {
    const BYTES: usize = 16;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        reader.array().map(|bytes| Self(u128::from_be_bytes(bytes)))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.0.to_be_bytes());
    }
}

/// The digests that a host misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// Block and the parts that are wanted of it, at most [`DOUBT_BLOCKS_MAX`].
    pub blocks: Vec<(BlockIndex, PartSet)>,
}

impl Doubt {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete or its list is too long.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (slot, nonce) = reader.read()?;
        let blocks = reader.list(DOUBT_BLOCKS_MAX)?;
        tlv::skip_unknown(reader)?;
        Ok(Self { slot, nonce, blocks })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When there are too many blocks.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out).put((self.slot, self.nonce)).list(&self.blocks, DOUBT_BLOCKS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn doubt(blocks: Vec<(BlockIndex, PartSet)>) -> Doubt {
        Doubt { slot: Slot(17), nonce: BootNonce(0x1122_3344_5566_7788), blocks }
    }

    #[test]
    fn doubt_matches_golden_bytes() {
        let golden = "
            00000011                            ; slot
            1122334455667788                    ; nonce
            0002                                ; count
            00000004                            ; block
            00000000000000000000000000000005    ; parts 0 and 2
            00000100
            80000000000000000000000000000000    ; part 127
        ";
        let blocks = vec![(BlockIndex(4), PartSet(5)), (BlockIndex(256), PartSet(1 << 127))];
        assert_golden(&doubt(blocks), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&doubt(vec![(BlockIndex(1), PartSet(2)); 3]));
    }

    #[test]
    fn every_field_at_its_limits() {
        assert_round_trip(&doubt(vec![]));
        let most = doubt(vec![(BlockIndex(u32::MAX), PartSet(u128::MAX)); DOUBT_BLOCKS_MAX]);
        assert_round_trip(&most);
        assert_eq!(refusal(&most, 28, &[0, 49]), Some(WireError::TooMany));
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            blocks in proptest::collection::vec(any::<(u32, u128)>(), 0..=DOUBT_BLOCKS_MAX),
        ) {
            let blocks = blocks.into_iter();
            let blocks = blocks.map(|(block, parts)| (BlockIndex(block), PartSet(parts)));
            assert_round_trip(&doubt(blocks.collect()));
        }
    }
}
