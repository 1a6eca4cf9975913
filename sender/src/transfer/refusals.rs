//! Datagrams that came to the sender and were not believed: counted by reason and by source.
//!
//! Invariant: whoever floods a sender with forgeries fills neither its memory nor the operator's
//! screen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::drops::DropReason;

/// Sources that are counted apart, and that the operator is told of.
const SOURCES_MAX: usize = 8;

/// What was refused in one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    reasons: BTreeMap<&'static str, u64>,
    sources: Vec<(IpAddr, u64)>,
}

impl Refusals {
    /// A datagram from `from` was refused. What the operator is to be told, once a source.
    pub fn note(&mut self, from: IpAddr, reason: DropReason) -> Option<String> {
        *self.reasons.entry(reason.as_str()).or_default() += 1;
        if let Some((_, count)) = self.sources.iter_mut().find(|(source, _)| *source == from) {
            *count += 1;
            return None;
        }
        if self.sources.len() == SOURCES_MAX {
            return None;
        }
        self.sources.push((from, 1));
        let line = match reason {
            DropReason::BadTag => {
                "no host key of this site closes it; a host needs the key made for its name"
            }
            DropReason::UnknownKey => "closed with another group's key, or from no host of ours",
            DropReason::Insecure => "one of us has keys and the other has none",
            DropReason::BadSignature => {
                "signed by nobody who may, or at another time: a recording, or a clock is wrong"
            }
            DropReason::Replayed => "received before: somebody records and repeats",
            _ => "not one of our messages",
        };
        Some(format!("{from} sends what is refused ({}): {line}", reason.as_str()))
    }

    /// Datagrams in all.
    pub fn total(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// How many, for each reason that occurred.
    pub fn reasons(&self) -> &BTreeMap<&'static str, u64> {
        &self.reasons
    }

    /// How many from whom, the first eight sources.
    pub fn sources(&self) -> &[(IpAddr, u64)] {
        &self.sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_of_once_and_a_flood_of_sources_not_at_all() {
        let mut refusals = Refusals::default();
        let told = (0..1000_u32).filter_map(|number| {
            let from = IpAddr::from((number / 2).to_be_bytes());
            refusals.note(from, DropReason::BadTag)
        });
        assert_eq!(told.count(), SOURCES_MAX);
        assert_eq!((refusals.total(), refusals.sources().len()), (1000, SOURCES_MAX));
        let line = refusals.note(IpAddr::from([0, 0, 0, 1]), DropReason::Replayed);
        assert_eq!((line, refusals.reasons()["replayed"]), (None, 1));
    }
}
