//! Key files and signatures, as minisign or somebody's editor left them.

use common::keys::{PublicKey, Role, SecretKeyFile, Signatures, SymmetricKey};

/// What is read can be written and read again; a secret never shows in what is printed of it.
///
/// What a password protects is not opened: that takes the time which a password is meant to cost.
pub fn keys(data: &[u8]) {
    if let Ok(signatures) = Signatures::parse(data) {
        let written = signatures.emit();
        assert_eq!(Signatures::parse(&written).as_ref(), Ok(&signatures));
        assert_eq!(signatures.is_empty(), written.is_empty());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = PublicKey::parse(text) {
        let again = PublicKey::parse(&key.to_text("again")).expect("our own text");
        assert!(again == key);
    }
    for role in [Role::Group, Role::Master, Role::Host] {
        let Ok(key) = SymmetricKey::parse(text, role) else { continue };
        let again = SymmetricKey::parse(&key.to_text("again"), role).expect("our own text");
        assert_eq!((again.id(), again.expose()), (key.id(), key.expose()));
    }
    let Ok(file) = SecretKeyFile::parse(text) else { return };
    assert!(format!("{file:?}").len() < 30, "nothing but a word is shown");
    let is_locked = file.is_locked();
    let opened = file.open(None);
    assert!(!(is_locked && opened.is_ok()), "no password, no key");
    if let Ok(key) = opened {
        let signature = key.sign(b"document", "comment");
        assert!(signature.is_by(key.public(), b"document"));
        assert!(!signature.is_by(key.public(), b"another"));
    }
}
