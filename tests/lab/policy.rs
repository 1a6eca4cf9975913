//! Who must get there, what happens when one does not, and how long the others wait.

use std::time::Duration;

use rustix::process::Signal;
use tests::lab::{HostOptions, Lab, Shape};
use tests::outcome::exit;
use tests::product::{Image, Send};

const DEADLINE: Duration = Duration::from_secs(60);

/// A lab of `hosts` hosts on which release r0 is already current everywhere.
fn lab_with_a_release(shape: Shape) -> (Lab, tests::lab::Release) {
    let count = shape.hosts;
    let mut lab = Lab::new(shape);
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.small_release("r0", Image::Ext2);
    Send::of(&release.bundle).expect(count).run(&lab, DEADLINE).expect_exit(exit::DONE);
    (lab, release)
}

#[test]
fn together_one_full_disk_keeps_all_on_the_old_release() {
    let mut lab = Lab::new(Shape::hosts(8).losing_percent(2).alone());
    lab.host(8).put_store_on_tmpfs(256 << 20);
    lab.start_hosts(&HostOptions::app("shop"));
    let first = lab.small_release("r0", Image::Tar);
    Send::of(&first.bundle).expect(8).run(&lab, DEADLINE).expect_exit(exit::DONE);

    lab.host(8).fill_store(8 << 20);
    let second = lab.raw_release("r1", 24 << 20);
    let outcome = Send::of(&second.bundle).expect(8).run(&lab, DEADLINE);
    let outcome = outcome.expect_exit(exit::NOT_REACHED);
    let full = outcome.host("h8");
    assert_eq!(full.state, "failed", "{full:?}");
    assert!(full.reason.contains("disk full") || full.reason.contains("space"), "{full:?}");
    assert_eq!(outcome.hosts_in("staged").len(), 7, "{}", outcome.report());
    for host in lab.hosts() {
        host.expect_current(&first);
    }
    assert!(lab.host(8).log().contains("bytes"), "the need is named: {}", lab.host(8).log());
}

#[test]
fn a_quorum_switches_without_the_one_that_failed() {
    let mut lab = Lab::new(Shape::hosts(4));
    lab.host(4).put_store_on_tmpfs(8 << 20);
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 24 << 20);
    let outcome = Send::of(&release.bundle).expect(4).arg("--quorum").arg("3").run(&lab, DEADLINE);
    let outcome = outcome.expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active").len(), 3, "{}", outcome.report());
    for host in &lab.hosts()[..3] {
        host.expect_current(&release);
    }
    lab.hosts()[3].expect_nothing_final("shop");
}

#[test]
fn each_switches_as_soon_as_it_is_staged() {
    let mut lab = Lab::new(Shape::hosts(4));
    lab.host(4).put_store_on_tmpfs(8 << 20);
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 24 << 20);
    let outcome = Send::of(&release.bundle).expect(4).activate("each").run(&lab, DEADLINE);
    let outcome = outcome.expect_exit(exit::NOT_REACHED);
    assert_eq!(outcome.hosts_in("active").len(), 3, "{}", outcome.report());
    for host in &lab.hosts()[..3] {
        host.expect_current(&release);
    }
}

#[test]
fn a_host_stopped_for_good_does_not_hold_the_others_longer_than_three_seconds() {
    // Goal: one dead host costs the fleet a stated bound, not a timeout.
    // Method: the same send to seven live hosts, without and with an eighth that is stopped at
    // half of the pass; compare the two times.
    let bytes = 12 << 20;
    let (mut lab, _) = lab_with_a_release(Shape::hosts(8).losing_percent(2).alone());
    let quick = lab.raw_release("r1", bytes);
    let send = |bundle| Send::of(bundle).expect(8).activate("each").rate("40Mbit");
    let usual = send(&quick.bundle).run(&lab, DEADLINE).expect_exit(exit::DONE).elapsed();

    let release = lab.raw_release("r2", bytes);
    let mut sending = send(&release.bundle).start(&lab);
    sending.wait_until_sent(lab.sender(), bytes / 2);
    lab.host(8).daemon().signal(Signal::STOP);
    let outcome = sending.wait(DEADLINE).expect_exit(exit::NOT_REACHED);
    assert_eq!(outcome.hosts_in("active").len(), 7, "{}", outcome.report());
    assert_eq!(outcome.host("h8").state, "lost", "{}", outcome.report());
    let longer = outcome.elapsed().saturating_sub(usual);
    assert!(longer <= Duration::from_secs(3), "{longer:?} longer than {usual:?}");
    for host in &lab.hosts()[..7] {
        host.expect_current(&release);
    }
}

#[test]
fn nobody_there_is_said_within_the_join_window_and_a_second() {
    let lab = Lab::new(Shape::hosts(1).alone());
    let release = lab.small_release("r1", Image::Tar);
    let send = Send::of(&release.bundle).expect(3).arg("--join-window").arg("2s");
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::NOBODY_JOINED);
    assert_eq!(outcome.hosts_in("absent").len(), 3, "{}", outcome.report());
    assert!(outcome.elapsed() >= Duration::from_secs(2), "{:?}", outcome.elapsed());
    assert!(outcome.elapsed() <= Duration::from_secs(3), "{:?}", outcome.elapsed());
}

#[test]
fn one_missing_host_is_named_and_keeps_all_on_the_old_release() {
    let (mut lab, first) = lab_with_a_release(Shape::hosts(3));
    lab.host(3).kill();
    let roster = lab.directory().join("roster");
    write(&roster, "h1\nh2\nh3\n");
    let release = lab.small_release("r1", Image::Ext2);
    let send = Send::of(&release.bundle).expect_text(&format!("@{}", roster.display()));
    let outcome = send.run(&lab, DEADLINE).expect_exit(exit::NOT_REACHED);
    assert_eq!(outcome.host("h3").state, "absent", "{}", outcome.report());
    for host in lab.hosts() {
        host.expect_current(&first);
    }
}

#[test]
fn a_host_that_starts_at_half_of_the_pass_completes_in_the_same_session() {
    let bytes = 12 << 20;
    let mut lab = Lab::new(Shape::hosts(3).losing_percent(2).alone());
    for nth in [1, 2] {
        lab.host(nth).start(&HostOptions::app("shop"));
    }
    let release = lab.raw_release("r1", bytes);
    let mut sending = Send::of(&release.bundle).expect(3).rate("30Mbit").start(&lab);
    sending.wait_until_sent(lab.sender(), bytes / 2);
    lab.host(3).start(&HostOptions::app("shop"));
    let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active").len(), 3, "{}", outcome.report());
    // Half of the pass, sent once more, and what the others lost; never the whole pass again.
    let spent = outcome.symbols_per_source_symbol();
    assert!((1.3..1.9).contains(&spent), "{spent} symbols sent for each source symbol");
    for host in lab.hosts() {
        host.expect_current(&release);
    }
}

#[test]
fn any_is_an_outcome_of_its_own() {
    let (lab, _) = lab_with_a_release(Shape::hosts(2));
    let release = lab.small_release("r1", Image::Tar);
    let outcome = Send::of(&release.bundle).expect_text("any").run(&lab, DEADLINE);
    let outcome = outcome.expect_exit(exit::DONE);
    assert_eq!(outcome.outcome(), "unstated", "{}", outcome.report());
    assert_eq!(outcome.hosts_in("active"), ["h1", "h2"]);
}

#[expect(clippy::disallowed_methods, reason = "a test writes a roster")]
fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).expect("the lab's directory is ours");
}
