//! Sessions under keys: who belongs to a site takes part, who does not gets nowhere.
#![expect(clippy::disallowed_methods, reason = "it writes the list of hosts")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tests::attack::{Attack, beside, play, record};
use tests::fixture::is_full_run;
use tests::keyring::SiteKeys;
use tests::lab::{Family, HostOptions, Lab, Release, Shape};
use tests::memory::MemoryWatch;
use tests::outcome::{Outcome, exit};
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

/// A transfer to eight hosts beside each attack, and one without between them; the worst slowing
/// down is what the test says, and `--full` refuses more than a tenth.
#[test]
fn attackers_delay_nobody_and_are_seen() {
    let (lab, keys) = site(8);
    let liar = "mallory".parse().unwrap();
    let other = SiteKeys::make(lab.directory(), "other");
    let attacks = [
        ("garbage", Attack::Garbage),
        ("replay", Attack::Replay),
        ("forged needs", Attack::ForgedNeeds),
        ("orders of a stranger", Attack::ForgedOrders(other.forged_by_member())),
        ("orders of a member", Attack::ForgedOrders(keys.forged_by_member())),
        ("a liar", Attack::Liar(liar, keys.stolen_from_host("mallory"))),
    ];
    let mut number = 0;
    let mut usual = |lab: &Lab| {
        number += 1;
        let release = lab.signed_release(&keys, &format!("u{number}"), bytes());
        seconds(&send(lab, &keys, &release, 8), 8)
    };
    let mut without = usual(&lab);
    for (what, attack) in &attacks {
        if is_full_run() {
            without = usual(&lab);
        }
        let release = lab.signed_release(&keys, &what.replace(' ', "-"), bytes());
        let mallory = lab.stranger("mallory");
        let (outcome, sent) = beside(mallory, attack, true, || send(&lab, &keys, &release, 8));
        let with = seconds(&outcome, 8);
        eprintln!(
            "{what}: {without:.2} s without, {with:.2} s with ({:.0} % of the goodput), {sent} \
             datagrams; refused by the sender: {}",
            100.0 * without / with,
            outcome.report()["refused"]
        );
        assert!(sent > 1000, "{what}: {sent} datagrams");
        if is_full_run() {
            assert!(without / with >= 0.9, "{what}: {without:.2} s, {with:.2} s");
        }
        let is_seen = outcome.report()["refused"]["datagrams"].as_u64() > Some(100)
            || lab.hosts()[0].log().contains("sends what is dropped")
            || *what == "a liar";
        assert!(is_seen, "{what}: {} {}", outcome.report(), lab.hosts()[0].log());
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
