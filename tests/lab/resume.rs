//! What a host has verified is not sent again, whoever died meanwhile.
//!
//! One lone host, so that what it holds is what all hosts hold, and a payload of eleven windows,
//! since the blocks of a window complete together. Prints the figures.

use std::time::Duration;

use tests::lab::{HostOptions, Lab, Release, Shape};
use tests::outcome::exit;
use tests::process::pass_time;
use tests::product::{Send, Sending};

const DEADLINE: Duration = Duration::from_secs(120);
/// Eleven windows of 16 blocks of 1024 symbols of 1408 bytes.
const BYTES: u64 = 256 << 20;
const RATE: &str = "400Mbit";
/// Ethernet, IPv4, UDP, our header and trailer around a symbol, as the interface counts them.
const FRAMING_BYTES: u64 = 14 + 20 + 8 + 28 + 4;

/// A lab whose one host has half of a release, which is being sent.
fn at_half() -> (Lab, Release, Sending) {
    let mut lab = Lab::new(Shape::hosts(1).alone());
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", BYTES);
    let mut sending = Send::of(&release.bundle).expect(1).rate(RATE).start(&lab);
    sending.wait_until_sent(lab.sender(), BYTES / 2);
    (lab, release, sending)
}

/// The sender dies; the host, which may have been killed before, has this much of the image once it
/// has written what it had received.
fn held_after_the_end(lab: &Lab, mut sending: Sending) -> u64 {
    sending.process.kill();
    pass_time(Duration::from_secs(1));
    lab.hosts()[0].claimed_bytes("shop")
}

/// Sends `release` to a host that holds `held` bytes of its image, by symbols of `symbol_bytes`.
fn go_on(lab: &Lab, release: &Release, held: u64, symbol_bytes: u64) {
    let before = lab.sender().sent_bytes();
    let send = Send::of(&release.bundle).expect(1).rate(RATE);
    let send = send.arg("--symbol-bytes").arg(&symbol_bytes.to_string());
    send.run(lab, DEADLINE).expect_exit(exit::DONE);
    lab.hosts()[0].expect_current(release);
    judge(held, lab.sender().sent_bytes() - before, symbol_bytes);
}

/// Of the `held` bytes at least 90 % were not among the `sent` bytes on the wire. Repairs, polls
/// and announces count as data that came again.
#[expect(clippy::print_stderr, reason = "the figures are what this is run for")]
fn judge(held: u64, sent: u64, symbol_bytes: u64) {
    assert!(held > BYTES / 3, "{held} bytes held of {BYTES}: that was not the half");
    let carried = sent * symbol_bytes / (symbol_bytes + FRAMING_BYTES);
    let again = carried.saturating_sub(BYTES - held) as f64 / held as f64;
    eprintln!(
        "held {held} of {BYTES} bytes, then {sent} on the wire: {:.2} % of what was held again",
        again * 100.0
    );
    assert!(again <= 0.1, "{again} of the bytes that were held came again");
}

#[test]
fn a_dead_sender_is_followed_by_one_with_another_symbol_size_that_sends_the_rest() {
    let (lab, release, sending) = at_half();
    let held = held_after_the_end(&lab, sending);
    go_on(&lab, &release, held, 1024);
}

#[test]
fn after_a_reboot_what_is_held_counts_for_another_release_of_the_image() {
    let (mut lab, release, sending) = at_half();
    lab.host(1).kill();
    let held = held_after_the_end(&lab, sending);
    lab.host(1).start(&HostOptions::app("shop"));
    go_on(&lab, &release.under_another_label(&lab, "r2"), held, 1408);
}

#[test]
fn a_host_that_dies_and_comes_back_is_sent_the_rest_in_the_same_session() {
    let (mut lab, release, mut sending) = at_half();
    lab.host(1).kill();
    let held = lab.hosts()[0].claimed_bytes("shop");
    lab.host(1).start(&HostOptions::app("shop"));
    // What the sender went on to send while nobody listened was not needed again.
    let before = lab.hosts()[0].node().received_bytes();
    sending.wait(DEADLINE).expect_exit(exit::DONE);
    lab.hosts()[0].expect_current(&release);
    judge(held, lab.hosts()[0].node().received_bytes() - before, 1408);
}

#[test]
fn a_send_of_what_every_host_holds_takes_about_a_second_and_sends_no_data() {
    let mut lab = Lab::new(Shape::hosts(8).alone());
    lab.start_hosts(&HostOptions::app("shop"));
    let release = lab.raw_release("r1", 64 << 20);
    let send = |release: &Release| Send::of(&release.bundle).expect(8).run(&lab, DEADLINE);
    send(&release).expect_exit(exit::DONE);
    // The preamble of another release goes out: its tables, and what a block is sent beyond need.
    for (what, release, bytes) in [
        ("release", &release, 64 << 10),
        ("image", &release.under_another_label(&lab, "r2"), 256 << 10),
    ] {
        let before = lab.sender().sent_bytes();
        let outcome = send(release).expect_exit(exit::DONE);
        let (sent, took) = (lab.sender().sent_bytes() - before, outcome.elapsed());
        eprintln!("the {what} is held by all 8: {sent} bytes on the wire, {took:.2?}");
        assert!(sent <= bytes, "{sent} bytes for a {what} that they all hold");
        assert!(took <= Duration::from_millis(1500), "{took:?} for a {what} that they all hold");
        assert_eq!(outcome.symbols_per_source_symbol(), 0.0, "{}", outcome.report());
        lab.hosts().iter().for_each(|host| host.expect_current(release));
    }
}
