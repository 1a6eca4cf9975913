//! The number of a key, by which signatures name it.
//!
//! Invariant: an id only tells which key to try; nothing is trusted for its id.

use std::fmt;
use std::str::FromStr;

/// Eight random bytes, shown as minisign shows them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; Self::BYTES]);

impl KeyId {
    /// Length of an id.
    pub const BYTES: usize = 8;
}

impl fmt::Display for KeyId {
    /// A little-endian number in sixteen upper-case digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016X}", u64::from_le_bytes(self.0)))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A text that is no id of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no id of a key: that is 16 hexadecimal digits, as keygen prints them (minisign \
     leaves zeros in front out: put those back)"
)]
pub struct KeyIdTextError(pub String);

impl FromStr for KeyId {
    type Err = KeyIdTextError;

    /// A person may write small letters. What has fewer digits may have lost one anywhere, and be
    /// the id of no key: whoever revokes a key so revokes nothing.
    fn from_str(text: &str) -> Result<Self, KeyIdTextError> {
        let is_digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_digits);
        number.map(|number| Self(number.to_le_bytes())).ok_or_else(|| KeyIdTextError(text.into()))
    }
}

crate::serde_text::as_text!(KeyId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_number_that_minisign_shows() {
        let id = KeyId([0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01]);
        assert_eq!(id.to_string(), "0123456789ABCDEF");
        for text in ["0123456789ABCDEF", "0123456789abcdef"] {
            assert_eq!(text.parse(), Ok(id));
        }
        for text in
            ["", "123456789ABCDEF", "0123456789ABCDEF0", "+123456789ABCDEF", "0123456789abcdeg"]
        {
            assert!(text.parse::<KeyId>().is_err(), "{text:?}");
        }
    }
}
