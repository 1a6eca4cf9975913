//! Hosts that need more than the others: the fleet goes first, and they are served or named.

use std::time::Duration;

use common::units::Bitrate;
use common::wire::Activation;
use sender::session::{Expect, HostReport, HostState, Outcome, Phase, RateRequest};
use tests::sim::{Faults, HostSetup, Loss, Setup, World};

use crate::main_seed;

/// Hosts switch when they have staged, so that it can be told when each was done.
fn setup(hosts: usize, payload_bytes: u64) -> Setup {
    Setup { hosts, payload_bytes, activation: Activation::Each, ..Setup::new(main_seed()) }
}

fn report_of(world: &World, host: usize) -> HostReport {
    let name = format!("h{host}");
    let mut reports = world.sender().host_reports().into_iter();
    reports.find(|report| report.host == name).expect("a host that joined has a report")
}

/// Names and causes of the stragglers.
fn stragglers(world: &World) -> Vec<(String, String)> {
    let reports = world.sender().host_reports().into_iter();
    reports
        .filter(|report| !report.straggler.is_empty())
        .map(|report| (report.host, report.straggler))
        .collect()
}

/// Runs until `hosts` are active; the virtual time of that.
fn time_of(world: &mut World, hosts: std::ops::Range<usize>) -> Duration {
    world.run_until(|world| hosts.clone().all(|host| world.is_active(host)));
    world.elapsed()
}

const SLOW_DISK: HostSetup = HostSetup {
    disk: Some(Bitrate::from_megabits(8)),
    disk_full: false,
    held_frames: 0,
    holds_release: false,
    starts_after: Duration::ZERO,
    jitter: Duration::ZERO,
    lies: false,
    hears_no_other_group: false,
};
const LIAR: HostSetup = HostSetup { disk: None, lies: true, ..SLOW_DISK };

// PROTOCOL 7.10.
#[test]
fn four_bad_hosts_among_a_thousand_cost_the_others_less_than_a_twentieth() {
    // Method: the time until 996 hosts are active, alone and beside one at 30 % loss, one that
    // writes 1 MB/s and has memory for a third of the payload, one that stops, and one that asks
    // for everything again and again.
    let loss = Loss::Independent(0.001);
    let faults = Faults { host_loss: loss, feedback_loss: loss, ..Faults::default() };
    let base = Setup { faults, block_slots: 34, ..setup(996, 150_000_000) };
    let mut alone = World::new(base.clone());
    let usual = time_of(&mut alone, 0..996);

    let mut world = World::new(Setup { hosts: 1000, ..base });
    world.set_loss(996, Loss::Independent(0.3));
    world.set_host(997, SLOW_DISK);
    world.set_host(999, LIAR);
    world.run_until(|world| world.sender().progress().sent > 0.3);
    world.stop_host(998);
    let beside = time_of(&mut world, 0..996);
    let longer = beside.as_secs_f64() / usual.as_secs_f64() - 1.0;
    assert!(longer < 0.05, "{beside:?} instead of {usual:?}: {:.1} %", longer * 100.0);

    assert_eq!(world.run(), Outcome::NotReached);
    let [lossy, slow, stopped, liar] = [996, 997, 998, 999].map(|host| report_of(&world, host));
    assert_eq!(lossy.state, HostState::Active, "{lossy:?}");
    assert!(lossy.straggler.contains("lost 30"), "{lossy:?}");
    assert_eq!((slow.state, slow.fault.as_str()), (HostState::Failed, "too-slow"), "{slow:?}");
    assert!(slow.straggler.contains("memory"), "{slow:?}");
    assert_eq!(stopped.state, HostState::Lost, "{stopped:?}");
    assert!(liar.straggler.starts_with("asked for"), "{liar:?}");
    assert_eq!(stragglers(&world).len(), 3, "{:?}", stragglers(&world));
}

// PROTOCOL 5.4 and 7.10.
#[test]
fn random_loss_that_all_suffer_neither_collapses_the_rate_nor_makes_stragglers() {
    for (hosts, loss) in [(1, 0.1), (2, 0.05), (8, 0.05), (8, 0.1), (100, 0.05), (100, 0.1)] {
        let model = Loss::Independent(loss);
        let faults = Faults { host_loss: model, feedback_loss: model, ..Faults::default() };
        let rate = RateRequest::Ceiling(Bitrate::from_megabits(1000));
        let mut world = World::new(Setup { faults, rate, ..setup(hosts, 64_000_000) });
        assert_eq!(world.run(), Outcome::Reached);
        assert_eq!(stragglers(&world), [], "{hosts} hosts, {loss}");
        let wire = world.sender().wire_report();
        // 64 MB take 0.56 s at 1 Gbit/s with what goes around symbols.
        let usual = 0.56 * world.efficiency();
        assert!(wire.time.as_secs_f64() < usual + 0.15, "{hosts} hosts, {loss}: {wire:?}");
    }
}

