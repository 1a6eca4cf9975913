//! Signatures of minisign over a document, one behind another.
//!
//! ```text
//! untrusted comment: <words>
//! base64("ED" | id [8] | Ed25519(BLAKE2b-512(document)) [64])
//! trusted comment: <words>
//! base64(Ed25519(signature [64] | trusted comment) [64])
//! ```
//!
//! Not here: who is trusted. Invariant: a signature that is right covers the whole document and its
//! own comment. minisign's former kind (`-l`, "Ed"), over the document as it is, is not taken: it
//! could be one over an order of a sender.

use blake2::{Blake2b512, Digest};

use super::id::KeyId;
use super::public::{PublicKey, RawSignature, SIGNATURE_BYTES};
use super::secret::SecretKey;
use super::text::{self, COMMENT};
use crate::limits::{SIGNATURES_BYTES_MAX, SIGNATURES_MAX};

const HASHED_MARK: [u8; 2] = *b"ED";
const BOX_BYTES: usize = 2 + KeyId::BYTES + SIGNATURE_BYTES;
const TRUSTED_COMMENT: &str = "trusted comment: ";

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key: KeyId,
    raw: RawSignature,
    untrusted_comment: String,
    comment: String,
    global: RawSignature,
}

impl Signature {
    pub(super) fn make(key: &SecretKey, document: &[u8], comment: &str) -> Self {
        assert!(text::is_comment(comment), "a comment is one line");
        let raw = key.sign_raw(&Blake2b512::digest(document));
        Self {
            key: key.id(),
            raw,
            untrusted_comment: format!("signature by fanfare key {}", key.id()),
            comment: comment.to_owned(),
            global: key.sign_raw(&[&raw[..], comment.as_bytes()].concat()),
        }
    }

    /// The key that made it, as it says.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// What whoever signed says with it; to be escaped where it is printed, and not to be believed
    /// before the signature was checked.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Whether `key` made it, over `document`.
    pub fn is_by(&self, key: &PublicKey, document: &[u8]) -> bool {
        let covered = [&self.raw[..], self.comment.as_bytes()].concat();
        key.id() == self.key
            && key.has_signed(&Blake2b512::digest(document), &self.raw)
            && key.has_signed(&covered, &self.global)
    }

    /// Its four lines.
    fn to_text(&self) -> String {
        let mut bytes = [0; BOX_BYTES];
        bytes[..2].copy_from_slice(&HASHED_MARK);
        bytes[2..2 + KeyId::BYTES].copy_from_slice(&self.key.0);
        bytes[2 + KeyId::BYTES..].copy_from_slice(&self.raw);
        let (raw, global) = (text::encode(&bytes), text::encode(&self.global));
        let (untrusted, comment) = (&self.untrusted_comment, &self.comment);
        format!("{COMMENT}{untrusted}\n{}\n{TRUSTED_COMMENT}{comment}\n{}\n", *raw, *global)
    }

    fn parse(lines: [&str; 4]) -> Result<Self, SignaturesError> {
        let [untrusted_comment, raw, comment, global] = lines;
        let untrusted_comment = untrusted_comment.strip_prefix(COMMENT);
        let comment = comment.strip_prefix(TRUSTED_COMMENT);
        let (raw, global) = (text::decode::<BOX_BYTES>(raw), text::decode(global));
        let (Some(untrusted_comment), Some(raw), Some(comment), Some(global)) =
            (untrusted_comment, raw, comment, global)
        else {
            return Err(SignaturesError::Form);
        };
        let (mark, rest) = raw.split_at(2);
        let (key, raw) = rest.split_at(KeyId::BYTES);
        if mark != HASHED_MARK {
            return Err(SignaturesError::Kind);
        }
        Ok(Self {
            key: KeyId(key.try_into().expect("split there")),
            raw: raw.try_into().expect("split there"),
            untrusted_comment: untrusted_comment.to_owned(),
            comment: comment.to_owned(),
            global: *global,
        })
    }
}

/// Bytes that are no signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignaturesError {
    /// Longer, or more of them, than is allowed.
    #[error("there are more than {SIGNATURES_MAX} of them, or they are too long")]
    TooMany,
    /// Not four lines as minisign writes them.
    #[error("they are not as minisign writes them, four lines each")]
    Form,
    /// Not over the document's hash.
    #[error("they are of minisign's former kind: sign again, without -l")]
    Kind,
}

/// The signatures of a document, in the order in which they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signatures(Vec<Signature>);

