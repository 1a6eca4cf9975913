//! What closes a datagram: a trailer over everything before it.
//!
//! ```text
//!  +------------------------------------------+--------------------+
//!  | header and body, or header and symbol    | crc32 u32 (IEEE)   |
//!  +------------------------------------------+--------------------+
//! ```
//!
//! Plain mode detects damage, never a forger. A sealed mode with a 16-byte tag takes the same place
//! (PROTOCOL 2.4).

use super::WireError;

/// How the datagrams of a session are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// A CRC-32 of everything before it: `--insecure` on both sides.
    Plain,
}

const CRC_BYTES: usize = 4;

impl Seal {
    /// Bytes of the trailer.
    pub const fn trailer_bytes(&self) -> usize {
        match self {
            Self::Plain => CRC_BYTES,
        }
    }

    /// Fills the last [`Seal::trailer_bytes`] of `datagram`.
    ///
    /// # Panics
    /// When `datagram` has no room for a trailer.
    pub fn close(&self, datagram: &mut [u8]) {
        match self {
            Self::Plain => {
                let (body, trailer) = datagram
                    .split_last_chunk_mut::<CRC_BYTES>()
                    .expect("the caller leaves room for the trailer");
                *trailer = crc32fast::hash(body).to_be_bytes();
            }
        }
    }

    /// The datagram without its trailer, once that is found right.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Checksum`].
    pub fn open<'a>(&self, datagram: &'a [u8]) -> Result<&'a [u8], WireError> {
        match self {
            Self::Plain => {
                let (body, trailer) =
                    datagram.split_last_chunk::<CRC_BYTES>().ok_or(WireError::Truncated)?;
                let is_right = crc32fast::hash(body) == u32::from_be_bytes(*trailer);
                is_right.then_some(body).ok_or(WireError::Checksum)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PROTOCOL 2.4
    #[test]
    fn the_plain_seal_is_the_published_crc32() {
        let mut datagram = *b"123456789\xa5\xa5\xa5\xa5";
        Seal::Plain.close(&mut datagram);
        assert_eq!(&datagram, b"123456789\xcb\xf4\x39\x26");
        assert_eq!(Seal::Plain.open(&datagram), Ok(&b"123456789"[..]));
    }

    #[test]
    fn a_changed_bit_anywhere_is_found() {
        let mut datagram = *b"header and body....";
        Seal::Plain.close(&mut datagram);
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Seal::Plain.open(&changed), Err(WireError::Checksum), "bit {bit}");
        }
    }

    #[test]
    fn a_datagram_shorter_than_its_trailer_is_refused() {
        for length in 0..4 {
            assert_eq!(Seal::Plain.open(&vec![0; length]), Err(WireError::Truncated));
        }
        assert_eq!(Seal::Plain.open(&[0; 4]), Ok(&[][..]), "crc32 of nothing is zero");
    }
}
