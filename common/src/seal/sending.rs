//! The sender's side of the seals of one session.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::announce::Announces;
use super::context::{self, Context, Secret};
use super::replay::HostWindow;
use super::signature::{self, GOOD_SECONDS, Purpose, SENDER_TOLERANCE};
use super::stream::{Stream, StreamKey};
use super::{TAG_BYTES, append_checksum, control, mac};
use crate::id::{BootNonce, HostName, SessionId, Slot};
use crate::keys::{Keyring, SecretKey, SymmetricKey};
use crate::limits::ROSTER_HOSTS_MAX;
use crate::time::Timestamp;
use crate::wire::{
    Announce, CHECKSUM_BYTES, CommonHeader, Message, WireError, close_plain, open_plain,
};

/// Processes of one host whose numbers are remembered: a host that restarts more often within a
/// session is known anew.
const PROCESSES_MAX: usize = 4;
/// All numbers of a stream were used: another datagram would repeat a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this session has sent 2³² datagrams and must not seal another: send again")]
pub struct StreamSpent;

/// What a sender needs to seal.
#[derive(Debug)]
pub struct SenderKeys {
    /// The key that all hosts hold.
    pub group: SymmetricKey,
    /// The key that host keys follow from.
    pub master: SymmetricKey,
    /// Signs announces, orders and polls.
    pub operator: SecretKey,
    /// Whose announces of the same app are taken for those of another sender.
    pub operators: Keyring,
}

/// Closes what a sender sends in one session, and opens what comes back.
#[derive(Debug)]
pub struct SenderSeal {
    session: SessionId,
    /// None with `--insecure`.
    sealed: Option<Box<Sealed>>,
}

#[derive(Debug)]
struct Sealed {
    keys: Arc<SenderKeys>,
    context: Context,
    epoch: u16,
    streams: [StreamKey; 3],
    /// The lowest number of each stream that no datagram has had.
    unused: [u64; 3],
    announce: Secret,
    foreign: Announces,
    /// By the beginning of a host's key: its processes and their windows.
    hosts: HashMap<u64, Vec<(BootNonce, HostWindow)>>,
}

/// Who speaks in a message of a host.
enum Speaker<'a> {
    Named(&'a HostName, BootNonce),
    In(Slot, BootNonce),
}

impl SenderSeal {
    /// Checksums alone.
    pub fn plain(session: SessionId) -> Self {
        Self { session, sealed: None }
    }

    /// Seals the session that `announce` describes.
    pub fn new(keys: Arc<SenderKeys>, session: SessionId, announce: &Announce) -> Self {
        let context = Context::new(session, announce);
        // PROTOCOL 10.3.
        let (groups, operators) = (std::slice::from_ref(&keys.group), keys.operators.clone());
        let foreign = Announces::new(groups, operators, SENDER_TOLERANCE);
        let sealed = Sealed {
            streams: StreamKey::all(&keys.group, &context),
            announce: context::announce_key(&keys.group),
            epoch: context::epoch(&keys.group),
            unused: [0; 3],
            keys,
            context,
            foreign,
            hosts: HashMap::new(),
        };
        Self { session, sealed: Some(Box::new(sealed)) }
    }

    /// Bytes behind every datagram.
    pub fn trailer_bytes(&self) -> usize {
        if self.sealed.is_some() { TAG_BYTES } else { CHECKSUM_BYTES }
    }

    /// Closes a symbol's datagram number `seq` in its place; its last bytes are room for the
    /// trailer.
    ///
    /// # Errors
    /// When the stream has no number left.
    pub fn close_symbol(
        &mut self,
        stream: Stream,
        seq: u32,
        datagram: &mut [u8],
    ) -> Result<(), StreamSpent> {
        match &mut self.sealed {
            None => close_plain(datagram),
            Some(sealed) => sealed.take_key(stream, seq)?.close(datagram),
        }
        Ok(())
    }

