//! One request: who asks, what, and what becomes of it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::wire::Fault;
use rustix::io::Errno;
use tracing::{debug, info, warn};

use super::status_listener;
use crate::activation::Activator;
use crate::handover::send_descriptor;
use crate::hooks::Cause;
use crate::keeper::Keeper;
use crate::keeper::message::{
    Answer, COMPLAINTS_MAX, HostFacts, Offered, Reply, Request, cut, receive, send,
};
use crate::keeper::socket::is_welcome;
use crate::store::{Owner, Reservation, Store, StoreError};

/// Claims that are kept at a time: a session that takes another's place has one more for a moment.
const CLAIMS_MAX: usize = 2 * common::limits::HOST_SESSIONS_MAX;

/// What a thread of the helper has at hand.
#[derive(Clone, Copy)]
pub struct Helper<'a> {
    /// The store, and what is done around its switches.
    pub activator: &'a Activator,
    /// The user that receives.
    pub tenant: Owner,
    /// What was set aside for him.
    pub claims: &'a Claims,
}

/// What was set aside, each for as long as the connection is open that asked for it.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Vec<(UnixStream, Reservation)>>);

impl Claims {
    /// Gives back what nobody waits for any more.
    fn sweep(&self) -> MutexGuard<'_, Vec<(UnixStream, Reservation)>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(stream, _)| !has_gone(stream));
        open
    }

    fn keep(&self, stream: UnixStream, reservation: Reservation) -> Result<(), StoreError> {
        let mut open = self.sweep();
        if open.len() >= CLAIMS_MAX {
            let line = format!("{CLAIMS_MAX} transfers have space set aside: that is the limit");
            return Err(StoreError::new(Fault::Internal, line));
        }
        open.push((stream, reservation));
        Ok(())
    }
}

/// Whether the other end of a connection is closed.
fn has_gone(stream: &UnixStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(recv(stream, &mut [0; 1][..], flags), Err(Errno::AGAIN) | Ok((_, 1)))
}

impl Helper<'_> {
    /// Answers what comes through `stream`.
    pub fn serve(&self, stream: &UnixStream) {
        match is_welcome(stream, self.tenant) {
            Ok(true) => {}
            Ok(false) => return warn!("somebody else than root and the receiving user asked"),
            Err(error) => return warn!("who asks is not known: {error}"),
        }
        // Whoever goes away in the middle has asked for what is done, and may ask again.
        if let Err(error) = self.answer(stream) {
            debug!("a request was left: {error}");
        }
    }

    fn answer(&self, stream: &UnixStream) -> io::Result<()> {
        let request: Request = match receive(stream) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                warn!("a request is not understood: {error}");
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if request == Request::Listen {
            let listener = status_listener(self.store())?;
            self.reply(stream, Answer::Done)?;
            return send_descriptor(stream, listener.as_fd());
        }
        let answer = self.carry_out(stream, request);
        self.reply(stream, answer.unwrap_or_else(|error| Answer::failed(&error)))
    }

    fn reply(&self, stream: &UnixStream, answer: Answer) -> io::Result<()> {
        let complaints = self.store().take_complaints();
        complaints.iter().for_each(|line| warn!("{line}"));
        let complaints = complaints.into_iter().take(COMPLAINTS_MAX).map(cut).collect();
        send(stream, &Reply { answer, complaints })
    }

    fn carry_out(&self, stream: &UnixStream, request: Request) -> Result<Answer, StoreError> {
        let store = self.store();
        drop(self.claims.sweep());
        match request {
            Request::Hello => return Ok(Answer::Host(self.facts())),
            Request::Listen => unreachable!("it is answered with a descriptor"),
            Request::Holdings { app, release, image } => {
                return Ok(Answer::Held(store.holdings(&app, &release, &image)));
            }
            Request::Vouch { app, manifest, signatures } => {
                store.vouch(&app, manifest.as_bytes(), signatures.as_bytes())?;
            }
            Request::Check { offer } => {
                let offer = offer.read(store)?;
                self.activator.check(&offer.manifest.app, &offer)?;
            }
            Request::Reserve { offer } => {
                let offer = offer.read(store)?;
                let reservation = store.reserve(&offer.manifest.app, &offer)?;
                let stream = stream.try_clone().map_err(|error| {
                    StoreError::new(Fault::Internal, format!("no descriptor is left: {error}"))
                })?;
                self.claims.keep(stream, reservation)?;
            }
            Request::Stage { offer, is_received } => {
                return self.stage(stream, offer, is_received);
            }
            Request::Activate { app, release } => {
                self.activator.activate(&app, release, Cause::Send)?;
                info!("{app}: current is {}", release.0.short());
            }
            Request::Progress { app } => {
                let progress = self.activator.progress(&app)?;
                return Ok(Answer::Progress(progress.map(Box::new)));
            }
            Request::Prune { app } => self.activator.prune(&app)?,
        }
        Ok(Answer::Done)
    }

    fn stage(
        &self,
        stream: &UnixStream,
        offer: Offered,
        is_received: bool,
    ) -> Result<Answer, StoreError> {
        let offer = offer.read(self.store())?;
        let app = &offer.manifest.app;
        self.store().check(app, &offer)?;
        let image = match is_received {
            true => self.store().adopt(app, &offer)?,
            false => match self.store().verify_held(app, &offer)? {
                Some(image) => image,
                None => return Ok(Answer::Spoiled),
            },
        };
        if let Err(error) = self.reply(stream, Answer::Durable) {
            // The release is made all the same: it will be asked for again.
            debug!("nobody hears that the image is durable: {error}");
        }
        self.store().stage(app, &offer, image)?;
        info!("{app} {}: staged, {}", offer.manifest.label, offer.release.0.short());
        Ok(Answer::Done)
    }

    fn store(&self) -> &Store {
        self.activator.store()
    }

    fn facts(&self) -> HostFacts {
        HostFacts {
            store: self.store().root().to_path_buf(),
            apps: self.store().apps(),
            capabilities: self.store().capabilities(),
        }
    }
}