impl Signatures {
    /// Reads signatures that stand one behind another; no bytes are none.
    ///
    /// # Errors
    /// When the bytes are something else, or more than is allowed.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignaturesError> {
        if bytes.len() > SIGNATURES_BYTES_MAX as usize {
            return Err(SignaturesError::TooMany);
        }
        let document = std::str::from_utf8(bytes).map_err(|_| SignaturesError::Form)?;
        let lines: Vec<&str> = text::lines(document).collect();
        let (boxes, rest) = lines.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(SignaturesError::Form);
        }
        if boxes.len() > SIGNATURES_MAX {
            return Err(SignaturesError::TooMany);
        }
        boxes.iter().map(|lines| Signature::parse(*lines)).collect::<Result<_, _>>().map(Self)
    }

    /// Their bytes.
    pub fn emit(&self) -> Vec<u8> {
        self.0.iter().map(Signature::to_text).collect::<String>().into_bytes()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Signature> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one, in the place of the one by the same key.
    ///
    /// # Errors
    /// When there are as many as are allowed.
    pub fn put(&mut self, signature: Signature) -> Result<(), SignaturesError> {
        if let Some(former) = self.0.iter_mut().find(|former| former.key == signature.key) {
            *former = signature;
            return Ok(());
        }
        if self.0.len() == SIGNATURES_MAX {
            return Err(SignaturesError::TooMany);
        }
        self.0.push(signature);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::secret::tests::secret_key;

    const DOCUMENT: &[u8] = b"{\n  \"format\": 1\n}\n";

    #[test]
    fn signatures_are_read_back_and_checked() {
        let (one, two) = (secret_key(1), secret_key(2));
        let mut signatures = Signatures::default();
        signatures.put(one.sign(DOCUMENT, "app:shop")).unwrap();
        signatures.put(two.sign(DOCUMENT, "")).unwrap();
        let read = Signatures::parse(&signatures.emit()).unwrap();
        assert_eq!(read, signatures);
        let [by_one, by_two] = &read.0[..] else { panic!("two") };
        assert!(by_one.is_by(one.public(), DOCUMENT) && by_two.is_by(two.public(), DOCUMENT));
        assert!(!by_one.is_by(two.public(), DOCUMENT));
        assert!(!by_one.is_by(one.public(), &DOCUMENT[1..]));
        assert_eq!((by_one.key(), by_one.comment()), (one.id(), "app:shop"));
        assert!(Signatures::parse(b"").unwrap().is_empty());
    }

    #[test]
    fn a_second_signature_by_one_key_takes_the_place_of_the_first() {
        let key = secret_key(1);
        let mut signatures = Signatures::default();
        signatures.put(key.sign(b"old", "old")).unwrap();
        signatures.put(key.sign(DOCUMENT, "new")).unwrap();
        assert_eq!(signatures.len(), 1);
        assert_eq!(signatures.0[0].comment(), "new");
    }

    #[test]
    fn every_changed_byte_but_of_the_untrusted_comment_is_found() {
        let key = secret_key(1);
        let bytes = Signatures(vec![key.sign(DOCUMENT, "app:shop")]).emit();
        let untrusted = COMMENT.len()..bytes.iter().position(|byte| *byte == b'\n').unwrap();
        for at in (0..bytes.len()).filter(|at| !untrusted.contains(at)) {
            for flip in [1, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let read = Signatures::parse(&changed);
                let is_right = |read: &Signatures| {
                    read.iter().any(|signature| signature.is_by(key.public(), DOCUMENT))
                };
                assert!(!read.is_ok_and(|read| is_right(&read)), "byte {at} {flip:#x}");
            }
        }
    }

    #[test]
    fn a_signature_of_minisign_itself_is_checked() {
        let key: PublicKey = include_str!("testdata/open.pub").parse().unwrap();
        let signatures = Signatures::parse(include_bytes!("testdata/document.minisig")).unwrap();
        let document = include_bytes!("testdata/document");
        assert!(signatures.iter().all(|signature| signature.is_by(&key, document)));
        assert_eq!(signatures.len(), 1);
        let former = Signatures::parse(include_bytes!("testdata/former.minisig"));
        assert_eq!(former, Err(SignaturesError::Kind));
    }

    #[test]
    fn what_are_no_signatures_is_refused() {
        let text = Signatures(vec![secret_key(1).sign(DOCUMENT, "x")]).emit();
        for end in (1..text.len() - 1).filter(|end| text[*end] != b'\n') {
            assert!(Signatures::parse(&text[..end]).is_err(), "{end}");
        }
        assert_eq!(Signatures::parse(b"\xff"), Err(SignaturesError::Form));
        let many = text.repeat(SIGNATURES_MAX + 1);
        assert_eq!(Signatures::parse(&many), Err(SignaturesError::TooMany));
        let long = vec![b'\n'; SIGNATURES_BYTES_MAX as usize + 1];
        assert_eq!(Signatures::parse(&long), Err(SignaturesError::TooMany));
    }
}
