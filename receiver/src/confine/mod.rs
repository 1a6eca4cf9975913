//! What the process on the network takes away from itself before it opens a socket.
//!
//! No privileges to gain or left, by Landlock no file but those that it receives into, no TCP and
//! nobody to signal, and by seccomp no system call that a program which only receives has no use
//! for. What a service manager takes away besides (packaging/) is a second fence, not this one.
//!
//! Not here: who the process is; whoever starts it says so, and root is refused. Invariant: what
//! this kernel cannot take away is said in words, one line for each.

mod landlock;
mod seccomp;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Why a process was not confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// It is root.
    #[error(
        "with a helper, fanhost run needs no privileges and must not be root: start it as another \
         user (User= of fanhost.service), or without --helper"
    )]
    Root,
    /// The kernel refused.
    #[error("cannot confine this process: {0}: {1}")]
    System(&'static str, io::Error),
}

/// Confines the calling thread, and those that it will start, to writing below `directories`;
/// called before there are others. Lines about what this kernel leaves open.
///
/// # Errors
/// When the process is root, or the kernel refuses what it knows.
pub fn enter(directories: &[PathBuf]) -> Result<Vec<String>, ConfineError> {
    let failed = |what| move |error: io::Error| ConfineError::System(what, error);
    if rustix::process::geteuid().is_root() || rustix::process::getuid().is_root() {
        return Err(ConfineError::Root);
    }
    drop_capabilities().map_err(failed("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(|errno| failed("no_new_privs")(errno.into()))?;
    let lines = landlock::restrict(directories).map_err(failed("Landlock"))?;
    seccomp::restrict().map_err(failed("seccomp"))?;
    Ok(lines)
}

fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let found = rustix::thread::capabilities(None)?;
    // A service manager that left none may have taken the call away as well.
    if (found.effective | found.permitted | found.inheritable).is_empty() {
        return Ok(());
    }
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(rustix::thread::clear_ambient_capability_set()?)
}
