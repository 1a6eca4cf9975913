//! A network that loses datagrams: loss for runs without root, and never a switch of the product.
//!
//! It wraps any [`Network`]; every link of it, the groups' and our own, throws away each received
//! datagram with the same probability, drawn for each on its own from a seed, behind the kernel's
//! coalescing. Not here: corruption, duplication, reordering, which `sim` has.
//! Invariant: what is lost is counted, and the same seed loses the same positions of each link.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::net::{Buffers, Interface, Link, LinkCounters, LinkOptions, Network, RecvBatch};
use common::wire::{Kind, peek_kind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Opens links that lose what they receive.
pub struct LossyNetwork<N> {
    inner: N,
    probability: f64,
    seed: u64,
    opened: AtomicU64,
    meter: Arc<Meter>,
}

/// Counts shared by a network's links, read at any time.
#[derive(Debug, Default)]
struct Meter {
    arrived: AtomicU64,
    lost: AtomicU64,
    lost_sources: AtomicU64,
}

/// What became of the datagrams that came to all links of a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossCounts {
    /// Received by the kernel, the lost ones included.
    pub arrived: u64,
    /// Thrown away here.
    pub lost: u64,
    /// Those of the lost ones that carried a source symbol: what only repairs can bring back.
    pub lost_sources: u64,
}

struct LossyLink {
    inner: Box<dyn Link>,
    probability: f64,
    draw: StdRng,
    meter: Arc<Meter>,
}

impl<N: Network> LossyNetwork<N> {
    /// `inner`, but each datagram is lost with `probability`, drawn from `seed`.
    ///
    /// # Panics
    /// When `probability` is none.
    pub fn new(inner: N, probability: f64, seed: u64) -> Self {
        assert!((0.0..=1.0).contains(&probability), "{probability} is no probability");
        Self { inner, probability, seed, opened: AtomicU64::new(0), meter: Arc::default() }
    }

    /// What has happened on all its links so far, closed ones included.
    pub fn counts(&self) -> LossCounts {
        LossCounts {
            arrived: self.meter.arrived.load(Ordering::Relaxed),
            lost: self.meter.lost.load(Ordering::Relaxed),
            lost_sources: self.meter.lost_sources.load(Ordering::Relaxed),
        }
    }

    fn wrap(&self, inner: Box<dyn Link>) -> Box<dyn Link> {
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        // Far apart seeds for near numbers: links must not lose the same positions.
        let seed = self.seed ^ nth.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Box::new(LossyLink {
            inner,
            probability: self.probability,
            draw: StdRng::seed_from_u64(seed),
            meter: Arc::clone(&self.meter),
        })
    }
}

impl<N: Network> Network for LossyNetwork<N> {
    fn join_group(
        &self,
        group: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Box<dyn Link>> {
        Ok(self.wrap(self.inner.join_group(group, interface, options)?))
    }

    fn unicast(
        &self,
        bind: SocketAddr,
        interface: &Interface,
        options: &LinkOptions,
    ) -> io::Result<Box<dyn Link>> {
        Ok(self.wrap(self.inner.unicast(bind, interface, options)?))
    }
}

impl LossyLink {
    /// Loses a part of `batch`, which was just received.
    fn lose(&mut self, batch: &mut RecvBatch) {
        let arrived = batch.len() as u64;
        let mut lost_sources = 0;
        batch.retain(|_, datagram| {
            let is_lost = self.draw.random_bool(self.probability);
            let is_source = peek_kind(datagram) == Some(Kind::Source);
            lost_sources += u64::from(is_lost && is_source);
            !is_lost
        });
        let lost = arrived - batch.len() as u64;
        self.meter.arrived.fetch_add(arrived, Ordering::Relaxed);
        self.meter.lost.fetch_add(lost, Ordering::Relaxed);
        self.meter.lost_sources.fetch_add(lost_sources, Ordering::Relaxed);
    }
}

impl Link for LossyLink {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        // Zero means that nothing waits, so a batch that is lost whole is followed by the next one.
        while self.inner.recv(batch)? > 0 {
            self.lose(batch);
            if !batch.is_empty() {
                break;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::holds_within;
    use common::net::{SystemNetwork, find_interface};
    use std::time::Duration;

    /// Datagrams in a round: few enough for any receive buffer.
    const ROUND: u8 = 50;

    /// Sends `rounds` rounds over loopback through a network that loses 20 %; what arrived.
    fn survivors(seed: u64, rounds: usize) -> (Vec<u8>, LossCounts) {
        let lo = find_interface("127.0.0.1").unwrap();
        let options = LinkOptions::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let lossy = LossyNetwork::new(SystemNetwork, 0.2, seed);
        let mut from = SystemNetwork.unicast(any, &lo, &options).unwrap();
        let mut to = lossy.unicast(any, &lo, &options).unwrap();
        let (address, mut batch, mut heard) = (to.local_addr(), RecvBatch::new(), Vec::new());
        for round in 1..=rounds {
            for nth in 0..ROUND {
                // Every second one begins as a source symbol does.
                from.send(address, &[0xFA, 0x4E, 1 + nth % 2, 1, 0, 0, 0, 0, nth], 9).unwrap();
            }
            let expected = round as u64 * u64::from(ROUND);
            let all_came = holds_within(Duration::from_secs(5), || {
                to.recv(&mut batch).unwrap();
                heard.extend(batch.iter().map(|(_, datagram)| datagram[8]));
                lossy.counts().arrived == expected
            });
            assert!(all_came, "{:?}", lossy.counts());
        }
        (heard, lossy.counts())
    }

    #[test]
    fn the_probability_is_kept_and_every_loss_counted() {
        let (heard, counts) = survivors(1, 100);
        assert_eq!(heard.len() as u64, counts.arrived - counts.lost);
        // 5,000 draws at 20 %: five standard deviations are 141.
        assert!((859..=1141).contains(&counts.lost), "{counts:?}");
        let share = counts.lost_sources as f64 / counts.lost as f64;
        assert!((0.4..0.6).contains(&share), "every second one is a source: {counts:?}");
    }

    #[test]
    fn the_seed_alone_decides_what_is_lost() {
        assert_eq!(survivors(7, 3), survivors(7, 3));
        assert_ne!(survivors(7, 3).0, survivors(8, 3).0);
    }
}
