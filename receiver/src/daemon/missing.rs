//! What a host misses of its sender: an answer to its JOIN, or any word in the middle of a session.
//!
//! Not here: what the session does about it (it asks again, joins groups anew, and gives up in the
//! end). Invariant: a sender that answers and speaks is never said to be missed.

use std::time::Duration;

use common::count::counted;
use common::id::HostName;
use common::keys::SymmetricKey;
use common::time::Timestamp;
use common::wire::{HostPhase, escaped};

use crate::session::Session;

/// JOINs are repeated several times a second. Ten thousand hosts wait up to five seconds for their
/// first.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// Announces come ten times a second.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// What is missed, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// An answer to JOIN, from a sender that is heard.
    Answer(Duration),
    /// Anything of the sender.
    Sender(Duration),
}

impl Missing {
    /// What a host that joins from `joined_at` on misses at `now`, which heard its sender last at
    /// `heard_at`.
    pub fn of(
        session: &Session,
        now: Timestamp,
        joined_at: Timestamp,
        heard_at: Timestamp,
    ) -> Option<Self> {
        if matches!(session.phase(), HostPhase::Active | HostPhase::Failed) {
            return None;
        }
        let (silent, unanswered) = (now.since(heard_at), now.since(joined_at));
        if silent >= HEARD_WITHIN {
            return Some(Self::Sender(silent));
        }
        let is_unanswered = !session.is_accepted() && unanswered >= ANSWERED_WITHIN;
        is_unanswered.then_some(Self::Answer(unanswered))
    }

    /// In a word, where a fault would be named.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Answer(_) => "no-answer",
            Self::Sender(_) => "sender-silent",
        }
    }

    /// In words for people; `unanswered` says why a sender may not answer.
    pub fn line(self, session: &Session, unanswered: &str) -> String {
        match self {
            Self::Answer(time) => {
                let seconds = time.as_secs();
                format!(
                    "the sender has not answered this host's JOIN for {seconds} s: {unanswered}"
                )
            }
            Self::Sender(time) => {
                let held = held(session);
                format!("the sender fell silent in mid-session {} s ago; {held}", time.as_secs())
            }
        }
    }
}

/// How much of a session a host holds.
pub fn held(session: &Session) -> String {
    let blocks = session.blocks();
    format!("{} of {} are held", blocks.done(), counted(u64::from(blocks.total()), "block"))
}

/// Why the sender may not answer `host`, which closes what it says with `key`; without one in the
/// clear.
pub fn why_unanswered(host: &HostName, key: Option<&SymmetricKey>) -> String {
    let way = "nothing that it says gets there (a firewall, a route back)";
    match key {
        None => way.to_owned(),
        Some(key) => format!(
            "{way}, or its host.key is not the one of {host} under that sender's master key; its \
             comment says \"{}\"",
            escaped(key.comment())
        ),
    }
}

/// The complaint about a host key that was made for another host, by its comment.
pub fn foreign_key(host: &HostName, key: &SymmetricKey) -> Option<String> {
    let other = key.made_for().filter(|other| other != host)?;
    Some(format!(
        "host.key was made for {other}, as its comment says, and this host is {host}: no sender \
         will answer it; fanfare keygen --host {host} makes the right one, or give --host {other}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::keys::{KeyId, Role};
    use zeroize::Zeroizing;

    fn key_of(host: &str) -> SymmetricKey {
        let master = SymmetricKey::new(Role::Master, KeyId([7; 8]), Zeroizing::new([7; 32]));
        let key = master.host_key(&host.parse().unwrap());
        let comment = SymmetricKey::comment_for(&host.parse().unwrap(), key.id());
        SymmetricKey::parse(&key.to_text(&comment), Role::Host).unwrap()
    }

    #[test]
    fn a_key_that_was_made_for_another_host_is_told_by_its_comment() {
        let host: HostName = "web-1".parse().unwrap();
        assert_eq!(foreign_key(&host, &key_of("web-1")), None);
        let line = foreign_key(&host, &key_of("web-2")).unwrap();
        assert!(
            line.starts_with("host.key was made for web-2, as its comment says, and this host")
        );
        let line = why_unanswered(&host, Some(&key_of("web-2")));
        let end = "comment says \"fanfare host key of web-2, master 0707070707070707\"";
        assert!(line.ends_with(end), "{line}");
        assert!(!why_unanswered(&host, None).contains("host.key"));
    }
}
