//! Two processes on a host: one on the network without privileges, and a helper without a network.
#![expect(clippy::disallowed_methods, reason = "it reads what the kernel says of processes")]

use std::fs;
use std::time::Duration;

use tests::lab::{HostOptions, Lab, RECEIVER, Release, Shape};
use tests::outcome::exit;
use tests::process::holds_within;
use tests::product::{Image, Send, Sending};

const DEADLINE: Duration = Duration::from_secs(60);
/// Three windows of 16 blocks of 1024 symbols of 1408 bytes.
const BYTES: u64 = 64 << 20;
const RATE: &str = "200Mbit";

fn options() -> HostOptions {
    HostOptions::app("shop").with_helper()
}

/// A lab of one host in two processes.
fn lab() -> Lab {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.host(1).start_helper(&["shop"]);
    lab.start_hosts(&options());
    lab
}

/// Such a lab in the middle of a send.
fn at_half() -> (Lab, Release, Sending) {
    let lab = lab();
    let release = lab.raw_release("r1", BYTES);
    let mut sending = Send::of(&release.bundle).expect(1).rate(RATE).start(&lab);
    sending.wait_until_sent(lab.sender(), BYTES / 2);
    (lab, release, sending)
}

/// The values of `key` in what the kernel says of each thread of a process.
fn of_threads(process: u32, key: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status"));
    let all = threads.flatten().map(|thread| status(thread).expect("the thread lives"));
    let value = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        line.unwrap_or_else(|| panic!("no {key} in {text}")).replace('\t', " ")
    };
    all.map(value).collect()
}

#[test]
fn two_processes_receive_and_switch_what_is_mounted_and_what_is_unpacked() {
    let mut lab = lab();
    for (label, image) in [("r1", Image::Ext2), ("r2", Image::Tar), ("r3", Image::Erofs)] {
        let release = lab.small_release(label, image);
        let outcome = Send::of(&release.bundle).expect(1).run(&lab, DEADLINE);
        outcome.expect_exit(exit::DONE);
        let host = lab.host(1);
        host.expect_current(&release);
        assert_eq!(host.incoming_names("shop"), [""; 0]);
        let said = host.helper().stderr();
        assert!(said.contains(&format!("shop {label}: staged")), "{said}");
    }
    let host = lab.host(1);
    let status = host.verb(&["status"]);
    assert!(status.stdout.contains("h1: fanhost"), "{}{}", status.stdout, status.stderr);
    let (daemon, helper) = (host.daemon().pid(), host.helper().pid());
    let user = [RECEIVER; 4].map(|user| user.to_string()).join(" ");
    for (key, expected) in [
        ("Uid:", user.as_str()),
        ("CapEff:", "0000000000000000"),
        ("CapPrm:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        let found = of_threads(daemon, key);
        assert!(found.len() > 2 && found.iter().all(|value| value == expected), "{key} {found:?}");
    }
    // No thread of the helper has a network: not even loopback is up in what they have.
    let network = |process: u32| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    assert!(network(helper).is_some() && network(helper) != network(daemon));
    for thread in fs::read_dir(format!("/proc/{helper}/task")).expect("it lives").flatten() {
        assert_eq!(fs::read_link(thread.path().join("ns/net")).ok(), network(helper));
    }
    assert_eq!(host.helper().terminate(DEADLINE).code, Some(0));
}

#[test]
fn a_helper_that_is_killed_in_the_middle_is_not_missed_once_it_is_back() {
    let (mut lab, release, mut sending) = at_half();
    lab.host(1).helper().kill();
    // The image is received without it; only then it is asked for.
    lab.host(1).daemon().wait_for_stderr("the helper at", DEADLINE);
    assert!(lab.host(1).image_names("shop").is_empty());
    lab.host(1).start_helper(&["shop"]);
    sending.wait(DEADLINE).expect_exit(exit::DONE);
    lab.host(1).expect_current(&release);
}

#[test]
fn a_receiver_that_is_killed_in_the_middle_goes_on_from_what_it_has() {
    let (mut lab, release, mut sending) = at_half();
    let has_some = |lab: &Lab| lab.hosts()[0].claimed_bytes("shop") > BYTES / 8;
    assert!(holds_within(DEADLINE, || has_some(&lab)));
    lab.host(1).kill();
    lab.start_hosts(&options());
    sending.wait(DEADLINE).expect_exit(exit::DONE);
    lab.host(1).expect_current(&release);
}

#[test]
fn a_receiver_that_starts_first_waits_for_its_helper() {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.host(1).spawn(&options());
    lab.host(1).daemon().wait_for_stderr("does not answer", DEADLINE);
    lab.host(1).start_helper(&["shop"]);
    lab.host(1).wait_ready();
}

#[test]
fn root_without_need_an_app_that_is_not_kept_and_a_foreign_configuration_are_refused() {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.host(1).start_helper(&["shop"]);
    let refused = |ending: tests::process::Ending, line: &str| {
        assert_eq!(ending.code, Some(78), "{}", ending.stderr);
        assert!(ending.stderr.contains(line), "{}", ending.stderr);
    };
    let socket = lab.directory().join("h1/helper.sock");
    let as_root = HostOptions::app("shop").arg("--helper").arg(&socket.to_string_lossy());
    let host = lab.host(1);
    refused(host.run_to_refusal(&as_root), "must not be root");
    refused(
        host.run_to_refusal(&HostOptions::app("blog").with_helper()),
        "the helper keeps no app blog",
    );
    let config = lab.directory().join("fanhost.toml");
    fs::write(&config, "[app.shop]\n").expect("the directory is ours");
    std::os::unix::fs::chown(&config, Some(RECEIVER), None).expect("root may");
    let host = lab.host(1);
    let ending = host.verb(&["helper", "--config", &config.to_string_lossy()]);
    refused(ending, "can be changed by others than root");
}
