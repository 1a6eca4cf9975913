//! Summaries of small and large fleets, against literal text.

use super::*;
use crate::session::{Quorum, WireReport};
use crate::transfer::{RateOption, Refusals};
use common::digest::Digest;
use common::drops::DropReason;
use common::hook::{Ending, Point, Ran};
use common::id::ReleaseId;
use common::wire::{Alarm, Fault, Trial, TrialVerdict};

fn host(name: &str, state: HostState) -> HostReport {
    HostReport {
        host: name.to_owned(),
        address: (state != HostState::Absent).then(|| "198.18.0.7:4000".parse().unwrap()),
        state,
        fault: Fault::None,
        reason: String::new(),
        seconds: 2.125,
        received: 990,
        lost: 10,
        kernel_drops: 0,
        dropped_blocks: 0,
        straggler: String::new(),
        trial: None,
        alarm: None,
    }
}

fn failed(name: &str, fault: Fault, reason: &str) -> HostReport {
    HostReport { fault, reason: reason.to_owned(), ..host(name, HostState::Failed) }
}

fn absent(name: &str) -> HostReport {
    let reason = "never joined".to_owned();
    HostReport { reason, received: 0, lost: 0, ..host(name, HostState::Absent) }
}

fn report(outcome: Outcome, hosts: Vec<HostReport>) -> Report {
    Report {
        release: ReleaseId(Digest::of(b"manifest")),
        app: "shop".parse().unwrap(),
        label: "2.0".parse().unwrap(),
        activation: Activation::Together,
        outcome,
        hosts,
        wire: WireReport {
            source_symbols: 1000,
            sent_symbols: 1024,
            preamble_symbols: 8,
            catch_up_symbols: 0,
            needs: 3,
            hashes: 0,
            bytes: 1_500_000,
            time: Duration::from_secs(2),
        },
        refused: Refusals::default(),
        seconds: 2.5,
    }
}

fn options(expect: Expect) -> SendOptions {
    SendOptions {
        bundle: "shop-2.0.fan".into(),
        expect,
        quorum: Quorum::All,
        activation: Activation::Together,
        interface: None,
        group: "239.192.70.70:7070".parse().unwrap(),
        rate: RateOption::Auto,
        join_window: Duration::from_secs(2),
        timeout: Some(Duration::from_secs(90)),
        verdict_wait: Duration::from_secs(300),
        force: false,
        ttl: 1,
        source: None,
        symbol_bytes: None,
        dscp: 0,
        feedback_port: 0,
        keys: None,
    }
}

fn line(outcome: Outcome, hosts: Vec<HostReport>, expected: usize) -> (u8, String) {
    let complaint =
        complaint(&report(outcome, hosts), &options(Expect::Count(expected))).expect("a complaint");
    (complaint.exit.code(), complaint.to_string())
}

#[test]
fn every_outcome_has_its_name_and_its_exit_code() {
    let busy = Outcome::Busy { host: String::new(), user: String::new(), started: 0 };
    let table = [
        (Outcome::Reached, "reached", 0),
        (Outcome::Unstated, "unstated", 0),
        (Outcome::NotReached, "not-reached", 3),
        (Outcome::RolledBack, "rolled-back", 8),
        (Outcome::NobodyJoined, "nobody-joined", 4),
        (busy, "busy", 7),
        (Outcome::TimedOut, "timed-out", 124),
        (Outcome::Interrupted, "interrupted", 130),
    ];
    for (outcome, name, code) in table {
        assert_eq!((outcome_name(&outcome), exit_of(&outcome).code()), (name, code));
    }
}

fn ran(ending: Ending, output: &str) -> Ran {
    let (point, took) = (Point::PostActivate, Duration::from_millis(1200));
    Ran { point, ending, took, output: output.into() }
}

