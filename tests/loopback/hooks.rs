//! What a host's administrator has run around a switch, and what is seen of it.
#![expect(clippy::disallowed_methods, reason = "it writes hooks and reads what they wrote")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use common::bundle::BundleFile;
use receiver::activation::Policy;
use receiver::hooks::Hook;
use serde_json::Value;
use tests::outcome::exit;
use tests::process::{Ending, Running, command, holds_within, pass_time};
use tests::product::{self, Image};

use crate::site::{DEADLINE, Site};

/// A hook that notes what it hears, and where `current` leads at that moment.
const NOTE: &str = "echo \"$FANFARE_HOOK $FANFARE_LABEL after ${FANFARE_PREVIOUS_PATH##*/}: \
    $(readlink $FANFARE_CURRENT)\" >> $0.log; cat >> $0.json";

/// Writes a shell script that may be run as a hook.
fn script(site: &Site, name: &str, text: &str) -> PathBuf {
    let path = site.write(name, &format!("#!/bin/sh\n{text}\n"));
    set_mode(&path, 0o755);
    path
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the file is ours");
}

/// Starts `host` with `settings` below `[app.shop]`; returns its place.
fn start(site: &mut Site, host: &str, settings: &str) -> usize {
    let config = site.write(&format!("{host}.toml"), &format!("[app.shop]\n{settings}"));
    let mut command = site.daemon_command(host);
    site.start_command(host, command.arg("--config").arg(config))
}

fn hook(point: &str, program: &Path) -> String {
    format!("[[app.shop.{point}]]\ncommand = [\"{}\"]\n", program.display())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    path.with_extension(extension)
}

/// `fanhost status` of `host`, as JSON.
fn status(site: &Site, host: &str) -> Value {
    let ending = status_with(site, host, &["--json"]);
    serde_json::from_str(&ending.stdout).expect("one object")
}

fn status_with(site: &Site, host: &str, arguments: &[&str]) -> Ending {
    let mut command = command(product::fanhost());
    command.arg("status").arg("--store").arg(site.store(host)).args(arguments);
    Running::start("status", &mut command, &site.logs()).wait(DEADLINE)
}

/// Waits until nothing follows the last switch of `host` any more.
fn wait_until_over(site: &Site, host: &str) -> Value {
    let over = || status(site, host)["activations"][0]["stage"] == "over";
    assert!(holds_within(DEADLINE, over), "{}", status(site, host));
    status(site, host)["activations"][0].clone()
}

#[test]
fn hooks_run_on_both_sides_of_the_switch_and_hear_of_both_releases() {
    let mut site = Site::new();
    let note = script(&site, "note", NOTE);
    let log = beside(&note, "log");
    let settings = format!(
        "hook_splay = \"0s\"\n{}{}",
        hook("pre_activate", &note),
        hook("post_activate", &note)
    );
    start(&mut site, "a", &settings);
    for label in ["r1", "r2"] {
        let bundle = site.bundle(label, Image::Tar);
        site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
        wait_until_over(&site, "a");
    }
    let text = read(&log);
    let [first, second, third, fourth] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    assert_eq!(first, "pre-activate r1 after : ");
    assert!(second.starts_with("post-activate r1 after : releases/r1-"), "{second}");
    assert!(third.starts_with("pre-activate r2 after r1-"), "{third}");
    assert!(third.contains(": releases/r1-"), "before the switch: {third}");
    assert!(fourth.starts_with("post-activate r2 after r1-"), "{fourth}");
    assert!(fourth.contains(": releases/r2-"), "after it: {fourth}");
    let heard = read(&beside(&note, "json"));
    let heard: Value = serde_json::from_str(heard.lines().last().unwrap_or_default()).expect("it");
    assert_eq!((&heard["hook"], &heard["cause"]), (&"post-activate".into(), &"send".into()));
    assert_eq!(heard["previous"]["label"], "r1");
    let path = PathBuf::from(heard["path"].as_str().unwrap_or_default());
    assert_eq!(path.canonicalize().ok(), site.current("a").canonicalize().ok());
    let shown = wait_until_over(&site, "a");
    assert_eq!(shown["label"], "r2");
    assert_eq!(shown["results"].as_array().map(Vec::len), Some(2), "{shown}");
}

