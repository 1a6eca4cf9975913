//! Whom an app's releases are believed: the keys that its administrator names, and those that
//! releases which were accepted have named since.
//!
//! Not here: packets, whose keys are others. Invariant: nothing of a manifest is believed, or so
//! much as parsed, before a trusted key was found to have signed its bytes; what was accepted once
//! is never judged by a date again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use common::bundle::Manifest;
use common::keys::{KeyId, Keyring, PublicKey, Signature, Signatures, SignaturesError};
use common::wire::Fault;
use serde::{Deserialize, Serialize};

use super::limits::DATE_TOLERANCE;
use crate::utc::utc;

/// What an app's administrator says of release keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// The keys that may sign.
    pub keys: Keyring,
    /// Those that may sign nothing any more; also what they announced is void.
    pub revoked: BTreeSet<KeyId>,
    /// From when on, in Unix seconds, a key signs nothing that is accepted anew.
    pub expires: BTreeMap<KeyId, u64>,
}

/// A key that an accepted release has named as the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    /// The key.
    pub(super) key: PublicKey,
    /// The key that signed the release.
    pub(super) by: KeyId,
}

/// Whether the dates of keys count: only where a release is accepted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dates {
    /// At this time, in Unix seconds.
    Judged(u64),
    /// Not at all.
    Unasked,
}

/// Why a manifest is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Distrust {
    Unsigned,
    Unreadable(SignaturesError),
    Unknown(Vec<KeyId>),
    Revoked(KeyId),
    Expired(KeyId, u64),
    Wrong(KeyId),
}

impl Trust {
    /// The trusted key that signed these bytes.
    pub(super) fn vouch(
        &self,
        announced: &[Announced],
        manifest_bytes: &[u8],
        signatures: &[u8],
        dates: Dates,
    ) -> Result<KeyId, Distrust> {
        let signatures = Signatures::parse(signatures).map_err(Distrust::Unreadable)?;
        let mut reason = match signatures.is_empty() {
            true => Distrust::Unsigned,
            false => Distrust::Unknown(signatures.iter().map(Signature::key).collect()),
        };
        for signature in signatures.iter() {
            match self.judge(announced, signature, manifest_bytes, dates) {
                Ok(key) => return Ok(key),
                Err(worse) if worse.weight() > reason.weight() => reason = worse,
                Err(_) => {}
            }
        }
        Err(reason)
    }

    fn judge(
        &self,
        announced: &[Announced],
        signature: &Signature,
        manifest_bytes: &[u8],
        dates: Dates,
    ) -> Result<KeyId, Distrust> {
        let id = signature.key();
        if self.revoked.contains(&id) {
            return Err(Distrust::Revoked(id));
        }
        let heirs = self.heirs(announced);
        let trusted = self.keys.iter().chain(heirs.iter().map(|it| &it.key));
        let named: Vec<&PublicKey> = trusted.filter(|key| key.id() == id).collect();
        if named.is_empty() {
            return Err(Distrust::Unknown(vec![id]));
        }
        if !named.iter().any(|key| signature.is_by(key, manifest_bytes)) {
            return Err(Distrust::Wrong(id));
        }
        match (dates, self.expires.get(&id)) {
            (Dates::Judged(now), Some(&until)) if is_over(until, now) => {
                Err(Distrust::Expired(id, until))
            }
            _ => Ok(id),
        }
    }

