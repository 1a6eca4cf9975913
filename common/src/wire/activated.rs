//! ACTIVATED: a host obeyed an ACTIVATE, or could not.
//!
//! ```text
//!  16         20          28             60          64          66           67
//!  +----------+-----------+--------------+-----------+-----------+------------+
//!  | slot u32 | nonce u64 | release (32) | issue u32 | fault u16 | outcome u8 |
//!  +----------+-----------+--------------+-----------+-----------+------------+
//!  | detail: length u8, text | extensions
//!  +-------------------------+
//! ```
//!
//! Sent for every repetition of the order that the host hears (PROTOCOL 4.14).

use super::cursor::{Reader, Writer, wire_numbers};
use super::status::DETAIL_BYTES_MAX;
use super::{Fault, WireError, assert_control_fits, tlv};
use crate::id::{BootNonce, ReleaseId, Slot};

const _: () = assert_control_fits(51 + 1 + DETAIL_BYTES_MAX as usize);

wire_numbers! {
    /// What became of an order.
    Outcome {
        /// `current` is the release.
        Done = 1 "done",
        /// It is not; the fault says why.
        Failed = 2 "failed",
    }
}

/// A host's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// The release of the order.
    pub release: ReleaseId,
    /// The number of the order.
    pub issue: u32,
    /// Whether it switched.
    pub outcome: Outcome,
    /// Why not.
    pub fault: Fault,
    /// Why not, in words: at most [`DETAIL_BYTES_MAX`] bytes are sent. Print it through
    /// [`super::escaped`].
    pub detail: String,
}

impl Activated {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or a value or its text is not allowed.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let message = Self {
            slot: reader.read()?,
            nonce: reader.read()?,
            release: reader.read()?,
            issue: reader.read()?,
            fault: reader.read()?,
            outcome: reader.read()?,
            detail: reader.text(DETAIL_BYTES_MAX.into())?,
        };
        tlv::skip_unknown(reader)?;
        Ok(message)
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.slot, self.nonce))
            .put((self.release, self.issue))
            .put((self.fault, self.outcome))
            .text(&self.detail, DETAIL_BYTES_MAX);
    }
}
