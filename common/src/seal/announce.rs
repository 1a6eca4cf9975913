//! Opening announces: MAC, then signature, then expiry, the cheap before the dear.

use std::net::IpAddr;

use super::checks::Bucket;
use super::context::{self, Secret};
use super::signature::{self, Purpose};
use super::{control, mac};
use crate::keys::{Keyring, SymmetricKey};
use crate::time::Timestamp;
use crate::wire::{Announce, CommonHeader, Message, WireError};

/// Signatures of announces that are checked in a second, whoever sends them: 52 to 73 µs each, so
/// at most 4 % of a core. Eight sessions are announced 80 times a second.
const CHECKS: Bucket = Bucket::of(500, 500);
/// Of one source address. Two senders behind one address announce 20 times a second.
const CHECKS_OF_SOURCE: Bucket = Bucket::of(100, 100);
/// Announces that are remembered: of a session, those of seven minutes.
const SEEN_MAX: usize = 4096;
/// Source addresses that are told apart.
const SOURCES_MAX: usize = 32;

/// What opens announces, at hosts and at senders who hear of others.
#[derive(Debug)]
pub struct Announces {
    keys: Vec<(u16, Secret)>,
    operators: Keyring,
    tolerance: u64,
    /// The beginnings of the tags of announces that were looked at.
    seen: Vec<u64>,
    next_seen: usize,
    checks: Bucket,
    sources: Vec<(IpAddr, Bucket)>,
}

impl Announces {
    /// Opens what was closed with one of `groups` and signed by one of `operators` at most
    /// `tolerance` seconds ago.
    pub fn new(groups: &[SymmetricKey], operators: Keyring, tolerance: u64) -> Self {
        let keys = groups.iter().map(|group| (context::epoch(group), context::announce_key(group)));
        let keys = keys.collect();
        Self {
            keys,
            operators,
            tolerance,
            seen: Vec::new(),
            next_seen: 0,
            checks: CHECKS,
            sources: Vec::new(),
        }
    }

    /// Opens a datagram that came from `from` at `now`, unix seconds `wall`.
    ///
    /// # Errors
    /// [`WireError::Unsealed`] for an announce of plain mode whose checksum is right; otherwise
    /// what is wrong with it.
    pub fn open(
        &mut self,
        now: Timestamp,
        wall: u64,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<(CommonHeader, Box<Announce>), WireError> {
        let epoch = control::epoch_of(datagram)?;
        if epoch == 0 {
            let error = crate::wire::open_plain(datagram).err().unwrap_or(WireError::Unsealed);
            return Err(error);
        }
        let keys = self.keys.iter().filter(|(known, _)| *known == epoch);
        let mut opened = Err(WireError::UnknownKey);
        for (_, key) in keys {
            opened = mac::open(key, datagram);
            if opened.is_ok() {
                break;
            }
        }
        let inner = opened?;
        if !self.is_first(datagram) {
            return Err(WireError::Replayed);
        }
        self.judge(now, wall, from, inner)
    }

    fn judge(
        &mut self,
        now: Timestamp,
        wall: u64,
        from: IpAddr,
        inner: &[u8],
    ) -> Result<(CommonHeader, Box<Announce>), WireError> {
        let (header, message) = Message::parse(inner)?;
        let Message::Announce(announce) = message else { return Err(WireError::Unexpected) };
        if !self.may_check(now, from) {
            return Err(WireError::TooManySigned);
        }
        signature::verify(&self.operators, Purpose::Announce, inner)?;
        signature::check_age(inner, wall, self.tolerance)?;
        Ok((header, announce))
    }

    /// Whether this very announce has not been looked at before: no two of a sender are the same,
    /// and what is sent again must not use up the checks of its source.
    fn is_first(&mut self, datagram: &[u8]) -> bool {
        let Some(tag) = datagram.last_chunk().map(|tag| u64::from_be_bytes(*tag)) else {
            return false;
        };
        if self.seen.contains(&tag) {
            return false;
        }
        if self.seen.len() < SEEN_MAX {
            self.seen.push(tag);
        } else {
            self.seen[self.next_seen] = tag;
            self.next_seen = (self.next_seen + 1) % SEEN_MAX;
        }
        true
    }

    /// Whether another signature may be looked at, of all and of this source.
    fn may_check(&mut self, now: Timestamp, from: IpAddr) -> bool {
        let place = self.place_of(now, from);
        self.sources[place].1.take(now) && self.checks.take(now)
    }

    /// Where the checks of a source are counted: in the place of one that has long asked for none,
    /// where there are many; all beyond share the last place.
    fn place_of(&mut self, now: Timestamp, from: IpAddr) -> usize {
        if let Some(place) = self.sources.iter().position(|(source, _)| *source == from) {
            return place;
        }
        let fresh = (from, CHECKS_OF_SOURCE);
        if self.sources.len() < SOURCES_MAX {
            self.sources.push(fresh);
            return self.sources.len() - 1;
        }
        let unused = self.sources.iter().position(|(_, bucket)| bucket.is_full(now));
        if let Some(place) = unused {
            self.sources[place] = fresh;
        }
        unused.unwrap_or(SOURCES_MAX - 1)
    }
}
