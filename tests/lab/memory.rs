//! Memory of both sides stays below its bound, whatever the image and whatever the disk does.

use std::time::Duration;

use tests::fixture;
use tests::lab::{HostOptions, Lab, Shape};
use tests::memory::MemoryWatch;
use tests::outcome::exit;
use tests::process::pass_time;
use tests::product::Send;

const DEADLINE: Duration = Duration::from_secs(180);
/// Anonymous memory and socket buffers, of a host and of the sender.
const BOUND_BYTES: u64 = 256 << 20;

/// More than the bound, so that a side that kept all of it would break the bound.
fn image_bytes() -> u64 {
    if fixture::is_full_run() { 1 << 30 } else { 400 << 20 }
}

#[test]
fn a_received_image_leaves_the_page_cache_to_the_services() {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.host(1).put_store_on_disk_of_its_own(300 << 20);
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 96 << 20);
    Send::of(&release.bundle).expect(1).run(&lab, DEADLINE).expect_exit(exit::DONE);
    let host = &lab.hosts()[0];
    let image = host.store().join("shop/images").join(&host.image_names("shop")[0]);
    let cached = || {
        let resident = "--bytes --noheadings --output RES ".to_owned() + &image.to_string_lossy();
        let bytes = host.node().tool("fincore", &resident);
        bytes.trim().parse::<u64>().expect("fincore prints a number")
    };
    assert!(cached() < 1 << 20, "{} bytes of the image are still cached", cached());
    // That the figure is one: now somebody reads it.
    host.expect_current(&release);
    assert!(cached() > 90 << 20, "{} bytes of the image are cached", cached());
}

#[test]
fn a_stalled_disk_and_a_late_host_cost_no_memory() {
    // Goal: the bound holds when a host cannot write for ten seconds, and for one that comes late.
    // Method: h1 has a disk of its own, frozen at a quarter; h2 starts at half.
    let mut lab = Lab::new(Shape::hosts(2).alone());
    lab.host(1).put_store_on_disk_of_its_own(image_bytes() * 2);
    lab.host(1).start(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", image_bytes());
    let send = Send::of(&release.bundle).expect(2).rate("400Mbit");
    let mut sending = send.start(&lab);
    let mut watches = vec![
        ("sender", MemoryWatch::of(sending.process.pid())),
        ("h1", MemoryWatch::of(lab.host(1).daemon().pid())),
    ];
    sending.wait_until_sent(lab.sender(), image_bytes() / 4);
    let frozen = lab.host(1).freeze_store();
    sending.wait_until_sent(lab.sender(), image_bytes() / 2);
    lab.host(2).start(&HostOptions::app("shop"));
    watches.push(("h2", MemoryWatch::of(lab.host(2).daemon().pid())));
    pass_time(Duration::from_secs(10));
    drop(frozen);
    let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active"), ["h1", "h2"], "{}", outcome.report());
    for host in lab.hosts() {
        host.expect_current(&release);
    }
    for (who, watch) in watches {
        let peak = watch.end();
        assert!(peak.both_bytes <= BOUND_BYTES, "{who}: {peak:?}");
    }
}
