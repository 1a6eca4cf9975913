//! The host's side: announces of anybody, and the datagrams of one session.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::announce::Announces;
use super::checks::Checks;
use super::context::{Context, Secret, epoch};
use super::replay::StreamWindows;
use super::signature::{self, HOST_TOLERANCE, Purpose};
use super::stream::{Stream, StreamKey};
use super::{append_checksum, control, mac};
use crate::digest::Digest;
use crate::id::{BootNonce, SessionId};
use crate::keys::{Keyring, SymmetricKey};
use crate::time::Timestamp;
use crate::wire::{Announce, CommonHeader, Kind, Message, WireError, open_plain, peek_kind};

/// What a host needs to take part in sealed sessions.
#[derive(Debug)]
pub struct HostKeys {
    /// The keys of the groups that it is in: the current one, and the next.
    pub groups: Vec<SymmetricKey>,
    /// Whose announces and orders it obeys.
    pub operators: Keyring,
    /// Its own.
    pub host: SymmetricKey,
}

/// Opens announces, and makes the seals of sessions.
#[derive(Debug)]
pub struct HostSeal {
    /// None with `--insecure`.
    sealed: Option<(Arc<HostKeys>, Announces)>,
}

impl HostSeal {
    /// Checksums alone.
    pub fn plain() -> Self {
        Self { sealed: None }
    }

    /// Under `keys`.
    pub fn new(keys: Arc<HostKeys>) -> Self {
        let operators = keys.operators.clone();
        let announces = Announces::new(&keys.groups, operators, HOST_TOLERANCE);
        Self { sealed: Some((keys, announces)) }
    }

    /// Opens what came from `from` by the control group; `wall` is unix seconds.
    ///
    /// # Errors
    /// [`WireError::Unsealed`] for an announce in the clear where seals are asked for, and
    /// [`WireError::Sealed`] the other way round; otherwise what is wrong with it.
    pub fn open_announce(
        &mut self,
        now: Timestamp,
        wall: u64,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<(CommonHeader, Box<Announce>), WireError> {
        match &mut self.sealed {
            Some((_, announces)) => announces.open(now, wall, from, datagram),
            None => match Message::parse(open_plain(datagram)?)? {
                (header, Message::Announce(announce)) => Ok((header, announce)),
                _ => Err(WireError::Unexpected),
            },
        }
    }

    /// The seal of one session, for the process that `nonce` belongs to, from `now` on. `header` is
    /// that of the announce.
    ///
    /// # Errors
    /// [`WireError::UnknownKey`] where the announce was closed with a key that is not held.
    pub fn member(
        &self,
        header: &CommonHeader,
        announce: &Announce,
        nonce: BootNonce,
        now: Timestamp,
    ) -> Result<MemberSeal, WireError> {
        let session = header.session;
        let Some((keys, _)) = &self.sealed else { return Ok(MemberSeal { session, sealed: None }) };
        let context = Context::new(session, announce);
        let group = keys.groups.iter().find(|group| epoch(group) == header.key_epoch);
        let streams = StreamKey::all(group.ok_or(WireError::UnknownKey)?, &context);
        let (up, down) = context.host_keys(&keys.host, nonce);
        let sealed = SealedMember {
            context,
            streams,
            up,
            down,
            operators: keys.operators.clone(),
            windows: Default::default(),
            checks: Checks::default(),
            answers: Answers::default(),
            next_seq: first_seq(now),
        };
        Ok(MemberSeal { session, sealed: Some(Box::new(sealed)) })
    }
}

/// Opens what comes in one session, and closes what the host sends.
#[derive(Debug)]
pub struct MemberSeal {
    session: SessionId,
    sealed: Option<Box<SealedMember>>,
}

#[derive(Debug)]
struct SealedMember {
    context: Context,
    streams: [StreamKey; 3],
    up: Secret,
    down: Secret,
    operators: Keyring,
    windows: [StreamWindows; 3],
    checks: Checks,
    answers: Answers,
    /// Number of the next datagram upwards. One at a microsecond would take an hour to use them up.
    next_seq: u32,
}

impl MemberSeal {
    /// Whether a sender must answer this host's JOIN before anything of the session is taken: the
    /// answer is the proof that the session is not a recording (PROTOCOL 10.6).
    pub fn needs_proof(&self) -> bool {
        self.sealed.is_some()
    }