#[test]
fn a_pre_activate_hook_that_fails_keeps_the_old_release_and_its_last_words_are_reported() {
    let mut site = Site::new();
    let gate = script(
        &site,
        "gate",
        "[ $FANFARE_LABEL = r1 ] || { echo looking; echo 'no room for this' >&2; exit 3; }",
    );
    let place = start(&mut site, "a", &hook("pre_activate", &gate));
    let first = site.bundle("r1", Image::Tar);
    site.run(&site.send(&first).expect(1)).expect_exit(exit::DONE);
    let link = fs::read_link(site.current("a")).expect("it was switched");
    for policy in ["together", "each"] {
        let send = site.send(&site.bundle("r2", Image::Tar)).expect(1).activate(policy);
        let outcome = site.run(&send).expect_exit(exit::NOT_REACHED);
        let host = outcome.host("a");
        assert_eq!(host.state, "failed", "{host:?}");
        let begins = host.reason.starts_with("shop r2: pre-activate ended with status 3 after ");
        assert!(begins && host.reason.ends_with(" s: no room for this"), "{host:?}");
        assert_eq!(fs::read_link(site.current("a")).ok().as_ref(), Some(&link), "{policy}");
    }
    assert!(site.host(place).stderr().contains("gate: pre-activate ended with status 3"));
    let shown = status_with(&site, "a", &[]).stdout;
    assert!(shown.contains("shop r2 ("), "{shown}");
    assert!(shown.contains("was refused by a hook\n  pre-activate ended with status 3"), "{shown}");
    assert!(shown.contains("\n    looking\n    no room for this\n"), "{shown}");
}

#[test]
fn hooks_after_the_switch_come_in_each_hosts_own_moment_and_no_sender_waits_for_them() {
    // Goal: hosts do not reload together, and what comes later delays no report.
    // Method: three hosts with a window of 6 s; each hook notes when it began. The moment is drawn
    // from host and release, so the test picks an early, a middle and a late host.
    let mut site = Site::new();
    let bundle = site.bundle("r1", Image::Tar);
    let release = BundleFile::open(&bundle.path).expect("it was just packed").preamble().release();
    let hooks = vec![Hook { command: vec!["/bin/true".into()], timeout: DEADLINE }];
    let (post_activate, splay) = (hooks, Duration::from_secs(6));
    let policy = Policy { post_activate, splay, ..Policy::default() };
    let delay = |host: &str| policy.delay(&host.parse().expect("a name"), &release).as_secs_f64();
    let hosts = [0.5..1.0, 3.0..3.5, 5.5..6.0].map(|moment| {
        let mut names = (0..).map(|nth| format!("h{nth}"));
        names.find(|host| moment.contains(&delay(host))).expect("one in twelve")
    });
    let stamps = hosts.each_ref().map(|host| {
        let stamp = script(&site, &format!("stamp-{host}"), "date +%s.%N > $0.at");
        let settings = format!("hook_splay = \"6s\"\n{}", hook("post_activate", &stamp));
        start(&mut site, host, &settings);
        beside(&stamp, "at")
    });
    site.run(&site.send(&bundle).expect(3)).expect_exit(exit::DONE);
    assert!(!stamps[2].exists(), "the sender is through before the last host's moment");
    for (host, stamp) in hosts.iter().zip(&stamps) {
        let link = fs::symlink_metadata(site.current(host)).and_then(|facts| facts.modified());
        let switched = link.expect("it was switched").duration_since(UNIX_EPOCH);
        assert!(holds_within(DEADLINE, || !read(stamp).is_empty()), "{}", stamp.display());
        let at = read(stamp).trim().parse::<f64>().expect("seconds");
        let late = at - switched.expect("after 1970").as_secs_f64() - delay(host);
        assert!((-0.1..2.0).contains(&late), "{host} {late} s after its moment");
    }
}

#[test]
fn one_apps_slow_hook_delays_no_other_app_and_no_answer() {
    let mut site = Site::new();
    let slow = script(&site, "slow", "touch $0.begun; while [ ! -e $0.end ]; do sleep 0.1; done");
    let config =
        site.write("a.toml", &format!("[app.shop]\n{}[app.blog]\n", hook("pre_activate", &slow)));
    let mut command = site.daemon_command("a");
    command.args(["--app", "blog"]).arg("--config").arg(config);
    site.start_command("a", &mut command);
    let bundle = site.bundle("r1", Image::Tar);
    let mut sending = site
        .send(&bundle)
        .expect(1)
        .activate("each")
        .start_here(tests::lab::Family::V4, &site.logs());
    assert!(
        holds_within(DEADLINE, || beside(&slow, "begun").exists()),
        "{}",
        sending.process.tails()
    );
    let blog = product::Pack::of(&site.tree("b1"), "b1", Image::Tar).app("blog").run(site.path());
    let outcome = site.run(&site.send(&blog).expect(1)).expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active"), ["a"]);
    assert!(sending.process.is_running(), "the host answers, and the sender waits for its hook");
    fs::write(beside(&slow, "end"), "").expect("the directory is ours");
    let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active"), ["a"], "{}", outcome.report());
}

