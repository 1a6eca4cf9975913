//! A member of the group that forges the sender's data: as much as the sender sends, all the time.

use std::time::Duration;

use common::units::Bitrate;
use sender::session::{Outcome, RateRequest};
use tests::sim::{Faults, Forgery, Loss, Setup, World};

use crate::main_seed;

/// 128 MB at 100 Mbit/s.
fn setup(hosts: usize, forgery: Option<Forgery>) -> Setup {
    let rate = RateRequest::Fixed(Bitrate::from_megabits(100));
    let faults = Faults { host_loss: Loss::Independent(0.001), ..Faults::default() };
    Setup { hosts, payload_bytes: 64_000_000, rate, faults, forgery, ..Setup::new(main_seed()) }
}

/// Runs to the end; what the sender needed, and its symbols for each source symbol.
fn run(setup: Setup) -> (Duration, f64, World) {
    let mut world = World::new(setup);
    assert_eq!(world.run(), Outcome::Reached, "{:#?}", world.sender().host_reports());
    (world.sender().wire_report().time, world.efficiency(), world)
}

// PROTOCOL 6.10: the goal of issue 5: goodput at least 90 % of what it is without.
#[test]
fn who_forges_as_many_symbols_as_are_sent_costs_a_hundred_hosts_less_than_a_tenth() {
    let (without, ..) = run(setup(100, None));
    for forgery in [Forgery::Symbols, Forgery::Ahead, Forgery::Anywhere] {
        let (with, efficiency, world) = run(setup(100, Some(forgery)));
        let share = without.as_secs_f64() / with.as_secs_f64();
        let wire = world.sender().wire_report();
        assert!(share > 0.9, "{forgery:?}: {share:.3}, {efficiency:.3}, {wire:?}");
        let whole = wire.source_symbols / 1024 * 20;
        assert!(wire.hashes > whole / 2 && wire.hashes < whole * 5 / 4, "{forgery:?}: {wire:?}");
    }
}

// PROTOCOL 6.9.
#[test]
fn who_forges_counts_and_numbers_neither_silences_hosts_nor_makes_them_greedy() {
    let (without, ..) = run(setup(20, None));
    for forgery in [Forgery::Counts, Forgery::Advertises] {
        let (with, efficiency, _) = run(setup(20, Some(forgery)));
        let share = without.as_secs_f64() / with.as_secs_f64();
        assert!(share > 0.9 && efficiency < 1.1, "{forgery:?}: {share:.3}, {efficiency:.3}");
    }
}

#[test]
fn without_a_forger_no_digest_is_sent() {
    let (_, _, world) = run(setup(8, None));
    assert_eq!(world.sender().wire_report().hashes, 0);
}