#[test]
fn hooks_are_in_the_json_whole_and_in_the_table_where_one_failed() {
    let tried = |name, verdict, results| HostReport {
        trial: Some(Trial { verdict, left: Duration::ZERO, results }),
        ..host(name, HostState::Active)
    };
    let (fine, broken) = (ran(Ending::Exited(0), "done"), ran(Ending::Exited(1), "no\x1b[2J unit"));
    let hosts = vec![
        tried("web-1", TrialVerdict::Good, vec![fine.clone()]),
        tried("web-2", TrialVerdict::Good, vec![fine, broken]),
    ];
    let report = report(Outcome::Reached, hosts);
    let options = options(Expect::Count(2));
    let text = to_table(&report, &options, false);
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(row("web-1").ends_with(" 0"), "{text}");
    let words = "post-activate ended with status 1 after 1.2 s: no\\u{1b}[2J unit";
    assert!(row("web-2").ends_with(words), "{text}");
    let json: serde_json::Value = serde_json::from_str(&to_json(&report, &options)).unwrap();
    let hooks = &json["hosts"][1]["hooks"];
    assert_eq!(hooks.as_array().map(Vec::len), Some(2));
    assert_eq!(hooks[1]["ending"], serde_json::json!({"exited": 1}));
    assert_eq!((&hooks[1]["seconds"], &json["hosts"][1]["verdict"]), (&1.2.into(), &"good".into()));
}

#[test]
fn hosts_that_went_back_are_named_and_have_a_code_of_their_own() {
    let reason = "shop 2.0: health was answered with status 500: no (3 times in a row)";
    let bad =
        HostReport { state: HostState::RolledBack, ..failed("web-2", Fault::Unhealthy, reason) };
    let hosts = vec![host("web-1", HostState::Active), bad];
    let (code, text) = line(Outcome::RolledBack, hosts, 2);
    assert_eq!(code, 8);
    let whole = "rolled back: 1 of 2 hosts active; the release is bad where it was tried; web-2 \
                 rolled-back: shop 2.0: health was answered with status 500: no (3 times in a row)";
    assert_eq!(text, whole);
}

/// Above twenty hosts nobody has a line for what is usual, and loss is not.
#[test]
fn of_many_hosts_loss_and_kernel_drops_are_told_in_sum_and_of_the_worst() {
    let lossy = |index: u32| HostReport {
        received: 1000 - index,
        lost: index,
        kernel_drops: if index >= 20 { index } else { 0 },
        ..host(&format!("web-{index}"), HostState::Active)
    };
    let shown = |hosts: Vec<HostReport>| {
        let options = options(Expect::Count(hosts.len()));
        to_table(&report(Outcome::Reached, hosts), &options, false)
    };
    let text = shown((0..22).map(lossy).collect());
    assert!(text.contains("\nlost on the way: 1.05 %, most to web-21 (2.10 %)\n"), "{text}");
    let line = "\ndropped by kernels, since buffers were full: 41 datagrams at 2 hosts, \
                most at web-21 (21)\n";
    assert!(text.contains(line), "{text}");
    let text = shown((0..22).map(|_| lossy(0)).collect());
    assert!(!text.contains("lost on the way") && !text.contains("dropped by"), "{text}");
}

#[test]
fn blocks_dropped_for_want_of_memory_are_shown_where_there_are_any() {
    let slow =
        |name, dropped_blocks| HostReport { dropped_blocks, ..host(name, HostState::Active) };
    let hosts = vec![slow("web-1", 3), slow("web-2", 14), slow("web-3", 0)];
    let report = report(Outcome::Reached, hosts);
    let options = options(Expect::Count(3));
    let line = "memory: 17 blocks dropped by 2 hosts that could not keep up, most by web-2 (14); \
                sent again\n";
    assert!(to_table(&report, &options, false).ends_with(line));
    let json: serde_json::Value = serde_json::from_str(&to_json(&report, &options)).unwrap();
    assert_eq!(json["hosts"][1]["dropped_blocks"], 14);
}

#[test]
fn forged_data_is_told_with_the_address_and_in_the_json_host_by_host() {
    let source = "198.18.0.9:7071".parse().unwrap();
    let hit = |name, foreign| {
        let alarm = Some(Alarm { false_symbols: 0, foreign, source });
        HostReport { alarm, ..host(name, HostState::Active) }
    };
    let hosts = vec![hit("web-1", 3), hit("web-2", 14), host("web-3", HostState::Active)];
    let report = report(Outcome::Reached, hosts);
    let options = options(Expect::Count(3));
    let line = "forged data came to 2 hosts, most to web-2: 14 forged datagrams came from \
                198.18.0.9:7071; none of it was used\n";
    assert!(to_table(&report, &options, false).ends_with(line));
    let json: serde_json::Value = serde_json::from_str(&to_json(&report, &options)).unwrap();
    let expected = serde_json::json!(
        { "false_symbols": 0, "foreign": 3, "source": "198.18.0.9:7071" }
    );
    assert_eq!(json["hosts"][0]["alarm"], expected);
    assert!(json["hosts"][2].get("alarm").is_none());
}

