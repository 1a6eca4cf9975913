//! That the lab stages what the other tests rely on: snooping, loss, rate, mounts, and its own end.
#![expect(clippy::disallowed_methods, reason = "it opens real sockets in the lab's networks")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::units::Bitrate;
use tests::hostile::Rubbish;
use tests::lab::{Family, Lab, Loss, Node, Shape, Snooping};
use tests::process::{Running, command, holds_within, pass_time};

const GROUP: SocketAddr = Family::V4.group();

/// Sends `count` datagrams of 1,000 bytes from `node` to the group of `family`.
fn send(node: &Node, family: Family, count: usize) {
    let socket = node.speak(family.group());
    for _ in 0..count {
        socket.send_to(&[7; 1000], family.group()).expect("a fresh network carries datagrams");
    }
}

/// Datagrams that `socket` holds.
fn drain(socket: &UdpSocket) -> usize {
    pass_time(Duration::from_millis(100));
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| socket.recv_from(&mut buffer).ok()).count()
}

#[test]
fn a_group_reaches_only_who_joined_it_over_both_families() {
    let mut lab = Lab::new(Shape::hosts(2));
    for family in [Family::V4, Family::V6] {
        let ear = lab.host(1).node().listen(family.group());
        lab.bridge().wait_for_members(family.group().ip(), 1);
        let before = lab.host(2).node().received_bytes();
        send(lab.sender(), family, 50);
        assert_eq!(drain(&ear), 50, "{family:?}");
        let strayed = lab.host(2).node().received_bytes() - before;
        assert!(strayed < 5_000, "{strayed} bytes reached a port that nobody asked for");
    }
}

#[test]
fn the_querier_keeps_an_idle_membership_beyond_its_interval() {
    let lab = Lab::new(Shape::hosts(1));
    let ears = [Family::V4, Family::V6].map(|family| lab.hosts()[0].node().listen(family.group()));
    pass_time(Snooping::QUICK.membership * 3);
    for (family, ear) in [Family::V4, Family::V6].into_iter().zip(&ears) {
        send(lab.sender(), family, 10);
        assert_eq!(drain(ear), 10, "{family:?}\n{}", lab.bridge().memberships());
    }
}

#[test]
fn without_a_querier_the_bridge_forwards_no_group() {
    let silent = Snooping { querier: false, ..Snooping::QUICK };
    let lab = Lab::new(Shape { snooping: silent, ..Shape::hosts(1) });
    let ear = lab.hosts()[0].node().listen(GROUP);
    pass_time(silent.membership + Duration::from_secs(1));
    send(lab.sender(), Family::V4, 10);
    assert_eq!(drain(&ear), 0);
}

#[test]
fn loss_is_drawn_for_each_datagram_and_counted() {
    let mut lab = Lab::new(Shape::hosts(1));
    let ear = lab.host(1).node().listen(GROUP);
    lab.host(1).node().lose(Loss::percent(20));
    let mut heard = 0;
    for _ in 0..20 {
        send(lab.sender(), Family::V4, 100);
        heard += drain(&ear);
    }
    let count = lab.host(1).node().loss_count();
    assert_eq!(count.arrived, 2000);
    assert_eq!(heard as u64, count.arrived - count.lost);
    // Seven standard deviations of 18 around 400.
    assert!((275..525).contains(&count.lost), "{count:?}");
    lab.host(1).node().mend();
    send(lab.sender(), Family::V4, 100);
    assert_eq!(drain(&ear), 100);
}

#[test]
fn a_shaped_machine_sends_no_faster_than_its_rate() {
    let mut lab = Lab::new(Shape::hosts(1).alone());
    let _ear = lab.host(1).node().listen(GROUP);
    lab.sender().shape(Bitrate::from_megabits(8));
    let before = lab.host(1).node().received_bytes();
    let begin = Instant::now();
    // 64 KiB of burst, then 1 MB a second: 200 kB stay in the queue, the rest is dropped.
    send(lab.sender(), Family::V4, 400);
    let arrived = || lab.hosts()[0].node().received_bytes() - before;
    assert!(holds_within(Duration::from_secs(2), || arrived() > 200_000), "{}", arrived());
    assert!(begin.elapsed() > Duration::from_millis(100), "{:?}", begin.elapsed());
}

#[test]
fn a_mount_of_a_host_is_seen_through_its_view_only() {
    let mut lab = Lab::new(Shape::hosts(2));
    let host = lab.host(1);
    host.put_store_on_tmpfs(1 << 20);
    let inside = host.store().join("file");
    let mut touch = host.node().command("touch");
    let logs = host.store().parent().expect("a store lies in the lab").join("logs");
    let ending = Running::start("touch", touch.arg(&inside), &logs).wait(Duration::from_secs(5));
    assert_eq!(ending.code, Some(0), "{}", ending.stderr);
    assert!(host.view(&inside).exists());
    assert!(!inside.exists(), "the mount leaks into the machine's own namespace");
    assert!(!lab.host(2).view(&inside).exists());
}

