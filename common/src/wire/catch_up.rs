//! CATCH-UP: tells a straggler where it is served once the fleet is done.
//!
//! ```text
//!  16          24         26          27
//!  +-----------+----------+-----------+----------------------+
//!  | nonce u64 | port u16 | family u8 | address (4|16)       | extensions
//!  +-----------+----------+-----------+----------------------+
//! ```
//!
//! Goes to one host alone and is repeated until its STATUS says that it listens there. Invariant of
//! a parsed one: the group is multicast (PROTOCOL 4.16).

use std::net::{IpAddr, SocketAddr};

use super::announce::{family_of, group, read_address};
use super::cursor::{Reader, Writer};
use super::{WireError, assert_control_fits, tlv};
use crate::id::BootNonce;

const _: () = assert_control_fits(8 + 2 + 1 + 16);

/// Where stragglers are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUp {
    /// The host's process.
    pub nonce: BootNonce,
    /// The group that it is to join besides the data group.
    pub group: SocketAddr,
}

impl CatchUp {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or its group is none.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let nonce = reader.read()?;
        let (port, family) = reader.read::<(u16, u8)>()?;
        let group = group(read_address(&mut reader, family)?, port)?;
        tlv::skip_unknown(reader)?;
        Ok(Self { nonce, group })
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.put(self.nonce).put((self.group.port(), family_of(self.group)));
        match self.group.ip() {
            IpAddr::V4(address) => writer.put(address.octets()),
            IpAddr::V6(address) => writer.put(address.octets()),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn catch_up(group: &str) -> CatchUp {
        CatchUp { nonce: BootNonce(0x1122_3344_5566_7788), group: group.parse().unwrap() }
    }

    #[test]
    fn catch_up_matches_golden_bytes_in_both_families() {
        let golden = "
            1122334455667788    ; nonce
            1b9f 04             ; port, family
            efc14647            ; 239.193.70.71
        ";
        assert_golden(&catch_up("239.193.70.71:7071"), golden);
        let golden = "
            1122334455667788    ; nonce
            1b9f 06             ; port, family
            ff150000000000000000000000007071
        ";
        assert_golden(&catch_up("[ff15::7071]:7071"), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&catch_up("239.193.70.71:7071"));
        assert_prefixes_refused(&catch_up("[ff15::7071]:7071"));
    }

    // PROTOCOL 4.16
    #[test]
    fn a_group_that_is_none_is_refused() {
        let message = catch_up("239.193.70.71:7071");
        assert_eq!(refusal(&message, 24, &[0, 0]), Some(WireError::Group));
        assert_eq!(refusal(&message, 26, &[5]), Some(WireError::Family));
        assert_eq!(refusal(&message, 27, &[198]), Some(WireError::Group));
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (nonce, low, port) in (any::<u64>(), any::<[u8; 3]>(), 1..=u16::MAX)
        ) {
            let group = SocketAddr::from(([239, low[0], low[1], low[2]], port));
            assert_round_trip(&CatchUp { nonce: BootNonce(nonce), group });
        }
    }
}
