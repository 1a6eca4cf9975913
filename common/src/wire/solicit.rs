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

impl SolicitReason {
    /// What the host misses and why that may be, for people.
    pub const fn line(self) -> &'static str {
        match self {
            Self::NoData => "hears the announce but no data: MTU or IGMP",
            Self::SenderLost => {
                "hears nothing of the sender any more: it died, or the network between is down"
            }
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn solicit(host: &str) -> Solicit {
        Solicit {
            host: host.parse().unwrap(),
            nonce: BootNonce(0x1122_3344_5566_7788),
            reason: SolicitReason::SenderLost,
        }
    }

    #[test]
    fn solicit_matches_golden_bytes() {
        assert_golden(&solicit("db.1"), "1122334455667788 02 04 64622e31");
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&solicit("db.1"));
    }

    // PROTOCOL 1.4
    #[test]
    fn every_field_at_its_limits() {
        let longest = solicit(&"x".repeat(63));
        assert_round_trip(&longest);
        assert_round_trip(&Solicit { reason: SolicitReason::NoData, ..solicit("x") });
        assert_eq!(refusal(&longest, 24, &[0]), Some(WireError::Value));
        assert_eq!(refusal(&longest, 24, &[3]), Some(WireError::Value));
        assert_eq!(refusal(&longest, 25, &[64]), Some(WireError::Name));
        assert_eq!(refusal(&solicit("x"), 26, b"."), Some(WireError::Name));
        assert_eq!(refusal(&solicit("xx"), 26, b".."), Some(WireError::Name));
        assert_eq!(refusal(&solicit("xx"), 27, b"\n"), Some(WireError::Name));
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            host in any_name(),
            nonce in any::<u64>(),
            reason in any_of(SolicitReason::ALL),
        ) {
            assert_round_trip(&Solicit { host, nonce: BootNonce(nonce), reason });
        }
    }
}
