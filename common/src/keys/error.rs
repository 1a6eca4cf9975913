//! What can be wrong with a key or its file, as one line with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::id::KeyId;
use super::symmetric::Role;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct KeyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: KeyFault,
}

impl KeyError {
    pub(super) fn new(path: &Path, fault: KeyFault) -> Self {
        Self { path: path.to_owned(), fault }
    }
}

/// The ways in which a key or its file can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// It cannot be read.
    #[error("cannot read it: {0}{remedy}", remedy = read_remedy(.0))]
    Read(io::Error),
    /// It cannot be written.
    #[error("cannot write it: {0}")]
    Write(io::Error),
    /// There is one already.
    #[error("it exists, and keys are never overwritten: move it away first")]
    Exists,
    /// Others than its owner may read a secret.
    #[error("others may read this secret (mode {0:04o}): chmod 600 it, and think of a new key")]
    Exposed(u32),
    /// Others than its owner may change what is trusted.
    #[error("others may change it (mode {0:04o}): chmod go-w it")]
    Changeable(u32),
    /// It belongs to another user than the one who reads it, or root.
    #[error("it belongs to user {0}, neither root nor who reads it: chown it")]
    Foreign(u32),
    /// It has not the form of a key file.
    #[error("it is no {0}: that is a comment line and a line of base64, as minisign writes them")]
    Form(&'static str),
    /// It is a key for something else.
    #[error("it is a {found} key, wanted is a {wanted} key")]
    Role {
        /// What it is.
        found: Role,
        /// What it should be.
        wanted: Role,
    },
    /// It is a secret key where a public one is wanted.
    #[error("it is a secret key: give the public one")]
    Secret,
    /// A password protects it, and none was given.
    #[error("a password protects it")]
    Locked,
    /// The password is not the right one.
    #[error("the password is wrong")]
    Password,
    /// Its checksum is wrong.
    #[error("it is damaged: copy it again")]
    Damaged,
    /// Its password costs more than any that this program makes, or minisign does.
    #[error("its password protection asks for more memory or time than is allowed")]
    Cost,
    /// Two keys of one id cannot be told apart by signatures.
    #[error("another trusted key has the id {0}, too")]
    Twice(KeyId),
}

/// What to do where a key, or the directory of keys, cannot be read; nothing where the error says
/// it all. To be put behind the error.
pub fn read_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; chown it to the user that this runs as, and chmod o+x the directories above"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_read_is_to_be_given_to_who_reads_it() {
        let denied = KeyFault::Read(io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(denied.contains("; chown it to the user that this runs as"), "{denied}");
        let missing = KeyFault::Read(io::ErrorKind::NotFound.into()).to_string();
        assert!(missing.ends_with("entity not found"), "{missing}");
    }
}
