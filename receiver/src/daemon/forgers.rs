//! Who sends what looks like a session's data and is not its sender's: counts and addresses.
//!
//! Not here: how false symbols are told, and the log (`suspects`). Invariant: at most
//! [`FORGERS_MAX`] addresses are kept, whoever forges how many.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use common::limits::FORGERS_MAX;
use common::wire::Alarm;

/// What was forged in one session.
#[derive(Debug)]
pub struct Forgers {
    sender: SocketAddr,
    false_symbols: u32,
    foreign: u32,
    by_source: BTreeMap<SocketAddr, u32>,
}

impl Forgers {
    /// Nobody yet. `sender` is the address that the session's data comes from.
    pub fn new(sender: SocketAddr) -> Self {
        Self { sender, false_symbols: 0, foreign: 0, by_source: BTreeMap::new() }
    }

    // PROTOCOL 2.11: a scope is one machine's own word.
    /// Whether what comes from `from` is not the sender's.
    pub fn is_foreign(&self, from: SocketAddr) -> bool {
        (from.ip(), from.port()) != (self.sender.ip(), self.sender.port())
    }

    /// Counts a datagram from an address that is kept; false where that is not.
    pub fn note_known(&mut self, from: SocketAddr) -> bool {
        let Some(count) = self.by_source.get_mut(&from) else { return false };
        *count = count.saturating_add(1);
        self.foreign = self.foreign.saturating_add(1);
        true
    }

    /// Counts a datagram of the session from a foreign address.
    pub fn note_foreign(&mut self, from: SocketAddr) {
        if self.note_known(from) {
            return;
        }
        self.foreign = self.foreign.saturating_add(1);
        if self.by_source.len() < FORGERS_MAX {
            self.by_source.insert(from, 1);
        }
    }

    /// Counts false symbols, which bore the sender's address.
    pub fn note_false(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.false_symbols = self.false_symbols.saturating_add(count);
    }

    /// What there is to tell.
    pub fn alarm(&self) -> Option<Alarm> {
        let Self { false_symbols, foreign, .. } = *self;
        let most = self.by_source.iter().max_by_key(|(_, count)| **count);
        let source = most.map_or(self.sender, |(source, _)| *source);
        (false_symbols > 0 || foreign > 0).then_some(Alarm { false_symbols, foreign, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([198, 18, 0, last], port))
    }

    #[test]
    fn the_address_that_forged_most_is_named() {
        let mut forgers = Forgers::new(from(1, 7071));
        assert_eq!(forgers.alarm(), None);
        assert!(forgers.is_foreign(from(1, 7072)) && !forgers.is_foreign(from(1, 7071)));
        forgers.note_false(2);
        forgers.note_false(3);
        let source = from(1, 7071);
        assert_eq!(forgers.alarm(), Some(Alarm { false_symbols: 5, foreign: 0, source }));
        assert!(!forgers.note_known(from(8, 1)), "the first is opened before it counts");
        [8, 9, 9].into_iter().for_each(|last| forgers.note_foreign(from(last, 1)));
        assert!(forgers.note_known(from(9, 1)));
        let source = from(9, 1);
        assert_eq!(forgers.alarm(), Some(Alarm { false_symbols: 5, foreign: 4, source }));
    }

    // PROTOCOL 2.11
    #[test]
    fn a_scope_makes_no_other_address() {
        let scoped = |scope| {
            let ip = "fe80::1".parse().unwrap();
            SocketAddr::V6(std::net::SocketAddrV6::new(ip, 7071, 0, scope))
        };
        assert!(!Forgers::new(scoped(0)).is_foreign(scoped(3)));
    }

    #[test]
    fn however_many_forge_few_are_kept() {
        let mut forgers = Forgers::new(from(1, 7071));
        (0..10_000).for_each(|port| forgers.note_foreign(from(9, port)));
        assert_eq!(forgers.by_source.len(), FORGERS_MAX);
        assert_eq!(forgers.alarm().unwrap().foreign, 10_000);
    }
}