#[test]
fn a_hook_that_others_could_change_is_refused_at_the_start() {
    let site = Site::new();
    let open = script(&site, "open", "true");
    set_mode(&open, 0o777);
    let config = site.write("a.toml", &format!("[app.shop]\n{}", hook("post_activate", &open)));
    let attempt = || {
        let mut command = site.daemon_command("a");
        Running::start("a", command.arg("--config").arg(&config), &site.logs()).wait(DEADLINE)
    };
    let ending = attempt();
    assert_eq!(ending.code, Some(exit::CONFIG), "{}", ending.stderr);
    let line = format!(
        "fanhost: [app.shop] a hook is refused: {0} can be written to by its group or others \
         (mode 0777): chmod go-w {0}\n",
        open.display()
    );
    assert_eq!(ending.stderr, line);
    set_mode(&open, 0o755);
    set_mode(&config, 0o666);
    let ending = attempt();
    assert_eq!(ending.code, Some(exit::CONFIG), "{}", ending.stderr);
    assert!(ending.stderr.contains("nobody else may change it"), "{}", ending.stderr);
    fs::remove_file(&open).expect("it is ours");
    assert!(attempt().stderr.contains("cannot be used: No such file"));
}

/// A release on trial: a probe that is a command, asked every 100 ms for a second.
fn health(probe: &Path) -> String {
    format!(
        "hook_splay = \"0s\"\n[app.shop.health]\ncommand = [\"{}\"]\n\
         timeout = \"300ms\"\ninterval = \"100ms\"\nretries = 1\nsoak = \"1s\"\n",
        probe.display()
    )
}

/// `fanhost releases --json` of `host`, the release called `label`.
fn release(site: &Site, host: &str, label: &str) -> Value {
    let mut command = command(product::fanhost());
    command.args(["releases", "--json", "--store"]).arg(site.store(host));
    let ending = Running::start("releases", &mut command, &site.logs()).wait(DEADLINE);
    let listed: Value = serde_json::from_str(&ending.stdout).expect("one object");
    let all = listed["releases"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|it| it["label"] == label).unwrap_or_default()
}

// PROTOCOL 8.4, 8.5.
#[test]
fn a_release_that_does_not_do_well_is_left_within_its_soak_and_a_second_and_marked_bad() {
    // Goal: a bad release does not stay, is not taken again by accident, and the sender says so.
    // Method: a probe that likes r1 and r3 alone; the link's own time tells when a host went back.
    let soak = Duration::from_secs(1);
    let mut site = Site::new();
    let probe = script(&site, "probe", "[ $FANFARE_LABEL != r2 ] || { echo no database; exit 1; }");
    let note = format!("{NOTE}; touch $0.$FANFARE_LABEL.$FANFARE_HOST");
    let note = script(&site, "note", &note);
    for host in ["a", "b"] {
        start(&mut site, host, &format!("{}{}", health(&probe), hook("post_activate", &note)));
    }
    let good = site.bundle("r1", Image::Tar);
    let outcome = site.run(&site.send(&good).expect(2)).expect_exit(exit::DONE);
    let verdict =
        |outcome: &tests::outcome::Outcome| outcome.report()["hosts"][0]["verdict"].clone();
    assert_eq!(verdict(&outcome), "good", "{}", outcome.report());
    let link = fs::read_link(site.current("a")).expect("it was switched");

    let bad = site.bundle("r2", Image::Tar);
    let outcome = site.run(&site.send(&bad).expect(2)).expect_exit(exit::ROLLED_BACK);
    assert_eq!(outcome.outcome(), "rolled-back");
    assert_eq!(outcome.hosts_in("rolled-back"), ["a", "b"], "{}", outcome.report());
    let reason = outcome.host("a").reason;
    let begins = reason.starts_with("shop r2: health ended with status 1 after ");
    assert!(begins && reason.ends_with(" s: no database (2 times in a row)"), "{reason}");
    let hooks = &outcome.report()["hosts"][0]["hooks"];
    assert_eq!(hooks[1]["point"], "health", "{hooks}");
    assert_eq!(hooks[1]["output"], "no database", "{hooks}");
    assert_eq!(fs::read_link(site.current("a")).ok().as_ref(), Some(&link));
    let log = read(&beside(&note, "log"));
    let switched = log.lines().filter(|line| line.starts_with("post-activate r2 after r1-"));
    assert_eq!(switched.count(), 2, "{log}");
    let back = log.lines().filter(|line| line.starts_with("post-activate r1 after r2-"));
    assert_eq!(back.count(), 2, "the services hear that they are back: {log}");
    let time =
        |path: &Path| fs::symlink_metadata(path).and_then(|it| it.modified()).expect("it is");
    let tried_at = time(&beside(&note, "r2.a"));
    let tried = time(&site.current("a")).duration_since(tried_at).expect("it went back later");
    eprintln!("back on the release before {tried:?} after the switch, soak {soak:?}");
    assert!(tried < soak + Duration::from_secs(1), "{tried:?}");
    assert!(release(&site, "a", "r2").to_string().contains("no database"), "why it is bad");

    let outcome = site.run(&site.send(&bad).expect(2)).expect_exit(exit::NOT_REACHED);
    assert!(outcome.host("a").reason.contains("was found bad here before"), "{}", outcome.report());
    assert_eq!(fs::read_link(site.current("a")).ok().as_ref(), Some(&link));
    let outcome = site.run(&site.send(&bad).expect(2).arg("--force"));
    let outcome = outcome.expect_exit(exit::ROLLED_BACK);
    assert_eq!(outcome.hosts_in("rolled-back").len(), 2, "it was tried: {}", outcome.report());
    let next = site.bundle("r3", Image::Tar);
    site.run(&site.send(&next).expect(2)).expect_exit(exit::DONE);
}

