//! The MAC around what is not secret: BLAKE3, keyed, 16 bytes of it.
//!
//! Chosen over GCM for announces and for what goes between a host and the sender: it has no nonce
//! that a crash could repeat, and nothing there needs to be hidden.

use super::TAG_BYTES;
use super::context::Secret;
use crate::wire::WireError;

/// Appends the MAC of `out[from..]`.
pub(super) fn close(key: &Secret, from: usize, out: &mut Vec<u8>) {
    let tag = blake3::keyed_hash(key.bytes(), &out[from..]);
    out.extend_from_slice(&tag.as_bytes()[..TAG_BYTES]);
}

/// The datagram without its MAC, which is still to be looked at.
pub(super) fn without(datagram: &[u8]) -> Result<&[u8], WireError> {
    let (inner, _) = datagram.split_last_chunk::<TAG_BYTES>().ok_or(WireError::Truncated)?;
    Ok(inner)
}

/// The datagram without its MAC, once that is found right.
pub(super) fn open<'a>(key: &Secret, datagram: &'a [u8]) -> Result<&'a [u8], WireError> {
    let (inner, tag) = datagram.split_last_chunk::<TAG_BYTES>().ok_or(WireError::Truncated)?;
    let right = blake3::keyed_hash(key.bytes(), inner);
    // In constant time: a forger must not learn how much of a guess was right.
    let is_right = right.as_bytes().iter().zip(tag).fold(0, |odd, (a, b)| odd | (a ^ b)) == 0;
    is_right.then_some(inner).ok_or(WireError::Tag)
}
