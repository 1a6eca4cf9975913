//! Keys that both sides hold: group, master and host key.
//!
//! ```text
//! untrusted comment: <words>
//! base64(role [2] | id [8] | key [32])
//! ```
//!
//! Not here: what is sealed with them. Invariant: a key is used for its own role only. A host key
//! carries the id of the master key that it was derived from: which host it is for, only the
//! comment says, and a sender that derives another one.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::error::KeyFault;
use super::id::KeyId;
use super::text;
use crate::id::HostName;

/// Length of a key.
pub const KEY_BYTES: usize = 32;
const FILE_BYTES: usize = 2 + KeyId::BYTES + KEY_BYTES;

/// Context of a host key's derivation.
const HOST_KEY: &str = "fanfare 2026 host key";
/// What the comment of a host key begins with, before the host's name.
const HOST_COMMENT: &str = "fanfare host key of ";

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Seals what a sender sends; every host holds it.
    Group,
    /// Makes the host keys; only senders hold it.
    Master,
    /// Seals what one host says.
    Host,
}

impl Role {
    const ALL: [Self; 3] = [Self::Group, Self::Master, Self::Host];

    const fn mark(self) -> [u8; 2] {
        match self {
            Self::Group => *b"Gk",
            Self::Master => *b"Mk",
            Self::Host => *b"Hk",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Group => "group",
            Self::Master => "master",
            Self::Host => "host",
        })
    }
}

/// 32 secret bytes for one purpose.
#[derive(Clone)]
pub struct SymmetricKey {
    role: Role,
    id: KeyId,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    /// What its file says, which nobody has signed.
    comment: String,
}

impl SymmetricKey {
    /// The key with these bytes, which must be fresh random ones.
    pub fn new(role: Role, id: KeyId, bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { role, id, bytes, comment: String::new() }
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// When it is no key, or one for something else.
    pub fn parse(text: &str, wanted: Role) -> Result<Self, KeyFault> {
        let wrong = || KeyFault::Form("symmetric key");
        let bytes = text::key_line(text).and_then(text::decode::<FILE_BYTES>).ok_or_else(wrong)?;
        let (mark, rest) = bytes.split_at(2);
        let (id, key) = rest.split_at(KeyId::BYTES);
        let found = Role::ALL.into_iter().find(|role| role.mark() == mark).ok_or_else(wrong)?;
        if found != wanted {
            return Err(KeyFault::Role { found, wanted });
        }
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        secret.copy_from_slice(key);
        let id = KeyId(id.try_into().expect("split there"));
        let comment = text::comment(text).to_owned();
        Ok(Self { role: found, id, bytes: secret, comment })
    }

    /// The text of its file.
    pub fn to_text(&self, comment: &str) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        bytes[..2].copy_from_slice(&self.role.mark());
        bytes[2..2 + KeyId::BYTES].copy_from_slice(&self.id.0);
        bytes[2 + KeyId::BYTES..].copy_from_slice(&*self.bytes);
        text::key_file(comment, &*bytes)
    }

    /// The key of one host.
    ///
    /// # Panics
    /// When this is no master key.
    pub fn host_key(&self, host: &HostName) -> Self {
        assert_eq!(self.role, Role::Master, "host keys are made of the master key");
        let mut hasher = blake3::Hasher::new_derive_key(HOST_KEY);
        hasher.update(&*self.bytes).update(host.as_str().as_bytes());
        let mut derived = hasher.finalize();
        let bytes = Zeroizing::new(*derived.as_bytes());
        hasher.zeroize();
        derived.zeroize();
        Self { role: Role::Host, id: self.id, bytes, comment: String::new() }
    }

    /// What the file of the key of `host` says, which was made of the master key `master`.
    pub fn comment_for(host: &HostName, master: KeyId) -> String {
        format!("{HOST_COMMENT}{host}, master {master}")
    }

    /// What the file that it was read from says of it; empty where it was read from none. Nobody
    /// has signed that.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The host that it was made for, as far as its comment says so.
    pub fn made_for(&self) -> Option<HostName> {
        self.comment.strip_prefix(HOST_COMMENT)?.split(',').next()?.parse().ok()
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its id; a host key has that of its master key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The secret itself, for the cipher that takes it.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SymmetricKey({} {})", self.role, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(role: Role) -> SymmetricKey {
        SymmetricKey::new(role, KeyId([1, 2, 3, 4, 5, 6, 7, 8]), Zeroizing::new([7; 32]))
    }

    #[test]
    fn a_key_is_read_back_from_its_file_which_is_golden() {
        let text = key(Role::Group).to_text("fanfare group key");
        assert_eq!(
            *text,
            "untrusted comment: fanfare group key\n\
             R2sBAgMEBQYHCAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n"
        );
        let read = SymmetricKey::parse(&text, Role::Group).unwrap();
        assert_eq!(
            (read.role(), read.id(), read.expose()),
            (Role::Group, key(Role::Group).id(), &[7; 32])
        );
    }

    #[test]
    fn a_key_for_something_else_is_refused_by_name() {
        let text = key(Role::Master).to_text("x");
        let error = SymmetricKey::parse(&text, Role::Group).unwrap_err();
        assert_eq!(error.to_string(), "it is a master key, wanted is a group key");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let text = key(Role::Host).to_text("x");
        let second = text.lines().nth(1).unwrap();
        let long = format!("{}AAAA", second);
        for wrong in [
            "",
            "untrusted comment: x\n",
            second,
            &text.replace("untrusted ", ""),
            &format!("untrusted comment: x\n{long}\n"),
            &format!("untrusted comment: x\n{second}\nmore\n"),
            &text.replacen("SG", "Sx", 1),
            &text[..text.len() - 5],
        ] {
            assert!(SymmetricKey::parse(wrong, Role::Host).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_host_has_a_key_of_its_own_that_is_golden() {
        let master = key(Role::Master);
        let of = |name: &str| *master.host_key(&name.parse().unwrap()).expose();
        assert_ne!(of("web-1"), of("web-2"));
        let context = "fanfare 2026 host key";
        let material = [&[7_u8; 32][..], b"web-1"].concat();
        assert_eq!(of("web-1"), blake3::derive_key(context, &material));
        assert_eq!(master.host_key(&"web-1".parse().unwrap()).id(), master.id());
    }

    #[test]
    fn a_host_key_says_in_its_comment_whose_it_is() {
        let host = "web-1".parse().unwrap();
        let made = key(Role::Master).host_key(&host);
        assert_eq!(made.made_for(), None, "it was read from no file");
        let comment = SymmetricKey::comment_for(&host, made.id());
        let read = SymmetricKey::parse(&made.to_text(&comment), Role::Host).unwrap();
        assert_eq!(read.comment(), "fanfare host key of web-1, master 0807060504030201");
        assert_eq!(read.made_for(), Some(host));
        let other = SymmetricKey::parse(&made.to_text("fanfare host key of "), Role::Host).unwrap();
        assert_eq!(other.made_for(), None);
    }

    #[test]
    fn nothing_prints_a_secret() {
        assert_eq!(format!("{:?}", key(Role::Group)), "SymmetricKey(group 0807060504030201)");
    }
}
