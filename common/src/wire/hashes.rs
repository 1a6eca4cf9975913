//! HASHES: digests of some of a block's symbols, by which hosts tell true symbols from false ones.
//!
//! ```text
//!  16          20         22          24
//!  +-----------+----------+-----------+-----------------------------+
//!  | block u32 | part u16 | count u16 | count times: digest (16)    | extensions
//!  +-----------+----------+-----------+-----------------------------+
//! ```
//!
//! Part p has the digests of symbols 64·p and the 63 behind it, as far as the block has them. Each
//! part stands by itself, so that a lost one costs its own symbols alone (PROTOCOL 4.3).

use super::cursor::{Field, Reader, Writer};
use super::{SIGNATURE_BYTES, WireError, assert_control_fits, tlv};
use crate::digest::SymbolDigest;
use crate::id::BlockIndex;
use crate::limits::HASHES_DIGESTS_MAX;

const _: () =
    assert_control_fits(8 + SymbolDigest::BYTES * HASHES_DIGESTS_MAX as usize + SIGNATURE_BYTES);

impl Field for SymbolDigest {
    const BYTES: usize = Self::BYTES;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        reader.array().map(Self::from_bytes)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(self.as_bytes());
    }
}

/// Digests of consecutive symbols of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// The block.
    pub block: BlockIndex,
    /// Which symbols: [`crate::geometry::Geometry::part_symbols`].
    pub part: u16,
    /// Their digests in order, at most [`HASHES_DIGESTS_MAX`].
    pub digests: Vec<SymbolDigest>,
}

impl Hashes {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete or its list is too long.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (block, part) = reader.read()?;
        let digests = reader.list(HASHES_DIGESTS_MAX.into())?;
        tlv::skip_unknown(reader)?;
        Ok(Self { block, part, digests })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When there are too many digests.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.block, self.part))
            .list(&self.digests, HASHES_DIGESTS_MAX.into());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn hashes(count: usize) -> Hashes {
        let digest = |nth: usize| SymbolDigest::from_bytes([nth as u8; 16]);
        let digests = (0..count).map(digest).collect();
        Hashes { block: BlockIndex(0x0102), part: 19, digests }
    }

    #[test]
    fn hashes_match_golden_bytes() {
        let golden = "
            00000102 0013                       ; block, part
            0002                                ; count
            00000000000000000000000000000000    ; digests
            01010101010101010101010101010101
        ";
        assert_golden(&hashes(2), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&hashes(3));
    }

    // PROTOCOL 4.3
    #[test]
    fn every_field_at_its_limits() {
        assert_round_trip(&hashes(0));
        let full = Hashes { block: BlockIndex(u32::MAX), part: u16::MAX, ..hashes(64) };
        assert_round_trip(&full);
        assert_eq!(refusal(&full, 22, &[0, 65]), Some(WireError::TooMany));
    }

    #[test]
    #[should_panic(expected = "a list of 65 exceeds 64 items")]
    fn a_longer_list_is_our_own_fault() {
        emitted(&hashes(65));
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (block, part) in any::<(u32, u16)>(),
            digests in proptest::collection::vec(any::<[u8; 16]>(), 0..=64),
        ) {
            let digests = digests.into_iter().map(SymbolDigest::from_bytes).collect();
            assert_round_trip(&Hashes { block: BlockIndex(block), part, digests });
        }
    }
}
