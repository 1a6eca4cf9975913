//! What happens to one release and its hosts, by scenario.

use std::time::Duration;

use common::units::Bitrate;
use common::wire::Activation;
use sender::session::{Expect, HostReport, HostState, Outcome, Phase, RateRequest};
use tests::sim::{Faults, HostSetup, Loss, Setup, World};

use crate::main_seed;

fn setup() -> Setup {
    Setup::new(main_seed())
}

fn lossy(loss: Loss) -> Setup {
    let faults = Faults { host_loss: loss, feedback_loss: loss, ..Faults::default() };
    Setup { faults, ..setup() }
}

fn report_of(world: &World, host: &str) -> HostReport {
    let mut reports = world.sender().host_reports().into_iter();
    reports.find(|report| report.host == host).expect("a host that joined has a report")
}

fn assert_all_active(world: &World, hosts: std::ops::Range<usize>) {
    for host in hosts {
        assert!(world.is_active(host), "host {host}");
    }
}

// PROTOCOL 5.3: the world checks it after every step.
#[test]
fn a_clean_network_needs_no_repair_and_everybody_switches() {
    let mut world = World::new(setup());
    assert_eq!(world.run(), Outcome::Reached);
    assert_all_active(&world, 0..8);
    assert_eq!(world.feedback().0, 0, "nobody needs anything");
}

#[test]
fn lost_datagrams_both_ways_are_repaired() {
    for loss in [
        Loss::Independent(0.02),
        Loss::Independent(0.10),
        Loss::Independent(0.30),
        Loss::Bursty { p: 0.02, mean_burst: 64.0 },
        Loss::Bursty { p: 0.10, mean_burst: 300.0 },
    ] {
        let mut world = World::new(lossy(loss));
        let outcome = world.run();
        assert_eq!(outcome, Outcome::Reached, "{loss:?} {:#?}", world.sender().host_reports());
        assert_all_active(&world, 0..8);
    }
}

#[test]
fn loss_near_the_sender_is_repaired_for_all_at_once() {
    let shared = Loss::Independent(0.05);
    let faults = Faults { shared_loss: shared, ..Faults::default() };
    let mut world = World::new(Setup { faults, ..setup() });
    assert_eq!(world.run(), Outcome::Reached);
    assert!(world.efficiency() < 1.09, "{}", world.efficiency());
}

#[test]
fn duplicates_reordering_and_damage_change_nothing_but_time() {
    let faults = Faults {
        host_loss: Loss::Independent(0.01),
        duplicate: 0.05,
        corrupt: 0.01,
        jitter: Duration::from_millis(3),
        ..Faults::default()
    };
    let mut world = World::new(Setup { faults, ..setup() });
    assert_eq!(world.run(), Outcome::Reached);
    assert_all_active(&world, 0..8);
}