#[test]
fn stragglers_are_named_with_their_cause_also_among_many() {
    let straggler = "lost 30.0 % where 95 % of the hosts lost at most 0.1 %".to_owned();
    let slow = HostReport { straggler, ..host("web-7", HostState::Active) };
    let mut hosts: Vec<_> =
        (100..130).map(|index| host(&format!("web-{index}"), HostState::Active)).collect();
    hosts.push(slow);
    let report = report(Outcome::Reached, hosts);
    let options = options(Expect::Count(31));
    let text = to_table(&report, &options, false);
    assert!(text.contains("straggler: lost 30.0 % where 95 %"), "{text}");
    assert!(!text.contains("web-100"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&to_json(&report, &options)).unwrap();
    let is_straggler = |host: &&serde_json::Value| host["straggler"].is_string();
    let named: Vec<_> = json["hosts"].as_array().unwrap().iter().filter(is_straggler).collect();
    assert_eq!((named.len(), &named[0]["host"]), (1, &"web-7".into()));
}

#[test]
fn a_small_fleet_has_a_line_for_every_host() {
    let hosts = vec![
        host("web-1", HostState::Staged),
        failed("web-20", Fault::DiskFull, "needs 3.00 GiB, has 1.00 GiB"),
        absent("(host 3)"),
    ];
    let text = to_table(&report(Outcome::NotReached, hosts), &options(Expect::Count(3)), false);
    let id = Digest::of(b"manifest").short();
    let expected = format!(
        "shop 2.0 ({id}): not-reached, 0 of 3 hosts active in 2.50 s\n\
         \n\
         HOST      STATE   SECONDS  LOSS    KERNEL DROPS  REASON\n\
         web-1     staged  2.12     1.00 %  0\n\
         web-20    failed  2.12     1.00 %  0             needs 3.00 GiB, has 1.00 GiB\n\
         (1 more)  absent  -        -       -             \
         never joined; --expect @FILE would name them\n\
         \n\
         wire: 1024 symbols for 1000 source symbols (1.024), 1.43 MiB in 2.00 s (6.00 Mbit/s), \
         3 needs\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn more_hosts_than_were_expected_are_no_part_of_them() {
    let hosts: Vec<_> =
        ["web-1", "web-2", "web-3"].map(|name| host(name, HostState::Staged)).into();
    let mut report = report(Outcome::Reached, hosts);
    report.activation = Activation::Hold;
    let text = to_table(&report, &options(Expect::Count(1)), false);
    assert!(text.contains("): reached, 3 hosts staged (1 expected) in 2.50 s\n"), "{text}");
}

#[test]
fn a_large_fleet_is_counted_and_its_exceptions_are_named() {
    let mut hosts: Vec<HostReport> =
        (0..1997).map(|index| host(&format!("web-{index}"), HostState::Active)).collect();
    hosts.push(failed("db-1", Fault::MountFailed, ""));
    hosts.push(HostReport { reason: "silent".into(), ..host("db-2", HostState::Lost) });
    hosts.push(absent("db-3"));
    let text = to_table(&report(Outcome::Reached, hosts), &options(Expect::Count(2000)), false);
    assert!(text.contains("1997 of 2000 hosts active"), "{text}");
    assert!(text.contains("active  1997   2.12 to 2.12\n"), "{text}");
    assert!(!text.contains("web-7"), "{text}");
    for named in ["db-1  failed", "the image could not be mounted", "db-2  lost", "db-3  absent"] {
        assert!(text.contains(named), "{named:?} in {text}");
    }
    assert!(text.lines().count() < 20, "{text}");
}

#[test]
fn colours_do_not_move_columns() {
    let hosts = vec![host("a", HostState::Active), failed("bcd", Fault::DiskFull, "full")];
    let report = report(Outcome::NotReached, hosts);
    let coloured = to_table(&report, &options(Expect::Count(2)), true);
    assert!(coloured.contains("\x1b[31mfailed\x1b[0m"), "{coloured}");
    let mut plain = coloured;
    for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, to_table(&report, &options(Expect::Count(2)), false));
}

#[test]
fn the_closing_line_says_who_stood_in_the_way() {
    let hosts = vec![
        host("web-1", HostState::Staged),
        failed("web-2", Fault::DiskFull, "needs 3.00 GiB, has 1.00 GiB"),
    ];
    assert_eq!(
        line(Outcome::NotReached, hosts, 2),
        (
            3,
            "not reached: 0 of 2 hosts active, 1 staged and nobody switched; \
             web-2 failed: needs 3.00 GiB, has 1.00 GiB"
                .to_owned()
        )
    );
    let many = (0..9).map(|index| failed(&format!("h{index}"), Fault::DiskFull, "")).collect();
    let (_, text) = line(Outcome::NotReached, many, 9);
    assert!(text.contains("; h2 failed: the host's disk is full; and 6 more hosts"), "{text}");
}

#[test]
fn the_other_ends_are_told_in_one_line_each() {
    let (code, text) = line(Outcome::NobodyJoined, Vec::new(), 8);
    assert_eq!(code, 4);
    assert!(text.starts_with("nobody joined within 2s: is fanhost running for shop"), "{text}");
    let half = || vec![host("web-1", HostState::Receiving)];
    assert_eq!(
        line(Outcome::TimedOut, half(), 1),
        (
            124,
            "timed out after 1m 30s: 0 of 1 host active; \
             web-1 receiving: not finished when the session ended"
                .to_owned()
        )
    );
    assert_eq!(
        line(Outcome::Interrupted, half(), 1),
        (130, "interrupted: the hosts were told to stop; 0 of 1 host active".to_owned())
    );
}

#[test]
fn a_busy_group_is_told_with_host_user_and_start() {
    let busy = |host: &str, started| {
        let outcome = Outcome::Busy { host: host.to_owned(), user: "ada".to_owned(), started };
        line(outcome, Vec::new(), 8)
    };
    assert_eq!(
        busy("build-1", 1_700_000_000),
        (
            7,
            "busy: shop is being sent by ada on build-1 since 2023-11-14T22:13:20Z: \
             wait for it, or stop it there"
                .to_owned()
        )
    );
    let (_, hostile) = busy("a\nb\x1b[2J", u64::MAX);
    assert!(hostile.contains("9999-12-31T23:59:59Z"), "{hostile}");
    assert!(!hostile.contains(['\n', '\x1b']), "{hostile}");
}

#[test]
fn the_object_names_every_host_in_base_units() {
    let hosts = vec![host("web-1", HostState::Active), absent("web-2")];
    let text = to_json(&report(Outcome::NotReached, hosts), &options(Expect::Count(2)));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], 1);
    assert_eq!(value["release"], ReleaseId(Digest::of(b"manifest")).to_string());
    assert_eq!((&value["app"], &value["label"]), (&"shop".into(), &"2.0".into()));
    assert_eq!(value["activation"], "together");
    assert_eq!(value["outcome"], "not-reached");
    assert_eq!(value["hosts"][0]["seconds"], 2.125);
    assert_eq!(value["hosts"][1]["state"], "absent");
    assert_eq!(value["hosts"][1]["reason"], "never joined");
    assert!(value["hosts"][1]["seconds"].is_null());
    assert_eq!(value["wire"]["sent_symbols"], 1024);
    assert_eq!(value["wire"]["seconds"], 2.0);
    assert!(value.get("busy").is_none());
}

