//! Extensions at the end of every control message: type, length, value.
//!
//! ```text
//!  0          1               3
//!  +----------+---------------+------------------+
//!  | type u8  | length u16    | value (length)   |   bit 7 of the type: critical
//!  +----------+---------------+------------------+
//! ```
//!
//! An unknown one is skipped, unless it is critical: then the whole message is refused
//! (PROTOCOL 2.5). Those that are assigned: [`super::trial`].

use super::WireError;
use super::cursor::{Reader, Writer};

/// Bit of the type that says: refuse the message unless you know me.
pub const TLV_CRITICAL: u8 = 0x80;

/// One extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Type, the critical bit included.
    pub kind: u8,
    /// The value, not interpreted.
    pub value: &'a [u8],
}

impl<'a> Tlv<'a> {
    /// Whether a peer that does not know it must refuse the message.
    pub const fn is_critical(&self) -> bool {
        self.kind & TLV_CRITICAL != 0
    }

    /// Appends the extension to `out`, which ends with a message.
    ///
    /// # Panics
    /// When the value is longer than a length can say.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let length = u16::try_from(self.value.len()).expect("an extension fits into a datagram");
        Writer::new(out).put(self.kind).put(length).bytes(self.value);
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let kind = reader.read()?;
        let length = reader.read::<u16>()?;
        Ok(Self { kind, value: reader.bytes(length.into())? })
    }
}

/// Shows type and value of each extension that is left in `reader` to `take`, which says whether it
/// knows it.
pub(super) fn walk<'a>(
    mut reader: Reader<'a>,
    mut take: impl FnMut(u8, &'a [u8]) -> Result<bool, WireError>,
) -> Result<(), WireError> {
    while !reader.is_empty() {
        let tlv = Tlv::read(&mut reader)?;
        if !take(tlv.kind, tlv.value)? && tlv.is_critical() {
            return Err(WireError::UnknownCritical);
        }
    }
    Ok(())
}

/// Walks over the extensions that are left in `reader`, of a message that knows none.
pub(super) fn skip_unknown(reader: Reader<'_>) -> Result<(), WireError> {
    walk(reader, |_, _| Ok(false))
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::super::testing::bytes_of;
    use super::super::tests::messages;
    use super::*;
    use crate::id::SessionId;

    fn skipped(bytes: &[u8]) -> Result<(), WireError> {
        skip_unknown(Reader::new(bytes))
    }

    #[test]
    fn extension_matches_golden_bytes() {
        let mut out = vec![0xa5];
        Tlv { kind: 0x83, value: b"abc" }.emit(&mut out);
        assert_eq!(out, bytes_of("a5 83 0003 616263"));
    }

    #[test]
    fn unknown_ones_are_skipped_and_critical_ones_refused() {
        assert_eq!(skipped(&[]), Ok(()));
        assert_eq!(skipped(&bytes_of("01 0000 7f 0002 ffff")), Ok(()));
        assert_eq!(skipped(&bytes_of("01 0000 80 0000")), Err(WireError::UnknownCritical));
        assert!(Tlv { kind: 0x80, value: &[] }.is_critical());
        assert!(!Tlv { kind: 0x7f, value: &[] }.is_critical());
    }

    #[test]
    fn an_extension_that_is_cut_off_is_refused() {
        for text in ["01", "01 00", "01 0001", "01 ffff 00", "01 0000 02"] {
            assert_eq!(skipped(&bytes_of(text)), Err(WireError::Truncated), "{text}");
        }
    }

    // PROTOCOL 2.5
    #[test]
    fn every_message_of_a_newer_peer_is_understood_unless_it_says_otherwise() {
        for message in messages() {
            let mut datagram = Vec::new();
            message.emit(SessionId(1), 2, 0, &mut datagram);
            Tlv { kind: 0x11, value: b"later" }.emit(&mut datagram);
            assert_eq!(Message::parse(&datagram).map(|(_, parsed)| parsed), Ok(message));
            Tlv { kind: 0x91, value: &[] }.emit(&mut datagram);
            assert_eq!(Message::parse(&datagram), Err(WireError::UnknownCritical));
        }
    }
}
