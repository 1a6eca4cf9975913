//! A host comes up again: what is brought back, what is refused, what the clock has to do with it;
//! and who keeps a release.
#![expect(clippy::disallowed_methods, reason = "it writes configurations and takes releases away")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::outcome::exit;
use tests::process::{Ending, Running, command, holds_within};
use tests::product::{self, Bundle, Image, Pack};

use crate::site::{DEADLINE, Site};

/// A site whose host has received releases, of tar, and ended: not before their archives went,
/// which they do a moment after the sender has heard of the switch.
fn received(bundles: &[Bundle], site: &mut Site) {
    let place = site.start("a");
    for bundle in bundles {
        site.run(&site.send(bundle).expect(1)).expect_exit(exit::DONE);
    }
    let images = site.store("a").join("shop/images");
    let has_settled = || fs::read_dir(&images).is_ok_and(|mut left| left.next().is_none());
    assert!(holds_within(DEADLINE, has_settled), "an archive goes once its tree is active");
    assert_eq!(site.host(place).terminate(DEADLINE).code, Some(0));
}

fn config(site: &Site, settings: &str) -> PathBuf {
    let store = site.store("a");
    let text = format!("store = \"{}\"\n[app.shop]\n{settings}", store.display());
    site.write("fanhost.toml", &text)
}

fn run(site: &Site, mut command: Command, arguments: &[&str], config: &PathBuf) -> Ending {
    command.args(arguments).arg("--config").arg(config);
    Running::start(arguments[0], &mut command, &site.logs()).wait(DEADLINE)
}

fn restore(site: &Site, config: &PathBuf) -> Ending {
    run(site, command(product::fanhost()), &["restore"], config)
}

#[test]
fn restore_fails_closed_where_an_app_has_no_whole_release() {
    let mut site = Site::new();
    let sentinel = config(&site, "sentinel = \"index.php\"\n");
    let ending = restore(&site, &sentinel);
    assert_eq!(ending.code, Some(exit::NOT_REACHED), "{}", ending.stderr);
    assert_eq!(ending.stderr, "fanhost: shop: it has no current release\n");

    let tree = site.tree("r1");
    fs::write(tree.join("index.php"), "<?php\n").expect("the tree is ours");
    let bundles = [site.bundle("r1", Image::Tar)];
    received(&bundles, &mut site);
    let ending = restore(&site, &sentinel);
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    assert!(ending.stdout.starts_with("shop: r1 is current, "), "{}", ending.stdout);

    let path = site.current("a").canonicalize().expect("it was switched");
    fs::remove_file(path.join("index.php")).expect("the release is ours");
    let ending = restore(&site, &sentinel);
    assert_eq!(ending.code, Some(exit::NOT_REACHED), "{}", ending.stderr);
    let line = format!("fanhost: shop: its sentinel {}/index.php is not there", path.display());
    assert!(ending.stderr.starts_with(&line), "{}", ending.stderr);
    fs::remove_dir_all(&path).expect("the release is ours");
    let ending = restore(&site, &config(&site, ""));
    assert_eq!(ending.code, Some(exit::NOT_REACHED), "{}", ending.stderr);
    assert!(ending.stderr.contains("which is no release of this store"), "{}", ending.stderr);
    assert!(ending.stderr.ends_with("fanhost: shop: it has no current release\n"));
}

#[test]
fn restore_beside_a_daemon_looks_and_touches_nothing() {
    let mut site = Site::new();
    site.start("a");
    let bundle = site.bundle("r1", Image::Tar);
    site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    let ending = restore(&site, &config(&site, ""));
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    assert!(ending.stderr.contains("only looked at"), "{}", ending.stderr);
}

/// The library that tells a program another time, which tests/run installs.
pub(crate) fn fake_clock() -> PathBuf {
    let places = fs::read_dir("/usr/lib").expect("there is one").flatten();
    let mut libraries = places.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    libraries.find(|path| path.exists()).expect("tests/run installs faketime")
}

#[test]
fn a_clock_at_1970_keeps_no_host_from_its_own_release() {
    // Goal: a machine that lost its clock serves what it served, whatever a release says of time.
    // Method: a release that expires tomorrow and was packed today; the real program under a clock
    // of 1970, and under one ten years ahead, must bring it back and start as a daemon with it.
    let mut site = Site::new();
    let pack = Pack::of(&site.tree("r1"), "r1", Image::Tar);
    let bundle = pack.arg("--expires=1day").run(site.path());
    received(&[bundle], &mut site);
    let link = fs::read_link(site.current("a")).expect("it was switched");
    let config = config(&site, "");
    let library = fake_clock();
    for date in ["@1970-01-02 00:00:00", "+10y"] {
        let faked = |mut command: Command| {
            command.env("LD_PRELOAD", &library).env("FAKETIME", date);
            command
        };
        let ending = run(&site, faked(command(product::fanhost())), &["restore"], &config);
        assert_eq!(ending.code, Some(0), "{date}: {}", ending.stderr);
        let mut daemon = Running::start("a", &mut faked(site.daemon_command("a")), &site.logs());
        daemon.wait_for_stderr("is believed", DEADLINE);
        let log = daemon.stderr();
        let year = if date.starts_with("@1970") { "1970-" } else { "203" };
        assert!(log.starts_with(year), "the clock is faked: {log}");
        assert_eq!(daemon.terminate(DEADLINE).code, Some(0), "{}", daemon.stderr());
        assert_eq!(fs::read_link(site.current("a")).ok().as_ref(), Some(&link), "{date}");
        assert!(site.current("a").join("").exists(), "{date}");
    }
}

