//! What the process on the network takes away from itself before it opens a socket, and an unpacker
//! before it reads an archive.
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

use rustix::io::Errno;
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
    let none = CapabilitySet::empty();
    keep_capabilities(none).map_err(failed("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(|errno| failed("no_new_privs")(errno.into()))?;
    let lines = landlock::receiver(directories).map_err(failed("Landlock"))?;
    seccomp::receiver().map_err(failed("seccomp"))?;
    Ok(lines)
}

/// Confines the calling thread to making things below its current directory, which becomes the root
/// of all that it sees, where it has the right to make it that; giving files away is left to it.
/// What it has open it keeps. Lines about what is left open here.
///
/// # Errors
/// When the kernel refuses what it knows.
pub fn enter_tree() -> Result<Vec<String>, ConfineError> {
    let failed = |what| move |error: io::Error| ConfineError::System(what, error);
    let mut lines = Vec::new();
    match rustix::process::chroot(".") {
        Ok(()) => {}
        // Who is not root has nothing to give away, and no file elsewhere that Landlock leaves him.
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {}
        Err(Errno::PERM) => lines.push(
            "without CAP_SYS_CHROOT an archive is unpacked by a process that could give away files \
             elsewhere"
                .into(),
        ),
        Err(errno) => return Err(failed("chroot")(errno.into())),
    }
    let kept = CapabilitySet::CHOWN | CapabilitySet::FOWNER;
    keep_capabilities(kept).map_err(failed("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(|errno| failed("no_new_privs")(errno.into()))?;
    lines.extend(landlock::unpacker().map_err(failed("Landlock"))?);
    seccomp::unpacker().map_err(failed("seccomp"))?;
    Ok(lines)
}

/// Drops the capabilities but these, and where it may that to gain others.
fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let found = rustix::thread::capabilities(None)?;
    // Who has not the right to cannot gain any either, once there are no new privileges.
    if found.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (CapabilitySet::all() - kept).iter() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // One that this kernel does not know.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    let all = found.effective | found.permitted | found.inheritable;
    // A service manager that left no others may have taken the call away as well.
    if (all - kept).is_empty() {
        return Ok(());
    }
    let left = found.permitted & kept;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(rustix::thread::clear_ambient_capability_set()?)
}
