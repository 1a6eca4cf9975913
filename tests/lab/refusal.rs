//! What is refused: one clear line, the right exit code, and nothing under a final name.

use std::time::Duration;

use tests::lab::{HostOptions, Lab, Shape};
use tests::outcome::{exit, one_line};
use tests::product::{Image, Send};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn an_interface_that_does_not_exist_is_named() {
    let lab = Lab::new(Shape::hosts(1));
    let release = lab.small_release("r1", Image::Tar);
    let send = Send::of(&release.bundle).expect(1).through("eth7");
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::NETWORK);
    assert!(outcome.complaint().contains("eth7"), "{}", outcome.complaint());
    let ending = lab.hosts()[0].run_to_refusal(&HostOptions::app("shop").arg("--interface=eth7"));
    assert_eq!(ending.code, Some(exit::NETWORK), "{}", ending.stderr);
    assert!(one_line(&ending.stderr).contains("eth7"));
}

#[test]
fn a_group_that_is_not_multicast_is_named() {
    let lab = Lab::new(Shape::hosts(1));
    let release = lab.small_release("r1", Image::Tar);
    let send = Send::of(&release.bundle).expect(1).to_group("198.18.0.9:7070");
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::USAGE);
    assert!(outcome.ending.stderr.contains("198.18.0.9"), "{}", outcome.ending.stderr);
    let options = HostOptions::app("shop").arg("--group=198.18.0.9:7070");
    let ending = lab.hosts()[0].run_to_refusal(&options);
    assert_eq!(ending.code, Some(exit::USAGE), "{}", ending.stderr);
}

#[test]
fn a_full_store_is_refused_up_front_with_the_bytes_needed() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.host(2).put_store_on_tmpfs(16 << 20);
    lab.start_hosts(&HostOptions::app("shop"));
    let first = lab.raw_release("r1", 1 << 20);
    Send::of(&first.bundle).expect(2).run(&lab, DEADLINE).expect_exit(exit::DONE);
    let release = lab.raw_release("r2", 40 << 20);
    let send = Send::of(&release.bundle).expect(2).activate("each").rate("40Mbit");
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::NOT_REACHED);
    let full = outcome.host("h2");
    assert_eq!(full.state, "failed", "{full:?}");
    let seconds = full.seconds.expect("a failure has its time");
    assert!(seconds < 3.0, "refused after {seconds} s, not up front");
    let bytes = "46137344 bytes (44.0 MiB) needed, ";
    assert!(full.reason.starts_with(&format!("shop: not enough space: {bytes}")), "{full:?}");
    assert!(lab.host(2).log().contains(bytes), "{}", lab.host(2).log());
    assert!(lab.host(2).incoming_names("shop").is_empty(), "not even begun");
    lab.hosts()[1].expect_current(&first);
    lab.hosts()[0].expect_current(&release);
}

#[test]
fn a_store_that_fills_up_during_the_transfer_is_said_and_the_host_lives() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.host(2).put_store_on_tmpfs(64 << 20);
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 24 << 20);
    let send = Send::of(&release.bundle).expect(2).activate("each").rate("40Mbit");
    let mut sending = send.start(&lab);
    let host = lab.host(2);
    let has_begun =
        tests::process::holds_within(DEADLINE, || !host.incoming_names("shop").is_empty());
    assert!(has_begun, "{}", host.log());
    // The host sets its space aside in the same moment: a hog that came too late is no hog.
    tests::process::pass_time(Duration::from_millis(300));
    host.fill_store(1 << 20);
    let outcome = sending.wait(DEADLINE);
    // The space was set aside before the first byte, or the failure is said; never a broken host.
    match outcome.ending.code {
        Some(exit::DONE) => lab.host(2).expect_current(&release),
        _ => assert_eq!(outcome.host("h2").state, "failed", "{}", outcome.report()),
    }
    assert!(lab.host(2).daemon().is_running());
    lab.hosts()[0].expect_current(&release);
}

#[test]
fn a_read_only_store_is_named_at_the_start() {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.host(1).put_store_on_read_only();
    let ending = lab.hosts()[0].run_to_refusal(&HostOptions::app("shop"));
    assert_eq!(ending.code, Some(exit::RESOURCES), "{}", ending.stderr);
    let line = one_line(&ending.stderr);
    assert!(line.contains("read-only") || line.contains("Read-only"), "{line}");
    assert!(line.contains(&*lab.hosts()[0].store().to_string_lossy()), "{line}");
}

#[test]
fn a_second_daemon_on_one_store_is_refused_and_told_of_the_first() {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.start_hosts(&HostOptions::app("shop"));
    let pid = lab.host(1).daemon().pid().to_string();
    let ending = lab.hosts()[0].run_to_refusal(&HostOptions::app("shop"));
    assert!(ending.code.is_some_and(|code| code != 0), "{ending:?}");
    assert!(one_line(&ending.stderr).contains(&pid), "{}", ending.stderr);
}

#[test]
fn an_older_sequence_is_refused_and_current_stays() {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.start_hosts(&HostOptions::app("shop"));
    let tree = lab.small_tree("r1");
    let older = tests::product::Pack::of(&tree, "older", Image::Tar).arg("--sequence=1");
    let older = older.run(lab.directory());
    let newer = lab.small_release("newer", Image::Tar);
    Send::of(&newer.bundle).expect(1).run(&lab, DEADLINE).expect_exit(exit::DONE);
    let outcome = Send::of(&older).expect(1).run(&lab, DEADLINE);
    let outcome = outcome.expect_exit(exit::NOT_REACHED);
    assert!(outcome.host("h1").reason.contains("sequence"), "{}", outcome.report());
    lab.hosts()[0].expect_current(&newer);
}

#[test]
fn both_sides_insist_on_insecure_by_name() {
    let mut lab = Lab::new(Shape::hosts(1));
    let release = lab.small_release("r1", Image::Tar);
    lab.start_hosts(&HostOptions::app("shop"));
    let bundle = release.bundle.path.to_string_lossy().into_owned();
    let mut bare = lab.sender().command(tests::product::fanfare());
    bare.args(["send", &bundle, "--expect", "1", "--interface", tests::lab::INTERFACE]);
    let ending = tests::process::Running::start("bare", &mut bare, &lab.logs()).wait(DEADLINE);
    assert_ne!(ending.code, Some(exit::DONE));
    assert!(one_line(&ending.stderr).contains("--insecure"), "{}", ending.stderr);
    lab.hosts()[0].expect_nothing_final("shop");
}