#[test]
fn a_liar_exhausts_its_own_budget_and_is_named() {
    let mut world = World::new(setup(8, 64_000_000));
    world.set_host(5, LIAR);
    assert_eq!(world.run(), Outcome::Reached, "it has all that it asks for");
    let [(name, cause)] = &stragglers(&world)[..] else { panic!("{:?}", stragglers(&world)) };
    assert!(name == "h5" && cause.starts_with("asked for"), "{name}: {cause}");
    assert!(world.efficiency() < 1.04, "{}", world.efficiency());
}

#[test]
fn two_of_forty_hosts_at_a_quarter_of_loss_are_served_apart_and_the_others_hear_nothing_of_it() {
    let mut world = World::new(setup(40, 64_000_000));
    (38..40).for_each(|host| world.set_loss(host, Loss::Independent(0.25)));
    world.run_until(|world| world.sender().phase() == Phase::CatchUp);
    let before = world.session(0).unwrap().traffic().0;
    world.run_until(|world| world.sender().phase() != Phase::CatchUp);
    let heard = world.session(0).map_or(0, |session| session.traffic().0 - before);
    assert!(heard < 100, "{heard} datagrams came to a host that was done");
    assert_eq!(world.run(), Outcome::Reached);
    assert_eq!(stragglers(&world).len(), 2);
    let wire = world.sender().wire_report();
    let (source, apart) = (wire.source_symbols, wire.catch_up_symbols);
    assert!(apart > source / 5 && apart < source * 3 / 2, "{wire:?}");
}

#[test]
fn a_straggler_that_its_group_does_not_reach_is_served_by_its_own_address() {
    let mut world = World::new(setup(8, 32_000_000));
    world.set_loss(7, Loss::Independent(0.3));
    world.set_host(7, HostSetup { hears_no_other_group: true, ..HostSetup::default() });
    world.run_until(|world| world.sender().phase() == Phase::Unicast);
    let at = world.elapsed();
    assert_eq!(world.run(), Outcome::Reached);
    assert!(world.elapsed() - at < Duration::from_secs(3), "{:?}", world.elapsed() - at);
    assert!(world.is_active(7));
}

// PROTOCOL 7.10 and 8.1: together, the fleet waits for stragglers, and not longer than they have.
#[test]
fn together_waits_for_a_straggler_as_long_as_it_has_and_no_longer() {
    let hopeless = HostSetup { disk: Some(Bitrate::from_megabits(1)), ..SLOW_DISK };
    for (setup_of_7, loss, outcome, state) in [
        (HostSetup::default(), 0.3, Outcome::Reached, HostState::Active),
        (hopeless, 0.0, Outcome::NotReached, HostState::Failed),
    ] {
        let activation = Activation::Together;
        let mut world = World::new(Setup { activation, block_slots: 17, ..setup(8, 64_000_000) });
        world.set_host(7, setup_of_7);
        world.set_loss(7, Loss::Independent(loss));
        assert_eq!(world.run(), outcome);
        let report = report_of(&world, 7);
        assert_eq!(report.state, state, "{report:?}");
        assert!(!report.straggler.is_empty(), "{report:?}");
        assert!(world.elapsed() < Duration::from_secs(66), "{:?}", world.elapsed());
        assert!((0..7).all(|host| world.is_active(host) == (outcome == Outcome::Reached)));
    }
}

#[test]
fn a_quorum_that_is_met_without_the_straggler_switches_when_its_time_is_over() {
    let names = (0..7).map(|host| format!("h{host}").parse().unwrap()).collect();
    let expect = Some(Expect::Names(names));
    let mut world = World::new(Setup { expect, ..setup(8, 8_000_000) });
    assert_eq!(world.run(), Outcome::Reached, "the eighth is no affair of this session");
}

#[test]
fn a_host_that_comes_late_is_served_after_the_others() {
    let mut world = World::new(setup(8, 64_000_000));
    world.stop_host(7);
    world.run_until(|world| world.sender().progress().sent > 0.5);
    world.start_host(7);
    assert_eq!(world.run(), Outcome::Reached);
    assert_eq!(stragglers(&world), [("h7".to_owned(), "came late".to_owned())]);
    let wire = world.sender().wire_report();
    assert!(
        wire.sent_symbols - wire.catch_up_symbols < wire.source_symbols * 102 / 100,
        "{wire:?}"
    );
}

// PROTOCOL 5.4: most hosts write at a third of the rate, with memory for half of the payload.
#[test]
fn hosts_that_write_slower_than_they_receive_slow_the_sender_and_are_sent_little_twice() {
    let rate = RateRequest::Ceiling(Bitrate::from_megabits(1000));
    let mut world = World::new(Setup { rate, block_slots: 60, ..setup(8, 200_000_000) });
    let slow = HostSetup { disk: Some(Bitrate::from_megabits(300)), ..HostSetup::default() };
    (0..8).for_each(|host| world.set_host(host, slow));
    assert_eq!(world.run(), Outcome::Reached);
    assert_eq!(stragglers(&world), []);
    assert!(world.efficiency() < 1.05, "{}", world.efficiency());
    let least = 200.0 * 8.0 / 300.0;
    let took = world.elapsed().as_secs_f64();
    assert!(took < least * 1.2 + 0.5, "{took} s, and the disks alone need {least}");
}
