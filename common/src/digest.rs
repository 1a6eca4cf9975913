//! Digests: always full BLAKE3-256, never truncated where they decide what is installed.
//!
//! Half of one tells true symbols from false ones for as long as a transfer lasts.

use std::fmt;
use std::str::FromStr;

/// A BLAKE3-256 digest of bytes named by the field that holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Self::BYTES]);

impl Digest {
    /// Length of a digest in bytes.
    pub const BYTES: usize = 32;

    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest with exactly these bytes, as read from a table or a datagram.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// First twelve hexadecimal digits: for names that people read, never for a decision.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The first half of the BLAKE3-256 digest of one symbol's bytes.
///
/// It decides which symbols a block is put together from, not what is installed: whatever comes out
/// is held against full digests. A forger needs one symbol of a session that passes: 2¹²⁸ tries
/// divided by the number of symbols; with 8 bytes that would be 2⁴⁴ for 2²⁰ symbols, two days of a
/// graphics card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolDigest([u8; Self::BYTES]);

impl SymbolDigest {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// Digest of a symbol's bytes.
    pub fn of(symbol: &[u8]) -> Self {
        let digest = Digest::of(symbol);
        Self(*digest.0.first_chunk().expect("it is the longer one"))
    }

    /// The digest with exactly these bytes, as read from a datagram.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct DigestTextError;

impl FromStr for Digest {
    type Err = DigestTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::BYTES];
        if text.len() != 2 * Self::BYTES || !text.is_ascii() {
            return Err(DigestTextError);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| DigestTextError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| DigestTextError)?;
        }
        // "+f" parses as a number and is no digit pair.
        if Self(bytes).to_string() == text { Ok(Self(bytes)) } else { Err(DigestTextError) }
    }
}

crate::serde_text::as_text!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_input_has_the_published_blake3_digest() {
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), text);
        assert_eq!(text.parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn texts_that_are_no_digest_are_refused() {
        for text in ["", "af13", &"+f".repeat(32), &"AF".repeat(32), &"é".repeat(32)] {
            assert_eq!(text.parse::<Digest>(), Err(DigestTextError), "{text}");
        }
    }
}
