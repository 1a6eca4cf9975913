//! ADVERTISE: raised counts, at once, so that hosts that wanted as much stay silent.
//!
//! ```text
//!  16          18
//!  +-----------+---------------------------------------+
//!  | count u16 | count times: block u32, announced u32 | extensions
//!  +-----------+---------------------------------------+
//! ```
//!
//! The headers of symbols say the same of their own block, later (PROTOCOL 4.5).

use super::cursor::{Reader, Writer};
use super::{WireError, assert_control_fits, tlv};
use crate::id::BlockIndex;

/// Blocks in one ADVERTISE.
pub const ADVERTISE_BLOCKS_MAX: usize = 128;

const _: () = assert_control_fits(2 + 8 * ADVERTISE_BLOCKS_MAX);

/// Blocks and their new S.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// Block and count announced, at most [`ADVERTISE_BLOCKS_MAX`].
    pub blocks: Vec<(BlockIndex, u32)>,
}

impl Advertise {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete or its list is too long.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let blocks = reader.list(ADVERTISE_BLOCKS_MAX)?;
        tlv::skip_unknown(reader)?;
        Ok(Self { blocks })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When there are too many blocks.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out).list(&self.blocks, ADVERTISE_BLOCKS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn advertise_matches_golden_bytes() {
        let message =
            Advertise { blocks: vec![(BlockIndex(1), 1100), (BlockIndex(0x0001_0203), 7)] };
        let golden = "
            0002                ; count
            00000001 0000044c   ; block, announced
            00010203 00000007
        ";
        assert_golden(&message, golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&Advertise { blocks: vec![(BlockIndex(1), 2); 3] });
    }

    #[test]
    fn every_field_at_its_limits() {
        assert_round_trip(&Advertise { blocks: vec![] });
        let full = Advertise { blocks: vec![(BlockIndex(u32::MAX), u32::MAX); 128] };
        assert_round_trip(&full);
        assert_eq!(refusal(&full, 16, &[0, 129]), Some(WireError::TooMany));
    }

    #[test]
    #[should_panic(expected = "a list of 129 exceeds 128 items")]
    fn a_longer_list_is_our_own_fault() {
        emitted(&Advertise { blocks: vec![(BlockIndex(0), 0); 129] });
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            blocks in proptest::collection::vec((any::<u32>(), any::<u32>()), 0..=128),
        ) {
            let blocks = blocks.into_iter().map(|(block, count)| (BlockIndex(block), count));
            assert_round_trip(&Advertise { blocks: blocks.collect() });
        }
    }
}
