//! The keys that a sender seals a session with, from its directory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::keys::{KeyError, KeyFault, Keyring, PublicKey, Role, SymmetricKey};
use common::seal::SenderKeys;

use super::{complaint, open_secret};
use crate::complaint::Complaint;

/// Reads `group.key`, `master.key` and `operator.key`, for whose password somebody may be asked,
/// and every `operator*.pub`: announces that are signed so are those of another sender.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn load(directory: &Path) -> Result<Arc<SenderKeys>, Complaint> {
    let at = |name: &str| directory.join(name);
    let group = SymmetricKey::load(&at("group.key"), Role::Group).map_err(complaint)?;
    let master = SymmetricKey::load(&at("master.key"), Role::Master).map_err(complaint)?;
    let mut public = others(directory).map_err(complaint)?;
    let operator = open_secret(&at("operator.key"))?;
    public.push(*operator.public());
    let operators = Keyring::new(public)
        .map_err(|fault| complaint(KeyError { path: directory.to_owned(), fault }))?;
    Ok(Arc::new(SenderKeys { group, master, operator, operators }))
}

fn others(directory: &Path) -> Result<Vec<PublicKey>, KeyError> {
    let unreadable = |error| KeyError { path: directory.to_owned(), fault: KeyFault::Read(error) };
    let mut keys = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("operator") && name.ends_with(".pub") {
            keys.push(PublicKey::load(&path)?);
        }
    }
    Ok(keys)
}
