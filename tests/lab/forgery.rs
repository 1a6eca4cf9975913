//! A member of the group that forges the sender's data, about as fast as the sender sends, all the
//! time: with its own address, and with the sender's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::units::Bitrate;
use tests::attack::{Attack, beside};
use tests::fixture::is_full_run;
use tests::keyring::SiteKeys;
use tests::lab::{Family, HostOptions, Lab, Shape};
use tests::memory::MemoryWatch;
use tests::outcome::{Outcome, exit};
use tests::product::Send;

const DEADLINE: Duration = Duration::from_secs(60);
const HOSTS: usize = 8;
const IMAGE_BYTES: u64 = 40 << 20;
/// Anonymous memory and socket buffers of a host.
const BOUND_BYTES: u64 = 256 << 20;

/// Sends a release of this label at 100 Mbit/s to all hosts, which must have it then.
fn send(lab: &mut Lab, keys: &SiteKeys, label: &str, attack: Option<&Attack>) -> Outcome {
    let release = lab.signed_release(keys, label, IMAGE_BYTES);
    let memory = MemoryWatch::of(lab.host(1).daemon().pid());
    let send = Send::of(&release.bundle).keyed(keys).expect(HOSTS).rate("100Mbit");
    let run = || send.run(lab, DEADLINE).expect_exit(exit::DONE);
    let outcome = match attack {
        None => run(),
        Some(attack) => {
            let (outcome, sent) = beside(lab.stranger("forger"), attack, true, run);
            assert!(sent > 10_000, "the forger was slow: {sent} datagrams");
            outcome
        }
    };
    let peak = memory.end();
    assert!(peak.both_bytes <= BOUND_BYTES, "{peak:?}");
    for host in lab.hosts() {
        host.expect_current(&release);
    }
    outcome
}

/// Seconds from the first symbol to the last.
fn seconds(outcome: &Outcome) -> f64 {
    outcome.report()["wire"]["seconds"].as_f64().expect("the report has the time")
}

/// Every host says that so many were forged, with this address.
#[track_caller]
fn expect_alarms(outcome: &Outcome, count: &str, source: impl Fn(SocketAddr) -> bool) {
    for host in outcome.report()["hosts"].as_array().expect("there are hosts") {
        let alarm = &host["alarm"];
        assert!(alarm[count].as_u64() > Some(1000), "{host}");
        let address = alarm["source"].as_str().and_then(|text| text.parse().ok());
        assert!(address.is_some_and(&source), "{host}");
    }
}

// PROTOCOL 2.11 and 6.10.
#[test]
fn who_forges_symbols_at_the_senders_rate_costs_a_tenth_at_most_and_is_named() {
    let mut lab = Lab::new(Shape::hosts(HOSTS).with("forger").alone());
    let keys = Arc::new(SiteKeys::make(lab.directory(), "site"));
    lab.stranger("forger").shape(Bitrate::from_megabits(100));
    lab.start_hosts(&HostOptions::app("shop").keyed(&keys));
    let (sender, forger) =
        (lab.sender().address(Family::V4), lab.stranger("forger").address(Family::V4));
    let without = send(&mut lab, &keys, "r1", None);
    assert!(without.report()["hosts"][0].get("alarm").is_none(), "{}", without.report());
    let stolen = keys.forged_by_member();
    for (label, attack) in
        [("r2", Attack::FalseSymbols(Arc::clone(&stolen))), ("r3", Attack::FalseSender(stolen))]
    {
        let with = send(&mut lab, &keys, label, Some(&attack));
        let share = seconds(&without) / seconds(&with);
        eprintln!("{label}: {share:.3} of the goodput, {}", with.report()["wire"]);
        if is_full_run() {
            assert!(share >= 0.9, "{label}: {share:.3} of the goodput\n{}", with.report());
        }
        match attack {
            Attack::FalseSymbols(_) => expect_alarms(&with, "foreign", |it| it.ip() == forger),
            _ => expect_alarms(&with, "false_symbols", |it| it.ip() == sender),
        }
        assert!(with.ending.stderr.contains("forge"), "{}", with.ending.stderr);
    }
    let log = lab.hosts()[2].log();
    for what in ["(foreign-source", "(false-symbol", "forged datagrams came from", "is asked for"] {
        let told = log.lines().filter(|line| line.contains(what)).count();
        assert!(told < 10, "{told} lines say {what}\n{log}");
    }
    for what in [forger, sender] {
        assert!(log.contains(&format!("{what} sends what is dropped")), "{log}");
    }
    let status = lab.host(1).verb(&["status"]).stdout;
    for what in ["foreign-source", "false-symbol", "forged datagrams came from"] {
        assert!(status.contains(what), "{what}: {status}");
    }
}

/// Goal: who asks in the sender's name, from its address, costs hosts a bounded part of a core, and
/// the transfer completes. Method: a member of the group, who can close a POLL and not sign it;
/// 4,500 a second, for a flood of them delays it (docs/SECURITY.md).
// PROTOCOL 10.8.
#[test]
fn polls_that_are_forged_in_the_senders_name_are_looked_at_in_bounded_number() {
    let mut lab = Lab::new(Shape::hosts(3).with("forger").alone());
    let keys = Arc::new(SiteKeys::make(lab.directory(), "site"));
    lab.stranger("forger").shape(Bitrate::from_megabits(10));
    lab.start_hosts(&HostOptions::app("shop").keyed(&keys));
    let release = lab.signed_release(&keys, "r1", 16 << 20);
    let send = Send::of(&release.bundle).keyed(&keys).expect(3).rate("100Mbit");
    let run = || send.run(&lab, DEADLINE).expect_exit(exit::DONE);
    let attack = Attack::FalsePolls(keys.forged_by_member());
    let (outcome, sent) = beside(lab.stranger("forger"), &attack, true, run);
    lab.hosts().iter().for_each(|host| host.expect_current(&release));
    let status = lab.host(1).verb(&["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    let count = |reason: &str| {
        let drops = status["drops"].as_array().expect("it has drops");
        let it = drops.iter().find(|it| it["reason"] == reason);
        it.and_then(|it| it["count"].as_u64()).unwrap_or(0)
    };
    let (looked_at, unseen) = (count("bad-signature"), count("too-many-signed"));
    let seconds = seconds(&outcome);
    eprintln!("{sent} sent in {seconds:.2} s; {looked_at} looked at, {unseen} not");
    assert!(unseen > 1000 && looked_at > 100, "{status}");
    // The forger goes on until the sender has ended.
    assert!((looked_at as f64) < 2000.0 * (outcome.report()["seconds"].as_f64().unwrap() + 1.0));
    let line =
        format!("{} sends what is dropped (too-many-signed", lab.sender().address(Family::V4));
    assert!(lab.host(1).log().contains(&line), "{}", lab.host(1).log());
}
