//! What closes a datagram in plain mode: a checksum over everything before it.
//!
//! ```text
//!  +------------------------------------------+--------------------+
//!  | header and body, or header and symbol    | crc32 u32 (IEEE)   |
//!  +------------------------------------------+--------------------+
//! ```
//!
//! It detects damage, never a forger. The tag of a sealed datagram takes the same place
//! (PROTOCOL 2.4, [`crate::seal`]).

use super::{CommonHeader, WireError};

/// Bytes of the checksum.
pub const CHECKSUM_BYTES: usize = 4;

/// Fills the last [`CHECKSUM_BYTES`] of `datagram`.
///
/// # Panics
/// When `datagram` has no room for it.
pub fn close_plain(datagram: &mut [u8]) {
    let (body, trailer) = datagram
        .split_last_chunk_mut::<CHECKSUM_BYTES>()
        .expect("the caller leaves room for the checksum");
    *trailer = crc32fast::hash(body).to_be_bytes();
}

/// The datagram without its checksum, once that is found right.
///
/// # Errors
/// [`WireError::Truncated`] or [`WireError::Checksum`]; [`WireError::Sealed`] where a key closed
/// it.
pub fn open_plain(datagram: &[u8]) -> Result<&[u8], WireError> {
    let (body, trailer) =
        datagram.split_last_chunk::<CHECKSUM_BYTES>().ok_or(WireError::Truncated)?;
    if crc32fast::hash(body) == u32::from_be_bytes(*trailer) {
        return Ok(body);
    }
    let is_sealed = |(header, _): (CommonHeader, _)| header.key_epoch != 0;
    let is_sealed = CommonHeader::parse(datagram).is_ok_and(is_sealed);
    Err(if is_sealed { WireError::Sealed } else { WireError::Checksum })
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    // PROTOCOL 2.4
    #[test]
    fn the_checksum_is_the_published_crc32() {
        let mut datagram = *b"123456789\xa5\xa5\xa5\xa5";
        close_plain(&mut datagram);
        assert_eq!(&datagram, b"123456789\xcb\xf4\x39\x26");
        assert_eq!(open_plain(&datagram), Ok(&b"123456789"[..]));
    }

    #[test]
    fn a_changed_bit_anywhere_is_found() {
        let mut datagram = *b"header and body....";
        close_plain(&mut datagram);
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_plain(&changed), Err(WireError::Checksum), "bit {bit}");
        }
    }

    #[test]
    fn a_datagram_shorter_than_its_checksum_is_refused() {
        for length in 0..4 {
            assert_eq!(open_plain(&vec![0; length]), Err(WireError::Truncated));
        }
        assert_eq!(open_plain(&[0; 4]), Ok(&[][..]), "crc32 of nothing is zero");
    }

    #[test]
    fn a_sealed_datagram_is_told_from_a_damaged_one() {
        let mut datagram = Vec::new();
        let (kind, session) = (Kind::Poll, crate::id::SessionId(1));
        CommonHeader { kind, session, seq: 2, key_epoch: 3, flags: 0 }.emit(&mut datagram);
        datagram.extend([7; 16]);
        assert_eq!(open_plain(&datagram), Err(WireError::Sealed));
    }
}
