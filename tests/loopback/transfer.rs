//! One release to several hosts over real sockets, in one process.
#![expect(clippy::disallowed_methods, reason = "a test reads what arrived")]

use std::fs;

use common::net::{SystemNetwork, parse_group};
use sender::session::{HostState, Outcome};
use tests::loopback::{Host, options, raw_bundle, run};

fn noise(bytes: usize) -> Vec<u8> {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut noise = vec![0; bytes];
    StdRng::seed_from_u64(1).fill(&mut noise[..]);
    noise
}

#[test]
fn a_raw_image_reaches_every_host_and_current_points_at_it() {
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("shop.fan");
    let image = noise(20_000_000);
    raw_bundle(&bundle, "shop", "v1", &image);
    let group = parse_group("239.192.70.11:17011").unwrap();
    let start = |name: &str| Host::start(name, "shop", directory.path(), group, SystemNetwork);
    let hosts = ["web1", "web2", "web3"].map(start);
    let report = run(&options(&bundle, group, 3), &SystemNetwork).unwrap();
    assert_eq!(report.outcome, Outcome::Reached, "{:#?}", report.hosts);
    assert!(report.hosts.iter().all(|host| host.state == HostState::Active));
    for host in hosts {
        let current = host.store.join("shop/root/current");
        let mut files = fs::read_dir(&current).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(fs::read(file).unwrap() == image, "{}", current.display());
        host.stop().unwrap();
    }
    println!("{:?} in {} s", report.wire, report.seconds);
}
