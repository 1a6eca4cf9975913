//! Secret keys of minisign: made, locked with a password, and signed with.
//!
//! ```text
//! untrusted comment: <words>
//! base64("Ed" | "Sc" or 0 0 | "B2" | salt [32] | operations u64 | memory u64
//!        | id [8] | seed [32] | public key [32] | BLAKE2b-256("Ed" | id | seed | public key))
//! ```
//!
//! From the id on a file with a password is XORed with what scrypt makes of it; numbers are
//! little-endian. Not here: asking for the password. Invariant: a [`SecretKey`] has passed its
//! checksum, and its public half is the one that belongs to its seed.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use blake2::Digest;
use blake2::digest::consts::U32;
use zeroize::Zeroizing;

use super::error::KeyFault;
use super::id::KeyId;
use super::public::{ED25519_MARK, PUBLIC_BYTES, PublicKey, RawSignature};
use super::signature::Signature;
use super::text;

const SCRYPT_MARK: [u8; 2] = *b"Sc";
const BLAKE2_MARK: [u8; 2] = *b"B2";
const SALT_BYTES: usize = 32;
const SEED_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 32;
const SALT_AT: usize = 6;
const OPERATIONS_AT: usize = SALT_AT + SALT_BYTES;
const MEMORY_AT: usize = OPERATIONS_AT + 8;
const SECRET_AT: usize = MEMORY_AT + 8;
const SECRET_BYTES: usize = KeyId::BYTES + SEED_BYTES + PUBLIC_BYTES + CHECKSUM_BYTES;
const FILE_BYTES: usize = SECRET_AT + SECRET_BYTES;

/// What a password of ours costs whoever guesses it: 128 MiB and 0.4 s, as OWASP advises. (minisign
/// takes 1 GiB and 4 s, which nobody would wait for at each send.)
const OPERATIONS: u64 = 1 << 22;
const MEMORY_BYTES: u64 = 1 << 27;
/// What minisign's keys cost, and no file may cost more.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
const OPERATIONS_MAX: u64 = 1 << 26;

/// How a new secret key is kept.
#[derive(Debug, Clone)]
pub enum Protection {
    /// As it is, for whoever gets at the file.
    None,
    /// Under a password, with a fresh random salt.
    Password {
        /// The password's bytes.
        password: Zeroizing<String>,
        /// 32 fresh random bytes.
        salt: [u8; SALT_BYTES],
    },
}

/// A key that signs. The library that holds it wipes it when it is dropped.
pub struct SecretKey {
    public: PublicKey,
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// The key of this seed.
    ///
    /// # Panics
    /// Never: every seed of 32 bytes is one.
    pub fn from_seed(id: KeyId, seed: &[u8; SEED_BYTES]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        let public = pair.public_key().as_ref().try_into().expect("Ed25519 has 32 bytes");
        Self { public: PublicKey::new(id, public), pair }
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.public.id()
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs bytes as they are. They must begin with a context: a signature for one purpose must
    /// never be one for another.
    pub fn sign_raw(&self, message: &[u8]) -> RawSignature {
        let signature = self.pair.sign(message);
        signature.as_ref().try_into().expect("Ed25519 has 64 bytes")
    }

    /// Signs as minisign does, with a comment that the signature covers.
    ///
    /// # Panics
    /// When the comment has more than a line.
    pub fn sign(&self, message: &[u8], comment: &str) -> Signature {
        Signature::make(self, message, comment)
    }

    /// The text of its file.
    ///
    /// # Panics
    /// When there is no memory for the password's cost.
    pub fn to_text(
        id: KeyId,
        seed: &[u8; SEED_BYTES],
        protection: &Protection,
        comment: &str,
    ) -> Zeroizing<String> {
        let key = Self::from_seed(id, seed);
        let mut file = Zeroizing::new([0; FILE_BYTES]);
        file[..2].copy_from_slice(&ED25519_MARK);
        file[4..6].copy_from_slice(&BLAKE2_MARK);
        let (seed_at, public_at) = (SECRET_AT + KeyId::BYTES, FILE_BYTES - 64);
        file[SECRET_AT..seed_at].copy_from_slice(&id.0);
        file[seed_at..public_at].copy_from_slice(seed);
        file[public_at..public_at + PUBLIC_BYTES].copy_from_slice(key.pair.public_key().as_ref());
        let checksum = checksum(&file);
        file[FILE_BYTES - CHECKSUM_BYTES..].copy_from_slice(&*checksum);
        if let Protection::Password { password, salt } = protection {
            file[2..4].copy_from_slice(&SCRYPT_MARK);
            file[SALT_AT..OPERATIONS_AT].copy_from_slice(salt);
            file[OPERATIONS_AT..MEMORY_AT].copy_from_slice(&OPERATIONS.to_le_bytes());
            file[MEMORY_AT..SECRET_AT].copy_from_slice(&MEMORY_BYTES.to_le_bytes());
            mask(&mut file, password).expect("our own cost is within bounds");
        }
        text::key_file(comment, &*file)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id())
    }
}