    /// The announcements that count: those by a key that is trusted itself. What a revoked key
    /// announced is void, for whoever has stolen it could have done so.
    fn heirs<'a>(&self, announced: &'a [Announced]) -> Vec<&'a Announced> {
        let is_revoked = |id: &KeyId| self.revoked.contains(id);
        let mut trusted: BTreeSet<KeyId> = self.keys.iter().map(PublicKey::id).collect();
        trusted.retain(|id| !is_revoked(id));
        let mut heirs: Vec<&Announced> = Vec::new();
        loop {
            let is_next = |it: &&Announced| {
                trusted.contains(&it.by) && !is_revoked(&it.key.id()) && !heirs.contains(it)
            };
            let Some(next) = announced.iter().find(is_next) else { return heirs };
            trusted.insert(next.key.id());
            heirs.push(next);
        }
    }

    /// The keys that may sign at `now`, Unix seconds, for the log: an id, and what it is trusted
    /// for.
    pub(super) fn lines(&self, announced: &[Announced], now: u64) -> Vec<String> {
        let named = self.keys.iter().map(PublicKey::id).filter(|id| !self.revoked.contains(id));
        let named = named.map(|id| match self.expires.get(&id) {
            Some(until) if is_over(*until, now) => {
                format!("{id}, which expired on {} and signs nothing new", utc(*until))
            }
            Some(until) if *until <= now => {
                format!("{id}, which expired on {}, for a day after that", utc(*until))
            }
            Some(until) => format!("{id} until {}", utc(*until)),
            None => id.to_string(),
        });
        let heirs = self.heirs(announced).into_iter();
        let heirs = heirs.filter(|it| self.keys.find(it.key.id()).is_none());
        named.chain(heirs.map(|it| format!("{}, announced by {}", it.key.id(), it.by))).collect()
    }
}

impl Distrust {
    /// What says most of what happened is told, where signatures fail for several reasons.
    fn weight(&self) -> u8 {
        match self {
            Self::Unsigned | Self::Unreadable(_) => 0,
            Self::Unknown(_) => 1,
            Self::Expired(..) => 2,
            Self::Revoked(_) => 3,
            Self::Wrong(_) => 4,
        }
    }

    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Unsigned => Fault::Unsigned,
            Self::Unreadable(_) | Self::Wrong(_) => Fault::SignatureWrong,
            Self::Unknown(_) => Fault::KeyUnknown,
            Self::Revoked(_) => Fault::KeyRevoked,
            Self::Expired(..) => Fault::KeyExpired,
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => {
                f.write_str("it is not signed: fanfare sign --key, then send it again")
            }
            Self::Unreadable(error) => write!(f, "its signatures are refused: {error}"),
            Self::Unknown(ids) => {
                let ids: Vec<String> = ids.iter().map(KeyId::to_string).collect();
                write!(f, "it is signed by {}, and no such key is trusted here", ids.join(", "))
            }
            Self::Revoked(id) => write!(f, "it is signed by {id}, and that key is revoked here"),
            Self::Expired(id, until) => {
                write!(f, "it is signed by {id}, a key that expired at {} here", utc(*until))
            }
            Self::Wrong(id) => {
                write!(f, "its signature by {id} is wrong: it is not what that key has signed")
            }
        }
    }
}

/// What speaks against the dates of a release that is to be accepted anew; `clock` is this host's,
/// `accepted` the creation of the youngest release that it accepted, all in Unix seconds. Creation
/// is judged where somebody has signed for it.
///
/// The accepted one is a signed word, so a clock that was set back does not bring old releases
/// back, and one that stood wrong for a while shuts nothing out for ever.
pub(super) fn judge_dates(
    manifest: &Manifest,
    clock: u64,
    accepted: u64,
    is_signed: bool,
) -> Result<(), (Fault, String)> {
    let (now, read) = (clock.max(accepted), Read { clock, accepted });
    if let Some(expires) = manifest.expires.filter(|expires| is_over(*expires, now)) {
        let line = format!("it has expired at {} ({read}): sign it anew", utc(expires));
        return Err((Fault::Expired, line));
    }
    let created = manifest.created;
    if is_signed && created > now.saturating_add(DATE_TOLERANCE.as_secs()) {
        let line = format!(
            "it is from the future, made at {} ({read}): set the clock that is wrong",
            utc(created)
        );
        return Err((Fault::FromFuture, line));
    }
    Ok(())
}

/// What the time was taken from.
struct Read {
    clock: u64,
    accepted: u64,
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this host's clock says {}", utc(self.clock))?;
        match self.accepted > self.clock {
            true => write!(f, ", its last release was made at {}", utc(self.accepted)),
            false => Ok(()),
        }
    }
}

fn is_over(until: u64, now: u64) -> bool {
    until.saturating_add(DATE_TOLERANCE.as_secs()) <= now
}
