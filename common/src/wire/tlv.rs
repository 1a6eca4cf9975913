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
//! (PROTOCOL 2.5). No extension is assigned yet.

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

/// Walks over the extensions that are left in `reader`.
pub(super) fn skip_unknown(mut reader: Reader<'_>) -> Result<(), WireError> {
    while !reader.is_empty() {
        if Tlv::read(&mut reader)?.is_critical() {
            return Err(WireError::UnknownCritical);
        }
    }
    Ok(())
}