/// A file of a secret key, which a password may protect.
pub struct SecretKeyFile(Zeroizing<[u8; FILE_BYTES]>);

impl SecretKeyFile {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// When it is no secret key.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let wrong = || KeyFault::Form("secret key");
        let file = text::key_line(text).and_then(text::decode::<FILE_BYTES>).ok_or_else(wrong)?;
        let is_known = file[..2] == ED25519_MARK
            && (file[2..4] == SCRYPT_MARK || file[2..4] == [0; 2])
            && file[4..6] == BLAKE2_MARK;
        is_known.then_some(Self(file)).ok_or_else(wrong)
    }

    /// Whether a password protects it.
    pub fn is_locked(&self) -> bool {
        self.0[2..4] == SCRYPT_MARK
    }

    /// The key; `password` is not looked at where none protects it.
    ///
    /// # Errors
    /// When a password is needed or wrong, or the file is damaged.
    pub fn open(mut self, password: Option<&str>) -> Result<SecretKey, KeyFault> {
        let wrong = if self.is_locked() {
            mask(&mut self.0, password.ok_or(KeyFault::Locked)?)?;
            KeyFault::Password
        } else {
            KeyFault::Damaged
        };
        let stored = &self.0[FILE_BYTES - CHECKSUM_BYTES..];
        // minisign leaves the checksum of a key without a password out.
        let is_left_out = !self.is_locked() && stored == [0; CHECKSUM_BYTES];
        if *checksum(&self.0) != stored && !is_left_out {
            return Err(wrong);
        }
        let secret = &self.0[SECRET_AT..];
        let (id, rest) = secret.split_at(KeyId::BYTES);
        let (seed, rest) = rest.split_at(SEED_BYTES);
        let id = KeyId(id.try_into().expect("split there"));
        let key = SecretKey::from_seed(id, seed.try_into().expect("split there"));
        let is_pair = key.pair.public_key().as_ref() == &rest[..PUBLIC_BYTES];
        is_pair.then_some(key).ok_or(KeyFault::Damaged)
    }
}

impl fmt::Debug for SecretKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_locked() { "SecretKeyFile(locked)" } else { "SecretKeyFile(open)" })
    }
}

/// Whether a line of base64 is a secret key's.
pub(super) fn is_secret_line(line: &str) -> bool {
    text::decode::<FILE_BYTES>(line).is_some_and(|file| file[..2] == ED25519_MARK)
}

fn checksum(file: &[u8; FILE_BYTES]) -> Zeroizing<[u8; CHECKSUM_BYTES]> {
    let mut hash = blake2::Blake2b::<U32>::new();
    hash.update(&file[..2]);
    hash.update(&file[SECRET_AT..FILE_BYTES - CHECKSUM_BYTES]);
    Zeroizing::new(hash.finalize().into())
}

/// Locks an open file, or opens a locked one.
fn mask(file: &mut [u8; FILE_BYTES], password: &str) -> Result<(), KeyFault> {
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"));
    let params = cost(number(OPERATIONS_AT), number(MEMORY_AT)).ok_or(KeyFault::Cost)?;
    let mut stream = Zeroizing::new([0; SECRET_BYTES]);
    scrypt::scrypt(password.as_bytes(), &file[SALT_AT..OPERATIONS_AT], &params, &mut *stream)
        .map_err(|_| KeyFault::Cost)?;
    file[SECRET_AT..].iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(())
}

