//! Requests over a UNIX socket in the store: one JSON object each way, then the connection ends.
//!
//! Invariant: only root connects (the socket's mode), and one request is carried out at a time; one
//! who connects and says nothing holds the others up for [`PATIENCE`] at most.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use common::net::{StopFlag, wait};
use tracing::{info, warn};

use super::{Answer, Request, carry_out};
use crate::activation::Activator;
use crate::place::{Place, is_nobody};

/// Name of the socket in the store; no app can have it, because of its first character.
pub const SOCKET: &str = "@verbs.sock";
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// A request has a few names and a reason.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// An answer to a prune has a few hundred bytes for each release.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The daemon's end of the socket: a thread that carries requests out until this is dropped.
#[derive(Debug)]
pub struct Server {
    stop: StopFlag,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds the socket in the store's directory at `root`, whose lock this process holds.
    ///
    /// # Errors
    /// When the socket cannot be bound, or no thread can be had.
    pub fn start(activator: Arc<Activator>, root: &Path) -> io::Result<Self> {
        let place = Place::of(root, SOCKET)?;
        // The store's lock is held, so what lies there is a former daemon's.
        match fs::remove_file(&place.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&place.path)?;
        fs::set_permissions(&place.path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let stop = StopFlag::new()?;
        let stopped = stop.clone();
        let thread = Builder::new().name("verbs".into()).spawn(move || {
            while wait(&[listener.as_fd(), stopped.as_fd()], None).is_ok() && !stopped.is_raised() {
                let Ok((stream, _)) = listener.accept() else { continue };
                if let Err(error) = converse(&activator, stream) {
                    warn!("a verb was asked for and not answered: {error}");
                }
            }
            // Whoever asks from now on has the store's lock, or waits for it.
            let _ = fs::remove_file(&place.path);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn converse(activator: &Activator, mut stream: UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = Vec::new();
    (&stream).take(REQUEST_BYTES_MAX).read_to_end(&mut text)?;
    let request: Request = serde_json::from_slice(&text).map_err(io::Error::other)?;
    let answer = carry_out(activator, &request);
    match &answer {
        Answer::Done(line) => info!("asked on this host: {line}"),
        Answer::Pruned(pruned) if !matches!(request, Request::Prune { dry_run: true, .. }) => {
            pruned.lines().iter().for_each(|line| info!("asked on this host: {line}"));
        }
        Answer::Pruned(_) | Answer::Refused { .. } => {}
    }
    stream.write_all(&serde_json::to_vec(&answer).map_err(io::Error::other)?)
}

/// Asks the daemon of `store`; nothing when none is running there.
///
/// # Errors
/// When a daemon is there and does not answer or is not understood.
pub fn ask(store: &Path, request: &Request) -> io::Result<Option<Answer>> {
    // A store that is not there has no daemon either.
    let connected = Place::of(store, SOCKET).and_then(|place| UnixStream::connect(&place.path));
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.write_all(&serde_json::to_vec(request).map_err(io::Error::other)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    if answer.is_empty() {
        let line = "it ended before it answered; fanhost releases shows what is";
        return Err(io::Error::new(ErrorKind::UnexpectedEof, line));
    }
    serde_json::from_slice(&answer).map(Some).map_err(|error| {
        io::Error::new(ErrorKind::InvalidData, format!("it speaks another version: {error}"))
    })
}
