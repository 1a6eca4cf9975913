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
