//! The sockets of `common::net` on real interfaces, in network namespaces of their own: needs root.
//!
//! Without root each test prints SKIPPED, in CI it fails.
#![expect(clippy::unwrap_used, reason = "what fails while a test is set up fails the test")]

mod namespace;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::clock::Clock;
use common::net::{
    Family, Link, LinkOptions, Network, RecvBatch, SEND_WAIT_MAX, SystemNetwork, default_interface,
    find_interface, parse_group, wait,
};
use common::units::Bitrate;

use namespace::{Namespace, switch_with_hosts};

const QUIET: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);
const GROUP_V4: &str = "239.192.70.70:7070";
const GROUP_V6: &str = "[ff15::7070]:7070";

fn try_join(host: &Namespace, group: &str, interface: &str) -> io::Result<Box<dyn Link>> {
    let (group, interface) = (parse_group(group).unwrap(), interface.to_owned());
    host.run(move || {
        let interface = find_interface(&interface).unwrap();
        SystemNetwork.join_group(group, &interface, &LinkOptions::default())
    })
}

fn join(host: &Namespace, group: &str, interface: &str) -> Box<dyn Link> {
    try_join(host, group, interface).unwrap()
}

fn unicast(host: &Namespace, family: Family, interface: &str) -> Box<dyn Link> {
    let (options, interface) = (LinkOptions::default(), interface.to_owned());
    host.run(move || {
        let interface = find_interface(&interface).unwrap();
        let bind = interface.bind_address(family, 0).unwrap();
        SystemNetwork.unicast(bind, &interface, &options).unwrap()
    })
}

fn send(link: &mut dyn Link, to: &str, text: &str) {
    link.send(to.parse().unwrap(), text.as_bytes(), text.len()).unwrap();
}

/// Everything that comes until `count` datagrams are there or nothing more comes.
fn received(link: &mut dyn Link, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut batch = RecvBatch::new();
    let mut datagrams = Vec::new();
    while datagrams.len() < count && wait(&[link.as_fd()], Some(PATIENCE)).unwrap().is_ready(0) {
        link.recv(&mut batch).unwrap();
        datagrams.extend(batch.iter().map(|(from, datagram)| (from, datagram.to_vec())));
    }
    datagrams
}

fn texts(link: &mut dyn Link, count: usize) -> Vec<String> {
    let text = |(_, datagram)| String::from_utf8(datagram).unwrap();
    received(link, count).into_iter().map(text).collect()
}

fn is_quiet(link: &dyn Link) -> bool {
    wait(&[link.as_fd()], Some(QUIET)).unwrap().is_idle()
}

/// Whether what is sent comes through, now or soon: a bridge needs a moment after a change.
fn reaches(out: &mut dyn Link, group: &str, link: &mut dyn Link) -> bool {
    let has_come = (0..50).any(|_| {
        send(out, group, "hello");
        !is_quiet(link)
    });
    let mut batch = RecvBatch::new();
    while link.recv(&mut batch).unwrap() > 0 {}
    has_come
}

/// Whether `is_true` comes true while one can wait for it.
fn eventually(is_true: impl Fn() -> bool) -> bool {
    (0..200).any(|_| is_true() || wait(&[], Some(PATIENCE / 200)).is_err())
}

#[test]
fn trains_cross_a_bridge_to_every_host_and_are_answered_in_both_families() {
    let Some((_switch, [sender, hosts @ ..])) = switch_with_hosts::<3>() else { return };
    for (group, family, own) in [
        (GROUP_V4, Family::V4, "198.18.0.1"),
        (GROUP_V6, Family::V6, "fd00::1"),
        ("[ff12::7070]:7070", Family::V6, "fd00::1"),
    ] {
        let mut links: Vec<_> = hosts.iter().map(|host| join(host, group, "eth0")).collect();
        let mut out = unicast(&sender, family, "eth0");
        assert_eq!(out.local_addr().ip().to_string(), own);
        let train: Vec<u8> = (0..16).flat_map(|index| vec![index; 1440]).collect();
        out.send(group.parse().unwrap(), &train, 1440).unwrap();
        for (link, host) in links.iter_mut().zip(&hosts) {
            let datagrams = received(&mut **link, 16);
            let split: Vec<_> = datagrams.iter().map(|(_, datagram)| datagram.clone()).collect();
            assert_eq!(split, train.chunks(1440).collect::<Vec<_>>(), "{group}");
            let (from, _) = datagrams[0];
            assert_eq!(from, out.local_addr(), "{group}");
            send(&mut *unicast(host, family, "eth0"), &from.to_string(), "need");
        }
        assert_eq!(texts(&mut *out, 2), ["need", "need"]);
        assert_eq!(out.counters().refused_trains, 0, "veth takes trains");
    }
}

