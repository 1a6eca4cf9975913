//! What networks do to a session: forget members, carry several senders, carry rubbish.

use std::net::SocketAddr;
use std::time::Duration;

use tests::hostile::Rubbish;
use tests::lab::{Family, HostOptions, Lab, Release, Shape, Snooping};
use tests::outcome::exit;
use tests::process::pass_time;
use tests::product::{Image, Send};

const DEADLINE: Duration = Duration::from_secs(60);

/// An idle host behind a bridge that forgets members after four seconds hears a late send.
fn hears_after_idling(family: Family) {
    assert_eq!(Snooping::QUICK.membership, Duration::from_secs(4));
    let mut lab = Lab::new(Shape::hosts(2).over(family));
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.small_release("r1", Image::Tar);
    pass_time(Duration::from_secs(30));
    Send::of(&release.bundle).expect(2).run(&lab, DEADLINE).expect_exit(exit::DONE);
    for host in lab.hosts() {
        host.expect_current(&release);
    }
}

#[test]
fn an_idle_host_behind_a_forgetful_bridge_hears_a_send_after_thirty_seconds() {
    hears_after_idling(Family::V4);
}

#[test]
fn an_idle_host_behind_a_forgetful_bridge_hears_a_send_after_thirty_seconds_over_ipv6() {
    hears_after_idling(Family::V6);
}

#[test]
fn a_host_without_the_app_never_sees_its_data() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.host(1).start(&HostOptions::app("shop"));
    lab.host(2).start(&HostOptions::app("other"));
    let release = lab.raw_release("r1", 8 << 20);
    let before = lab.host(2).node().received_bytes();
    Send::of(&release.bundle).expect(1).run(&lab, DEADLINE).expect_exit(exit::DONE);
    let strayed = lab.host(2).node().received_bytes() - before;
    assert!(strayed < 1 << 20, "{strayed} bytes came to a host that wants none");
    lab.hosts()[1].expect_nothing_final("other");
}

#[test]
fn a_host_that_hears_the_announce_but_no_data_names_mtu_or_igmp() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.start_hosts(&HostOptions::app("shop"));
    // What is longer than a control message does not reach h2.
    lab.host(2).node().cut("meta l4proto udp meta length > 1000");
    let release = lab.raw_release("r1", 4 << 20);
    let send = Send::of(&release.bundle).expect(2).activate("each").arg("--timeout").arg("20s");
    let outcome = send.run(&lab, DEADLINE);
    assert_ne!(outcome.ending.code, Some(exit::DONE));
    let deaf = outcome.host("h2");
    assert_ne!(deaf.state, "active", "{deaf:?}");
    assert!(deaf.reason.contains("MTU") && deaf.reason.contains("IGMP"), "{deaf:?}");
    lab.hosts()[0].expect_current(&release);
}

// PROTOCOL 7.9.
#[test]
fn a_bridge_that_forgets_its_members_in_the_middle_is_reminded() {
    // Goal: a switch without a working querier does not end a session that lasts.
    // Method: the bridge asks once a minute and forgets after eight seconds; the pass takes
    // thirteen.
    let forgetful = Snooping {
        query_interval: Duration::from_secs(60),
        membership: Duration::from_secs(8),
        ..Snooping::QUICK
    };
    let mut lab = Lab::new(Shape { snooping: forgetful, ..Shape::hosts(2) });
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 12 << 20);
    let send = Send::of(&release.bundle).expect(2).rate("8Mbit");
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::DONE);
    assert!(outcome.elapsed() > forgetful.membership, "{:?}", outcome.elapsed());
    for host in lab.hosts() {
        host.expect_current(&release);
        assert!(host.log().contains("the groups are joined anew"), "{}", host.log());
    }
}

// PROTOCOL 7.9.
#[test]
fn a_host_that_goes_deaf_is_served_by_its_own_address_and_named() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 8 << 20);
    let send = Send::of(&release.bundle).expect(2).activate("each").rate("16Mbit");
    let mut sending = send.start(&lab);
    sending.wait_until_sent(lab.sender(), 4 << 20);
    lab.host(2).node().cut("ip daddr 224.0.0.0/4");
    let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
    let deaf = &outcome.report()["hosts"][1];
    assert!(deaf["straggler"].is_string(), "{deaf}");
    assert!(outcome.host("h2").seconds > outcome.host("h1").seconds, "{}", outcome.report());
    for host in lab.hosts() {
        host.expect_current(&release);
    }
}

#[test]
fn a_second_sender_of_the_same_app_is_refused_and_told_who_is_first() {
    let mut lab = Lab::new(Shape::hosts(2).with("second"));
    lab.start_hosts(&HostOptions::app("shop"));
    let first = lab.raw_release("r1", 12 << 20);
    let other = lab.small_release("r2", Image::Tar);
    let mut sending = Send::of(&first.bundle).expect(2).rate("30Mbit").start(&lab);
    sending.wait_until_sent(lab.sender(), 1 << 20);
    let mut refused = Send::of(&other.bundle).expect(2).start_on(lab.stranger("second"), &lab);
    let refused = refused.wait(Duration::from_secs(5)).expect_exit(exit::NETWORK);
    let complaint = &refused.ending.stderr;
    assert!(complaint.contains("shop"), "{complaint}");
    assert!(complaint.contains("since"), "the start of the first is named: {complaint}");
    sending.wait(DEADLINE).expect_exit(exit::DONE);
    for host in lab.hosts() {
        host.expect_current(&first);
    }
}

