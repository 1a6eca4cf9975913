//! Landlock's three system calls, which neither rustix nor libc wraps.
//!
//! Not here: what is restricted, and what each version of the kernel knows.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::checked;

/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: u32 = 1;

/// `struct landlock_ruleset_attr`: the rights that a ruleset takes away unless a rule gives them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruleset {
    /// `LANDLOCK_ACCESS_FS_*`.
    pub files: u64,
    /// `LANDLOCK_ACCESS_NET_*`.
    pub network: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub scopes: u64,
}

/// How much of a [`Ruleset`] a kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// `files`.
    Files = 8,
    /// `files` and `network`.
    Network = 16,
    /// Everything.
    Scopes = 24,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Rule {
    allowed: u64,
    parent: i32,
}

const _: () = assert!(size_of::<Ruleset>() == 24 && size_of::<Rule>() == 12);

/// The version that this kernel has.
///
/// # Errors
/// `ENOSYS` where it has none, `EOPNOTSUPP` where it is switched off.
pub fn version() -> io::Result<i32> {
    let none = std::ptr::null::<Ruleset>();
    // SAFETY: with this flag the kernel reads no ruleset.
    let answer = checked(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION)
    })?;
    Ok(i32::try_from(answer).unwrap_or(i32::MAX))
}

/// A ruleset without rules; what of it the kernel does not know is left out.
///
/// # Errors
/// The kernel's.
pub fn create(ruleset: &Ruleset, known: Known) -> io::Result<OwnedFd> {
    let ruleset = std::ptr::from_ref(ruleset);
    // SAFETY: the kernel reads at most 24 bytes of the ruleset, which has as many, and keeps no
    // pointer.
    let answer = checked(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ruleset, known as usize, 0)
    })?;
    let descriptor = i32::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel just opened it for this call alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Adds a rule that gives back `allowed` (`LANDLOCK_ACCESS_FS_*`) for `parent` and what lies below.
///
/// # Errors
/// The kernel's.
pub fn allow(ruleset: &OwnedFd, parent: impl AsFd, allowed: u64) -> io::Result<()> {
    let rule = Rule { allowed, parent: parent.as_fd().as_raw_fd() };
    // SAFETY: the kernel reads one rule, whose layout is asserted above; both descriptors are open.
    checked(unsafe {
        let ruleset = ruleset.as_raw_fd();
        libc::syscall(libc::SYS_landlock_add_rule, ruleset, PATH_BENEATH, &raw const rule, 0)
    })?;
    Ok(())
}

/// Restricts the calling thread, and those that it will start, to the ruleset, for good.
///
/// # Errors
/// The kernel's.
pub fn restrict_thread(ruleset: &OwnedFd) -> io::Result<()> {
    // SAFETY: an open descriptor and no flags.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(())
}