#[test]
fn a_host_with_link_local_addresses_only_is_heard_and_answered() {
    let Some((_switch, [sender, host])) = switch_with_hosts::<2>() else { return };
    for side in [&sender, &host] {
        side.sh("ip -6 addr flush dev eth0 scope global");
    }
    let mut link = join(&host, GROUP_V6, "eth0");
    let mut out = unicast(&sender, Family::V6, "eth0");
    send(&mut *out, GROUP_V6, "announce");
    let (from, _) = received(&mut *link, 1).remove(0);
    assert_eq!(from.ip().to_string(), "fe80::1");
    // On the wire an address has no scope: the answering link knows its own interface.
    let bare = SocketAddr::new(from.ip(), from.port());
    send(&mut *unicast(&host, Family::V6, "eth0"), &bare.to_string(), "join");
    assert_eq!(texts(&mut *out, 1), ["join"]);
}

#[test]
fn ipv6_groups_on_loopback_need_one_route_and_the_error_gives_the_command() {
    let Some(host) = Namespace::new() else { return };
    let error = try_join(&host, GROUP_V6, "lo").err().unwrap().to_string();
    let command = "ip -6 route add local ff00::/8 dev lo table local";
    assert_eq!(
        error,
        format!("cannot join {GROUP_V6} on lo: lo has no route for IPv6 groups: {command}")
    );
    host.sh(command);
    let mut link = join(&host, GROUP_V6, "lo");
    send(&mut *unicast(&host, Family::V6, "lo"), GROUP_V6, "announce");
    assert_eq!(texts(&mut *link, 1), ["announce"]);
    assert!(is_quiet(&*link), "one copy");
}

#[test]
fn ipv4_groups_on_loopback_need_no_route_at_all() {
    let Some(host) = Namespace::new() else { return };
    assert_eq!(host.sh("ip route"), "");
    let mut link = join(&host, GROUP_V4, "lo");
    send(&mut *unicast(&host, Family::V4, "lo"), GROUP_V4, "announce");
    let (from, datagram) = received(&mut *link, 1).remove(0);
    assert_eq!((from.ip().to_string().as_str(), &*datagram), ("127.0.0.1", &b"announce"[..]));
    assert!(is_quiet(&*link), "one copy");
}

#[test]
fn the_default_interface_follows_the_route_and_is_never_a_guess() {
    let Some(host) = Namespace::new() else { return };
    let chosen = |family| {
        host.run(move || default_interface(family).map(|it| it.name).map_err(|it| it.to_string()))
    };
    let only_loopback = chosen(Family::V4).unwrap_err();
    assert!(only_loopback.starts_with("no interface to other machines is up"), "{only_loopback}");
    let switch = Namespace::new().unwrap();
    switch.sh("ip link add br0 type bridge && ip link set br0 up");
    switch.plug(&host, "eth0", "port0", 0, 1);
    for family in [Family::V4, Family::V6] {
        assert_eq!(chosen(family), Ok("eth0".to_owned()), "the only one, {family}");
    }
    switch.plug(&host, "eth1", "port1", 1, 1);
    assert_eq!(
        chosen(Family::V4),
        Err("eth0, eth1 are up and none has the IPv4 route to 239.192.70.70: \
             choose one with --interface"
            .to_owned())
    );
    host.sh("ip route add default via 198.18.1.254");
    assert_eq!(chosen(Family::V4), Ok("eth1".to_owned()));
    host.sh("ip route add 239.0.0.0/8 dev eth0");
    assert_eq!(chosen(Family::V4), Ok("eth0".to_owned()));
}

