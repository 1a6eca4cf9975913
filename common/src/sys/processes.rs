//! What a process or thread is to the kernel: its namespaces, its rank at disks, what it inherited.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::UnshareFlags;

use super::checked;

/// `IOPRIO_WHO_PROCESS` of linux/ioprio.h; with 0 it means the calling thread.
const WHO_PROCESS: libc::c_int = 1;
/// The descriptor that a service manager hands over first.
const FIRST_DESCRIPTOR: i32 = 3;

/// How a disk's scheduler ranks a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoRank {
    /// As the nice value of the process says: `IOPRIO_CLASS_NONE`, in its place.
    OfProcess = 0,
    /// Behind everybody else: `IOPRIO_CLASS_IDLE`.
    Idle = 3 << 13,
}

/// A namespace that a thread can leave for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Interfaces, routes, sockets opened from then on.
    Network,
    /// What is mounted where.
    Mounts,
    /// Users and capabilities; only for a process of one thread.
    Users,
}

/// Gives the calling thread, and those that it will start, a new namespace in the place of its own.
///
/// # Errors
/// The kernel's.
pub fn leave(namespace: Namespace) -> io::Result<()> {
    let flags = match namespace {
        Namespace::Network => UnshareFlags::NEWNET,
        Namespace::Mounts => UnshareFlags::NEWNS,
        Namespace::Users => UnshareFlags::NEWUSER,
    };
    // SAFETY: descriptors and memory stay shared; none of these namespaces invalidates either.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// Ranks what the calling thread, and those that it will start, do to disks.
///
/// # Errors
/// The kernel's, as in some sandboxes.
pub fn rank_thread(rank: IoRank) -> io::Result<()> {
    // SAFETY: three plain numbers; the call changes the calling thread alone.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, rank as libc::c_int) })?;
    Ok(())
}

/// The first descriptor that the service manager opened for this process, which it said it did:
/// the answer of `sd_listen_fds` names it by its number alone.
///
/// # Errors
/// When it was taken before.
pub fn take_inherited_descriptor() -> io::Result<OwnedFd> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("the service manager's socket was taken before"));
    }
    // SAFETY: it was open before this program began, so nothing else in here has it, and the line
    // above lets one caller come this far.
    Ok(unsafe { OwnedFd::from_raw_fd(FIRST_DESCRIPTOR) })
}

/// Begins to trace another process, which stops: what one that is confined must be refused.
///
/// # Errors
/// The kernel's.
pub fn trace(process: i32) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: attaching reads and writes no memory of ours.
    checked(unsafe { libc::ptrace(libc::PTRACE_ATTACH, process, none, none) })?;
    Ok(())
}
