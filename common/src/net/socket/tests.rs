//! Sockets over IPv4 loopback, which needs neither root nor a route. IPv6 and real interfaces are
//! tested in namespaces of their own (`common/tests/net_namespaces.rs`).

use std::sync::atomic::{AtomicU16, Ordering};

use super::*;
use crate::net::find_interface;

const QUIET: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);

/// A group that no other test of this machine uses, most likely.
fn free_group() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([239, 192, high, low], port))
}

fn lo() -> Interface {
    find_interface("lo").unwrap()
}

fn joined(group: SocketAddr, options: &LinkOptions) -> SystemLink {
    SystemLink::join(group, &lo(), options).unwrap()
}

fn sender(options: &LinkOptions) -> SystemLink {
    let bind = lo().bind_address(Family::V4, 0).unwrap();
    SystemLink::unicast(bind, &lo(), options).unwrap()
}

/// Options of a link that may hold so many bytes unread.
fn receiving(receive_bytes: usize) -> LinkOptions {
    let default = LinkOptions::default();
    LinkOptions { buffers: Buffers { receive_bytes, ..default.buffers }, ..default }
}

/// Everything that comes until `count` datagrams are there or nothing more comes.
fn received(link: &mut dyn Link, count: usize) -> Vec<Vec<u8>> {
    let mut batch = RecvBatch::new();
    let mut datagrams = Vec::new();
    while datagrams.len() < count && wait(&[link.as_fd()], Some(PATIENCE)).unwrap().is_ready(0) {
        link.recv(&mut batch).unwrap();
        datagrams.extend(batch.iter().map(|(_, datagram)| datagram.to_vec()));
    }
    datagrams
}

fn is_quiet(link: &dyn Link) -> bool {
    wait(&[link.as_fd()], Some(QUIET)).unwrap().is_idle()
}

/// `count` datagrams of `bytes`, each telling its position, and the last one shorter.
fn train(count: usize, bytes: usize, last_bytes: usize) -> Vec<u8> {
    let mut train: Vec<u8> = (0..count).flat_map(|index| vec![index as u8; bytes]).collect();
    train.truncate((count - 1) * bytes + last_bytes);
    train
}

fn datagrams(train: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    train.chunks(bytes).map(<[u8]>::to_vec).collect()
}

#[test]
fn every_link_of_a_group_gets_its_own_copy_and_learns_who_sent_it() {
    let (group, options) = (free_group(), LinkOptions::default());
    let mut links = [(); 3].map(|()| joined(group, &options));
    let mut sender = sender(&options);
    sender.send(group, b"hello", 5).unwrap();
    for link in &mut links {
        assert_eq!(link.local_addr(), group);
        assert_eq!(received(link, 1), [b"hello"]);
        assert!(is_quiet(link), "one copy each");
    }
    let mut batch = RecvBatch::new();
    sender.send(group, b"again", 5).unwrap();
    wait(&[links[0].as_fd()], Some(PATIENCE)).unwrap();
    links[0].recv(&mut batch).unwrap();
    assert_eq!(batch.iter().next().unwrap().0, sender.local_addr());
}

#[test]
fn a_train_arrives_in_one_piece_and_is_split_with_its_short_last_datagram() {
    let (group, options) = (free_group(), LinkOptions::default());
    let mut link = joined(group, &options);
    // More datagrams than one receive has buffers, so that only a coalesced train fits into it.
    let train = train(40, 1440, 100);
    let mut sender = sender(&options);
    sender.send(group, &train, 1440).unwrap();
    let mut batch = RecvBatch::new();
    wait(&[link.as_fd()], Some(PATIENCE)).unwrap();
    assert_eq!(link.recv(&mut batch).unwrap(), 40);
    let split: Vec<_> = batch.iter().map(|(_, datagram)| datagram.to_vec()).collect();
    assert_eq!(split, datagrams(&train, 1440));
    assert_eq!(link.recv(&mut batch).unwrap(), 0);
    assert!(batch.is_empty());
    let (sent, got) = (sender.counters(), link.counters());
    assert_eq!((sent.sent_datagrams, sent.sent_bytes), (40, 56_260));
    assert_eq!((got.received_datagrams, got.received_bytes), (40, 56_260));
    assert_eq!((sent.refused_trains, got.cut_buffers), (0, 0));
}

#[test]
fn trains_and_single_datagrams_arrive_alike_with_and_without_offload() {
    let train = train(16, 1440, 1440);
    for (has_gso, has_gro) in [(true, true), (true, false), (false, true), (false, false)] {
        let (group, options) =
            (free_group(), LinkOptions { has_gso, has_gro, ..LinkOptions::default() });
        let mut link = joined(group, &options);
        sender(&options).send(group, &train, 1440).unwrap();
        let split = received(&mut link, 16);
        assert_eq!(split, datagrams(&train, 1440), "gso {has_gso}, gro {has_gro}");
    }
}

