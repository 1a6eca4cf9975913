//! Where the number of the key lies in a datagram (PROTOCOL 2.1).

use crate::wire::{COMMON_HEADER_BYTES, WireError};

const EPOCH_AT: std::ops::Range<usize> = 12..14;

/// Writes the number of the key into a datagram that begins with the common header.
pub(super) fn set_epoch(datagram: &mut [u8], epoch: u16) {
    datagram[EPOCH_AT].copy_from_slice(&epoch.to_be_bytes());
}

/// Number of the key that closes `datagram`; zero in plain mode.
pub(super) fn epoch_of(datagram: &[u8]) -> Result<u16, WireError> {
    let head = datagram.first_chunk::<COMMON_HEADER_BYTES>().ok_or(WireError::Truncated)?;
    Ok(u16::from_be_bytes([head[EPOCH_AT.start], head[EPOCH_AT.start + 1]]))
}
