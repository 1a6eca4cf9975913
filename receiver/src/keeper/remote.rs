//! The keeper of a process without privileges: it receives images itself and asks the helper for
//! the rest.
//!
//! A request has a connection of its own, so nothing is left of one that failed: a helper that was
//! killed and came back is asked again, and every verb may be repeated. Not here: what the helper
//! does ([`crate::helper`]).

#![expect(clippy::disallowed_methods, reason = "waits for a helper that is being started")]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::bundle::Preamble;
use common::digest::Digest;
use common::id::{AppName, ReleaseId};
use common::wire::Fault;

use super::message::{Answer, HostFacts, Offered, Reply, Request, receive, send, texts};
use super::{Claim, Keeper};
use crate::activation::Progress;
use crate::handover::receive_descriptor;
use crate::store::{Capabilities, Holdings, Incoming, Offer, Partial, StoreError, SystemWorld};

/// How long a helper that does not answer is waited for: a service manager starts it again after
/// two seconds, and it mounts what a reboot unmounted before it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);

/// A keeper in another process.
#[derive(Debug)]
pub struct Remote {
    socket: PathBuf,
    host: HostFacts,
    incoming: Incoming,
    complaints: Mutex<Vec<String>>,
}

/// Why a request has no answer.
enum Trouble {
    /// The helper is not there, or went away: it may be asked again.
    Gone(io::Error),
    /// Asking again does not help.
    Refused(StoreError),
}

impl Remote {
    /// Asks the helper at `socket` what this host is like.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn connect(socket: &Path) -> Result<Self, StoreError> {
        let complaints = Mutex::default();
        let answer = ask(socket, &Request::Hello, &complaints, &|| {})?;
        let Answer::Host(host) = answer else { return Err(nonsense(socket, &answer)) };
        let incoming = Incoming::new(Arc::new(SystemWorld), &host.store, &host.apps);
        Ok(Self { socket: socket.to_path_buf(), host, incoming, complaints })
    }

    /// Where the store lies.
    pub fn store(&self) -> &Path {
        &self.host.store
    }

    /// The apps that the helper keeps.
    pub fn apps(&self) -> &[AppName] {
        &self.host.apps
    }

    /// All that this process need be able to write.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.incoming.directories()
    }

    /// The socket of `fanhost status`, which this process could not bind itself.
    ///
    /// # Errors
    /// When the helper has none.
    pub fn listener(&self) -> Result<OwnedFd, StoreError> {
        let failed = |error: &io::Error| {
            let line = format!("the helper at {} gives no socket: {error}", self.socket.display());
            StoreError::new(Fault::Internal, line)
        };
        let stream = UnixStream::connect(&self.socket).map_err(|error| failed(&error))?;
        send(&stream, &Request::Listen).map_err(|error| failed(&error))?;
        let reply: Reply = receive(&stream).map_err(|error| failed(&error))?;
        reply.answer.into_result()?;
        receive_descriptor(&stream).map_err(|error| failed(&error))
    }

    fn ask(&self, request: &Request, is_durable: &dyn Fn()) -> Result<Answer, StoreError> {
        ask(&self.socket, request, &self.complaints, is_durable)
    }

    fn order(&self, request: &Request) -> Result<(), StoreError> {
        match self.ask(request, &|| {})? {
            Answer::Done => Ok(()),
            other => Err(nonsense(&self.socket, &other)),
        }
    }
}

impl Keeper for Remote {
    fn capabilities(&self) -> Capabilities {
        self.host.capabilities.clone()
    }

