//! The streams of a session under AES-256-GCM: header as associated data, number as nonce.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::context::{Context, Secret, epoch};
use super::{TAG_BYTES, control};
use crate::keys::SymmetricKey;
use crate::limits::SYMBOL_HEADER_BYTES;
use crate::wire::{COMMON_HEADER_BYTES, Kind, WireError, peek_kind};

/// A stream of numbered datagrams (PROTOCOL 2.9); each has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// What goes to the data group.
    Data = 0,
    /// What goes to the group of stragglers.
    CatchUp = 1,
    /// What serves single hosts.
    Alone = 2,
}

/// The key of one stream of one session.
pub(super) struct StreamKey {
    key: LessSafeKey,
    epoch: u16,
}

impl StreamKey {
    pub fn new(group: &SymmetricKey, context: &Context, stream: Stream) -> Self {
        let parts: [&[u8]; 2] = [&context.bytes(), &[stream as u8]];
        let secret = Secret::derive(group, "fanfare 2026 stream", &parts);
        let key = UnboundKey::new(&AES_256_GCM, secret.bytes()).expect("a key of 32 bytes");
        Self { key: LessSafeKey::new(key), epoch: epoch(group) }
    }

    /// All three of a session.
    pub fn all(group: &SymmetricKey, context: &Context) -> [Self; 3] {
        [Stream::Data, Stream::CatchUp, Stream::Alone]
            .map(|stream| Self::new(group, context, stream))
    }

    pub fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Seals `datagram`, whose last [`TAG_BYTES`] are room for the tag, in its place.
    pub fn close(&self, datagram: &mut [u8]) {
        control::set_epoch(datagram, self.epoch);
        let clear = clear_bytes(datagram).min(datagram.len() - TAG_BYTES);
        let (head, rest) = datagram.split_at_mut(clear);
        let (secret, place) = rest.split_at_mut(rest.len() - TAG_BYTES);
        let (nonce, aad) = (nonce_of(head), Aad::from(&*head));
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, secret);
        place.copy_from_slice(tag.expect("a datagram is shorter than 64 GiB").as_ref());
    }

    /// Opens `datagram` in its place; what comes back is without the tag.
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<&'a [u8], WireError> {
        let clear = clear_bytes(datagram);
        if datagram.len() < clear + TAG_BYTES {
            return Err(WireError::Truncated);
        }
        if control::epoch_of(datagram)? != self.epoch {
            return Err(WireError::UnknownKey);
        }
        let (head, rest) = datagram.split_at_mut(clear);
        let (nonce, aad) = (nonce_of(head), Aad::from(&*head));
        self.key.open_in_place(nonce, aad, rest).map_err(|_| WireError::Tag)?;
        let inner = datagram.len() - TAG_BYTES;
        Ok(&datagram[..inner])
    }
}

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamKey({})", self.epoch)
    }
}

/// Bytes that are authenticated and not hidden: the header that a session sees.
fn clear_bytes(datagram: &[u8]) -> usize {
    if peek_kind(datagram).is_some_and(Kind::is_symbol) {
        SYMBOL_HEADER_BYTES
    } else {
        COMMON_HEADER_BYTES
    }
}

/// The datagram's number in its stream, which has a key of its own.
fn nonce_of(head: &[u8]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&head[8..12]);
    Nonce::assume_unique_for_key(nonce)
}
