//! Sessions under keys: who belongs to a site takes part, who does not gets nowhere.
#![expect(clippy::disallowed_methods, reason = "it writes the list of hosts")]

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::clock::unix_seconds;
use common::id::{BootNonce, SessionId};
use common::seal::{SenderSeal, TAG_BYTES};
use common::wire::{Message, WireError, peek_session};
use tests::attack::{Attack, beside, play, record};
use tests::fixture::is_full_run;
use tests::keyring::SiteKeys;
use tests::lab::{Family, Host, HostOptions, Lab, Release, Shape};
use tests::memory::MemoryWatch;
use tests::outcome::{Outcome, exit};
use tests::process::holds_within;
use tests::product::Send;

const DEADLINE: Duration = Duration::from_secs(60);
/// What is sent beside an attacker: seconds are compared in the full run alone.
fn bytes() -> u64 {
    if is_full_run() { 24 << 20 } else { 4 << 20 }
}

/// Eight hosts of a site, a machine that is none of them, and the site's keys.
fn site(hosts: usize) -> (Lab, Arc<SiteKeys>) {
    let mut lab = Lab::new(Shape::hosts(hosts).with("mallory").alone());
    let keys = Arc::new(SiteKeys::make(lab.directory(), "shop"));
    lab.start_hosts(&HostOptions::app("shop").keyed(&keys));
    lab.stranger("mallory").shape("100Mbit".parse().expect("a rate"));
    (lab, keys)
}

fn send(lab: &Lab, keys: &SiteKeys, release: &Release, hosts: usize) -> Outcome {
    // Eight of nine: the ninth is whom somebody broke into.
    let names = (1..=hosts).map(|nth| format!("h{nth}\n")).collect::<String>() + "mallory\n";
    let list = lab.directory().join("names");
    std::fs::write(&list, names).expect("the lab's directory is ours");
    let send = Send::of(&release.bundle).keyed(keys).rate("100Mbit").activate("each");
    let send = send.expect_text(&format!("@{}", list.display()));
    let send = send.arg("--quorum").arg(&hosts.to_string()).arg("--join-window").arg("1s");
    let outcome = send.run(lab, DEADLINE).expect_exit(exit::DONE);
    for host in lab.hosts() {
        host.expect_current(release);
    }
    outcome
}

/// When the last host was done.
fn seconds(outcome: &Outcome, hosts: usize) -> f64 {
    let done = (1..=hosts).map(|nth| outcome.host(&format!("h{nth}")).seconds.expect("it came"));
    done.fold(0.0, f64::max)
}

#[test]
fn a_site_with_keys_transfers_and_strangers_are_told_why_they_are_not_believed() {
    let (mut lab, keys) = site(3);
    let first = lab.signed_release(&keys, "r1", 4 << 20);
    send(&lab, &keys, &first, 3);
    let log = lab.host(1).log();
    assert!(!log.contains("MTU or IGMP") && !log.contains("any sender"), "{log}");

    // A sender in the clear, one of another site, and one whose release nobody signed.
    let other = SiteKeys::make(lab.directory(), "other");
    let second = lab.signed_release(&other, "r2", 4 << 20);
    let plain = Send::of(&second.bundle).expect(3).arg("--join-window").arg("2s");
    plain.run(&lab, DEADLINE).expect_exit(exit::NOBODY_JOINED);
    plain.clone().keyed(&other).run(&lab, DEADLINE).expect_exit(exit::NOBODY_JOINED);
    for host in lab.hosts() {
        host.expect_current(&first);
    }
    let log = lab.host(2).log();
    assert!(log.contains("one of us has keys and the other has none"), "{log}");
    assert!(log.contains("closed or signed with a key that is not known here"), "{log}");
}

#[test]
fn a_host_with_the_key_of_another_name_is_named_to_the_operator() {
    let mut lab = Lab::new(Shape::hosts(2));
    let keys = Arc::new(SiteKeys::make(lab.directory(), "shop"));
    let options = HostOptions::app("shop").keyed(&keys);
    lab.host(1).start(&options);
    // It has the files of h2 and says that it is web-9.
    lab.host(2).start(&options.called("web-9"));
    let release = lab.signed_release(&keys, "r1", 1 << 20);
    let send = Send::of(&release.bundle).keyed(&keys).expect(2).arg("--join-window").arg("2s");
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::NOT_REACHED);
    let said = &outcome.ending.stderr;
    assert!(said.contains("a host needs the key made for its name"), "{said}");
    assert!(outcome.report()["refused"]["reasons"]["bad-tag"].as_u64() > Some(0));
}