    /// Appends a message of a stream, closed, to `out`; `wall` is unix seconds.
    ///
    /// # Errors
    /// When the stream has no number left.
    pub fn close_message(
        &mut self,
        stream: Stream,
        seq: u32,
        wall: u64,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<(), StreamSpent> {
        let from = out.len();
        message.emit(self.session, seq, 0, out);
        match &mut self.sealed {
            None => append_checksum(from, out),
            Some(sealed) => {
                sealed.sign(message, wall, from, out);
                out.resize(out.len() + TAG_BYTES, 0);
                sealed.take_key(stream, seq)?.close(&mut out[from..]);
            }
        }
        Ok(())
    }

    /// Appends an announce, closed, to `out`; `wall` is unix seconds.
    pub fn close_announce(&self, wall: u64, message: &Message, out: &mut Vec<u8>) {
        let from = out.len();
        message.emit(self.session, 0, 0, out);
        match &self.sealed {
            None => append_checksum(from, out),
            Some(sealed) => {
                control::set_epoch(&mut out[from..], sealed.epoch);
                let expires = Some(wall + GOOD_SECONDS);
                let operator = &sealed.keys.operator;
                signature::sign(operator, Purpose::Announce, expires, from, out);
                mac::close(&sealed.announce, from, out);
            }
        }
    }

    /// Appends an answer to one process of a host, closed, to `out`; `wall` is unix seconds.
    pub fn close_answer(
        &self,
        host: &HostName,
        nonce: BootNonce,
        wall: u64,
        message: &Message,
        out: &mut Vec<u8>,
    ) {
        let from = out.len();
        message.emit(self.session, 0, 0, out);
        match &self.sealed {
            None => append_checksum(from, out),
            Some(sealed) => {
                let (_, down) = sealed.host_keys(host, nonce);
                sealed.sign(message, wall, from, out);
                mac::close(&down, from, out);
            }
        }
    }

    /// Opens what a host sent; `name_in` knows who has a slot.
    ///
    /// # Errors
    /// What is wrong with it. Where it is sealed, the sender's session must not see it then.
    pub fn open_feedback<'n>(
        &mut self,
        datagram: &[u8],
        name_in: impl Fn(Slot) -> Option<&'n HostName>,
    ) -> Result<(CommonHeader, Message), WireError> {
        let Some(sealed) = &mut self.sealed else { return Message::parse(open_plain(datagram)?) };
        if control::epoch_of(datagram)? != sealed.epoch {
            return Err(WireError::UnknownKey);
        }
        let inner = mac::without(datagram)?;
        let (header, message) = Message::parse(inner)?;
        let (name, nonce) = match speaker(&message)? {
            Speaker::Named(name, nonce) => (name, nonce),
            Speaker::In(slot, nonce) => (name_in(slot).ok_or(WireError::UnknownKey)?, nonce),
        };
        let (up, _) = sealed.host_keys(name, nonce);
        mac::open(&up, datagram)?;
        if !sealed.take_number(name, nonce, header.seq) {
            return Err(WireError::Replayed);
        }
        Ok((header, message))
    }

    /// Opens an announce of another sender that came from `from`; `wall` is unix seconds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open_foreign(
        &mut self,
        now: Timestamp,
        wall: u64,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Box<Announce>, WireError> {
        match &mut self.sealed {
            Some(sealed) => Ok(sealed.foreign.open(now, wall, from, datagram)?.1),
            None => match Message::parse(open_plain(datagram)?)? {
                (_, Message::Announce(announce)) => Ok(announce),
                _ => Err(WireError::Unexpected),
            },
        }
    }
}

impl Sealed {
    /// The stream's key, for the one datagram that has this number.
    fn take_key(&mut self, stream: Stream, seq: u32) -> Result<&StreamKey, StreamSpent> {
        let unused = &mut self.unused[stream as usize];
        if u64::from(seq) < *unused {
            return Err(StreamSpent);
        }
        *unused = u64::from(seq) + 1;
        Ok(&self.streams[stream as usize])
    }

    /// Signs what hosts act upon; numbers and the key's are in the header before.
    fn sign(&self, message: &Message, wall: u64, from: usize, out: &mut Vec<u8>) {
        control::set_epoch(&mut out[from..], self.epoch);
        if signature::is_needed(message.kind()) {
            let expires = signature::expires(message.kind()).then_some(wall + GOOD_SECONDS);
            let purpose = Purpose::Control(self.context);
            signature::sign(&self.keys.operator, purpose, expires, from, out);
        }
    }

    fn host_keys(&self, host: &HostName, nonce: BootNonce) -> (Secret, Secret) {
        self.context.host_keys(&self.keys.master.host_key(host), nonce)
    }

    /// Whether this is the first datagram of that number from a process of a host.
    fn take_number(&mut self, host: &HostName, nonce: BootNonce, seq: u32) -> bool {
        let key = self.keys.master.host_key(host);
        let [a, b, c, d, e, f, g, h, ..] = *key.expose();
        let id = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if self.hosts.len() >= ROSTER_HOSTS_MAX && !self.hosts.contains_key(&id) {
            return false;
        }
        let processes = self.hosts.entry(id).or_default();
        match processes.iter_mut().find(|(known, _)| *known == nonce) {
            Some((_, window)) => window.take(seq),
            None => {
                if processes.len() == PROCESSES_MAX {
                    processes.remove(0);
                }
                let mut window = HostWindow::default();
                let is_new = window.take(seq);
                processes.push((nonce, window));
                is_new
            }
        }
    }
}

fn speaker(message: &Message) -> Result<Speaker<'_>, WireError> {
    Ok(match message {
        Message::Join(join) => Speaker::Named(&join.host, join.nonce),
        Message::Solicit(solicit) => Speaker::Named(&solicit.host, solicit.nonce),
        Message::Have(have) => Speaker::In(have.slot, have.nonce),
        Message::Need(need) => Speaker::In(need.slot, need.nonce),
        Message::Status(status) => Speaker::In(status.slot, status.nonce),
        Message::Rate(rate) => Speaker::In(rate.slot, rate.nonce),
        Message::Activated(activated) => Speaker::In(activated.slot, activated.nonce),
        Message::Doubt(doubt) => Speaker::In(doubt.slot, doubt.nonce),
        _ => return Err(WireError::Unexpected),
    })
}
