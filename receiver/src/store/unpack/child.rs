//! The process that unpacks: started for one archive, confined to its tree before it reads a byte
//! of it, and gone afterwards.
//!
//! Not here: what an archive may contain. Its standard input is a socket to who started it: over
//! that come the tree and the image, both open, an [`Order`], and from then on how far the image is
//! verified, as big-endian numbers of 8 bytes; back go [`Answer`]s, a line each. Invariant: nothing
//! that the archive says is looked at before [`confine::enter_tree`] has returned.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use super::tree::Tree;
use super::{Refusal, Unpacked, unpack};
use crate::confine;
use crate::handover::receive_descriptor;
use crate::store::error::StepError;
use crate::store::limits::{UNPACKER_FILES, UNPACKER_MEMORY_BYTES};
use crate::store::prefix::{Follower, Verified};
use crate::store::step::Bounds;

/// What a program that has a store is called with when it is to be an unpacker: it then does
/// nothing but [`serve`].
pub const UNPACKER: &str = "unpack";

/// What is to be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Length of the image when it is complete.
    pub(super) bytes: u64,
    /// What it may produce at most.
    pub(super) bounds: Bounds,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It begins; what this machine left open to it, a line each.
    Confined(Vec<String>),
    /// The tree is complete.
    Done(Unpacked),
    /// The archive holds something that is never unpacked.
    Refused(Refusal),
    /// The machine does not let it: the kernel's number for why, where it has one, and the words.
    Failed(Option<i32>, String),
}

impl From<Result<Unpacked, StepError>> for Answer {
    fn from(result: Result<Unpacked, StepError>) -> Self {
        match result {
            Ok(unpacked) => Self::Done(unpacked),
            Err(StepError::Refused(refusal)) => Self::Refused(refusal),
            Err(StepError::Io(error)) => Self::Failed(error.raw_os_error(), error.to_string()),
            Err(other) => Self::Failed(None, other.to_string()),
        }
    }
}

/// Does what whoever started this process says on standard input.
///
/// # Errors
/// When nobody there speaks to an unpacker; whatever else goes wrong is an `Answer`.
pub fn serve() -> io::Result<()> {
    // Whoever starts it removes the tree when it dies; nothing may be made in there after that.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let tree = receive_descriptor(&socket)?;
    let image = File::from(receive_descriptor(&socket)?);
    let mut from = BufReader::new(socket.try_clone()?);
    let mut order = String::new();
    (&mut from).take(ORDER_BYTES_MAX).read_line(&mut order)?;
    let order: Order = serde_json::from_str(&order).map_err(io::Error::other)?;
    rustix::process::fchdir(&tree)?;
    drop(tree);
    let confined = limit(&order.bounds).and_then(|()| confine::enter_tree().map_err(other));
    let answer = match confined {
        Ok(lines) => {
            say(&socket, &Answer::Confined(lines))?;
            let told = Told { from, verified: 0 };
            let archive = Follower::new(&image, told, order.bytes);
            let tree = Tree::at(Path::new(".")).map_err(StepError::from);
            tree.and_then(|tree| unpack(archive, tree, order.bounds)).into()
        }
        Err(error) => Answer::Failed(error.raw_os_error(), error.to_string()),
    };
    say(&socket, &answer)
}

/// More than any order has.
const ORDER_BYTES_MAX: u64 = 4096;

fn other(error: confine::ConfineError) -> io::Error {
    io::Error::other(error)
}

/// What the kernel holds it to, whatever becomes of the program.
fn limit(bounds: &Bounds) -> io::Result<()> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Nofile, UNPACKER_FILES),
        (Resource::As, UNPACKER_MEMORY_BYTES),
        (Resource::Fsize, bounds.bytes),
    ];
    for (resource, limit) in limits {
        let limit = Some(limit);
        rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
    }
    Ok(())
}

fn say(mut socket: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).expect("an answer has only string keys");
    line.push(b'\n');
    socket.write_all(&line)
}

/// How far the image is verified, as told.
struct Told<R> {
    from: R,
    verified: u64,
}

impl<R: Read> Verified for Told<R> {
    fn wait_beyond(&mut self, at: u64) -> io::Result<u64> {
        while self.verified <= at {
            let mut number = [0; 8];
            self.from.read_exact(&mut number).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    io::Error::other("the image was not received completely")
                }
                _ => error,
            })?;
            self.verified = u64::from_be_bytes(number);
        }
        Ok(self.verified)
    }
}
