//! The socket between the process on the network and the helper.
//!
//! Not here: what is said. Invariant: the helper reads nothing from whom the kernel does not name
//! as one of the two users that may ask.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::store::Owner;

/// Binds the socket at `path` in the place of a former one. Only root and the group of `tenant` can
/// connect to it.
///
/// # Errors
/// When the directory is not there, or something else has the name.
pub fn bind(path: &Path, tenant: Owner) -> io::Result<UnixListener> {
    unlink_socket(path)?;
    let listener = UnixListener::bind(path)?;
    std::os::unix::fs::chown(path, None, Some(tenant.group))?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn unlink_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(facts) if facts.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "it is there and is no socket")),
    }
}

/// Whether the process behind `stream` is root's or the tenant's, as the kernel has it.
///
/// # Errors
/// The kernel's answer.
pub fn is_welcome(stream: &UnixStream, tenant: Owner) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok([0, tenant.user].contains(&peer.uid.as_raw()))
}