/// What libsodium makes of the two numbers of a file (crypto_pwhash_scryptsalsa208sha256).
fn cost(operations: u64, memory_bytes: u64) -> Option<scrypt::Params> {
    const R: u64 = 8;
    if operations > OPERATIONS_MAX || memory_bytes > MEMORY_BYTES_MAX {
        return None;
    }
    let operations = operations.max(32_768);
    let is_short = operations < memory_bytes / 32;
    let n_max = if is_short { operations / (R * 4) } else { memory_bytes / (R * 128) };
    let log_n = (1..63).find(|log_n| 1_u64 << log_n > n_max / 2)?;
    let p = if is_short { 1 } else { ((operations / 4) >> log_n) / R };
    scrypt::Params::new(log_n, R as u32, u32::try_from(p).ok()?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn secret_key(number: u8) -> SecretKey {
        SecretKey::from_seed(KeyId([number; 8]), &[number; 32])
    }

    /// Made by `minisign -G -W` 0.11: no password.
    const OPEN: &str = include_str!("testdata/open.key");
    /// Made by `minisign -G` 0.11, password "correct horse".
    const LOCKED: &str = include_str!("testdata/locked.key");

    fn text(protection: &Protection) -> Zeroizing<String> {
        SecretKey::to_text(KeyId([1; 8]), &[1; 32], protection, "fanfare release secret key")
    }

    fn password(text: &str) -> Protection {
        Protection::Password { password: Zeroizing::new(text.into()), salt: [9; 32] }
    }

    #[test]
    fn a_key_without_a_password_is_read_back() {
        let file = SecretKeyFile::parse(&text(&Protection::None)).unwrap();
        assert!(!file.is_locked());
        let key = file.open(None).unwrap();
        assert_eq!((key.id(), key.public()), (KeyId([1; 8]), secret_key(1).public()));
    }

    #[test]
    fn a_password_is_needed_and_must_be_right() {
        let text = text(&password("correct horse"));
        let open = |password| SecretKeyFile::parse(&text).unwrap().open(password);
        assert!(SecretKeyFile::parse(&text).unwrap().is_locked());
        assert_eq!(open(Some("correct horse")).unwrap().public(), secret_key(1).public());
        assert!(matches!(open(None), Err(KeyFault::Locked)));
        for wrong in ["", "correct horse ", "Correct horse"] {
            assert!(matches!(open(Some(wrong)), Err(KeyFault::Password)), "{wrong:?}");
        }
    }

    #[test]
    fn keys_of_minisign_itself_are_opened() {
        let key = SecretKeyFile::parse(OPEN).unwrap().open(None).unwrap();
        assert_eq!(*key.public(), include_str!("testdata/open.pub").parse().unwrap());
        let key = SecretKeyFile::parse(LOCKED).unwrap().open(Some("correct horse")).unwrap();
        assert_eq!(*key.public(), include_str!("testdata/locked.pub").parse().unwrap());
    }

    #[test]
    fn every_changed_byte_of_an_open_key_is_found() {
        let whole = text::decode::<FILE_BYTES>(text::key_line(&text(&Protection::None)).unwrap());
        for at in 0..FILE_BYTES {
            let mut bytes = whole.clone().unwrap();
            bytes[at] ^= 1;
            let changed = SecretKeyFile::parse(&text::key_file("x", &*bytes));
            let is_unused = (SALT_AT..SECRET_AT).contains(&at);
            let is_refused = changed.and_then(|file| file.open(None)).is_err();
            assert_eq!(is_refused, !is_unused, "byte {at}");
        }
    }

    #[test]
    fn a_password_may_not_cost_more_than_minisigns() {
        let cost = |operations, memory| cost(operations, memory);
        let minisign = scrypt::Params::new(20, 8, 1).unwrap();
        assert_eq!(cost(33_554_432, 1_073_741_824), Some(minisign));
        assert_eq!(cost(OPERATIONS, MEMORY_BYTES), Some(scrypt::Params::new(17, 8, 1).unwrap()));
        assert_eq!(cost(0, 16 << 20), Some(scrypt::Params::new(10, 8, 1).unwrap()));
        for (operations, memory) in [(u64::MAX, 1 << 20), (1 << 22, 1 << 31)] {
            assert_eq!(cost(operations, memory), None, "{operations} {memory}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        assert_eq!(format!("{:?}", secret_key(1)), "SecretKey(0101010101010101)");
        let file = SecretKeyFile::parse(&text(&Protection::None)).unwrap();
        assert_eq!(format!("{file:?}"), "SecretKeyFile(open)");
        let shown = format!("{:?}", password("correct horse"));
        assert!(!shown.contains("horse"), "{shown}");
    }
}