#[test]
fn a_host_whose_address_has_changed_takes_part_in_the_next_send() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.start_hosts(&HostOptions::app("shop"));
    let send = |lab: &Lab, release: &Release| {
        Send::of(&release.bundle).expect(2).run(lab, DEADLINE).expect_exit(exit::DONE)
    };
    send(&lab, &lab.small_release("r1", Image::Tar));
    let node = lab.hosts()[0].node();
    node.ip("address flush dev eth0 scope global");
    node.ip("address add 198.18.77.1/15 dev eth0");
    node.ip("route replace 224.0.0.0/4 dev eth0");
    let second = lab.small_release("r2", Image::Tar);
    send(&lab, &second);
    for host in lab.hosts() {
        host.expect_current(&second);
    }
}

#[test]
fn two_apps_at_once_to_overlapping_hosts_both_complete() {
    let mut lab = Lab::new(Shape::hosts(3).with("second").losing_percent(2));
    lab.host(1).start(&HostOptions::app("shop"));
    lab.host(2).start(&HostOptions::app("shop").and_app("blog"));
    lab.host(3).start(&HostOptions::app("blog"));
    let shop = lab.raw_release_for("shop", "s1", 8 << 20);
    let blog = lab.raw_release_for("blog", "b1", 8 << 20);
    let send = |bundle| Send::of(bundle).expect(2).rate("40Mbit");
    let mut first = send(&shop.bundle).start(&lab);
    let mut second = send(&blog.bundle).start_on(lab.stranger("second"), &lab);
    first.wait(DEADLINE).expect_exit(exit::DONE);
    second.wait(DEADLINE).expect_exit(exit::DONE);
    for (nth, release) in [(1, &shop), (2, &shop), (2, &blog), (3, &blog)] {
        lab.host(nth).expect_current(release);
    }
}

#[test]
fn hosts_with_one_name_are_both_reported_and_neither_is_counted() {
    let mut lab = Lab::new(Shape::hosts(3));
    lab.host(1).start(&HostOptions::app("shop"));
    lab.host(2).start(&HostOptions::app("shop").called("twin"));
    lab.host(3).start(&HostOptions::app("shop").called("twin"));
    let release = lab.small_release("r1", Image::Tar);
    let send = Send::of(&release.bundle).expect(3).arg("--join-window").arg("2s");
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::NOT_REACHED);
    let twins: Vec<_> = outcome.hosts().into_iter().filter(|it| it.host == "twin").collect();
    assert!(!twins.is_empty() && twins.iter().all(|it| it.state == "failed"), "{twins:?}");
    let report = outcome.report().to_string();
    for nth in [2, 3] {
        let address = lab.host(nth).node().address(Family::V4).to_string();
        assert!(report.contains(&address), "{address} in {report}");
    }
}

#[test]
fn rubbish_at_line_rate_is_dropped_and_counted_and_the_transfer_completes() {
    let mut lab = Lab::new(Shape::hosts(3).with("stranger").losing_percent(1).alone());
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 12 << 20);
    let mut sending = Send::of(&release.bundle).expect(3).rate("30Mbit").start(&lab);
    sending.wait_until_sent(lab.sender(), 1 << 20);
    let targets = targets(&lab);
    let stranger = lab.stranger("stranger");
    let flood = Rubbish::flood(stranger, &targets, Duration::from_secs(4));
    let sent = flood.finish();
    assert!(sent > 10_000, "only {sent} datagrams of rubbish");
    sending.wait(DEADLINE).expect_exit(exit::DONE);
    for nth in 1..=3 {
        let host = lab.host(nth);
        host.expect_current(&release);
        assert!(host.daemon().is_running());
    }
    let status = lab.host(1).verb(&["status"]);
    assert!(status.stdout.contains("drop"), "drops are counted: {}", status.stdout);
}

/// Every group that the hosts have joined, each with every port that they listen on, and the
/// addresses of the first host and of the sender.
fn targets(lab: &Lab) -> Vec<SocketAddr> {
    let family = lab.shape().family;
    let host = lab.hosts()[0].node();
    let mut places = host.groups(family);
    // The one that is flooded first is overheard: the data, if there is a group of its own.
    places.sort_by_key(|group| *group == family.group().ip());
    places.extend([host.address(family), lab.sender().address(family)]);
    let mut ports = host.udp_ports();
    ports.extend(lab.sender().udp_ports());
    let pairs = places.iter().flat_map(|place| ports.iter().map(|port| (*place, *port)));
    pairs.map(SocketAddr::from).collect()
}