#[test]
fn a_pinned_script_keeps_its_release_across_ten_deploys_and_prunes() {
    let mut site = Site::new();
    site.start("a");
    let send = |site: &Site, label: &str| {
        let bundle = site.bundle(label, Image::Tar);
        site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    };
    send(&site, "r0");
    let first = site.current("a").canonicalize().expect("it was switched");
    let config = config(&site, "");
    let (go, seen) = (site.path().join("go"), site.path().join("seen"));
    let script = format!(
        "pwd -P > {0}; echo $FANFARE_LABEL $FANFARE_PATH >> {0}; cd /; \
         while [ ! -e {1} ]; do sleep 0.1; done; ls -R $FANFARE_PATH | wc -l >> {0}",
        seen.display(),
        go.display()
    );
    let mut pinned = command(product::fanhost());
    pinned.args(["run-pinned", "shop", "--config"]).arg(&config);
    pinned.args(["--", "/bin/sh", "-c", &script]);
    let mut pinned = Running::start("pinned", &mut pinned, &site.logs());
    let has_begun = || fs::read_to_string(&seen).is_ok_and(|text| text.lines().count() == 2);
    assert!(holds_within(DEADLINE, has_begun), "{}", pinned.stderr());
    let files = fs::read_dir(&first).expect("it is there").count();
    for nth in 1..=10 {
        send(&site, &format!("r{nth}"));
    }
    let mut holders = command(product::fanhost());
    holders.args(["holders", "--config"]).arg(&config);
    let ending = Running::start("holders", &mut holders, &site.logs()).wait(DEADLINE);
    assert!(ending.stdout.contains(&pinned.pid().to_string()), "{}", ending.stdout);
    let mut releases = command(product::fanhost());
    releases.args(["releases", "--config"]).arg(&config);
    let ending = Running::start("releases", &mut releases, &site.logs()).wait(DEADLINE);
    let why = format!("(process {}: run-pinned", pinned.pid());
    assert!(ending.stdout.contains(&why), "{}", ending.stdout);
    assert_eq!(fs::read_dir(&first).map(Iterator::count).ok(), Some(files), "nothing is missing");
    fs::write(&go, "").expect("the directory is ours");
    assert_eq!(pinned.wait(DEADLINE).code, Some(0), "{}", pinned.stderr());
    let text = fs::read_to_string(&seen).expect("it was written");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], first.to_string_lossy());
    assert_eq!(lines[1], format!("r0 {}", first.display()));
    assert!(lines[2].trim().parse::<u32>().is_ok_and(|count| count > 100), "{text}");
}

#[test]
fn a_pin_ends_with_its_process_also_when_that_is_killed() {
    let mut site = Site::new();
    site.start("a");
    let bundle = site.bundle("r0", Image::Tar);
    site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    let config = config(&site, "");
    let mut pinned = command(product::fanhost());
    pinned.args(["run-pinned", "shop", "--config"]).arg(&config).args(["--", "sleep", "60"]);
    let mut pinned = Running::start("pinned", &mut pinned, &site.logs());
    let is_held = |pid: u32| {
        let mut holders = command(product::fanhost());
        holders.args(["holders", "--json", "--config"]).arg(&config);
        let ending = Running::start("holders", &mut holders, &site.logs()).wait(DEADLINE);
        ending.stdout.contains(&pid.to_string())
    };
    let pid = pinned.pid();
    assert!(holds_within(DEADLINE, || is_held(pid)), "the command itself has it");
    let mut releases = command(product::fanhost());
    releases.args(["releases", "--config"]).arg(&config);
    let ending = Running::start("releases", &mut releases, &site.logs()).wait(DEADLINE);
    let why = format!("active, in use by sleep 60 (process {pid}: run-pinned");
    assert!(ending.stdout.contains(&why), "it is the current one: {}", ending.stdout);
    pinned.signal(rustix::process::Signal::KILL);
    pinned.wait(Duration::from_secs(5));
    assert!(!is_held(pid));
    let mut nothing = command(product::fanhost());
    nothing.args(["run-pinned", "shop", "--config"]).arg(&config).args(["--", "/nonexistent"]);
    let ending = Running::start("nothing", &mut nothing, &site.logs()).wait(DEADLINE);
    assert_eq!(ending.code, Some(exit::USAGE), "{}", ending.stderr);
    assert!(ending.stderr.starts_with("fanhost: cannot run /nonexistent: No such file"));
}