    /// Opens a datagram that came by `stream` from the session's sender at `now`, in its place;
    /// what comes back is without the trailer and, where it has to be, signed. `wall` is unix
    /// seconds.
    ///
    /// # Errors
    /// What is wrong with it; the session must not see it then.
    pub fn open<'a>(
        &mut self,
        stream: Stream,
        now: Timestamp,
        wall: u64,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], WireError> {
        let Some(sealed) = &mut self.sealed else { return open_plain(datagram) };
        let kind = peek_kind(datagram).ok_or(WireError::Kind)?;
        let inner = sealed.open_trailer(stream, kind, datagram)?;
        if signature::is_needed(kind) {
            match is_answer(stream, kind) {
                true => sealed.judge_answer(now, wall, kind, inner)?,
                false => sealed.judge_in_stream(stream, now, wall, kind, inner)?,
            }
        }
        Ok(inner)
    }

    /// Opens what came from elsewhere than the session's sender. What is right was made by somebody
    /// in the group: he is to be told of, and nothing of it is to be used, for no signature is
    /// looked at (PROTOCOL 2.11).
    ///
    /// # Errors
    /// What is wrong with it: noise, or a fault of the network.
    pub fn open_foreign<'a>(
        &self,
        stream: Stream,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], WireError> {
        let Some(sealed) = &self.sealed else { return open_plain(datagram) };
        let kind = peek_kind(datagram).ok_or(WireError::Kind)?;
        sealed.open_trailer(stream, kind, datagram)
    }

    /// Appends a message of this host, closed, to `out`.
    pub fn close(&mut self, message: &Message, out: &mut Vec<u8>) {
        let from = out.len();
        let Some(sealed) = &mut self.sealed else {
            message.emit(self.session, 0, 0, out);
            return append_checksum(from, out);
        };
        message.emit(self.session, sealed.next_seq, sealed.streams[0].epoch(), out);
        sealed.next_seq = sealed.next_seq.saturating_add(1);
        mac::close(&sealed.up, from, out);
    }
}

impl SealedMember {
    fn open_trailer<'a>(
        &self,
        stream: Stream,
        kind: Kind,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], WireError> {
        if !is_answer(stream, kind) {
            return self.streams[stream as usize].open(datagram);
        }
        if control::epoch_of(datagram)? != self.streams[0].epoch() {
            return Err(WireError::UnknownKey);
        }
        mac::open(&self.down, datagram)
    }

    // PROTOCOL 10.5 and 10.8: the cheap before the dear.
    fn judge_in_stream(
        &mut self,
        stream: Stream,
        now: Timestamp,
        wall: u64,
        kind: Kind,
        inner: &[u8],
    ) -> Result<(), WireError> {
        let seq = CommonHeader::parse(inner)?.0.seq;
        if !self.windows[stream as usize].of(kind).is_new(seq) {
            return Err(WireError::Replayed);
        }
        if !self.checks.take(now, kind) {
            return Err(WireError::TooManySigned);
        }
        self.judge(kind, wall, inner)?;
        self.checks.give_back(kind);
        self.windows[stream as usize].of(kind).take(seq);
        Ok(())
    }

    /// An order to this host alone has no number; one that was looked at is known by its bytes.
    fn judge_answer(
        &mut self,
        now: Timestamp,
        wall: u64,
        kind: Kind,
        inner: &[u8],
    ) -> Result<(), WireError> {
        let digest = Digest::of(inner);
        if !self.answers.are_known(&digest) {
            if !self.checks.take(now, kind) {
                return Err(WireError::TooManySigned);
            }
            signature::verify(&self.operators, Purpose::Control(self.context), inner)?;
            self.answers.note(digest);
        }
        signature::check_age(inner, wall, HOST_TOLERANCE)
    }

    fn judge(&self, kind: Kind, wall: u64, inner: &[u8]) -> Result<(), WireError> {
        signature::verify(&self.operators, Purpose::Control(self.context), inner)?;
        if signature::expires(kind) {
            signature::check_age(inner, wall, HOST_TOLERANCE)?;
        }
        Ok(())
    }
}

/// Orders to one host whose signatures were right: the same one is repeated ten times a second, and
/// has another time of expiry after a second.
#[derive(Debug, Default)]
struct Answers {
    known: VecDeque<Digest>,
}

impl Answers {
    /// Those of a minute.
    const MAX: usize = 64;

    fn are_known(&self, digest: &Digest) -> bool {
        self.known.contains(digest)
    }

    fn note(&mut self, digest: Digest) {
        self.known.truncate(Self::MAX - 1);
        self.known.push_front(digest);
    }
}

/// The first number upwards of a session that is joined at `now`. A process may join the same
/// session twice, under the same keys: a number for each millisecond is more than it uses.
fn first_seq(now: Timestamp) -> u32 {
    u32::try_from(now.as_micros() / 1000).unwrap_or(u32::MAX - 1) + 1
}

/// Whether a message to one host is closed with the host's key and not with the stream's.
fn is_answer(stream: Stream, kind: Kind) -> bool {
    let is_to_one = matches!(kind, Kind::JoinAck | Kind::CatchUp) || signature::expires(kind);
    stream == Stream::Alone && is_to_one
}