// PROTOCOL 10.6
#[test]
fn a_recording_of_a_session_stages_nothing_on_a_host_that_was_not_there() {
    let (mut lab, keys) = site(2);
    let first = lab.signed_release(&keys, "r1", 1 << 20);
    send(&lab, &keys, &first, 2);
    // A newer release goes to h1 alone, and somebody writes down all of it.
    lab.host(2).stop();
    let second = lab.signed_release(&keys, "r2", 1 << 20);
    let send = Send::of(&second.bundle).keyed(&keys).expect(1).activate("each").rate("50Mbit");
    let mallory = lab.stranger("mallory");
    let (outcome, recording) = record(mallory, || send.run(&lab, DEADLINE));
    outcome.expect_exit(exit::DONE);
    assert!(recording.len() > 700, "{} datagrams", recording.len());

    lab.host(2).start(&HostOptions::app("shop").keyed(&keys));
    // The announces first, as they came before the data.
    let is_announce = |it: &&(SocketAddr, Vec<u8>)| it.0 == Family::V4.group();
    let announces: Vec<_> = recording.iter().filter(is_announce).cloned().collect();
    while !lab.host(2).log().contains("r2: joins") {
        play(lab.stranger("mallory"), &announces);
        std::thread::sleep(Duration::from_millis(100));
    }
    play(lab.stranger("mallory"), &recording);
    std::thread::sleep(Duration::from_secs(1));
    lab.hosts()[1].expect_current(&first);
    let status = lab.hosts()[1].verb(&["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let drops = status["drops"].as_array().unwrap();
    let unproven = drops.iter().find(|it| it["reason"] == "unproven").map(|it| &it["count"]);
    assert!(unproven.and_then(|it| it.as_u64()) > Some(500), "{status}");
    assert_eq!(status["releases"].as_array().map(Vec::len), Some(1), "{status}");
}

/// Goal: no nonce comes twice under one key, however soon a sender that died starts again. Method:
/// three are killed in the middle within a second or two, and somebody writes down what they say.
// PROTOCOL 10.2
#[test]
fn a_sender_that_is_killed_and_starts_again_at_once_seals_with_other_keys() {
    let (lab, keys) = site(1);
    let release = lab.signed_release(&keys, "r1", 4 << 20);
    let send = Send::of(&release.bundle).keyed(&keys).expect(1).rate("50Mbit");
    let ((), recording) = record(lab.stranger("mallory"), || {
        for _ in 0..3 {
            let mut sending = send.start(&lab);
            sending.wait_until_sent(lab.sender(), 300_000);
            sending.process.kill();
        }
    });
    let (mut sessions, mut instances, mut salts) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut numbers = HashMap::new();
    for (to, datagram) in &recording {
        if *to != Family::V4.group() {
            let header = (peek_session(datagram), datagram[8..12].to_vec());
            let first = numbers.entry(header).or_insert(datagram);
            assert_eq!(*first, datagram, "one number, and two datagrams");
            continue;
        }
        let inner = &datagram[..datagram.len() - TAG_BYTES];
        let Ok((header, Message::Announce(announce))) = Message::parse(inner) else { continue };
        sessions.insert(header.session);
        instances.insert(announce.sender.instance);
        salts.insert(announce.salt);
    }
    assert!(numbers.len() > 100, "{} datagrams of a stream", numbers.len());
    assert_eq!((sessions.len(), instances.len(), salts.len()), (3, 3, 3), "all are made anew");
}

/// Goal: what a host says is under another key once it has started again, in the same session too.
/// Method: a sender of the site that answers nobody hears the JOINs of two processes of one host.
// PROTOCOL 10.2
#[test]
fn a_host_that_is_killed_and_starts_again_at_once_speaks_under_another_key() {
    let (mut lab, keys) = site(1);
    let mut announce = tests::sim::announce(&tests::sim::Setup::new(0));
    announce.insecure = false;
    announce.app = "shop".parse().expect("it is a name");
    let IpAddr::V4(address) = lab.sender().address(Family::V4) else { panic!("it is IPv4") };
    let socket = lab.sender().run_inside(|| {
        let socket = UdpSocket::bind((address, 0)).expect("a socket of its own");
        rustix::net::sockopt::set_ip_multicast_if(&socket, &address).expect("it is ours");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket can");
        socket
    });
    announce.feedback = socket.local_addr().expect("it is bound");
    let mut seal = SenderSeal::new(keys.sender_keys(), SessionId(7), &announce);
    let mut join = |former: Option<BootNonce>| {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let (mut datagram, mut buffer) = (Vec::new(), [0; 2048]);
            announce.sent_at_us += 1;
            let message = Message::Announce(Box::new(announce.clone()));
            seal.close_announce(unix_seconds(), &message, &mut datagram);
            socket.send_to(&datagram, Family::V4.group()).expect("the link is up");
            let Ok((bytes, _)) = socket.recv_from(&mut buffer) else { continue };
            let opened = seal.open_feedback(&buffer[..bytes], |_| None);
            if let Ok((header, Message::Join(join))) = opened {
                assert!(header.seq > 0, "numbers begin with 1");
                // What the former process said may still be under way.
                if Some(join.nonce) != former {
                    return (join.nonce, buffer[..bytes].to_vec());
                }
            }
        }
        panic!("nobody joins with a number of its own, and by it a key");
    };
    let (first, recorded) = join(None);
    lab.host(1).kill();
    lab.host(1).start(&HostOptions::app("shop").keyed(&keys));
    join(Some(first));
    let again = seal.open_feedback(&recorded, |_| None);
    assert_eq!(
        again.err(),
        Some(WireError::Replayed),
        "what the former one said is not heard again"
    );
}

/// How often a host has dropped a datagram for one of `reasons`.
fn drops(host: &Host, reasons: &[&str]) -> u64 {
    let status = host.verb(&["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    let drops = status["drops"].as_array().expect("it has drops");
    let wanted = drops.iter().filter(|it| reasons.iter().any(|reason| it["reason"] == *reason));
    wanted.map(|it| it["count"].as_u64().expect("a count")).sum()
}

/// An attacker, and for what hosts drop it; for nothing where the sender alone is attacked.
type Case = (&'static str, Attack, &'static [&'static str]);

fn cases(keys: &SiteKeys, other: &SiteKeys) -> [Case; 8] {
    let liar = "mallory".parse().expect("it is a name");
    let by_member = || keys.forged_by_member();
    let strange: &[&str] = &["unknown-key"];
    let noise: &[&str] = &["unknown-key", "bad-tag"];
    let again: &[&str] = &["replayed", "foreign-source", "bad-tag"];
    // Most of its orders are dropped for their address, and of equal announces one is looked at.
    let orders: &[&str] = &["bad-signature", "foreign-source", "replayed"];
    let signed: &[&str] = &["bad-signature", "too-many-signed"];
    [
        ("garbage", Attack::Garbage, noise),
        ("replay", Attack::Replay, again),
        ("forged needs", Attack::ForgedNeeds, &[]),
        ("orders of a stranger", Attack::ForgedOrders(other.forged_by_member()), strange),
        ("orders of a member", Attack::ForgedOrders(by_member()), orders),
        ("a liar", Attack::Liar(liar, keys.stolen_from_host("mallory")), &[]),
        ("a sender of another site", Attack::SecondSender(other.sender_keys()), strange),
        ("a sender of a member", Attack::SecondSender(by_member()), signed),
    ]
}

/// A transfer to eight hosts beside each attack, and one without between them; the worst slowing
/// down is what the test says, and `--full` refuses more than a tenth.
#[test]
fn attackers_delay_nobody_and_are_seen() {
    let (lab, keys) = site(8);
    let other = SiteKeys::make(lab.directory(), "other");
    let mut number = 0;
    let mut usual = |lab: &Lab| {
        number += 1;
        let release = lab.signed_release(&keys, &format!("u{number}"), bytes());
        seconds(&send(lab, &keys, &release, 8), 8)
    };
    let mut without = usual(&lab);
    for (what, attack, reasons) in cases(&keys, &other) {
        if is_full_run() {
            without = usual(&lab);
        }
        let before = drops(&lab.hosts()[0], reasons);
        let release = lab.signed_release(&keys, &what.replace(' ', "-"), bytes());
        let mallory = lab.stranger("mallory");
        let (outcome, sent) = beside(mallory, &attack, true, || send(&lab, &keys, &release, 8));
        let with = seconds(&outcome, 8);
        let dropped = drops(&lab.hosts()[0], reasons) - before;
        eprintln!(
            "{what}: {without:.2} s without, {with:.2} s with ({:.0} % of the goodput), {sent} \
             datagrams; h1 dropped {dropped} for {reasons:?}; refused by the sender: {}",
            100.0 * without / with,
            outcome.report()["refused"]
        );
        assert!(sent > 1000, "{what}: {sent} datagrams");
        if is_full_run() {
            assert!(without / with >= 0.9, "{what}: {without:.2} s, {with:.2} s");
        }
        let refused = outcome.report()["refused"]["datagrams"].as_u64();
        match (what, reasons) {
            ("a liar", _) => {} // What it says is believed, as far as it concerns itself.
            (_, []) => assert!(refused > Some(100), "{what}: {}", outcome.report()),
            _ => {
                assert!(dropped > 100, "{what}: {dropped} dropped");
                let log = lab.hosts()[0].log();
                let is_told = |reason| log.contains(&format!("sends what is dropped ({reason},"));
                assert!(reasons.iter().any(is_told), "{what}: {log}");
            }
        }
    }
}

/// Goal: a second sender is none, whatever keys it has made, from the beginning of a transfer to
/// its end. Method: the program itself, of another site, and with the group's key and an operator
/// of its own; it hears the true one's announces and is heard by all hosts.
#[test]
fn a_second_sender_without_the_operators_key_takes_no_host_and_stops_no_send() {
    let (lab, keys) = site(3);
    let other = SiteKeys::make(lab.directory(), "other");
    let member = keys.make_by_member(lab.directory(), "member");
    for (what, rival) in [("stranger", &other), ("member", &member)] {
        let false_release = lab.signed_release(rival, &format!("false-{what}"), 1 << 20);
        let second = Send::of(&false_release.bundle).keyed(rival).expect(3).activate("each");
        let second = second.arg("--join-window").arg("60s");
        let mut second = second.start_on(lab.stranger("mallory"), &lab);
        let before = drops(&lab.hosts()[0], &["unknown-key"]);
        let is_heard = || drops(&lab.hosts()[0], &["unknown-key"]) > before;
        assert!(holds_within(DEADLINE, is_heard), "{}", second.process.tails());
        let release = lab.signed_release(&keys, what, 4 << 20);
        send(&lab, &keys, &release, 3);
        assert!(second.process.is_running(), "{}", second.process.tails());
        let said = second.process.stderr();
        assert!(!said.contains("1 of 3"), "{said}");
        second.process.terminate(DEADLINE);
        let dropped = drops(&lab.hosts()[0], &["unknown-key"]) - before;
        assert!(dropped > 3, "{what}: {dropped} announces dropped");
        let mallory = lab.stranger("mallory").address(Family::V4);
        let line = format!("{mallory} sends what is dropped (unknown-key,");
        assert!(lab.hosts()[0].log().contains(&line), "{}", lab.hosts()[0].log());
    }
}

/// Goal: whoever floods without a limit ends nothing but the time that he takes. Method: as much as
/// the machine can send, during a send that may come to nothing; then one that must come to its
/// end.
#[test]
fn a_flood_without_a_limit_costs_no_memory_and_ends_with_itself() {
    let mut lab = Lab::new(Shape::hosts(3).with("mallory").alone());
    let keys = Arc::new(SiteKeys::make(lab.directory(), "shop"));
    lab.start_hosts(&HostOptions::app("shop").keyed(&keys));
    let first = lab.signed_release(&keys, "r1", 1 << 20);
    let send = |release: &Release| Send::of(&release.bundle).keyed(&keys).expect(3);
    send(&first).run(&lab, DEADLINE).expect_exit(exit::DONE);
    let second = lab.signed_release(&keys, "r2", 4 << 20);
    let memory = MemoryWatch::of(lab.host(1).daemon().pid());
    let flooded = send(&second).arg("--timeout").arg("5s");
    let mallory = lab.stranger("mallory");
    let (outcome, sent) = beside(mallory, &Attack::Garbage, false, || flooded.run(&lab, DEADLINE));
    let peak = memory.end();
    eprintln!("{sent} datagrams beside it; exit {:?}; {peak:?}", outcome.ending.code);
    assert!(sent > 5_000, "{sent} datagrams");
    assert!(peak.both_bytes <= 256 << 20, "{peak:?}");
    for host in lab.hosts() {
        let link = host.current_link("shop").expect("it had one before");
        assert!(link.starts_with("releases/r1-") || link.starts_with("releases/r2-"), "{link}");
    }
    let third = lab.signed_release(&keys, "r3", 1 << 20);
    send(&third).run(&lab, DEADLINE).expect_exit(exit::DONE);
    lab.hosts().iter().for_each(|host| host.expect_current(&third));
}
