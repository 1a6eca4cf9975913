//! A release from one process to others, and what each of them says.
#![expect(clippy::disallowed_methods, reason = "it reads and damages what hosts store")]

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tests::lab::Family;
use tests::outcome::exit;
use tests::process::holds_within;
use tests::product::{Image, Pack};
use tests::tree::{Owners, assert_same_tree};

use crate::site::{DEADLINE, Site};

/// What strace calls the system calls that a disk has part in.
const DISK_CALLS: &str = "trace=%file,%fstatfs,getdents64,pread64,pwrite64,fsync,fdatasync,\
    syncfs,fallocate,ftruncate,flock,sync_file_range";

/// Owners of what a host unpacked: root's, if the test is root.
fn owners() -> Owners {
    if rustix::process::geteuid().is_root() { Owners::Root } else { Owners::Any }
}

fn delivers_over(family: Family) {
    let mut site = Site::over(family);
    for host in ["a", "b", "c"] {
        site.start(host);
    }
    for label in ["r1", "r2"] {
        let outcome = site.run(&site.send(&site.bundle(label, Image::Tar)).expect(3));
        let outcome = outcome.expect_exit(exit::DONE);
        assert_eq!(outcome.hosts_in("active").len(), 3, "{}", outcome.report());
        for host in ["a", "b", "c"] {
            assert_same_tree(&site.tree(label), &site.current(host).join(""), owners());
        }
    }
}

#[test]
fn a_tar_reaches_three_hosts_and_a_second_one_follows() {
    delivers_over(Family::V4);
}

#[test]
fn the_report_has_the_schema_that_scripts_rely_on() {
    let mut site = Site::new();
    site.start("a");
    let bundle = site.bundle("r1", Image::Tar);
    let outcome = site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    let report = outcome.report();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|it| it.keys().cloned()).collect()
    };
    for key in ["schema", "release", "outcome", "hosts", "wire"] {
        assert!(keys(report).contains(&key.to_owned()), "{key} in {report}");
    }
    for key in ["host", "state", "reason", "seconds"] {
        assert!(keys(&report["hosts"][0]).contains(&key.to_owned()), "{key} in {report}");
    }
    for key in ["source_symbols", "sent_symbols", "bytes", "seconds"] {
        assert!(keys(&report["wire"]).contains(&key.to_owned()), "{key} in {report}");
    }
    let release = report["release"].as_str().unwrap_or_default();
    assert!(fs::read_dir(site.store("a").join("shop/manifests")).is_ok_and(|mut entries| {
        entries
            .any(|entry| entry.is_ok_and(|it| it.file_name().to_string_lossy().contains(release)))
    }));
}

#[test]
fn a_killed_host_completes_from_its_journal() {
    let mut site = Site::new();
    let place = site.start("a");
    let noise = site.path().join("noise");
    tests::fixture::make_noise(&noise, "noise", 12 << 20);
    let bundle = Pack::of(&noise, "r1", Image::Raw).run(site.path());
    let send = site.send(&bundle).expect(1).rate("30Mbit");
    let mut sending = send.start_here(Family::V4, &site.logs());
    let part = site.store("a").join("shop/incoming");
    let has_part = || {
        fs::read_dir(&part).is_ok_and(|entries| {
            let mut parts = entries
                .flatten()
                .filter(|it| it.file_name().to_string_lossy().ends_with(".journal"));
            parts.any(|it| it.metadata().is_ok_and(|facts| facts.len() > 200))
        })
    };
    assert!(holds_within(DEADLINE, has_part), "{}", sending.process.tails());
    site.host(place).signal(Signal::KILL);
    site.start("a");
    let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active"), ["a"], "{}", outcome.report());
}

#[test]
fn a_daemon_ends_cleanly_on_sigterm_and_serves_any_number_of_sessions() {
    let mut site = Site::new();
    let place = site.start("a");
    for nth in 1..=4 {
        let bundle = site.bundle(&format!("r{nth}"), Image::Tar);
        site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    }
    let ending = site.host(place).terminate(DEADLINE);
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
}

#[test]
fn a_host_whose_current_is_the_release_already_is_active_from_the_start() {
    let mut site = Site::new();
    site.start("a");
    let bundle = site.bundle("r1", Image::Tar);
    site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    let link = fs::read_link(site.current("a")).expect("it was switched");
    for policy in ["together", "each", "hold"] {
        let send = site.send(&bundle).expect(1).activate(policy);
        let outcome = site.run(&send).expect_exit(exit::DONE);
        assert_eq!(outcome.hosts_in("active"), ["a"], "{policy}: {}", outcome.report());
        assert_eq!(outcome.symbols_per_source_symbol(), 0.0, "{policy}");
        assert_eq!(fs::read_link(site.current("a")).ok().as_ref(), Some(&link), "{policy}");
    }
}