    fn take_complaints(&self) -> Vec<String> {
        std::mem::take(&mut self.complaints.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn holdings(
        &self,
        app: &AppName,
        release: &ReleaseId,
        image: &Digest,
    ) -> Result<Holdings, StoreError> {
        let request = Request::Holdings { app: app.clone(), release: *release, image: *image };
        match self.ask(&request, &|| {})? {
            Answer::Held(held) => Ok(Holdings {
                partial: !held.image && self.incoming.holds_partial(app, image),
                free_bytes: self.incoming.free_bytes(app),
                ..held
            }),
            other => Err(nonsense(&self.socket, &other)),
        }
    }

    fn vouch(&self, app: &AppName, manifest: &[u8], signatures: &[u8]) -> Result<(), StoreError> {
        let (manifest, signatures) = texts(manifest, signatures)?;
        self.order(&Request::Vouch { app: app.clone(), manifest, signatures })
    }

    fn check(&self, _: &AppName, offer: &Offer) -> Result<(), StoreError> {
        self.order(&Request::Check { offer: Offered::of(offer)? })
    }

    fn reserve(&self, _: &AppName, offer: &Offer) -> Result<Claim, StoreError> {
        let request = Request::Reserve { offer: Offered::of(offer)? };
        let (answer, stream) = ask_open(&self.socket, &request, &self.complaints, &|| {})?;
        match answer {
            Answer::Done => Ok(Box::new(stream)),
            other => Err(nonsense(&self.socket, &other)),
        }
    }

    fn begin(&self, app: &AppName, preamble: Arc<Preamble>) -> Result<Partial, StoreError> {
        self.incoming.begin(app, preamble)
    }

    fn stage_held(
        &self,
        _: &AppName,
        offer: &Offer,
        is_durable: &dyn Fn(),
    ) -> Result<bool, StoreError> {
        let request = Request::Stage { offer: Offered::of(offer)?, is_received: false };
        match self.ask(&request, is_durable)? {
            Answer::Done => Ok(true),
            Answer::Spoiled => Ok(false),
            other => Err(nonsense(&self.socket, &other)),
        }
    }

    fn stage_received(
        &self,
        _: &AppName,
        offer: &Offer,
        partial: Partial,
        is_durable: &dyn Fn(),
    ) -> Result<(), StoreError> {
        partial.hand_over()?;
        let request = Request::Stage { offer: Offered::of(offer)?, is_received: true };
        match self.ask(&request, is_durable)? {
            Answer::Done => Ok(()),
            other => Err(nonsense(&self.socket, &other)),
        }
    }

    fn activate(&self, app: &AppName, release: ReleaseId) -> Result<(), StoreError> {
        self.order(&Request::Activate { app: app.clone(), release })
    }

    fn progress(&self, app: &AppName) -> Result<Option<Progress>, StoreError> {
        match self.ask(&Request::Progress { app: app.clone() }, &|| {})? {
            Answer::Progress(progress) => Ok(progress.map(|it| *it)),
            other => Err(nonsense(&self.socket, &other)),
        }
    }

    fn prune(&self, app: &AppName) -> Result<(), StoreError> {
        self.order(&Request::Prune { app: app.clone() })
    }
}

fn ask(
    socket: &Path,
    request: &Request,
    complaints: &Mutex<Vec<String>>,
    is_durable: &dyn Fn(),
) -> Result<Answer, StoreError> {
    ask_open(socket, request, complaints, is_durable).map(|(answer, _)| answer)
}

/// Asks until there is an answer, or nobody answered for too long; with it comes the connection.
fn ask_open(
    socket: &Path,
    request: &Request,
    complaints: &Mutex<Vec<String>>,
    is_durable: &dyn Fn(),
) -> Result<(Answer, UnixStream), StoreError> {
    let until = Instant::now() + PATIENCE;
    let mut has_waited = false;
    loop {
        let error = match ask_once(socket, request, complaints, is_durable) {
            Ok(answer) => return Ok(answer),
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Gone(error)) => error,
        };
        let name = socket.display();
        if Instant::now() >= until {
            let seconds = PATIENCE.as_secs();
            let line = format!(
                "the helper at {name} did not answer for {seconds} s ({error}): is \
                 fanhost-helper.service running?"
            );
            return Err(StoreError::new(Fault::Internal, line));
        }
        if !std::mem::replace(&mut has_waited, true) {
            tracing::warn!("the helper at {name} does not answer ({error}); it is waited for");
        }
        std::thread::sleep(RETRY);
    }
}

fn ask_once(
    socket: &Path,
    request: &Request,
    complaints: &Mutex<Vec<String>>,
    is_durable: &dyn Fn(),
) -> Result<(Answer, UnixStream), Trouble> {
    let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let line = format!("the helper at {} may not be asked: {error}", socket.display());
            Trouble::Refused(StoreError::new(Fault::Internal, line))
        }
        _ => Trouble::Gone(error),
    })?;
    send(&stream, request).map_err(Trouble::Gone)?;
    loop {
        let reply: Reply = receive(&stream).map_err(Trouble::Gone)?;
        complaints.lock().unwrap_or_else(PoisonError::into_inner).extend(reply.complaints);
        match reply.answer.into_result().map_err(Trouble::Refused)? {
            Answer::Durable => is_durable(),
            answer => return Ok((answer, stream)),
        }
    }
}

fn nonsense(socket: &Path, answer: &Answer) -> StoreError {
    let line = format!(
        "the helper at {} answers {answer:?}: it is of another version, restart both",
        socket.display()
    );
    StoreError::new(Fault::Internal, line)
}
