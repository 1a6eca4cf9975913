//! The alarm, as an extension of STATUS: somebody forges data, and from where.
//!
//! ```text
//!  0         4             8          10          11
//!  +---------+-------------+----------+-----------+----------------+
//!  | u32     | u32         | port u16 | family u8 | address (4|16) |
//!  | false   | foreign     |          |           |                |
//!  +---------+-------------+----------+-----------+----------------+
//! ```
//!
//! There is none where nothing was forged (PROTOCOL 4.19).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::count::counted;

use super::announce::{family_of, read_address};
use super::cursor::{Reader, Writer};
use super::status::DETAIL_BYTES_MAX;
use super::trial::TRIAL_BYTES_MAX;
use super::{WireError, assert_control_fits, tlv};

/// Type of the extension.
pub const ALARM: u8 = 4;

const BYTES_MAX: usize = 8 + 2 + 1 + 16;

const _: () = assert_control_fits(65 + DETAIL_BYTES_MAX as usize + TRIAL_BYTES_MAX + 3 + BYTES_MAX);

/// What a host was sent by somebody who is not its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// Symbols that their digests showed to be false, or that lay in a block that came out wrong.
    pub false_symbols: u32,
    /// Datagrams of the session that came from another address than its sender's.
    pub foreign: u32,
    /// The address that most of the foreign ones came from; without any, that which the false
    /// symbols bore, and then it is the sender's own.
    pub source: SocketAddr,
}

impl Alarm {
    /// Appends the extension to a message.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        let mut writer = Writer::new(&mut value);
        writer.put((self.false_symbols, self.foreign));
        writer.put((self.source.port(), family_of(self.source)));
        match self.source.ip() {
            IpAddr::V4(address) => writer.put(address.octets()),
            IpAddr::V6(address) => writer.put(address.octets()),
        };
        tlv::Tlv { kind: ALARM, value: &value }.emit(out);
    }

    /// Parses the extension's value; what a newer host adds behind it is not for us.
    pub(super) fn parse(mut reader: Reader<'_>) -> Result<Self, WireError> {
        let (false_symbols, foreign) = reader.read()?;
        let (port, family) = reader.read::<(u16, u8)>()?;
        let source = SocketAddr::new(read_address(&mut reader, family)?, port);
        Ok(Self { false_symbols, foreign, source })
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { false_symbols, foreign, source } = *self;
        let symbols = || counted(false_symbols, "false symbol");
        let datagrams = || counted(foreign, "forged datagram");
        match (false_symbols, foreign) {
            (_, 0) => write!(
                f,
                "{} came with the sender's own address {source}: somebody on its network forges it",
                symbols()
            ),
            (0, _) => write!(f, "{} came from {source}", datagrams()),
            _ => write!(
                f,
                "{} came from {source}, and {} with the sender's own address",
                datagrams(),
                symbols()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bytes_of;
    use super::*;

    fn alarm(source: &str) -> Alarm {
        Alarm { false_symbols: 300, foreign: 7, source: source.parse().unwrap() }
    }

    // PROTOCOL 4.19
    #[test]
    fn alarm_matches_golden_bytes_in_both_families() {
        for (source, golden) in [
            ("198.18.0.9:7071", "04 000f 0000012c 00000007 1b9f 04 c6120009"),
            (
                "[fd00::9]:7071",
                "04 001b 0000012c 00000007 1b9f 06 fd000000000000000000000000000009",
            ),
        ] {
            let mut out = Vec::new();
            alarm(source).emit(&mut out);
            assert_eq!(out, bytes_of(golden), "\n{out:02x?}");
            assert_eq!(Alarm::parse(Reader::new(&out[3..])), Ok(alarm(source)));
        }
    }

    #[test]
    fn it_names_the_address_and_what_came_from_it() {
        let said = |false_symbols, foreign| {
            Alarm { false_symbols, foreign, ..alarm("198.18.0.9:7071") }.to_string()
        };
        assert_eq!(said(0, 1), "1 forged datagram came from 198.18.0.9:7071");
        assert_eq!(
            said(30, 7),
            "7 forged datagrams came from 198.18.0.9:7071, and 30 false symbols with the sender's \
             own address"
        );
        assert_eq!(
            said(2, 0),
            "2 false symbols came with the sender's own address 198.18.0.9:7071: somebody on its \
             network forges it"
        );
    }

    #[test]
    fn a_family_that_is_none_and_every_prefix_are_refused() {
        let value = bytes_of("0000012c 00000007 1b9f 04 c6120009");
        for end in 0..value.len() {
            assert_eq!(Alarm::parse(Reader::new(&value[..end])), Err(WireError::Truncated));
        }
        let value = bytes_of("0000012c 00000007 1b9f 05 c6120009");
        assert_eq!(Alarm::parse(Reader::new(&value)), Err(WireError::Family));
    }
}
