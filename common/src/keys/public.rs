//! Public keys of minisign, and several of them that are trusted at once.
//!
//! ```text
//! untrusted comment: <words>
//! base64("Ed" | id [8] | Ed25519 public key [32])
//! ```
//!
//! Not here: why a key is trusted. A raw signature is over bytes as they are: who signs them must
//! begin them with a context that nothing else begins with.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::error::KeyFault;
use super::id::KeyId;
use super::text;

/// Length of a raw signature.
pub const SIGNATURE_BYTES: usize = 64;
/// An Ed25519 signature over bytes as they are.
pub type RawSignature = [u8; SIGNATURE_BYTES];

/// What minisign's keys and their unhashed signatures begin with.
pub(super) const ED25519_MARK: [u8; 2] = *b"Ed";
const FILE_BYTES: usize = 2 + KeyId::BYTES + PUBLIC_BYTES;
pub(super) const PUBLIC_BYTES: usize = 32;

/// A key that signatures are checked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: [u8; PUBLIC_BYTES],
}

impl PublicKey {
    pub(super) fn new(id: KeyId, key: [u8; PUBLIC_BYTES]) -> Self {
        Self { id, key }
    }

    /// Reads the text of a key file, or its second line alone, as minisign's `-P` takes it.
    ///
    /// # Errors
    /// When it is no public key.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let line = match text.trim().lines().count() {
            1 => Some(text.trim()),
            _ => text::key_line(text),
        };
        let line = line.ok_or(KeyFault::Form("public key"))?;
        if let Some(bytes) = text::decode::<FILE_BYTES>(line)
            && bytes[..2] == ED25519_MARK
        {
            let id = KeyId(bytes[2..][..KeyId::BYTES].try_into().expect("eight bytes"));
            let key = bytes[2 + KeyId::BYTES..].try_into().expect("the rest");
            return Ok(Self { id, key });
        }
        Err(if super::secret::is_secret_line(line) {
            KeyFault::Secret
        } else {
            KeyFault::Form("public key")
        })
    }

    /// The text of its file.
    pub fn to_text(&self, comment: &str) -> String {
        text::key_file(comment, &self.file_bytes()).to_string()
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether this key made `signature` over `message`.
    pub fn has_signed(&self, message: &[u8], signature: &RawSignature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature).is_ok()
    }

    fn file_bytes(&self) -> [u8; FILE_BYTES] {
        let mut bytes = [0; FILE_BYTES];
        bytes[..2].copy_from_slice(&ED25519_MARK);
        bytes[2..2 + KeyId::BYTES].copy_from_slice(&self.id.0);
        bytes[2 + KeyId::BYTES..].copy_from_slice(&self.key);
        bytes
    }
}

impl fmt::Display for PublicKey {
    /// The line of base64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::encode(&self.file_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyFault;

    fn from_str(text: &str) -> Result<Self, KeyFault> {
        Self::parse(text)
    }
}

crate::serde_text::as_text!(PublicKey);

/// Why a raw signature is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// No trusted key has this id.
    #[error("the key {0} is not trusted here")]
    Unknown(KeyId),
    /// A trusted key has this id and did not make the signature.
    #[error("the signature by {0} is wrong")]
    Wrong(KeyId),
}

/// Keys that are trusted for the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyring(Vec<PublicKey>);

impl Keyring {
    /// Trusts all of `keys`; one that occurs twice counts once.
    ///
    /// # Errors
    /// When different keys have the same id.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, KeyFault> {
        let mut ring = Self::default();
        for key in keys {
            match ring.find(key.id) {
                None => ring.0.push(key),
                Some(same) if *same == key => {}
                Some(_) => return Err(KeyFault::Twice(key.id)),
            }
        }
        Ok(ring)
    }

    /// The key of this id.
    pub fn find(&self, id: KeyId) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }

    /// Trusts none of these any more.
    pub fn remove(&mut self, ids: &BTreeSet<KeyId>) {
        self.0.retain(|key| !ids.contains(&key.id));
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a raw signature by the key of this id.
    ///
    /// # Errors
    /// When the key is not trusted, or did not make it.
    pub fn check(
        &self,
        id: KeyId,
        message: &[u8],
        signature: &RawSignature,
    ) -> Result<(), Untrusted> {
        let key = self.find(id).ok_or(Untrusted::Unknown(id))?;
        if key.has_signed(message, signature) { Ok(()) } else { Err(Untrusted::Wrong(id)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::secret::tests::secret_key;

    #[test]
    fn a_public_key_is_read_from_its_file_or_its_line() {
        let key = *secret_key(1).public();
        assert_eq!(PublicKey::parse(&key.to_text("fanfare release key")).unwrap(), key);
        assert_eq!(PublicKey::parse(&format!("{key}\n")).unwrap(), key);
        assert!(key.to_string().starts_with("RWQ"), "{key}");
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        for wrong in ["", "x", &key.to_string()[1..], "untrusted comment: x\nRWQ\n"] {
            assert!(PublicKey::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_signature_is_checked_by_the_key_that_it_names() {
        let (one, two, stranger) = (secret_key(1), secret_key(2), secret_key(3));
        let ring = Keyring::new([*one.public(), *two.public(), *one.public()]).unwrap();
        assert_eq!(ring.iter().count(), 2);
        let signature = two.sign_raw(b"context: words");
        assert_eq!(ring.check(two.id(), b"context: words", &signature), Ok(()));
        let wrong = Untrusted::Wrong(two.id());
        assert_eq!(ring.check(two.id(), b"context: other", &signature), Err(wrong));
        let wrong = Untrusted::Wrong(one.id());
        assert_eq!(ring.check(one.id(), b"context: words", &signature), Err(wrong));
        let unknown = Untrusted::Unknown(stranger.id());
        let signature = stranger.sign_raw(b"context: words");
        assert_eq!(ring.check(stranger.id(), b"context: words", &signature), Err(unknown));
    }

    #[test]
    fn every_flipped_bit_of_a_signature_is_found() {
        let key = secret_key(1);
        let signature = key.sign_raw(b"words");
        for bit in 0..512 {
            let mut wrong = signature;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.public().has_signed(b"words", &wrong), "bit {bit}");
        }
    }

    #[test]
    fn two_keys_of_one_id_are_refused() {
        let (one, two) = (secret_key(1), secret_key(2));
        let forged = PublicKey { id: one.id(), ..*two.public() };
        let error = Keyring::new([*one.public(), forged]).unwrap_err();
        assert!(matches!(error, KeyFault::Twice(id) if id == one.id()), "{error}");
    }
}