#[test]
fn a_frozen_store_takes_no_write_until_it_is_thawed() {
    let mut lab = Lab::new(Shape::hosts(1));
    let logs = lab.logs();
    let host = lab.host(1);
    host.put_store_on_disk_of_its_own(32 << 20);
    let frozen = host.freeze_store();
    let mut write = host.node().command("touch");
    let mut write = Running::start("touch", write.arg(host.store().join("file")), &logs);
    pass_time(Duration::from_millis(300));
    assert!(write.is_running());
    drop(frozen);
    assert_eq!(write.wait(Duration::from_secs(5)).code, Some(0));
}

#[test]
fn rubbish_flies_at_thousands_a_second_and_ends() {
    let mut lab = Lab::new(Shape::hosts(1).with("stranger"));
    let ear = lab.host(1).node().listen(GROUP);
    let time = Duration::from_millis(500);
    let flood = Rubbish::flood(lab.stranger("stranger"), &[GROUP], time);
    send(lab.sender(), Family::V4, 10);
    let sent = flood.finish();
    assert!(sent > 1000, "{sent}");
    assert!(drain(&ear) > 0);
}

#[test]
fn a_lab_leaves_no_process_no_directory_and_no_loop_device() {
    let lab = Lab::new(Shape::hosts(2));
    let directory = lab.directory().to_owned();
    let name = directory.file_name().expect("it has one").to_string_lossy().into_owned();
    lab.hosts()[0].put_store_on_disk_of_its_own(16 << 20);
    assert_eq!(processes_named(&name), 4);
    drop(lab);
    assert_eq!(processes_named(&name), 0);
    assert!(!directory.exists());
}

#[test]
fn a_killed_test_takes_its_lab_with_it() {
    // Method: run the test below in a process of its own, kill that with -9, and look for what it
    // had: its machines must be gone, and the next lab must have removed its directory.
    let logs = tempfile::tempdir().expect("a temporary directory can be made");
    let this = std::env::current_exe().expect("a test knows its own path");
    let arguments = ["harness::a_lab_that_waits", "--exact", "--nocapture"];
    let mut victim = command(this);
    victim.args(arguments).env("FANLAB_WAIT", "1");
    let mut victim = Running::start("victim", &mut victim, logs.path());
    victim.wait_until("its lab stands", Duration::from_secs(20), |it| {
        it.stdout().contains("the lab stands in ")
    });
    let said = victim.stdout();
    let place = said.split_once("the lab stands in ").and_then(|(_, rest)| rest.lines().next());
    let directory = PathBuf::from(place.expect("it was said"));
    let name = directory.file_name().expect("it has one").to_string_lossy().into_owned();
    assert_eq!(processes_named(&name), 3);
    victim.kill();
    assert!(holds_within(Duration::from_secs(5), || processes_named(&name) == 0));
    assert!(directory.exists(), "a killed process removes nothing itself");
    let mut next = Running::start(
        "next",
        command(std::env::current_exe().expect("as above")).args(arguments),
        logs.path(),
    );
    assert_eq!(next.wait(Duration::from_secs(30)).code, Some(0));
    assert!(!directory.exists(), "{} was left", directory.display());
}

/// A part of the test above: a lab that waits to be killed when it is told to.
#[test]
fn a_lab_that_waits() {
    let lab = Lab::new(Shape::hosts(1));
    if std::env::var_os("FANLAB_WAIT").is_some() {
        announce(lab.directory());
        pass_time(Duration::from_secs(60));
    }
}

#[expect(clippy::print_stdout, reason = "the test that waits for this reads its output")]
fn announce(directory: &Path) {
    println!("the lab stands in {}", directory.display());
}

/// Processes whose name begins with `name`.
fn processes_named(name: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.starts_with(format!("{name}-").as_bytes())).count()
}

#[test]
fn a_machine_reaches_the_others_and_nothing_else() {
    let lab = Lab::new(Shape::hosts(1));
    for family in [Family::V4, Family::V6] {
        let to = lab.hosts()[0].node().address(family).to_string();
        let pinged = lab.sender().run_inside(|| {
            let probe = UdpSocket::bind(if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" })?;
            probe.connect((to.as_str(), 9))?;
            probe.send(b"x")
        });
        assert!(pinged.is_ok(), "{to}: {pinged:?}");
    }
    let mut route = lab.sender().command("ip");
    let route: &mut Command = route.args(["route", "get", "192.0.2.1"]);
    let outside = Running::start("route", route, &lab.logs()).wait(Duration::from_secs(5));
    assert_ne!(outside.code, Some(0), "a lab must not lead outside: {}", outside.stdout);
}
