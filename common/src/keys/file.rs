//! Key files on disk, and fresh random bytes for new ones.
//!
//! Not here: what stands in them. Invariant: a secret is read only from a file that nobody but its
//! owner may read, what is trusted only from one that nobody else may write, and both are looked at
//! through the descriptor that is read. A file is made with its final mode, and never overwritten.
#![expect(clippy::disallowed_methods, reason = "reads key files")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::{KeyError, KeyFault};
use super::public::PublicKey;
use super::secret::SecretKeyFile;
use super::symmetric::{Role, SymmetricKey};
use crate::limits::KEY_FILE_BYTES_MAX;

/// Mode of a secret's file.
const SECRET_MODE: u32 = 0o600;
/// Mode of a public key's.
const PUBLIC_MODE: u32 = 0o644;
/// Permission bits that let others than the owner read or change, and change.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// `N` fresh random bytes.
///
/// # Panics
/// When the kernel gives none: nothing could be done safely then.
pub fn fresh<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(&mut *bytes).expect("the kernel gives random bytes");
    bytes
}

impl SymmetricKey {
    /// Reads a key for `role` from its file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path, role: Role) -> Result<Self, KeyError> {
        let text = read(path, Kind::Secret)?;
        Self::parse(&text, role).map_err(|fault| KeyError::new(path, fault))
    }
}

impl SecretKeyFile {
    /// Reads a secret key's file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read(path, Kind::Secret)?;
        Self::parse(&text).map_err(|fault| KeyError::new(path, fault))
    }
}

impl PublicKey {
    /// Reads a public key from its file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read(path, Kind::Public)?;
        Self::parse(&text).map_err(|fault| KeyError::new(path, fault))
    }
}

/// Makes a file that only its owner may read, durable.
///
/// # Errors
/// When there is one, or it cannot be written.
pub fn create_secret(path: &Path, text: &str) -> Result<(), KeyError> {
    create(path, text, SECRET_MODE)
}

/// Makes a file that everybody may read, durable.
///
/// # Errors
/// When there is one, or it cannot be written.
pub fn create_public(path: &Path, text: &str) -> Result<(), KeyError> {
    create(path, text, PUBLIC_MODE)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), KeyError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = made.map_err(|error| {
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        let fault = if exists { KeyFault::Exists } else { KeyFault::Write(error) };
        KeyError::new(path, fault)
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a key is none, and would be in the way of the next try.
        let _ = std::fs::remove_file(path);
        KeyError::new(path, KeyFault::Write(error))
    })
}

