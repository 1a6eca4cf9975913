//! The raw ceiling: what our own sockets carry here when nothing is coded, hashed or written.
//!
//! One thread sends trains of our own length to a group as fast as it can, one thread per host
//! receives.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ::tests::lab::{INTERFACE, Node};
use common::clock::Clock;
use common::limits::{SYMBOL_BYTES_DEFAULT, SYMBOL_FRAMING_BYTES, TRAIN_SYMBOLS_MAX};
use common::net::{
    Family, Link, LinkOptions, Network, RecvBatch, SystemNetwork, find_interface, wait,
};
use common::time::Timestamp;
use common::units::Bitrate;

use crate::arena::Arena;

const TIME: Duration = Duration::from_secs(2);
/// Headers of UDP and IPv6, which a datagram's length does not contain.
const UDP_IP_BYTES: usize = 48;
/// Receivers look so often whether the time is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What came through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// What the sender's socket took.
    pub sent: Bitrate,
    /// What a host received, on average.
    pub received: Bitrate,
}

/// Measures it.
///
/// # Errors
/// The sockets'.
pub fn measure(arena: &Arena) -> io::Result<Ceiling> {
    let group = SocketAddr::from((Ipv4Addr::new(239, 192, 70, 71), 7072));
    let mut sender = arena.lab().sender().run_inside(|| open(None))?;
    let listen = |node: &Node| node.run_inside(|| open(Some(group)));
    let mut receivers = arena
        .lab()
        .hosts()
        .iter()
        .map(|host| listen(host.node()))
        .collect::<io::Result<Vec<_>>>()?;
    arena.lab().bridge().wait_for_members(group.ip(), receivers.len());
    let (is_over, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let (is_over, received) = (&is_over, &received);
    let count = receivers.len() as u64;
    let sent = thread::scope(|scope| {
        for link in &mut receivers {
            scope.spawn(move || received.fetch_add(drain(&mut **link, is_over), Ordering::Relaxed));
        }
        let sent = flood(&mut *sender, group);
        is_over.store(true, Ordering::Relaxed);
        sent
    })?;
    let mean = received.load(Ordering::Relaxed) / count.max(1);
    Ok(Ceiling { sent: Bitrate::of(sent, TIME), received: Bitrate::of(mean, TIME) })
}

fn open(group: Option<SocketAddr>) -> io::Result<Box<dyn Link>> {
    let interface = find_interface(INTERFACE).map_err(io::Error::other)?;
    let options = LinkOptions::default();
    match group {
        Some(group) => SystemNetwork.join_group(group, &interface, &options),
        None => {
            let bind = interface.bind_address(Family::V4, 0);
            let bind = bind.ok_or_else(|| io::Error::other("the lab gave no address"))?;
            SystemNetwork.unicast(bind, &interface, &options)
        }
    }
}

fn flood(link: &mut dyn Link, group: SocketAddr) -> io::Result<u64> {
    let datagram = usize::from(SYMBOL_BYTES_DEFAULT) + SYMBOL_FRAMING_BYTES - UDP_IP_BYTES;
    let train = vec![0x55; TRAIN_SYMBOLS_MAX * datagram];
    let clock = Clock::start();
    while clock.now() < Timestamp::ZERO + TIME {
        link.send(group, &train, datagram)?;
    }
    Ok(link.counters().sent_bytes)
}

/// Bytes received until the time is over and nothing waits.
fn drain(link: &mut dyn Link, is_over: &AtomicBool) -> u64 {
    let (mut batch, mut bytes) = (RecvBatch::new(), 0);
    loop {
        let is_last = is_over.load(Ordering::Relaxed);
        match link.recv(&mut batch) {
            Ok(0) if is_last => return bytes,
            Ok(0) => drop(wait(&[link.as_fd()], Some(LOOK_EVERY))),
            Ok(_) => bytes += batch.iter().map(|(_, datagram)| datagram.len() as u64).sum::<u64>(),
            Err(_) => return bytes,
        }
    }
}
