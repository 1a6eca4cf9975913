//! Landlock: which files the process may still use.
//!
//! Not here: which it should. The kernel's interface has grown by versions; what a kernel does not
//! know is asked of it nowhere and said instead.
//!
//! Written on the three system calls: what this program needs of them is one ruleset, and it has to
//! name what an old kernel leaves open.

#![expect(unsafe_code, reason = "Landlock's three system calls have no wrapper in rustix or libc")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: u32 = 1;

const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_FILE: u64 = 1 << 8;
const TRUNCATE: u64 = 1 << 14;

/// What is taken away of files by the first version, and by later ones.
const FILES: [(i32, u64); 4] = [(1, (1 << 13) - 1), (2, 1 << 13), (3, TRUNCATE), (5, 1 << 15)];
/// Binding and connecting TCP sockets.
const TCP: u64 = 0b11;
/// The version that knows it.
const TCP_SINCE: i32 = 4;
/// Abstract UNIX sockets, and signals, of processes outside.
const SCOPES: u64 = 0b11;
/// The version that knows it.
const SCOPES_SINCE: i32 = 6;
/// What the process still does to what it receives.
const RECEIVE: u64 = WRITE_FILE | READ_FILE | READ_DIRECTORY | REMOVE_FILE | MAKE_FILE | TRUNCATE;

/// The one file elsewhere that it reads: it tells machines of one name apart.
const MACHINE: &str = "/etc/machine-id";

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Rule {
    allowed: u64,
    parent: i32,
}

const _: () = assert!(size_of::<Ruleset>() == 24 && size_of::<Rule>() == 12);

/// Leaves the calling thread, and those that it will start, `directories` to receive into; lines
/// about what this kernel does not restrict.
///
/// # Errors
/// The kernel's answer, where it knows Landlock.
pub(super) fn restrict(directories: &[PathBuf]) -> io::Result<Vec<String>> {
    let Some(version) = version()? else {
        return Ok(vec![
            "this kernel has no Landlock: files are only protected by their modes".into(),
        ]);
    };
    let files = files_of(version);
    let ruleset = create(version, files)?;
    for directory in directories {
        allow(&ruleset, directory, RECEIVE & files)?;
    }
    match allow(&ruleset, Path::new(MACHINE), READ_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // SAFETY: an open descriptor and no flags.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(missing(version))
}

fn files_of(version: i32) -> u64 {
    FILES.iter().filter(|(since, _)| *since <= version).fold(0, |all, (_, rights)| all | rights)
}

/// What a kernel of this version leaves open.
fn missing(version: i32) -> Vec<String> {
    let open = [
        (3, "files elsewhere can be truncated where their mode allows"),
        (TCP_SINCE, "TCP connections can be made"),
        (SCOPES_SINCE, "processes of the same user can be signalled"),
    ];
    let open = open.into_iter().filter(|(since, _)| *since > version);
    open.map(|(_, what)| format!("this kernel has version {version} of Landlock: {what}")).collect()
}

/// The version that this kernel has; none where it has no Landlock, or has it switched off.
fn version() -> io::Result<Option<i32>> {
    let none = std::ptr::null::<Ruleset>();
    // SAFETY: with this flag the kernel reads no ruleset.
    let answer = checked(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION)
    });
    match answer {
        Ok(version) => Ok(Some(i32::try_from(version).unwrap_or(i32::MAX))),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn create(version: i32, files: u64) -> io::Result<OwnedFd> {
    let ruleset = Ruleset { files, network: TCP, scopes: SCOPES };
    // A kernel that does not know the last fields takes no more than it knows.
    let bytes: usize = match version {
        SCOPES_SINCE.. => 24,
        TCP_SINCE.. => 16,
        _ => 8,
    };
    // SAFETY: the kernel reads `bytes` of the ruleset, which has as many, and keeps no pointer.
    let answer = checked(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, bytes, 0)
    })?;
    let descriptor = i32::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel just opened it for this call alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn allow(ruleset: &OwnedFd, path: &Path, allowed: u64) -> io::Result<()> {
    let parent: File = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let rule = Rule { allowed, parent: parent.as_raw_fd() };
    // SAFETY: the kernel reads one rule, whose layout is asserted above; both descriptors are open.
    checked(unsafe {
        let ruleset = ruleset.as_raw_fd();
        libc::syscall(libc::SYS_landlock_add_rule, ruleset, PATH_BENEATH, &raw const rule, 0)
    })?;
    Ok(())
}

fn checked(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_asked_for_what_its_version_knows_and_the_rest_is_said() {
        assert_eq!(files_of(1), 0x1FFF);
        assert_eq!(files_of(4), 0x7FFF);
        assert_eq!(files_of(9), 0xFFFF);
        assert_eq!(missing(1).len(), 3);
        assert_eq!(
            missing(4),
            ["this kernel has version 4 of Landlock: processes of the same user \
                                 can be signalled"]
        );
        assert_eq!(missing(6), [""; 0]);
    }
}