// PROTOCOL 7.6.
#[test]
fn a_stored_image_that_was_changed_is_not_used_but_received_again() {
    let mut site = Site::new();
    let place = site.start("a");
    let noise = site.path().join("noise");
    tests::fixture::make_noise(&noise, "noise", 3 << 20);
    let original = fs::read(&noise).expect("it was just made");
    let pack = |sequence| {
        let pack = Pack::of(&noise, &format!("r{sequence}"), Image::Raw);
        pack.arg(&format!("--sequence={sequence}")).run(site.path())
    };
    let [first, second, third] = [1, 2, 3].map(pack);
    site.run(&site.send(&first).expect(1)).expect_exit(exit::DONE);
    let images = || fs::read_dir(site.store("a").join("shop/images")).expect("the host made it");
    let image = images().next().expect("one image is held").expect("it can be read").path();
    let mut changed = original.clone();
    changed[1 << 20] ^= 1;
    fs::write(&image, changed).expect("the directory is ours");

    let outcome = site.run(&site.send(&second).expect(1)).expect_exit(exit::DONE);
    let spent = outcome.symbols_per_source_symbol();
    assert!(spent >= 1.0, "{spent}: the image came whole");
    assert_eq!(fs::read(&image).ok(), Some(original.clone()));
    assert_eq!(fs::read(site.current("a").join("shop.raw")).ok(), Some(original));
    let line = format!("{} was changed since it was verified", image.display());
    assert!(site.host(place).stderr().contains(&line), "{}", site.host(place).stderr());
    let outcome = site.run(&site.send(&third).expect(1)).expect_exit(exit::DONE);
    assert_eq!(outcome.symbols_per_source_symbol(), 0.0, "what is right is not sent");
}

// PROTOCOL 7.8.
#[test]
fn a_host_that_is_terminated_says_so_and_is_named_at_once() {
    let mut site = Site::new();
    let [_, place] = ["a", "b"].map(|host| site.start(host));
    let noise = site.path().join("noise");
    tests::fixture::make_noise(&noise, "noise", 12 << 20);
    let bundle = Pack::of(&noise, "r1", Image::Raw).run(site.path());
    let send = site.send(&bundle).expect(2).rate("30Mbit");
    let mut sending = send.start_here(Family::V4, &site.logs());
    sending.process.wait_for_stderr(" pass ", DEADLINE);
    let ending = site.host(place).terminate(DEADLINE);
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    let line = "fanfare: b failed: stopped by its administrator";
    sending.process.wait_for_stderr(line, Duration::from_secs(1));
    let outcome = sending.wait(DEADLINE).expect_exit(exit::NOT_REACHED);
    let host = outcome.host("b");
    assert_eq!((host.state.as_str(), host.reason.as_str()), ("failed", &line[19..]), "{host:?}");
}

#[test]
fn once_ends_a_daemon_after_one_release() {
    let mut site = Site::new();
    let mut command = site.daemon_command("a");
    let mut daemon = tests::process::Running::start("a", command.arg("--once"), &site.logs());
    let bundle = site.bundle("r1", Image::Tar);
    site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    assert_eq!(daemon.wait(DEADLINE).code, Some(0));
    assert_same_tree(&site.tree("r1"), &site.current("a").join(""), owners());
    site.start("b");
}

#[test]
fn the_thread_of_the_sockets_touches_no_disk() {
    // Goal: no disk, however slow, holds up a datagram.
    // Method: trace the daemon's calls that take a path or move a file's bytes, from the moment it
    // listens on; a send, and the same again, which the host finds staged, must need none of them
    // on its first thread. The other threads need them, which shows that the trace works.
    let mut site = Site::new();
    let trace = site.path().join("trace");
    let mut strace = tests::process::command("strace");
    strace.args(["-D", "-f", "-qq", "-e", "signal=none", "-e", DISK_CALLS, "-o"]).arg(&trace);
    let daemon = site.daemon_command("a");
    strace.arg(daemon.get_program()).args(daemon.get_args());
    let place = site.start_command("a", &mut strace);
    site.host(place).wait_for_stderr("is believed", DEADLINE);
    let started = fs::read_to_string(&trace).expect("strace writes it").len();
    let bundle = site.bundle("r1", Image::Tar);
    for _ in 0..2 {
        site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    }
    assert_eq!(site.host(place).terminate(DEADLINE).code, Some(0));
    let traced = fs::read_to_string(&trace).expect("as above");
    let first = format!("{} ", site.host(place).pid());
    let (own, others): (Vec<_>, Vec<_>) =
        traced[started..].lines().partition(|line| line.starts_with(&first));
    assert!(others.iter().any(|line| line.contains("current")), "{others:#?}");
    // The memory allocator looks at a setting of the kernel, once.
    let is_disk = |line: &&str| !line.contains("\"/proc/sys/vm/") && !line.contains("+++ exited");
    let own: Vec<_> = own.into_iter().filter(is_disk).collect();
    assert_eq!(own, [""; 0]);
}

#[test]
fn releases_and_status_speak_beside_a_running_daemon() {
    let mut site = Site::new();
    site.start("a");
    for label in ["r1", "r2"] {
        let bundle = site.bundle(label, Image::Tar);
        site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    }
    for (verb, words) in [("releases", ["shop", "r1", "r2"]), ("status", ["shop", "r2", "a"])] {
        let mut command = tests::process::command(tests::product::fanhost());
        command.arg(verb).arg("--store").arg(site.store("a"));
        let ending =
            tests::process::Running::start(verb, &mut command, &site.logs()).wait(DEADLINE);
        assert_eq!(ending.code, Some(0), "{verb}: {}", ending.stderr);
        for word in words {
            assert!(ending.stdout.contains(word), "{verb}: {word} in {}", ending.stdout);
        }
    }
}
