//! The keys that a sender seals a session with, from its directory.

use std::path::Path;
use std::sync::Arc;

use common::keys::file::list;
use common::keys::{KeyError, Keyring, PublicKey, Role, SymmetricKey};
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
    let others = list(directory, "operator", ".pub").map_err(complaint)?;
    let mut public: Vec<PublicKey> = others
        .iter()
        .map(|path| PublicKey::load(path))
        .collect::<Result<_, _>>()
        .map_err(complaint)?;
    let operator = open_secret(&at("operator.key"))?;
    public.push(*operator.public());
    let operators = Keyring::new(public)
        .map_err(|fault| complaint(KeyError { path: directory.to_owned(), fault }))?;
    Ok(Arc::new(SenderKeys { group, master, operator, operators }))
}
