//! SOLICIT: a host that hears announces but no data, or nothing at all any more.
//!
//! ```text
//!  16          24          25
//!  +-----------+-----------+-----------------------+
//!  | nonce u64 | reason u8 | host: length u8, text | extensions
//!  +-----------+-----------+-----------------------+
//! ```
//!
//! Carries the name and not a slot, since the host may never have been given one (PROTOCOL 4.12).

use super::cursor::{NAME_BYTES_MAX, Reader, Writer, wire_numbers};
use super::{WireError, tlv};
use crate::id::{BootNonce, HostName};

wire_numbers! {
    /// What a host misses.
    SolicitReason {
        /// Announces arrive and symbols do not: MTU or IGMP.
        NoData = 1 "no data",
        /// Neither arrives any more.
        SenderLost = 2 "sender lost",
    }
}

/// A host's call for help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solicit {
    /// The host.
    pub host: HostName,
    /// Its process.
    pub nonce: BootNonce,
    /// What it misses.
    pub reason: SolicitReason,
}

impl Solicit {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or the name or the reason is none.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (nonce, reason) = reader.read()?;
        let host = reader.name()?;
        tlv::skip_unknown(reader)?;
        Ok(Self { host, nonce, reason })
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.nonce, self.reason))
            .text(self.host.as_str(), NAME_BYTES_MAX as u8);
    }
}
