//! Keys, and how those of a session follow from them (PROTOCOL 10.2).

use zeroize::Zeroizing;

use crate::id::{BootNonce, SessionId};
use crate::keys::{KeyId, SymmetricKey};
use crate::wire::Announce;

/// A secret of one session or purpose: wiped when dropped, never printed.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What follows from `key` and `parts` for one purpose.
    pub fn derive(key: &SymmetricKey, purpose: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(key.expose());
        for part in parts {
            hasher.update(part);
        }
        Self(Zeroizing::new(*hasher.finalize().as_bytes()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `key_epoch` of what is sealed with a group key: the beginning of its id, and never zero.
pub(super) fn epoch(group: &SymmetricKey) -> u16 {
    let KeyId([a, b, ..]) = group.id();
    u16::from_be_bytes([a, b]).max(1)
}

/// The key of the MAC around announces.
pub(super) fn announce_key(group: &SymmetricKey) -> Secret {
    Secret::derive(group, "fanfare 2026 announce", &[])
}

/// What makes the keys of one session its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    pub session: SessionId,
    pub instance: u64,
    pub salt: [u8; 16],
}

impl Context {
    pub fn new(session: SessionId, announce: &Announce) -> Self {
        Self { session, instance: announce.sender.instance, salt: announce.salt }
    }

    pub fn bytes(&self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..4].copy_from_slice(&self.session.0.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.instance.to_be_bytes());
        bytes[12..].copy_from_slice(&self.salt);
        bytes
    }

    /// The two keys between the sender and one process of a host: upwards and downwards.
    pub fn host_keys(&self, host_key: &SymmetricKey, nonce: BootNonce) -> (Secret, Secret) {
        let (context, nonce) = (self.bytes(), nonce.0.to_be_bytes());
        let derive = |purpose| Secret::derive(host_key, purpose, &[&context, &nonce]);
        (derive("fanfare 2026 host upwards"), derive("fanfare 2026 host downwards"))
    }
}
