//! Landlock: which files the process may still use.
//!
//! Not here: which it should. The kernel's interface has grown by versions; what a kernel does not
//! know is asked of it nowhere and said instead.
//!
//! Written on the three system calls: what this program needs of them is one ruleset, and it has to
//! name what an old kernel leaves open.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::sys::landlock::{self, Known, Ruleset};

const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIRECTORY: u64 = 1 << 7;
const MAKE_FILE: u64 = 1 << 8;
const MAKE_LINK: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;

/// What is taken away of files by the first version, and by later ones.
const FILES: [(i32, u64); 4] =
    [(1, (1 << 13) - 1), (REFER_SINCE, REFER), (3, TRUNCATE), (5, 1 << 15)];
/// The version before which no file can be linked into another directory, whatever is allowed.
const REFER_SINCE: i32 = 2;
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
/// What the process does to a tree that it unpacks.
const UNPACK: u64 =
    WRITE_FILE | READ_DIRECTORY | MAKE_DIRECTORY | MAKE_FILE | MAKE_LINK | REFER | TRUNCATE;

/// The one file elsewhere that it reads: it tells machines of one name apart.
const MACHINE: &str = "/etc/machine-id";

/// Leaves the calling thread, and those that it will start, `directories` to receive into; lines
/// about what this kernel does not restrict.
///
/// # Errors
/// The kernel's answer, where it knows Landlock.
pub(super) fn receiver(directories: &[PathBuf]) -> io::Result<Vec<String>> {
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
    landlock::restrict_thread(&ruleset)?;
    Ok(missing(version))
}

/// Leaves the calling thread its current directory to make things in; a line where this kernel
/// cannot do that.
///
/// # Errors
/// The kernel's answer, where it knows Landlock.
pub(super) fn unpacker() -> io::Result<Option<String>> {
    let Some(version) = version()?.filter(|version| *version >= REFER_SINCE) else {
        let line = "this kernel has no Landlock, or one that allows no hard links: archives are \
                    unpacked without it";
        return Ok(Some(line.into()));
    };
    let files = files_of(version);
    let ruleset = create(version, files)?;
    allow(&ruleset, Path::new("."), UNPACK & files)?;
    landlock::restrict_thread(&ruleset)?;
    Ok(None)
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
    match landlock::version() {
        Ok(version) => Ok(Some(version)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn create(version: i32, files: u64) -> io::Result<OwnedFd> {
    // A kernel that does not know the last fields takes no more than it knows.
    let known = match version {
        SCOPES_SINCE.. => Known::Scopes,
        TCP_SINCE.. => Known::Network,
        _ => Known::Files,
    };
    landlock::create(&Ruleset { files, network: TCP, scopes: SCOPES }, known)
}

fn allow(ruleset: &OwnedFd, path: &Path, allowed: u64) -> io::Result<()> {
    let parent: File = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    landlock::allow(ruleset, &parent, allowed)
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
