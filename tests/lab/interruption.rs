//! A sender or a host that is stopped, killed or interrupted, and what is true afterwards.

use std::time::Duration;

use rustix::process::Signal;
use tests::lab::{HostOptions, Lab, Release, Shape};
use tests::outcome::exit;
use tests::process::{holds_within, pass_time};
use tests::product::{Image, Send, Sending};

const DEADLINE: Duration = Duration::from_secs(60);
/// Six windows of blocks: what is kept of a pass is kept by whole blocks, and the blocks of a
/// window complete together.
const BYTES: u64 = 128 << 20;
const RATE: &str = "200Mbit";

/// A lab whose hosts have release r0, and a send of a larger release r1 at half of its pass.
fn at_half(hosts: usize) -> (Lab, Release, Release, Sending) {
    let mut lab = Lab::new(Shape::hosts(hosts).losing_percent(2));
    lab.start_hosts(&HostOptions::app("shop"));
    let first = lab.small_release("r0", Image::Ext2);
    Send::of(&first.bundle).expect(hosts).run(&lab, DEADLINE).expect_exit(exit::DONE);
    let second = lab.raw_release("r1", BYTES);
    let mut sending = Send::of(&second.bundle).expect(hosts).rate(RATE).start(&lab);
    sending.wait_until_sent(lab.sender(), BYTES / 2);
    (lab, first, second, sending)
}

#[test]
fn a_killed_sender_is_superseded_by_the_next_and_hosts_go_on_from_what_they_have() {
    let (lab, _, second, mut sending) = at_half(3);
    sending.process.kill();
    let before = lab.sender().sent_bytes();
    let outcome = Send::of(&second.bundle).expect(3).rate(RATE).run(&lab, DEADLINE);
    outcome.expect_exit(exit::DONE);
    for host in lab.hosts() {
        host.expect_current(&second);
    }
    let sent = lab.sender().sent_bytes() - before;
    assert!(sent < BYTES * 9 / 10, "{sent} bytes: what the hosts held was sent again");
}

#[test]
fn hosts_are_idle_ten_seconds_after_their_sender_was_killed() {
    let (mut lab, first, second, mut sending) = at_half(2);
    sending.process.kill();
    let silent = "; sender-silent: the sender fell silent in mid-session ";
    let has_said = || lab.hosts()[0].verb(&["status"]).stdout.contains(silent);
    assert!(holds_within(Duration::from_secs(6), has_said));
    // Idle: nothing but the control group is joined, and the partial image is kept.
    let family = lab.shape().family;
    let is_idle = |lab: &mut Lab| {
        lab.hosts().iter().all(|host| host.node().groups(family) == [family.group().ip()])
    };
    assert!(holds_within(Duration::from_secs(10), || is_idle(&mut lab)));
    for nth in [1, 2] {
        let host = lab.host(nth);
        host.expect_current(&first);
        assert!(!host.incoming_names("shop").is_empty(), "{} forgot its part", host.name());
        assert!(host.daemon().is_running());
        let log = host.daemon().stderr();
        let lost = "shop r1: the sender fell silent in mid-session and is given up after 8 s; ";
        assert!(log.contains(lost) && log.contains(" blocks are held, and kept"), "{log}");
        assert!(!log.contains("IGMP"), "{log}");
    }
    Send::of(&second.bundle).expect(2).run(&lab, DEADLINE).expect_exit(exit::DONE);
}

#[test]
fn control_c_stops_the_session_and_says_where_every_host_was() {
    let (mut lab, first, _, mut sending) = at_half(3);
    sending.process.signal(Signal::INT);
    let outcome = sending.wait(Duration::from_secs(5)).expect_exit(exit::INTERRUPTED);
    let hosts = outcome.hosts();
    assert_eq!(hosts.len(), 3, "{}", outcome.report());
    assert!(hosts.iter().all(|host| host.state != "active"), "{hosts:?}");
    for host in lab.hosts() {
        host.expect_current(&first);
    }
    let family = lab.shape().family;
    let is_idle =
        || lab.hosts().iter().all(|host| host.node().groups(family) == [family.group().ip()]);
    assert!(holds_within(Duration::from_secs(3), is_idle), "STOP ends a session at once");
    assert!(lab.hosts_mut().iter_mut().all(|host| host.daemon().is_running()));
}

#[test]
fn a_second_control_c_ends_the_sender_at_once() {
    let (mut lab, _, _, mut sending) = at_half(1);
    // The host is stopped, so that nothing acknowledges the STOP.
    lab.host(1).daemon().signal(Signal::STOP);
    sending.process.signal(Signal::INT);
    pass_time(Duration::from_millis(50));
    sending.process.signal(Signal::INT);
    let ending = sending.process.wait(Duration::from_secs(1));
    assert!(ending.code == Some(exit::INTERRUPTED) || ending.signal == Some(2), "{ending:?}");
}

#[test]
fn a_host_killed_at_half_comes_back_and_completes_from_its_journal() {
    let (mut lab, _, second, mut sending) = at_half(2);
    lab.host(2).kill();
    lab.host(2).start(&HostOptions::app("shop"));
    let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
    let spent = outcome.symbols_per_source_symbol();
    assert!(spent < 1.4, "{spent} symbols for each source symbol: the journal was not used");
    for host in lab.hosts() {
        host.expect_current(&second);
    }
}

#[test]
fn sigterm_ends_a_daemon_cleanly_in_the_middle_of_a_session() {
    let (mut lab, first, _, mut sending) = at_half(2);
    let ending = lab.host(2).stop();
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    assert!(ending.elapsed > Duration::ZERO);
    lab.hosts()[1].expect_current(&first);
    let outcome = sending.wait(DEADLINE).expect_exit(exit::NOT_REACHED);
    let host = outcome.host("h2");
    assert_eq!(host.state, "failed", "{}", outcome.report());
    assert_eq!(host.reason, "stopped by its administrator", "PROTOCOL 7.8 through loss");
}