#[test]
fn more_than_the_kernel_cuts_at_once_goes_out_in_several_trains() {
    let (group, options) = (free_group(), LinkOptions::default());
    let mut link = joined(group, &options);
    let mut sender = sender(&options);
    for (count, bytes) in [(200, 100), (100, 1440), (8, 8972)] {
        let train = train(count, bytes, bytes / 2);
        sender.send(group, &train, bytes).unwrap();
        assert_eq!(received(&mut link, count), datagrams(&train, bytes), "{count} of {bytes}");
    }
    assert_eq!(sender.counters().refused_trains, 0);
}

#[test]
fn a_socket_that_refuses_trains_sends_singly_from_then_on() {
    let (group, options) = (free_group(), LinkOptions::default());
    let mut link = joined(group, &options);
    let mut sender = sender(&options);
    // A socket that leaves its checksums out cannot have its trains cut: EINVAL.
    sockets::set_option(sender.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let train = train(5, 100, 50);
    for _ in 0..2 {
        sender.send(group, &train, 100).unwrap();
        assert_eq!(received(&mut link, 5), datagrams(&train, 100));
    }
    assert!(!sender.has_gso);
    let counters = sender.counters();
    assert_eq!((counters.refused_trains, counters.sent_datagrams), (1, 10));
}

#[test]
fn a_datagram_too_long_is_an_error_in_one_line_and_costs_no_offload() {
    let group = free_group();
    let mut sender = sender(&LinkOptions::default());
    let error = sender.send(group, &[0; 70_000], 65_508).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot send 65508 bytes to {group} on lo: \
             longer than the interface takes (lower --symbol-bytes)"
        )
    );
    assert!(sender.has_gso);
    sender.send(group, b"fits", 4).unwrap();
}

#[test]
fn what_the_kernel_drops_for_want_of_room_is_counted_and_never_uncounted() {
    let group = free_group();
    let mut link = joined(group, &receiving(1));
    assert!((1..10_000).contains(&link.buffers().receive_bytes), "{:?}", link.buffers());
    let mut sender = sender(&LinkOptions { has_gso: false, ..LinkOptions::default() });
    assert_eq!(link.kernel_drops(), 0);
    for _ in 0..100 {
        sender.send(group, &[0; 1440], 1440).unwrap();
    }
    let drops = link.kernel_drops();
    let mut batch = RecvBatch::new();
    let mut got = 0;
    while link.recv(&mut batch).unwrap() > 0 {
        got += batch.len() as u64;
    }
    assert_eq!((drops + got, link.kernel_drops()), (100, drops));
    assert!(drops > 0 && got > 0, "{drops} dropped, {got} received");
}

#[test]
fn a_train_dropped_whole_counts_as_the_datagrams_that_it_was() {
    let group = free_group();
    let options = receiving(60_000);
    let mut link = joined(group, &options);
    let mut sender = sender(&options);
    for _ in 0..100 {
        sender.send(group, &train(16, 1440, 1440), 1440).unwrap();
    }
    let mut batch = RecvBatch::new();
    while link.recv(&mut batch).unwrap() > 0 {}
    let got = link.counters().received_datagrams;
    assert!(got > 0 && got < 1600, "{got}");
    assert_eq!((link.kernel_drops() + got, link.kernel_drops() + got), (1600, 1600));
}

#[test]
fn drops_go_on_where_the_kernels_count_wraps_and_follow_the_length_of_trains() {
    let mut drops = Drops { kernel_last: u32::MAX - 4, ..Drops::default() };
    drops.on_kernel_count(5);
    assert_eq!(drops.datagrams, 10, "nothing received yet: a buffer is a datagram");
    drops.on_received(30, 2);
    drops.on_received(34, 2);
    drops.on_kernel_count(7);
    assert_eq!(drops.datagrams, 10 + 32);
    drops.on_kernel_count(8);
    assert_eq!(drops.datagrams, 42 + 16, "the last known length");
    drops.on_received(9, 9);
    drops.on_kernel_count(10);
    assert_eq!(drops.datagrams, 58 + 2, "a new sample");
}

#[test]
fn the_granted_buffer_is_comparable_with_the_wanted_one() {
    let buffers = Buffers { receive_bytes: 100_000, send_bytes: 50_000 };
    let options = LinkOptions { buffers, ..LinkOptions::default() };
    assert_eq!(sender(&options).buffers(), buffers);
}

