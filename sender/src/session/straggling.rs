//! What makes a host a straggler, and whom the symbols are for.
//!
//! Plain words and rules; what the session does about it is in `catch_up` (PROTOCOL 7.10).

use std::fmt;

use common::id::Slot;
use common::time::Timestamp;
use common::wire::SHARE_PPM_MAX;

use super::host::Host;

/// Why a host is served apart from the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It loses far more than the fleet: its own share and that of the 95th percentile.
    Loss {
        /// Its own, in millionths.
        ppm: u32,
        /// The fleet's.
        fleet_ppm: u32,
    },
    /// It had no memory for so much of what came, in millionths.
    Memory {
        /// The share.
        ppm: u32,
    },
    /// It threw away more than came to it in this session: what it held before came out wrong.
    Spoiled,
    /// It asked for more than anybody needs: so many millionths of the payload.
    Greed {
        /// The share.
        ppm: u32,
    },
    /// It came when much had been sent.
    Late,
    /// The fleet was done, and it was not.
    Slow,
}

impl Cause {
    /// The cause that a host's own reports tell, beside the need of the 95th percentile.
    pub fn told(host: &Host, need: f64) -> Self {
        match (host.wasted > host.lost, host.wasted > host.received) {
            (true, true) => Self::Spoiled,
            (true, false) => Self::Memory { ppm: ppm(host.wasted.into(), host.received.into()) },
            (false, _) => Self::Loss {
                ppm: ppm(host.lost.into(), host.seen()),
                fleet_ppm: (need * 1e6) as u32,
            },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
        match *self {
            Self::Loss { ppm, fleet_ppm } => {
                let (own, fleet) = (percent(ppm), percent(fleet_ppm));
                write!(f, "lost {own:.1} % where 95 % of the hosts lost at most {fleet:.1} %")
            }
            Self::Memory { ppm } => {
                write!(f, "had no memory for {:.1} % of what came to it", percent(ppm))
            }
            Self::Spoiled => f.write_str("found what it held wrong, and needs it again"),
            Self::Greed { ppm } => {
                write!(f, "asked for {:.1} % more than the others needed", percent(ppm))
            }
            Self::Late => f.write_str("came late"),
            Self::Slow => f.write_str("was not done when the others were"),
        }
    }
}

/// A straggler's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Straggling {
    /// Why it is one.
    pub cause: Cause,
    /// Whether its STATUS says that it knows.
    pub is_listening: bool,
    /// Whether it is served alone or not at all: the group has spent enough on it.
    pub is_alone: bool,
    /// When it was last told.
    pub told_at: Option<Timestamp>,
}

impl Straggling {
    /// A host that has just become a straggler.
    pub const fn new(cause: Cause) -> Self {
        Self { cause, is_listening: false, is_alone: false, told_at: None }
    }
}

/// Whom the symbols are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Every host that is no straggler, by the data group.
    Fleet,
    /// The stragglers, by a group of their own.
    Stragglers,
    /// One straggler, by its own address.
    Alone(Slot),
}

impl Audience {
    /// Whether `host`, which is in `slot`, may ask for payload now.
    pub fn serves(self, slot: Slot, host: &Host) -> bool {
        host.is_receiving()
            && match (self, host.straggling()) {
                (Self::Fleet, straggling) => straggling.is_none(),
                (Self::Stragglers, straggling) => straggling.is_some_and(|it| !it.is_alone),
                (Self::Alone(one), _) => one == slot,
            }
    }
}

/// `part` in millionths of `whole`.
pub fn ppm(part: u64, whole: u64) -> u32 {
    let share = part.saturating_mul(SHARE_PPM_MAX.into()).checked_div(whole).unwrap_or(0);
    u32::try_from(share).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use common::id::{BootNonce, Slot};
    use common::wire::HostPhase;

    use super::super::roster::tests::{roster_of, status};
    use super::*;

    /// What is said of a host that reports these.
    fn told(received: u32, lost: u32, wasted: u32) -> String {
        let mut roster = roster_of(1);
        let mut status = status(Slot(0), BootNonce(0), HostPhase::Receiving);
        (status.received, status.lost, status.wasted) = (received, lost, wasted);
        roster.on_status(Timestamp::ZERO, &status);
        Cause::told(&roster.hosts()[0], 0.001).to_string()
    }

    #[test]
    fn no_share_is_more_than_all_of_it() {
        let lost = "lost 30.0 % where 95 % of the hosts lost at most 0.1 %";
        assert_eq!(told(700, 300, 10), lost);
        assert_eq!(told(1000, 0, 250), "had no memory for 25.0 % of what came to it");
        assert_eq!(told(1000, 0, 1000), "had no memory for 100.0 % of what came to it");
        // An image of 256 MiB that it had and that is wrong, after the preamble's 200 symbols.
        assert_eq!(told(200, 0, 185_522), "found what it held wrong, and needs it again");
        assert_eq!(told(0, 0, 5), "found what it held wrong, and needs it again");
    }
}
