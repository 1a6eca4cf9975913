//! The operator's keys: made, unlocked, and signed with.
//!
//! * [`keygen`]: new keys; [`sign`]: signatures of bundles; [`shown`]: what others have signed;
//! * [`password`]: where a password comes from; [`sealing`]: the keys of a session.
//!
//! Not here: what the keys are (`common::keys`). Invariant: a key's file is never overwritten, and
//! no secret is printed.

pub mod keygen;
pub mod password;
pub mod sealing;
pub mod shown;
pub mod sign;

use std::io::ErrorKind;
use std::path::Path;

use common::keys::{KeyError, KeyFault, SecretKey, SecretKeyFile};

use crate::complaint::Complaint;
use crate::exit::Exit;

/// Where keys lie unless a flag says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/etc/fanfare/keys";

/// Reads a key that signs, and asks for its password if it has one.
///
/// # Errors
/// Names the file and what is wrong with it, or that there is no password.
pub fn open_secret(path: &Path) -> Result<SecretKey, Complaint> {
    let file = SecretKeyFile::load(path).map_err(complaint)?;
    let password = match file.is_locked() {
        true => Some(password::ask(path)?),
        false => None,
    };
    file.open(password.as_ref().map(|password| password.as_str()))
        .map_err(|fault| complaint(KeyError { path: path.to_owned(), fault }))
}

/// What is wrong with a key, for the last line: a mistyped path is a usage error, a key that may
/// not be used is refused.
pub fn complaint(error: KeyError) -> Complaint {
    use ErrorKind::{IsADirectory, NotADirectory, NotFound};
    let exit = match &error.fault {
        KeyFault::Read(io) if matches!(io.kind(), NotFound | NotADirectory | IsADirectory) => {
            Exit::Usage
        }
        KeyFault::Exists | KeyFault::Locked | KeyFault::Role { .. } | KeyFault::Secret => {
            Exit::Usage
        }
        KeyFault::Write(io) if matches!(io.kind(), NotFound | NotADirectory) => Exit::Usage,
        KeyFault::Read(_) | KeyFault::Write(_) => Exit::Resources,
        _ => Exit::Refused,
    };
    Complaint::new(exit, error)
}
