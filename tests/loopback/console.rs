//! What goes where: results to standard output, the rest to standard error, and how to have less.

use tests::outcome::exit;
use tests::process::{Ending, Running, command, holds_within};
use tests::product::{self, Image};

use crate::site::{DEADLINE, Site};

#[test]
fn a_reader_who_goes_away_is_no_error() {
    let mut site = Site::new();
    site.start("a");
    let bundle = site.bundle("r1", Image::Tar);
    let (fanfare, fanhost) = (product::fanfare(), product::fanhost());
    let (fanfare, fanhost) = (fanfare.display(), fanhost.display());
    let (bundle, store, group) = (bundle.path.display(), site.store("a"), site.group());
    let store = store.display();
    for line in [
        format!("{fanfare} inspect {bundle}"),
        format!("{fanfare} verify --json {bundle}"),
        format!("{fanfare} send --help"),
        format!("{fanfare} send {bundle} --expect 1 --insecure --interface lo --group {group}"),
        format!("{fanhost} releases --store {store}"),
        format!("{fanhost} status --json --store {store}"),
    ] {
        // The reader is gone before the first word: the pipe breaks whatever the buffer holds.
        let script = format!("set -o pipefail; {{ sleep 0.2; {line}; }} | true");
        let mut shell = command("bash");
        let mut shell = Running::start("shell", shell.args(["-c", &script]), &site.logs());
        let ending = shell.wait(DEADLINE);
        assert_eq!(ending.code, Some(exit::DONE), "{line}: {}", ending.stderr);
        assert!(!ending.stderr.contains("Broken pipe"), "{line}: {}", ending.stderr);
    }
}

#[test]
fn progress_as_json_is_an_object_a_line_from_joining_to_the_end() {
    let mut site = Site::new();
    site.start("a");
    let ending = send(&site, &["--progress", "json"]);
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    let events: Vec<serde_json::Value> = ending
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert!(events.iter().all(|event| event["schema"] == 1), "{}", ending.stderr);
    let phases: Vec<&str> = events.iter().filter_map(|event| event["phase"].as_str()).collect();
    assert!(phases.contains(&"pass"), "{phases:?}");
    let last = events.last().expect("there are events");
    assert_eq!((&last["active"], &last["failed"]), (&1.into(), &0.into()), "{last}");
}

#[test]
fn quiet_is_silent_when_all_is_well_and_says_the_error_when_not() {
    let mut site = Site::new();
    let missed = send(&site, &["-q", "--join-window", "200ms"]);
    assert_eq!(missed.code, Some(exit::NOBODY_JOINED));
    assert_eq!(missed.stderr.lines().count(), 1, "{}", missed.stderr);
    site.start("a");
    let ending = send(&site, &["-q"]);
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    assert_eq!(ending.stderr, "");
    assert!(ending.stdout.contains("1 of 1 host active"), "{}", ending.stdout);
}

#[test]
fn a_terminal_gets_bars_and_one_that_cannot_move_its_cursor_plain_lines() {
    let mut site = Site::new();
    site.start("a");
    let on_terminal = |label: &str, term: &str, colourless: bool| {
        let bundle = site.bundle(label, Image::Tar).path;
        let (fanfare, group) = (product::fanfare(), site.group());
        let line = format!(
            "{} send {} --expect 1 --insecure --interface lo --group {group}",
            fanfare.display(),
            bundle.display()
        );
        // A pseudo-terminal on all three descriptors; what it shows comes out on stdout.
        let mut script = command("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", term).env_remove("CI");
        script.env_remove("NO_COLOR");
        if colourless {
            script.env("NO_COLOR", "1");
        }
        let ending = Running::start("script", &mut script, &site.logs()).wait(DEADLINE);
        assert_eq!(ending.code, Some(exit::DONE), "{}{}", ending.stdout, ending.stderr);
        ending.stdout
    };
    let (bar, cursor_up, green) = ("█", "\x1b[1A", "\x1b[32m");
    let shown = on_terminal("r1", "xterm", false);
    assert!(shown.contains(bar) && shown.contains(cursor_up) && shown.contains(green), "{shown}");
    assert!(shown.contains("1 of 1 host joined"), "{shown}");
    let shown = on_terminal("r2", "xterm", true);
    assert!(shown.contains(bar) && !shown.contains(green), "{shown}");
    let shown = on_terminal("r3", "dumb", false);
    assert!(!shown.contains(bar) && !shown.contains('\x1b'), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("fanfare: ") && line.contains(" pass ")));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let site = Site::new();
    let bundle = site.bundle("r1", Image::Tar).path;
    let file = site.write("fanfare.toml", "ttl = 2\ninsecure = true\ninterface = \"lo\"\n");
    let planned_ttl = |variable: Option<&str>, flag: Option<&str>| {
        let mut fanfare = command(product::fanfare());
        fanfare.args(["send", "--expect", "1", "--dry-run", "--json", "--config"]);
        fanfare.arg(&file).arg(&bundle);
        variable.map(|ttl| fanfare.env("FANFARE_TTL", ttl));
        flag.map(|ttl| fanfare.args(["--ttl", ttl]));
        let ending = Running::start("fanfare", &mut fanfare, &site.logs()).wait(DEADLINE);
        assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
        let plan: serde_json::Value =
            serde_json::from_str(&ending.stdout).expect("--json prints one object");
        plan["ttl"].as_u64().expect("a plan says its ttl")
    };
    assert_eq!(planned_ttl(None, None), 2);
    assert_eq!(planned_ttl(Some("3"), None), 3);
    assert_eq!(planned_ttl(Some("3"), Some("4")), 4);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it sends rubbish from a socket of its own")]
fn rubbish_is_dropped_and_status_counts_it() {
    let mut site = Site::new();
    site.start("a");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has room");
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    rustix::net::sockopt::set_ip_multicast_if(&socket, &loopback).expect("lo takes multicast");
    for rubbish in [&b"hello"[..], &[0; 40], &[0xFA, 0x4E, 5, 1, 0, 0]] {
        socket.send_to(rubbish, site.group()).expect("lo takes datagrams");
    }
    let counted = || {
        let mut fanhost = command(product::fanhost());
        fanhost.args(["status", "--json", "--store"]).arg(site.store("a"));
        let status = Running::start("status", &mut fanhost, &site.logs()).wait(DEADLINE);
        let status: serde_json::Value =
            serde_json::from_str(&status.stdout).expect("--json prints one object");
        let drops = status["drops"].as_array().cloned().unwrap_or_default();
        drops.iter().filter_map(|drop| drop["count"].as_u64()).sum::<u64>()
    };
    assert!(holds_within(DEADLINE, || counted() == 3), "{} of 3 are counted", counted());
}

/// `fanfare send` of a small release to one host, with `arguments`.
fn send(site: &Site, arguments: &[&str]) -> Ending {
    let bundle = site.bundle("r1", Image::Tar).path;
    let mut fanfare = command(product::fanfare());
    fanfare.arg("send").arg(bundle).args(["--expect", "1", "--insecure", "--interface", "lo"]);
    fanfare.args(["--group", &site.group().to_string()]).args(arguments);
    Running::start("fanfare-send", &mut fanfare, &site.logs()).wait(DEADLINE)
}
