//! What the simulator leaves out or does in another order changes nothing.

use std::num::NonZeroUsize;
use std::time::Duration;

use common::units::Bitrate;
use sender::session::Outcome;
use tests::sim::{Bottleneck, Faults, HostSetup, Loss, Setup, World};

use crate::main_seed;

/// Eight hosts in a network with every fault: one is slow, one is late, one lies.
fn world(faults: Faults, carries_payload: bool) -> World {
    let setup = Setup { faults, carries_payload, ..Setup::new(main_seed()) };
    let mut world = World::new(setup);
    let disk = Some(Bitrate::from_megabits(160));
    world.set_host(2, HostSetup { disk, ..HostSetup::default() });
    let starts_after = Duration::from_millis(600);
    world.set_host(5, HostSetup { starts_after, ..HostSetup::default() });
    world.set_host(6, HostSetup { lies: true, ..HostSetup::default() });
    world
}

/// Goal: runs with headers only, in which hosts lag behind the clock, are worth as much as runs of
/// the real thing. Method: every datagram encoded, sealed, damaged or lost, opened, parsed, decoded
/// and compared, the hosts in step with the clock; the digests of both histories are equal.
#[test]
fn a_run_with_payload_takes_the_course_of_one_with_headers_only() {
    let loss = Loss::Independent(0.02);
    let base = Faults {
        feedback_loss: loss,
        bottleneck: Bottleneck::ETHERNET,
        duplicate: 0.01,
        corrupt: 0.005,
        ..Faults::default()
    };
    for faults in [
        Faults { host_loss: loss, ..base },
        Faults { host_loss: Loss::Bursty { p: 0.05, mean_burst: 64.0 }, ..base },
        Faults { rack_loss: loss, shared_loss: Loss::Independent(0.01), ..base },
        Faults { host_loss: loss, jitter: Duration::from_millis(1), ..base },
    ] {
        let [mut headers, mut payload] = [false, true].map(|bytes| world(faults, bytes));
        assert_eq!(headers.run(), Outcome::Reached);
        assert_eq!(payload.run(), Outcome::Reached);
        assert_eq!(headers.trace(), payload.trace(), "{faults:?}");
        assert_eq!(headers.deliveries(), payload.deliveries());
        let received: Vec<_> = (0..8).map(|host| payload.has_received(host)).collect();
        assert_eq!(received, [Some(true); 8], "{faults:?}");
        assert_eq!(headers.has_received(0), None);
    }
}

#[test]
fn a_run_is_the_same_on_one_core_and_on_several() {
    let run = |cores| {
        let loss = Loss::Independent(0.02);
        let faults = Faults { host_loss: loss, feedback_loss: loss, ..Faults::default() };
        let setup = Setup { hosts: 800, payload_bytes: 3_000_000, faults, ..Setup::new(3) };
        let mut world = World::new(Setup { cores: NonZeroUsize::new(cores), ..setup });
        assert_eq!(world.run(), Outcome::Reached);
        world.trace()
    };
    assert_eq!(run(1), run(3));
}
