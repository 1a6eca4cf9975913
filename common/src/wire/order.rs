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
use super::{EXPIRY_BYTES, SIGNATURE_BYTES, WireError, assert_control_fits, tlv};
use crate::id::ReleaseId;

/// Longest reason of an order.
pub const REASON_BYTES_MAX: u8 = 120;

const _: () =
    assert_control_fits(44 + 1 + REASON_BYTES_MAX as usize + EXPIRY_BYTES + SIGNATURE_BYTES);

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;
    use crate::digest::Digest;

    fn order(reason: &str) -> Order {
        let release = ReleaseId(Digest::from_bytes(*b"0123456789abcdef0123456789abcdef"));
        Order { release, issue: 3, at_us: 0x0102_0304_0506_0708, reason: reason.to_owned() }
    }

    #[test]
    fn order_matches_golden_bytes() {
        let golden = "
            30313233343536373839616263646566  ; release
            30313233343536373839616263646566
            00000003                          ; issue
            0102030405060708                  ; at
            05 416c6c210a                     ; reason, kept as it came
        ";
        assert_golden(&order("All!\n"), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&order("operator"));
    }

    #[test]
    fn every_field_at_its_limits() {
        let most = Order { issue: u32::MAX, at_us: u64::MAX, ..order(&"x".repeat(120)) };
        assert_round_trip(&most);
        assert_round_trip(&Order { issue: 0, at_us: 0, ..order("") });
        assert_eq!(refusal(&most, 60, &[121]), Some(WireError::Text));
        assert_eq!(refusal(&most, 61, &[0xc0]), Some(WireError::Text));
        let parsed = Order::parse(&emitted(&order(&"x".repeat(121)))).unwrap();
        assert_eq!(parsed.reason.len(), 120);
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            release in any::<[u8; 32]>(),
            (issue, at_us) in any::<(u32, u64)>(),
            reason in any_text(REASON_BYTES_MAX),
        ) {
            let release = ReleaseId(Digest::from_bytes(release));
            assert_round_trip(&Order { release, issue, at_us, reason });
        }
    }
}