#[test]
fn the_same_seed_makes_the_same_run_and_another_seed_another() {
    let run = |seed| {
        let faults = Faults { host_loss: Loss::Independent(0.02), ..Faults::default() };
        let mut world = World::new(Setup { faults, ..Setup::new(seed) });
        world.run();
        world.trace()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_host_that_starts_at_half_of_the_pass_completes_in_the_same_session() {
    let mut world = World::new(Setup { payload_bytes: 64_000_000, ..setup() });
    world.stop_host(7);
    world.run_until(|world| world.sender().progress().sent > 0.5);
    world.start_host(7);
    assert_eq!(world.run(), Outcome::Reached);
    assert_all_active(&world, 0..8);
    assert!(world.efficiency() < 1.6, "half again for the late one: {}", world.efficiency());
}

#[test]
fn a_host_that_stops_for_good_is_named_lost_and_holds_nobody_up() {
    let mut world = World::new(Setup { payload_bytes: 64_000_000, ..setup() });
    world.run_until(|world| world.sender().progress().sent > 0.3);
    world.stop_host(3);
    assert_eq!(world.run(), Outcome::NotReached, "together: nobody switches");
    let reports = world.sender().host_reports();
    assert_eq!(report_of(&world, "h3").state, HostState::Lost);
    let others = reports.iter().filter(|report| report.host != "h3");
    for report in others {
        assert_eq!(report.state, HostState::Staged, "{}", report.host);
    }
    assert!(world.elapsed() < Duration::from_millis(4500), "{:?}", world.elapsed());
}

#[test]
fn one_full_disk_leaves_the_old_release_everywhere_and_is_named() {
    let mut world = World::new(setup());
    world.set_host(2, HostSetup { disk_full: true, ..HostSetup::default() });
    assert_eq!(world.run(), Outcome::NotReached);
    assert!((0..8).all(|host| !world.is_active(host)));
    let report = report_of(&world, "h2");
    assert_eq!((report.state, report.reason.as_str()), (HostState::Failed, "disk full"));
}

// PROTOCOL 5.1.
#[test]
fn when_the_last_host_is_gone_the_rest_is_sent_to_nobody() {
    let mut world = World::new(Setup { hosts: 1, payload_bytes: 800_000_000, ..setup() });
    world.run_until(|world| world.sender().progress().sent > 0.05);
    world.stop_host(0);
    assert_eq!(world.run(), Outcome::NotReached);
    assert!(world.efficiency() < 0.6, "lost after 2 of 6.8 s: {}", world.efficiency());
}

// PROTOCOL 5.1, 7.4: together means all of those who are there when it is decided.
#[test]
fn a_staged_host_that_falls_silent_keeps_the_others_from_switching() {
    let mut world = World::new(Setup { payload_bytes: 64_000_000, ..setup() });
    world
        .set_host(7, HostSetup { disk: Some(Bitrate::from_megabits(100)), ..HostSetup::default() });
    world.run_until(|world| world.sender().progress().staged == 7);
    world.stop_host(3);
    assert_eq!(world.run(), Outcome::NotReached);
    assert!((0..8).all(|host| !world.is_active(host)));
    assert_eq!(report_of(&world, "h3").state, HostState::Lost);
}

// PROTOCOL 7.5.
#[test]
fn a_pass_that_outlasts_all_patience_with_one_window_is_repaired_all_the_same() {
    let rate = RateRequest::Fixed(Bitrate::from_megabits(4));
    let mut world = World::new(Setup { rate, ..lossy(Loss::Independent(0.02)) });
    assert_eq!(world.run(), Outcome::Reached, "{:#?}", world.sender().host_reports());
    assert!(world.elapsed() > Duration::from_secs(16), "{:?}", world.elapsed());
}

// PROTOCOL 7.9.
#[test]
fn a_host_that_goes_deaf_is_named_for_it_and_holds_nobody_up_for_long() {
    let mut world = World::new(Setup { payload_bytes: 64_000_000, ..setup() });
    world.run_until(|world| world.sender().progress().sent > 0.3);
    world.set_loss(3, Loss::Independent(1.0));
    assert_eq!(world.run(), Outcome::NotReached, "together: nobody switches");
    let report = report_of(&world, "h3");
    assert!(report.reason.contains("hears nothing of the sender any more"), "{report:?}");
    assert!(world.elapsed() < Duration::from_secs(9), "{:?}", world.elapsed());
}

// PROTOCOL 8.1.
#[test]
fn each_switches_every_host_that_can_and_hold_switches_none() {
    for (activation, outcome, active) in
        [(Activation::Each, Outcome::NotReached, 7), (Activation::Hold, Outcome::NotReached, 0)]
    {
        let mut world = World::new(Setup { activation, ..setup() });
        world.set_host(2, HostSetup { disk_full: true, ..HostSetup::default() });
        assert_eq!(world.run(), outcome);
        assert_eq!((0..8).filter(|host| world.is_active(*host)).count(), active);
    }
}

#[test]
fn a_crashed_host_comes_back_with_nothing_and_completes() {
    let mut world =
        World::new(Setup { payload_bytes: 32_000_000, ..lossy(Loss::Independent(0.01)) });
    world.run_until(|world| world.sender().progress().sent > 0.5);
    world.crash_host(5);
    assert_eq!(world.run(), Outcome::Reached);
    assert_all_active(&world, 0..8);
}

#[test]
fn a_killed_sender_is_superseded_by_its_successor() {
    let mut world = World::new(Setup { payload_bytes: 64_000_000, ..setup() });
    world.run_until(|world| world.sender().progress().sent > 0.5);
    world.kill_sender();
    world.start_sender();
    assert_eq!(world.run(), Outcome::Reached);
    assert_all_active(&world, 0..8);
}

// PROTOCOL 7.7.
#[test]
fn hosts_of_a_killed_sender_are_idle_within_ten_seconds() {
    let mut world = World::new(Setup { payload_bytes: 64_000_000, ..setup() });
    world.run_until(|world| world.sender().progress().sent > 0.5);
    let at = world.elapsed();
    world.kill_sender();
    world.run_until(|world| (0..8).all(|host| world.session(host).is_none()));
    assert!(world.elapsed() - at < Duration::from_secs(10));
}

#[test]
fn nobody_there_is_known_when_the_join_window_ends() {
    let mut world = World::new(setup());
    (0..8).for_each(|host| world.stop_host(host));
    assert_eq!(world.run(), Outcome::NobodyJoined);
    assert!(world.elapsed() <= Duration::from_millis(2000), "{:?}", world.elapsed());
}

#[test]
fn an_unexpected_host_takes_no_part_and_an_absent_one_is_named() {
    let names: Vec<_> = ["web9", "h1", "h0"].iter().map(|name| name.parse().unwrap()).collect();
    let mut world = World::new(Setup { expect: Some(Expect::Names(names)), ..setup() });
    assert_eq!(world.run(), Outcome::NotReached);
    let reports = world.sender().host_reports();
    let states: Vec<_> = reports.iter().map(|r| (r.host.as_str(), r.state)).collect();
    assert_eq!(states.len(), 3, "{states:?}");
    assert_eq!(states[2], ("web9", HostState::Absent));
    assert!(!world.is_active(5));
}

#[test]
fn two_hosts_of_one_name_are_both_reported_and_neither_counts() {
    let mut world = World::new(Setup { expect: Some(Expect::Count(7)), ..setup() });
    world.rename(7, "h0");
    assert_eq!(world.run(), Outcome::NotReached);
    let report = report_of(&world, "h0");
    assert_eq!(report.state, HostState::Failed);
    assert!(report.reason.contains("198.18.0.1:1") && report.reason.contains("198.18.0.1:8"));
}

#[test]
fn an_interrupt_activates_nothing_and_frees_the_hosts() {
    let mut world = World::new(Setup { payload_bytes: 32_000_000, ..setup() });
    world.run_until(|world| world.sender().phase() == Phase::Pass);
    world.interrupt();
    assert_eq!(world.run(), Outcome::Interrupted);
    world.run_until(|world| (0..8).all(|host| world.session(host).is_none()));
    assert!((0..8).all(|host| !world.is_active(host)));
}

#[test]
fn a_release_that_everybody_holds_moves_no_data() {
    let mut world = World::new(setup());
    let holder = HostSetup { holds_release: true, ..HostSetup::default() };
    (0..8).for_each(|host| world.set_host(host, holder));
    assert_eq!(world.run(), Outcome::Reached);
    assert_eq!(world.sender().wire_report().sent_symbols, 0);
    assert!(world.elapsed() < Duration::from_millis(1000), "{:?}", world.elapsed());
}

#[test]
fn frames_that_the_only_host_holds_are_not_sent_again() {
    let mut world = World::new(Setup { hosts: 1, payload_bytes: 64_000_000, ..setup() });
    world.set_host(0, HostSetup { held_frames: 107, ..HostSetup::default() });
    assert_eq!(world.run(), Outcome::Reached);
    assert!(world.efficiency() < 0.55, "{}", world.efficiency());
}

#[test]
fn a_host_with_little_memory_drops_whole_blocks_and_still_completes() {
    let setup =
        Setup { payload_bytes: 64_000_000, block_slots: 18, ..lossy(Loss::Independent(0.05)) };
    let mut world = World::new(setup);
    assert_eq!(world.run(), Outcome::Reached);
}

#[test]
fn fifty_random_networks_all_end_with_every_host_switched() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    for seed in main_seed()..main_seed() + 50 {
        let mut rng = StdRng::seed_from_u64(seed);
        let loss = |rng: &mut StdRng| match rng.random_range(0..3) {
            0 => Loss::None,
            1 => Loss::Independent(rng.random_range(0.0..0.15)),
            _ => Loss::Bursty { p: rng.random_range(0.0..0.1), mean_burst: 32.0 },
        };
        let faults = Faults {
            host_loss: loss(&mut rng),
            shared_loss: loss(&mut rng),
            feedback_loss: loss(&mut rng),
            duplicate: rng.random_range(0.0..0.1),
            corrupt: rng.random_range(0.0..0.02),
            jitter: Duration::from_micros(rng.random_range(0..2000)),
            ..Faults::default()
        };
        let setup = Setup {
            hosts: rng.random_range(1..12),
            payload_bytes: rng.random_range(0..6_000_000),
            preamble_bytes: rng.random_range(1..60_000),
            block_symbols: rng.random_range(50..1024),
            faults,
            ..Setup::new(seed)
        };
        let replay = setup.replay();
        let mut world = World::new(setup);
        let outcome = world.run();
        let reports = world.sender().host_reports();
        assert_eq!(outcome, Outcome::Reached, "{reports:#?} replay: {replay}");
    }
}
