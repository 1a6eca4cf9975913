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
