//! Who sends what cannot be believed: told once, then counted and told again now and then.
//!
//! Not here: the counters of [`DropReason`], which count everything. Invariant: whoever floods a
//! host with forgeries fills neither its memory nor its log.

use std::net::IpAddr;
use std::time::Duration;

use common::drops::DropReason;
use common::time::Timestamp;
use tracing::warn;

/// Sources that are told apart; what others send is told of together.
const SOURCES_MAX: usize = 16;
/// The same is told again after this at the earliest.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// One source, for one reason.
#[derive(Debug)]
struct Suspect {
    /// None for all that have no place of their own.
    from: Option<IpAddr>,
    reason: DropReason,
    untold: u64,
    next_tell: Timestamp,
}

/// The sources of late.
#[derive(Debug, Default)]
pub struct Suspects(Vec<Suspect>);

impl Suspects {
    /// A datagram from `from` was dropped at `now`.
    pub fn note(&mut self, now: Timestamp, from: IpAddr, reason: DropReason) {
        if line(reason).is_none() {
            return;
        }
        let is_it = |it: &Suspect, from| it.from == from && it.reason == reason;
        let known = self.0.iter().position(|it| is_it(it, Some(from)));
        let is_full = self.0.len() >= SOURCES_MAX;
        let crowd = || self.0.iter().position(|it| is_it(it, None));
        let at = known.or_else(|| is_full.then(crowd).flatten()).unwrap_or_else(|| {
            let from = (!is_full).then_some(from);
            self.0.push(Suspect { from, reason, untold: 0, next_tell: Timestamp::ZERO });
            self.0.len() - 1
        });
        self.0[at].untold += 1;
        self.0[at].tell(now);
    }

    /// Tells of what came since it was told last.
    pub fn tell(&mut self, now: Timestamp) {
        self.0.iter_mut().for_each(|suspect| suspect.tell(now));
    }
}

impl Suspect {
    fn tell(&mut self, now: Timestamp) {
        let Some(line) = line(self.reason).filter(|_| self.untold > 0 && now >= self.next_tell)
        else {
            return;
        };
        let reason = self.reason.as_str();
        match self.from {
            Some(from) => {
                warn!("{from} sends what is dropped ({reason}, {} so far): {line}", self.untold);
            }
            None => warn!("others send it, too ({reason}, {} so far): {line}", self.untold),
        }
        self.next_tell = now + TELL_INTERVAL;
    }
}

/// What somebody does who sends this; none where a fault of the network explains it.
fn line(reason: DropReason) -> Option<&'static str> {
    Some(match reason {
        DropReason::BadTag => "no key of this site closes it",
        DropReason::UnknownKey => "it is closed or signed with a key that is not known here",
        DropReason::BadSignature => {
            "it is signed by nobody who may, or for a time past: a recording, or a clock is \
             wrong"
        }
        DropReason::Replayed => "it was received before",
        DropReason::TooManySigned => {
            "more of it is signed by nobody who may than is looked at; somebody forges with that \
             address"
        }
        DropReason::ForeignSource => {
            "it is made like a sender's, and the sender has another address"
        }
        DropReason::FalseSymbol => {
            "somebody forges symbols with that address; true ones are told by digests"
        }
        DropReason::Insecure => "one of us has keys and the other has none",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_flood_from_everywhere_takes_a_bounded_number_of_places() {
        let mut suspects = Suspects::default();
        for number in 0..100_000_u32 {
            suspects.note(at(0), IpAddr::from(number.to_be_bytes()), DropReason::BadTag);
        }
        assert_eq!(suspects.0.len(), SOURCES_MAX + 1);
        let total: u64 = suspects.0.iter().map(|it| it.untold).sum();
        assert_eq!(total, 100_000);
    }

    #[test]
    fn what_the_network_does_is_nobodys_fault() {
        let mut suspects = Suspects::default();
        for reason in [DropReason::Late, DropReason::Duplicate, DropReason::BadChecksum] {
            suspects.note(at(0), IpAddr::from([198, 18, 0, 1]), reason);
        }
        assert!(suspects.0.is_empty());
    }

    #[test]
    fn one_source_is_told_of_at_most_twice_a_minute() {
        let mut suspects = Suspects::default();
        let from = IpAddr::from([198, 18, 0, 1]);
        suspects.note(at(0), from, DropReason::Replayed);
        assert_eq!(suspects.0[0].next_tell, at(30));
        suspects.note(at(29), from, DropReason::Replayed);
        assert_eq!(suspects.0[0].next_tell, at(30));
        suspects.tell(at(31));
        assert_eq!((suspects.0[0].next_tell, suspects.0[0].untold), (at(61), 2));
    }
}