#[test]
fn an_interface_tells_speed_and_mtu_of_its_own_namespace_and_that_its_link_is_gone() {
    let Some((switch, [host])) = switch_with_hosts::<1>() else { return };
    host.sh("ip link set eth0 mtu 1400");
    let eth0 = host.run(|| find_interface("198.18.0.1").unwrap());
    assert_eq!((eth0.name.as_str(), eth0.mtu), ("eth0", 1400));
    assert_eq!(eth0.speed, Some(Bitrate::from_megabits(10_000)), "what veth always says");
    assert!(eth0.is_up);
    switch.sh("ip link set port1 down");
    assert!(eventually(|| !host.run(|| find_interface("eth0").unwrap().is_up)));
}

#[test]
fn the_same_group_on_another_interface_is_not_heard() {
    let Some((_one, [host, near])) = switch_with_hosts::<2>() else { return };
    let other = Namespace::new().unwrap();
    other.sh("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up");
    let far = Namespace::new().unwrap();
    other.plug(&host, "eth1", "port1", 1, 1);
    other.plug(&far, "eth0", "port2", 1, 2);
    for (group, family) in [(GROUP_V4, Family::V4), (GROUP_V6, Family::V6)] {
        let mut on_eth0 = join(&host, group, "eth0");
        send(&mut *unicast(&far, family, "eth0"), group, "far alone");
        assert!(is_quiet(&*on_eth0), "{group}");
        let mut on_eth1 = join(&host, group, "eth1");
        send(&mut *unicast(&near, family, "eth0"), group, "near");
        send(&mut *unicast(&far, family, "eth0"), group, "far");
        assert_eq!(texts(&mut *on_eth0, 1), ["near"], "{group}");
        assert_eq!(texts(&mut *on_eth1, 1), ["far"], "{group}");
        assert!(is_quiet(&*on_eth0) && is_quiet(&*on_eth1), "{group}");
    }
}

#[test]
fn rejoining_renews_the_membership_at_a_switch_that_forgot_it() {
    let Some((switch, [sender, host])) = switch_with_hosts::<2>() else { return };
    // A bridge floods until the answers to its first query must be there: by default 10 s.
    // It queries IPv6 hosts only if it has an address when it is made the querier.
    switch.sh("ip link set br0 type bridge mcast_query_response_interval 10");
    switch.sh("ip -6 addr add fe80::ff/64 dev br0 nodad");
    switch.sh("ip link set br0 type bridge mcast_snooping 1 mcast_querier 1");
    switch.sh("bridge link set dev port2 mcast_flood off");
    for (group, family) in [(GROUP_V4, Family::V4), (GROUP_V6, Family::V6)] {
        let mut link = join(&host, group, "eth0");
        let mut out = unicast(&sender, family, "eth0");
        let address = parse_group(group).unwrap().ip();
        let is_known = || switch.sh("bridge mdb").contains(&format!("port port2 grp {address}"));
        assert!(eventually(is_known), "{group}: {}", switch.sh("bridge mdb"));
        assert!(reaches(&mut *out, group, &mut *link), "{group}");
        // The kernel repeats a report after at most a second; a switch forgets long after that.
        wait(&[], Some(Duration::from_millis(1500))).unwrap();
        switch.sh(&format!("bridge mdb del dev br0 port port2 grp {address} temp"));
        send(&mut *out, group, "lost");
        assert!(is_quiet(&*link), "{group}");
        link.rejoin().unwrap();
        assert!(eventually(is_known), "{group}: {}", switch.sh("bridge mdb"));
        assert!(reaches(&mut *out, group, &mut *link), "{group}");
    }
}

