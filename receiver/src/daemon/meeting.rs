//! What a host makes of an announce: take part, go on, change over, or stay out.
//!
//! Pure: a decision from what is known.

use common::id::{AppName, SessionId};
use common::time::Timestamp;
use common::wire::{Announce, SenderStage};
use std::time::Duration;

/// A session whose sender has been silent for this long may be superseded by any other.
const SILENCE: Duration = Duration::from_secs(1);

/// What is known of the session that an app is in.
#[derive(Debug, Clone, Copy)]
pub struct Current {
    /// The session.
    pub id: SessionId,
    /// When its sender started, Unix seconds, and its number.
    pub started: (u64, u64),
    /// When its sender was last heard.
    pub heard_at: Timestamp,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// The session is known: pass the announce on.
    Known,
    /// Begin to take part.
    Join,
    /// Leave the app's current session, then take part.
    Supersede(SessionId),
    /// Nothing for this host.
    Ignore(Reason),
}

/// Why an announce is none of this host's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The app is not configured here.
    App,
    /// The sender has no keys, and this host was not told to do without.
    Insecure,
    /// Its sender only asks whether somebody else sends the app.
    Listening,
    /// The session is over for this host.
    Over,
    /// The session is about to end.
    Closing,
    /// The app's current session is newer and alive.
    Older,
    /// The host takes part in as many sessions as it may.
    Full,
}

/// Decides on `announce` of `session` at `now`.
pub fn decide(
    now: Timestamp,
    session: SessionId,
    announce: &Announce,
    current: Option<Current>,
    is_known: impl Fn(SessionId) -> bool,
    is_over: impl Fn(SessionId) -> bool,
    policy: Policy<'_>,
) -> Meeting {
    if is_known(session) {
        return Meeting::Known;
    }
    if !policy.apps.contains(&announce.app) {
        return Meeting::Ignore(Reason::App);
    }
    // PROTOCOL 5.5.
    if announce.stage == SenderStage::Listening {
        return Meeting::Ignore(Reason::Listening);
    }
    if announce.insecure && !policy.is_insecure {
        return Meeting::Ignore(Reason::Insecure);
    }
    if is_over(session) {
        return Meeting::Ignore(Reason::Over);
    }
    let is_late = [SenderStage::Activating, SenderStage::Judging, SenderStage::Closing];
    if is_late.contains(&announce.stage) {
        return Meeting::Ignore(Reason::Closing);
    }
    let theirs = (announce.sender.started, announce.sender.instance);
    match current {
        Some(current) if theirs > current.started || now.since(current.heard_at) > SILENCE => {
            Meeting::Supersede(current.id)
        }
        Some(_) => Meeting::Ignore(Reason::Older),
        None if policy.is_full => Meeting::Ignore(Reason::Full),
        None => Meeting::Join,
    }
}

/// What the host's administrator decided.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The apps that it takes.
    pub apps: &'a [AppName],
    /// Whether senders without keys are believed.
    pub is_insecure: bool,
    /// Whether no further session fits.
    pub is_full: bool,
}