#[test]
fn a_restart_in_the_middle_of_a_trial_ends_it_no_less() {
    let mut site = Site::new();
    let probe = script(&site, "probe", "echo $FANFARE_CAUSE >> $0.log; [ $FANFARE_LABEL = r1 ]");
    let settings = health(&probe).replace("retries = 1", "retries = 4").replace("1s", "3s");
    let place = start(&mut site, "a", &settings);
    let send = |label: &str, site: &Site| {
        site.send(&site.bundle(label, Image::Tar)).expect(1).arg("--verdict-wait").arg("0s")
    };
    site.run(&send("r1", &site)).expect_exit(exit::DONE);
    let link = fs::read_link(site.current("a")).expect("it was switched");
    assert!(holds_within(DEADLINE, || wait_until_over(&site, "a")["verdict"] == "good"));
    let outcome = site.run(&send("r2", &site)).expect_exit(exit::DONE);
    assert_eq!(outcome.report()["hosts"][0]["verdict"], "pending", "{}", outcome.report());
    site.host(place).signal(rustix::process::Signal::KILL);
    assert_ne!(fs::read_link(site.current("a")).ok().as_ref(), Some(&link));
    start(&mut site, "a", &settings);
    let is_back = || fs::read_link(site.current("a")).ok().as_ref() == Some(&link);
    assert!(holds_within(DEADLINE, is_back), "{}", status(&site, "a"));
    assert!(read(&beside(&probe, "log")).lines().any(|line| line == "restart"));
}

#[test]
fn a_verdict_that_is_overdue_is_come_to_when_the_host_goes_on_or_comes_up_again() {
    // Goal: a host that was down or stopped when its verdict was due neither keeps a bad release
    // nor takes it for good. Method: r2 does well at first; one host is killed and one stopped in
    // its trial, for longer than a verdict may take, and r2 does not do well when they go on.
    let mut site = Site::new();
    let probe = script(&site, "probe", "[ ! -e $0.sick ] || [ $FANFARE_LABEL = r1 ]");
    let settings = health(&probe).replace("soak = \"1s\"", "soak = \"3s\"");
    let places = ["a", "b"].map(|host| start(&mut site, host, &settings));
    let send = |label: &str, site: &Site| {
        site.send(&site.bundle(label, Image::Tar)).expect(2).arg("--verdict-wait").arg("0s")
    };
    site.run(&send("r1", &site)).expect_exit(exit::DONE);
    let link = fs::read_link(site.current("a")).expect("it was switched");
    for host in ["a", "b"] {
        assert!(holds_within(DEADLINE, || wait_until_over(&site, host)["verdict"] == "good"));
    }
    site.run(&send("r2", &site)).expect_exit(exit::DONE);
    site.host(places[0]).signal(rustix::process::Signal::KILL);
    site.host(places[1]).signal(rustix::process::Signal::STOP);
    let is_back =
        |site: &Site, host: &str| fs::read_link(site.current(host)).ok().as_ref() == Some(&link);
    assert!(["a", "b"].iter().all(|host| !is_back(&site, host)), "both are on r2");
    fs::write(beside(&probe, "sick"), "").expect("the directory is ours");
    // The soak, two probes and what lies between them.
    pass_time(Duration::from_millis(3000 + 2 * 300 + 100));
    start(&mut site, "a", &settings);
    site.host(places[1]).signal(rustix::process::Signal::CONT);
    for host in ["a", "b"] {
        assert!(holds_within(DEADLINE, || is_back(&site, host)), "{}", status(&site, host));
        let verdict = &release(&site, host, "r2")["verdict"];
        assert!(verdict["bad"].is_string(), "{host}: {verdict}");
    }
}

