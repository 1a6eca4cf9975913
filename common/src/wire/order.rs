//! ACTIVATE, CANCEL and STOP: what the operator orders about a release, one layout for the three.
//!
//! ```text
//!  16             48          52          60
//!  +--------------+-----------+-----------+--------------------------+
//!  | release (32) | issue u32 | at_us u64 | reason: length u8, text  | extensions
//!  +--------------+-----------+-----------+--------------------------+
//! ```
//!
//! Repeated until acknowledged; the issue makes repetitions one order (PROTOCOL 4.13).

use super::cursor::{Reader, Writer};
use super::{WireError, assert_control_fits, tlv};
use crate::id::ReleaseId;

/// Longest reason of an order.
pub const REASON_BYTES_MAX: u8 = 120;

const _: () = assert_control_fits(44 + 1 + REASON_BYTES_MAX as usize);

/// An order about a release; the kind of the message says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The release that it is about.
    pub release: ReleaseId,
    /// Number of the order in its session; a higher one supersedes a lower one.
    pub issue: u32,
    /// When to obey, unix microseconds; zero for at once.
    pub at_us: u64,
    /// Why, in words: at most [`REASON_BYTES_MAX`] bytes are sent. Print it through
    /// [`super::escaped`].
    pub reason: String,
}

impl Order {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete or its text is not allowed.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let message = Self {
            release: reader.read()?,
            issue: reader.read()?,
            at_us: reader.read()?,
            reason: reader.text(REASON_BYTES_MAX.into())?,
        };
        tlv::skip_unknown(reader)?;
        Ok(message)
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.release, self.issue))
            .put(self.at_us)
            .text(&self.reason, REASON_BYTES_MAX);
    }
}