#[test]
fn leaving_and_joining_again_keeps_what_was_queued_and_what_follows() {
    let (group, options) = (free_group(), LinkOptions::default());
    let mut link = joined(group, &options);
    let mut sender = sender(&options);
    sender.send(group, b"before", 6).unwrap();
    link.rejoin().unwrap();
    link.rejoin().unwrap();
    sender.send(group, b"after", 5).unwrap();
    assert_eq!(received(&mut link, 2), [b"before".to_vec(), b"after".to_vec()]);
    sender.rejoin().unwrap();
}

#[test]
fn only_the_chosen_source_is_received() {
    let (group, options) = (free_group(), LinkOptions::default());
    let from = |source: [u8; 4]| LinkOptions { source: Some(source.into()), ..options.clone() };
    let mut ours = joined(group, &from([127, 0, 0, 1]));
    let mut others = joined(group, &from([127, 0, 0, 2]));
    let mut sender = sender(&options);
    for link in [&mut ours, &mut others] {
        link.rejoin().unwrap();
    }
    sender.send(group, b"hello", 5).unwrap();
    assert_eq!(received(&mut ours, 1), [b"hello"]);
    assert!(is_quiet(&others));
}

#[test]
fn a_source_of_the_other_family_is_refused_when_joining() {
    let source = Some("::1".parse().unwrap());
    let options = LinkOptions { source, ..LinkOptions::default() };
    let group = free_group();
    let error = SystemLink::join(group, &lo(), &options).unwrap_err().to_string();
    assert_eq!(error, format!("cannot join {group} on lo: source ::1 is no IPv4 address"));
}

#[test]
fn hops_and_service_class_are_set_and_fragments_forbidden() {
    let options = LinkOptions { ttl: 7, dscp: 8, ..LinkOptions::default() };
    let link = sender(&options);
    assert_eq!(link.socket.multicast_ttl_v4().unwrap(), 7);
    assert_eq!(link.socket.tos_v4().unwrap(), 0x20);
    assert_eq!(link.socket.ttl_v4().unwrap(), 64, "feedback crosses routers as any unicast does");
    assert!(!link.socket.multicast_all_v4().unwrap());
}

#[test]
fn an_interface_that_is_down_is_refused_with_the_remedy() {
    let down = Interface { name: "eth7".to_owned(), is_up: false, ..lo() };
    let group = free_group();
    let error = SystemLink::join(group, &down, &LinkOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot join {group} on eth7: the interface is down: ip link set eth7 up")
    );
}

#[test]
fn our_own_address_is_never_shared_and_never_somebody_elses() {
    let options = LinkOptions::default();
    let taken = sender(&options).local_addr();
    let first = SystemLink::unicast(taken, &lo(), &options).unwrap();
    let error = SystemLink::unicast(taken, &lo(), &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot bind {taken} on lo: another process has it already")
    );
    drop(first);
    let foreign = SocketAddr::from(([198, 51, 100, 1], 7070));
    let error = SystemLink::unicast(foreign, &lo(), &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot bind 198.51.100.1:7070 on lo: no address of this interface"
    );
}

/// Loses every third datagram, as a demonstration or a test does.
struct LossyLink {
    inner: Box<dyn Link>,
    seen: usize,
}

impl Link for LossyLink {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.inner.recv(batch)?;
        batch.retain(|_, _| {
            self.seen += 1;
            !self.seen.is_multiple_of(3)
        });
        Ok(batch.len())
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8], segment_bytes: usize) -> io::Result<()> {
        self.inner.send(to, bytes, segment_bytes)
    }

    fn kernel_drops(&mut self) -> u64 {
        self.inner.kernel_drops()
    }

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    fn buffers(&self) -> Buffers {
        self.inner.buffers()
    }

    fn rejoin(&mut self) -> io::Result<()> {
        self.inner.rejoin()
    }

    fn counters(&self) -> LinkCounters {
        self.inner.counters()
    }
}

#[test]
fn a_wrapped_link_loses_single_datagrams_of_a_train() {
    let (group, options) = (free_group(), LinkOptions::default());
    let inner = SystemNetwork.join_group(group, &lo(), &options).unwrap();
    let mut link = LossyLink { inner, seen: 0 };
    let bind = lo().bind_address(Family::V4, 0).unwrap();
    let mut sender = SystemNetwork.unicast(bind, &lo(), &options).unwrap();
    sender.send(group, &train(7, 10, 10), 10).unwrap();
    let split = received(&mut link, 5);
    assert_eq!(split, [0, 1, 3, 4, 6].map(|index| vec![index; 10]));
}