/// The files in `directory` whose names begin with `stem` and end with `extension`, in the order of
/// their names: the keys of a site that there are several of.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(directory: &Path, stem: &str, extension: &str) -> Result<Vec<PathBuf>, KeyError> {
    let unreadable = |error| KeyError::new(directory, KeyFault::Read(error));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(stem) && name.ends_with(extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

enum Kind {
    Secret,
    Public,
}

fn read(path: &Path, kind: Kind) -> Result<Zeroizing<String>, KeyError> {
    let unreadable = |error| KeyError::new(path, KeyFault::Read(error));
    let file = File::open(path).map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if facts.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let mode = facts.mode() & 0o7777;
    let fault = match kind {
        Kind::Secret if mode & OTHERS != 0 => Some(KeyFault::Exposed(mode)),
        Kind::Public if mode & OTHERS_WRITE != 0 => Some(KeyFault::Changeable(mode)),
        _ => {
            let us = rustix::process::geteuid().as_raw();
            (![0, us].contains(&facts.uid())).then(|| KeyFault::Foreign(facts.uid()))
        }
    };
    if let Some(fault) = fault.filter(|_| facts.is_file()) {
        return Err(KeyError::new(path, fault));
    }
    // One allocation, so that no copy of a secret stays behind where the text grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 1));
    file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyError::new(path, KeyFault::Form("key")));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(KeyError::new(path, KeyFault::Form("key"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyId, Protection, SecretKey};
    use std::os::unix::fs::PermissionsExt;

    fn group_key() -> Zeroizing<String> {
        SymmetricKey::new(Role::Group, KeyId(*fresh()), fresh()).to_text("group")
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn keys_are_written_with_sane_modes_and_read_back() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        create_secret(&at("group.key"), &group_key()).unwrap();
        SymmetricKey::load(&at("group.key"), Role::Group).unwrap();
        let (id, seed) = (KeyId(*fresh()), fresh());
        let text = SecretKey::to_text(id, &seed, &Protection::None, "release");
        create_secret(&at("release.key"), &text).unwrap();
        let key = SecretKeyFile::load(&at("release.key")).unwrap().open(None).unwrap();
        create_public(&at("release.pub"), &key.public().to_text("release")).unwrap();
        assert_eq!(PublicKey::load(&at("release.pub")).unwrap(), *key.public());
        let mode = |name| std::fs::metadata(at(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("group.key"), mode("release.key")), (0o600, 0o600));
        assert_eq!(mode("release.pub") & 0o022, 0);
        let error = PublicKey::load(&at("release.key")).unwrap_err().to_string();
        assert!(error.ends_with("it is a secret key: give the public one"), "{error}");
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("group.key");
        create_secret(&path, "first").unwrap();
        let error = create_secret(&path, "second").unwrap_err().to_string();
        assert!(error.ends_with("it exists, and keys are never overwritten: move it away first"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        let dangling = place.path().join("link.key");
        std::os::unix::fs::symlink(place.path().join("elsewhere"), &dangling).unwrap();
        create_secret(&dangling, "secret").unwrap_err();
        assert!(!place.path().join("elsewhere").exists());
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("group.key");
        create_secret(&path, &group_key()).unwrap();
        for mode in [0o640, 0o604, 0o644, 0o620, 0o602, 0o610] {
            set_mode(&path, mode);
            let error = SymmetricKey::load(&path, Role::Group).unwrap_err();
            assert!(matches!(error.fault, KeyFault::Exposed(found) if found == mode), "{error}");
        }
        set_mode(&path, 0o400);
        SymmetricKey::load(&path, Role::Group).unwrap();
    }

    #[test]
    fn a_public_key_that_others_may_change_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("release.pub");
        let key = SecretKey::from_seed(KeyId([1; 8]), &[1; 32]);
        create_public(&path, &key.public().to_text("release")).unwrap();
        for mode in [0o664, 0o646] {
            set_mode(&path, mode);
            let error = PublicKey::load(&path).unwrap_err();
            assert!(matches!(error.fault, KeyFault::Changeable(found) if found == mode), "{error}");
        }
    }

    #[test]
    fn keys_are_listed_by_their_names_in_order() {
        let place = tempfile::tempdir().unwrap();
        for name in ["group.key", "group-next.key", "group.key.old", "master.key", "a-group.key"] {
            create_secret(&place.path().join(name), &group_key()).unwrap();
        }
        let names = |stem, extension| -> Vec<_> {
            let found = list(place.path(), stem, extension).unwrap();
            found.iter().map(|it| it.file_name().unwrap().to_owned()).collect()
        };
        assert_eq!(names("group", ".key"), ["group-next.key", "group.key"]);
        assert!(names("operator", ".pub").is_empty());
        let error = list(&place.path().join("none"), "group", ".key").unwrap_err().to_string();
        assert!(error.contains("/none: cannot read it: No such file"), "{error}");
    }

    #[test]
    fn what_is_no_key_file_is_named_with_its_path() {
        let place = tempfile::tempdir().unwrap();
        let missing = PublicKey::load(&place.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("/none: cannot read it: No such file"), "{missing}");
        let directory = PublicKey::load(place.path()).unwrap_err().to_string();
        assert!(directory.ends_with("cannot read it: is a directory"), "{directory}");
        let long = place.path().join("long");
        create_public(&long, &"x".repeat(KEY_FILE_BYTES_MAX + 1)).unwrap();
        assert!(matches!(PublicKey::load(&long).unwrap_err().fault, KeyFault::Form(_)));
    }
}