#[test]
fn rejoining_finds_an_interface_that_was_made_anew_under_its_name() {
    let Some((switch, [sender, host])) = switch_with_hosts::<2>() else { return };
    let mut v4 = join(&host, GROUP_V4, "eth0");
    let v6 = join(&host, GROUP_V6, "eth0");
    let index = |host: &Namespace| host.run(|| find_interface("eth0").unwrap().index);
    let before = index(&host);
    switch.sh("ip link del port2");
    let error = v4.rejoin().unwrap_err().to_string();
    assert!(error.starts_with("cannot rejoin 239.192.70.70:7070 on eth0: "), "{error}");
    // Another interface first: in a namespace the numbers would else be the same again.
    host.sh("ip link add other type veth peer name other2");
    switch.plug(&host, "eth0", "port2", 0, 2);
    assert_ne!(index(&host), before, "another number");
    for (mut link, group, family) in [(v4, GROUP_V4, Family::V4), (v6, GROUP_V6, Family::V6)] {
        let mut link = host.run(move || link.rejoin().map(|()| link).unwrap());
        let mut out = unicast(&sender, family, "eth0");
        assert!(reaches(&mut *out, group, &mut *link), "{group}");
    }
}

#[test]
fn a_datagram_longer_than_the_interface_takes_is_an_error_and_never_fragments() {
    let Some((_switch, [sender, host])) = switch_with_hosts::<2>() else { return };
    sender.sh("ip link set eth0 mtu 1400");
    for (group, family) in [(GROUP_V4, Family::V4), (GROUP_V6, Family::V6)] {
        let mut link = join(&host, group, "eth0");
        let mut out = unicast(&sender, family, "eth0");
        let to = parse_group(group).unwrap();
        for bytes in [1440, 16 * 1440] {
            let error = out.send(to, &vec![0; bytes], 1440).unwrap_err().to_string();
            let wanted = format!(
                "cannot send 1440 bytes to {group} on eth0: \
                 longer than the interface takes (lower --symbol-bytes)"
            );
            assert_eq!(error, wanted);
        }
        out.send(to, &[0; 16 * 1352], 1352).unwrap();
        assert_eq!(received(&mut *link, 16).len(), 16);
        let counters = out.counters();
        assert_eq!((counters.refused_trains, counters.sent_datagrams), (0, 16), "{group}");
    }
}

#[test]
fn a_full_send_buffer_is_waited_for_then_dropped_and_counted() {
    let Some((_switch, [sender, _host])) = switch_with_hosts::<2>() else { return };
    // 1 Mbit/s with a queue longer than the send buffer: a train takes 0.2 s.
    sender.sh("tc qdisc add dev eth0 root tbf rate 1mbit burst 30000 limit 10000000");
    let mut out = unicast(&sender, Family::V4, "eth0");
    let clock = Clock::start();
    let mut trains = 0;
    while out.counters().unsent_datagrams == 0 && trains < 1000 {
        out.send(GROUP_V4.parse().unwrap(), &[0; 16 * 1440], 1440).unwrap();
        trains += 1;
    }
    let counters = out.counters();
    assert_eq!(counters.unsent_datagrams, 16, "{trains} trains");
    assert_eq!(counters.sent_datagrams, 16 * (trains - 1));
    let waited = clock.now().since(common::time::Timestamp::ZERO);
    assert!(waited >= SEND_WAIT_MAX && waited < PATIENCE, "{waited:?} for {trains} trains");
}

#[test]
fn a_packet_filter_that_drops_what_we_send_is_counted_and_no_error() {
    let Some((_switch, [sender, host])) = switch_with_hosts::<2>() else { return };
    sender.sh("nft 'add table ip t; \
         add chain ip t out { type filter hook output priority 0; }; \
         add rule ip t out udp dport 7070 drop'");
    let link = join(&host, GROUP_V4, "eth0");
    let mut out = unicast(&sender, Family::V4, "eth0");
    out.send(GROUP_V4.parse().unwrap(), &[0; 4 * 1440], 1440).unwrap();
    assert!(is_quiet(&*link));
    assert_eq!((out.counters().unsent_datagrams, out.counters().sent_datagrams), (4, 0));
}
