//! HAVE: frames of the plan that a host holds already, verified.
//!
//! ```text
//!  16         20          28         30          32          34
//!  +----------+-----------+----------+-----------+-----------+--------------------------------+
//!  | slot u32 | nonce u64 | part u16 | parts u16 | count u16 | count × (first u32, count u32) |
//!  +----------+-----------+----------+-----------+-----------+--------------------------------+
//! ```
//!
//! Sent once the preamble is known, in parts where the list is long; repeated until a JOIN-ACK says
//! that all were seen (PROTOCOL 4.8).

use super::cursor::{Reader, Writer};
use super::{WireError, assert_control_fits, tlv};
use crate::id::{BootNonce, FrameIndex, Slot};

/// Ranges in one HAVE.
pub const HAVE_RANGES_MAX: usize = 128;
/// Parts of one host's list: half a million ranges, every other frame of the largest payload.
pub const HAVE_PARTS_MAX: u16 = 4096;

const _: () = assert_control_fits(18 + 8 * HAVE_RANGES_MAX);

/// A part of a host's list of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// Which part this is, from zero.
    pub part: u16,
    /// Number of parts, at least one.
    pub parts: u16,
    /// First frame and number of frames of each run, at most [`HAVE_RANGES_MAX`].
    pub frames: Vec<(FrameIndex, u32)>,
}

impl Have {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, its list is too long, or a run or the part is none.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (slot, nonce) = reader.read()?;
        let (part, parts) = reader.read::<(u16, u16)>()?;
        if parts > HAVE_PARTS_MAX {
            return Err(WireError::TooMany);
        }
        let frames = reader.list::<(FrameIndex, u32)>(HAVE_RANGES_MAX)?;
        let is_run = |(first, count): &(FrameIndex, u32)| {
            *count > 0 && first.0.checked_add(*count).is_some()
        };
        if part >= parts || !frames.iter().all(is_run) {
            return Err(WireError::Range);
        }
        tlv::skip_unknown(reader)?;
        Ok(Self { slot, nonce, part, parts, frames })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When there are too many runs.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.slot, self.nonce))
            .put((self.part, self.parts))
            .list(&self.frames, HAVE_RANGES_MAX);
    }
}