#[test]
fn a_first_release_that_does_not_do_well_stays_for_want_of_another_and_is_said_to() {
    let mut site = Site::new();
    let probe = script(&site, "probe", "exit 1");
    let place = start(&mut site, "a", &health(&probe));
    let outcome = site.run(&site.send(&site.bundle("r1", Image::Tar)).expect(1));
    let outcome = outcome.expect_exit(exit::NOT_REACHED);
    assert_eq!(outcome.host("a").state, "failed", "{}", outcome.report());
    assert_eq!(outcome.report()["hosts"][0]["verdict"], "bad");
    assert!(site.current("a").exists(), "something is better than nothing");
    let log = site.host(place).stderr();
    assert!(log.contains("there is no good release to go back to"), "{log}");
}

#[test]
fn the_helper_refuses_a_probe_that_needs_a_network() {
    let site = Site::new();
    let text = "[app.shop.health]\nhttp = \"http://127.0.0.1/health\"\n";
    let config = site.write("helper.toml", text);
    let mut command = command(product::fanhost());
    command
        .args(["helper", "--insecure", "--store"])
        .arg(site.store("a"))
        .arg("--config")
        .arg(&config);
    let ending = Running::start("helper", &mut command, &site.logs()).wait(DEADLINE);
    assert_eq!(ending.code, Some(exit::CONFIG), "{}", ending.stderr);
    // Whoever is not root learns first that the file is not root's.
    let words = match rustix::process::geteuid().is_root() {
        true => "fanhost: [app.shop.health] http: the helper, which asks, has no network",
        false => "can be changed by others than root",
    };
    assert!(ending.stderr.contains(words), "{}", ending.stderr);
}

#[test]
fn a_switch_by_hand_runs_the_hooks_at_once_and_none_stands_in_the_way_of_going_back() {
    // Method: two releases are sent; then every hook before a switch refuses, and the host goes
    // back and wants forward again; beside the daemon, which does it, and without one.
    for is_running in [true, false] {
        let mut site = Site::new();
        let gate = script(&site, "gate", "test ! -e $0.closed");
        let note =
            script(&site, "note", "echo $FANFARE_HOOK $FANFARE_CAUSE $FANFARE_LABEL >> $0.log");
        let (before, after) = (hook("pre_activate", &gate), hook("post_activate", &note));
        let daemon = start(&mut site, "a", &format!("hook_splay = \"0s\"\n{before}{after}"));
        // What a command reads that does it itself: were this a send, hooks would be spread.
        let config = format!("[app.shop]\nhook_splay = \"1h\"\n{before}{after}");
        let config = site.write("by-hand.toml", &config);
        for label in ["r1", "r2"] {
            let bundle = site.bundle(label, Image::Tar);
            site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
            wait_until_over(&site, "a");
        }
        if !is_running {
            site.host(daemon).terminate(DEADLINE);
        }
        site.write("gate.closed", "");
        let verb = |arguments: &[&str]| {
            let mut command = command(product::fanhost());
            command.args(arguments).arg("--config").arg(&config);
            command.arg("--store").arg(site.store("a"));
            Running::start("verb", &mut command, &site.logs()).wait(DEADLINE)
        };
        let back = verb(&["rollback", "shop"]);
        assert_eq!(back.code, Some(exit::DONE), "{}", back.stderr);
        assert!(back.stdout.starts_with("shop r1 is active, r2 was"), "{}", back.stdout);
        let last = || read(&beside(&note, "log")).lines().last().unwrap_or_default().to_owned();
        assert!(holds_within(DEADLINE, || last() == "post-activate rollback r1"), "{}", last());
        let forward = verb(&["activate", "shop", "r2"]);
        assert_ne!(forward.code, Some(exit::DONE), "{}", forward.stdout);
        assert!(forward.stderr.contains("pre-activate ended with status 1"), "{}", forward.stderr);
        fs::remove_file(beside(&gate, "closed")).expect("it was written");
        assert_eq!(verb(&["activate", "shop", "r2"]).code, Some(exit::DONE));
        let expected = "post-activate administrator r2";
        assert!(holds_within(DEADLINE, || last() == expected), "{}", last());
    }
}