#[test]
fn what_was_not_believed_is_counted_by_reason_and_source() {
    let mut report = report(Outcome::Reached, vec![host("web1", HostState::Active)]);
    let options = options(Expect::Count(1));
    assert!(!to_table(&report, &options, false).contains("refused"));
    let from = |last| std::net::IpAddr::from([198, 18, 0, last]);
    for (last, reason) in
        [(9, DropReason::BadTag), (9, DropReason::BadTag), (7, DropReason::Replayed)]
    {
        report.refused.note(from(last), reason);
    }
    let text = to_table(&report, &options, false);
    let line = "refused: 3 datagrams (bad-tag 2, replayed 1; 2 of them from 198.18.0.9)\n";
    assert!(text.ends_with(line), "{text}");
    let json: serde_json::Value = serde_json::from_str(&to_json(&report, &options)).unwrap();
    assert_eq!(json["refused"]["reasons"]["bad-tag"], 2);
    assert_eq!(json["refused"]["sources"][1]["address"], "198.18.0.7");
}

#[test]
fn a_busy_object_says_who() {
    let outcome = Outcome::Busy { host: "b\n1".into(), user: "ada".into(), started: 0 };
    let text = to_json(&report(outcome, Vec::new()), &options(Expect::Any));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["busy"]["host"], "b\n1");
    assert_eq!(value["busy"]["started"], "1970-01-01T00:00:00Z");
}
