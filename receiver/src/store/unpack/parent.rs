//! Starts the process that unpacks an archive, and tells it how far that is verified.
//!
//! Not here: what that process does ([`super::child`]). Invariant: when [`unpack_apart`] returns
//! the process is gone, so nothing is made in the tree any more.

#![expect(clippy::disallowed_methods, reason = "opens the image and starts the process")]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, Mode, OFlags};

use super::Unpacked;
use super::child::{Answer, Order};
use crate::handover::send_descriptor;
use crate::store::error::StepError;
use crate::store::mount::descriptor;
use crate::store::prefix::Prefix;
use crate::store::step::Bounds;

/// What this machine leaves open to unpackers, as far as it was said in the log.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Unpacks the image of `bytes`, verified as far as `prefix` says, into the new directory `path`,
/// in a process of its own that can change nothing else.
///
/// # Errors
/// [`StepError::Refused`] with the entry and the reason; otherwise the kernel's answer. Either way
/// a half tree may be left behind, for the caller to remove.
pub(in crate::store) fn unpack_apart(
    image: &File,
    prefix: &Prefix,
    bytes: u64,
    path: &Path,
    bounds: Bounds,
) -> Result<Unpacked, StepError> {
    rustix::fs::mkdir(path, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let tree = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    // Without the right to write to it.
    let image = File::open(descriptor(image))?;
    let (socket, theirs) = UnixStream::pair()?;
    let mut child = start(theirs.into())?;
    let answer = converse(&socket, &tree, &image, prefix, Order { bytes, bounds });
    if answer.is_err() {
        // It said nothing that can be understood; it may still be there.
        let _ = child.kill();
    }
    drop(socket);
    let status = child.wait()?;
    match answer? {
        Some(Answer::Done(unpacked)) => Ok(unpacked),
        Some(Answer::Refused(refusal)) => Err(refusal.into()),
        Some(Answer::Failed(Some(number), _)) => Err(io::Error::from_raw_os_error(number).into()),
        Some(Answer::Failed(None, line)) => Err(io::Error::other(line).into()),
        Some(Answer::Confined(_)) | None => Err(silence(status).into()),
    }
}

fn silence(status: ExitStatus) -> io::Error {
    io::Error::other(format!("the process that unpacks ended without an answer: {status}"))
}

/// Starts this program once more, as an unpacker that is told what to do over `socket`.
fn start(socket: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(ARGUMENTS).env_clear().current_dir("/");
    #[cfg(test)]
    command.env(tests::CHILD, "1");
    command.stdin(socket).stdout(Stdio::null()).spawn()
}

#[cfg(not(test))]
const ARGUMENTS: [&str; 1] = [super::UNPACKER];
/// A test program is no fanhost, and has this test to be one.
#[cfg(test)]
const ARGUMENTS: [&str; 2] = ["--exact", "store::unpack::parent::tests::child"];

/// Gives the unpacker its order, then tells it how far the image is verified; its last answer.
fn converse(
    socket: &UnixStream,
    tree: &OwnedFd,
    image: &File,
    prefix: &Prefix,
    order: Order,
) -> io::Result<Option<Answer>> {
    send_descriptor(socket, tree.as_fd())?;
    send_descriptor(socket, image.as_fd())?;
    let mut line = serde_json::to_vec(&order).expect("an order has only string keys");
    line.push(b'\n');
    write(socket, &line)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        thread::Builder::new().name("unpack-feed".into()).spawn_scoped(scope, || {
            // Where it has gone, its answer or its end says why.
            let tell = |verified: u64| write(socket, &verified.to_be_bytes());
            let _ = prefix.follow(order.bytes, &is_over, tell);
            let _ = socket.shutdown(Shutdown::Write);
        })?;
        let answer = last_answer(socket);
        is_over.store(true, Ordering::Relaxed);
        prefix.wake();
        answer
    })
}

fn write(mut socket: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes)
}

fn last_answer(socket: &UnixStream) -> io::Result<Option<Answer>> {
    let mut last = None;
    for line in BufReader::new(socket).lines() {
        let answer = serde_json::from_str(&line?).map_err(io::Error::other)?;
        if let Answer::Confined(lines) = &answer {
            lines.iter().for_each(|line| say_once(line));
        }
        last = Some(answer);
    }
    Ok(last)
}

fn say_once(line: &str) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.iter().any(|it| it == line) {
        tracing::warn!("{line}");
        said.push(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::archive::{Entry, archive};
    use super::*;

    /// Tells a test program that it is the unpacker.
    pub(super) const CHILD: &str = "FANFARE_UNPACKER";

    const BOUNDS: Bounds = Bounds { entries: 10, bytes: 1 << 20, depth: 5, name: 255 };

    /// The program that unpacks. Not started as one, it does nothing.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_some() {
            super::super::serve().unwrap();
        }
    }

    fn image(directory: &Path, entries: &[Entry]) -> (File, u64) {
        let path = directory.join("image");
        let bytes = archive(entries);
        fs::write(&path, &bytes).unwrap();
        (File::open(path).unwrap(), bytes.len() as u64)
    }

    #[test]
    fn a_process_of_its_own_unpacks_what_is_verified_as_it_comes() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        let entries = [Entry::file("d/a", b"hello"), Entry::symlink("d/l", "/etc/passwd")];
        let (file, bytes) = image(directory.path(), &entries);
        let prefix = Prefix::default();
        let unpacked = thread::scope(|scope| {
            let unpacker = scope.spawn(|| unpack_apart(&file, &prefix, bytes, &tree, BOUNDS));
            for verified in (512..=bytes).step_by(512) {
                prefix.advance(verified);
            }
            unpacker.join().unwrap().unwrap()
        });
        assert_eq!((unpacked.entries, unpacked.bytes), (2, 5));
        assert_eq!(fs::read(tree.join("d/a")).unwrap(), b"hello");
        assert_eq!(fs::read_link(tree.join("d/l")).unwrap(), Path::new("/etc/passwd"));
    }

    #[test]
    fn a_refusal_a_failure_and_an_end_come_back_as_what_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let unpack = |name: &str, entries: &[Entry], prefix: &Prefix, limit: u64| {
            let (file, bytes) = image(directory.path(), entries);
            prefix.advance(limit.min(bytes));
            let path = directory.path().join(name);
            unpack_apart(&file, prefix, bytes, &path, BOUNDS).unwrap_err()
        };
        let hostile = [Entry::file("../outside", b"x")];
        // It says so while most of the archive is still to come.
        let error = unpack("refused", &hostile, &Prefix::default(), 1024);
        assert!(matches!(error, StepError::Refused(_)), "{error}");
        assert_eq!(error.to_string(), "entry \"../outside\" has .. in its path");
        let plain = [Entry::file("a", &[1; 9000])];
        let abandoned = Prefix::default();
        abandoned.abandon();
        let error = unpack("abandoned", &plain, &abandoned, 1024);
        assert_eq!(error.to_string(), "the image was not received completely");
        let error = unpack("refused", &plain, &Prefix::complete(1 << 20), 0);
        assert!(matches!(&error, StepError::Io(error) if error.raw_os_error() == Some(17)));
    }
}
