//! What the fleet is like as a whole: quantiles over its hosts, never the worst.
//!
//! Taken at every sweep and at the end of every window, since a look at all hosts for each of their
//! wants would take longer than the wants come apart. PROTOCOL 6.4 and 7.10.

use common::geometry::Geometry;

use super::host::Host;
use super::loss::proactive_symbols;
use super::roster::Roster;
use super::schedule::{PROACTIVE_SYMBOLS_UNKNOWN, Weather};

/// Wants up to so many symbols beyond what goes unasked at the loss of the 95th percentile are
/// everybody's: the neediest of 10,000 at 1 % needs nine more than goes unasked.
const FREE_SYMBOLS: u32 = 16;

/// What the fleet was like when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fleet {
    /// The loss of late of the 95th percentile of the hosts that are served as a fleet.
    pub weather: Weather,
    /// What the 95th percentile of all present hosts needed beyond what came to it and was of use,
    /// as a share of what was sent; `None` before half of them have told.
    pub need: Option<f64>,
    /// What came to it in vain, as a share of what was sent.
    pub wasted: f64,
    /// Symbols beyond k that are everybody's.
    pub free_symbols: u32,
}

impl Default for Fleet {
    fn default() -> Self {
        let weather = Weather { loss: None, hosts: 1 };
        let free_symbols = PROACTIVE_SYMBOLS_UNKNOWN + FREE_SYMBOLS;
        Self { weather, need: None, wasted: 0.0, free_symbols }
    }
}

impl Fleet {
    /// The fleet of `roster` now.
    pub fn of(roster: &Roster, geometry: &Geometry) -> Self {
        let hosts = roster.hosts();
        let is_served = |host: &&Host| host.is_receiving() && host.straggling().is_none();
        let served = hosts.iter().filter(is_served);
        let weather = Weather {
            loss: quantile95(served.clone().filter_map(|host| host.loss.share())),
            hosts: served.count(),
        };
        let told = hosts.iter().filter(|host| host.is_present() && host.seen() > 0);
        let share = |part: u64, host: &Host| part as f64 / host.seen() as f64;
        let is_known = told.clone().count() * 2 >= roster.tally().present();
        let need = quantile95(told.clone().map(|host| share(host.needed(), host)));
        let wasted = quantile95(told.map(|host| share(host.wasted.into(), host)));
        let (k, blocks) = (geometry.block_symbols(), geometry.window_blocks());
        let unasked = weather.loss.map_or(PROACTIVE_SYMBOLS_UNKNOWN, |loss| {
            proactive_symbols(k.into(), loss, weather.hosts, blocks.into())
        });
        Self {
            weather,
            need: need.filter(|_| is_known),
            wasted: wasted.unwrap_or(0.0),
            free_symbols: unasked + FREE_SYMBOLS,
        }
    }
}

/// The value that 95 % of `values` do not exceed, `None` for none; of up to twenty, the last but
/// one.
fn quantile95(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    let rank = values.len().checked_sub(1)? * 95 / 100;
    let (_, value, _) = values.select_nth_unstable_by(rank, f64::total_cmp);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use common::id::{BootNonce, Slot};
    use common::wire::HostPhase;

    use super::super::roster::tests::{roster_of, status};
    use super::super::straggling::{Cause, Straggling};
    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(1408, 1024, 256, 16, 0, 64_000_000).unwrap()
    }

    /// `count` hosts; the last two have lost 30 % and had no memory for as much.
    fn roster(count: u32) -> Roster {
        let mut roster = roster_of(count);
        for slot in 0..count {
            let is_bad = slot + 2 >= count;
            let (lost, wasted) = if is_bad { (3000, 3000) } else { (100, 0) };
            let mut told = status(Slot(slot), BootNonce(slot.into()), HostPhase::Receiving);
            (told.received, told.lost, told.wasted) = (10_000 - lost, lost, wasted);
            roster.on_status(common::time::Timestamp::ZERO, &told);
        }
        roster
    }

    #[test]
    fn two_bad_hosts_of_forty_are_beyond_the_quantile_and_of_eight_they_are_not() {
        let of = |count| Fleet::of(&roster(count), &geometry());
        let (forty, eight) = (of(40), of(8));
        assert_eq!((forty.need, forty.wasted), (Some(0.01), 0.0));
        assert_eq!((eight.need, eight.wasted), (Some(0.6), 0.3));
        assert!((0.009..0.011).contains(&forty.weather.loss.unwrap()), "{forty:?}");
        assert!(eight.free_symbols > 400 && forty.free_symbols < 50, "{eight:?} {forty:?}");
    }

    #[test]
    fn stragglers_count_for_what_the_fleet_needs_and_not_for_its_weather() {
        let mut roster = roster(8);
        [6, 7].into_iter().for_each(|slot| {
            roster.set_straggling(Slot(slot), Straggling::new(Cause::Late));
        });
        let fleet = Fleet::of(&roster, &geometry());
        assert_eq!((fleet.weather.hosts, fleet.need), (6, Some(0.6)));
        assert!((0.009..0.011).contains(&fleet.weather.loss.unwrap()), "{fleet:?}");
    }

    #[test]
    fn nothing_is_known_of_the_need_before_half_have_told() {
        let mut roster = roster_of(8);
        let mut told = status(Slot(0), BootNonce(0), HostPhase::Receiving);
        told.received = 10;
        roster.on_status(common::time::Timestamp::ZERO, &told);
        assert_eq!(Fleet::of(&roster, &geometry()).need, None);
        assert_eq!(Fleet::of(&roster_of(0), &geometry()).weather.loss, None);
    }
}
