//! A peer that sends rubbish as fast as it can: noise, truncated and oversized datagrams, and
//! real ones with a bit turned over.
//!
//! It knows nothing of the protocol but its magic number, so that it needs no change when the
//! protocol does. It stops by itself after a bounded time.
#![expect(clippy::disallowed_methods, reason = "it sends real datagrams for a real time")]

use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::fixture::noise;
use crate::lab::Node;

/// First two bytes of every datagram of the protocol.
const MAGIC: [u8; 2] = [0xFA, 0x4E];
/// Longest payload that UDP carries over IPv4; it arrives in 45 fragments.
const OVERSIZED_BYTES: usize = 65_507;
/// Datagrams that were overheard and are sent again, damaged.
const OVERHEARD_MAX: usize = 64;

/// A thread that sends rubbish to addresses of the lab.
pub struct Rubbish {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Rubbish {
    /// Floods `targets` from `node` for at most `time`. What is said in the first of them, which
    /// must be a group, is overheard and sent again with a bit turned over or its end cut off.
    ///
    /// # Panics
    /// When the machine gives no socket.
    pub fn flood(node: &Node, targets: &[SocketAddr], time: Duration) -> Self {
        let group = *targets.first().expect("there is a group to flood");
        let socket = node.listen(group);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let targets = targets.to_vec();
        let thread = thread::spawn(move || {
            let until = Instant::now() + time;
            let mut source = Source { draw: Box::new(noise("rubbish")), overheard: Vec::new() };
            while !stopped.load(Ordering::Relaxed) && Instant::now() < until {
                source.listen(&socket);
                for target in &targets {
                    // A full queue is what a flood is about: such a send is not counted.
                    let done = socket.send_to(&source.datagram(), target);
                    count.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
                }
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Datagrams that have left.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until its time is over; how many datagrams left.
    ///
    /// # Panics
    /// When its thread did.
    pub fn finish(mut self) -> u64 {
        let thread = self.thread.take().expect("it is taken once");
        thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        self.sent()
    }
}

impl Drop for Rubbish {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where rubbish comes from.
struct Source {
    draw: Box<dyn Read + Send>,
    overheard: Vec<Vec<u8>>,
}

impl Source {
    fn listen(&mut self, socket: &UdpSocket) {
        let mut buffer = [0; 2048];
        while let Ok((bytes, _)) = socket.recv_from(&mut buffer) {
            if self.overheard.len() == OVERHEARD_MAX {
                self.overheard.remove(0);
            }
            self.overheard.push(buffer[..bytes].to_vec());
        }
    }

    fn datagram(&mut self) -> Vec<u8> {
        let choice = self.number() % 100;
        match choice {
            0 => self.bytes(OVERSIZED_BYTES),
            1..=30 => self.noise(),
            31..=60 => self.with_magic(),
            _ => self.damaged().unwrap_or_else(|| self.with_magic()),
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let bytes = usize::from(self.number()) % 1473;
        self.bytes(bytes)
    }

    /// Noise behind the right magic number and a kind and version that may exist.
    fn with_magic(&mut self) -> Vec<u8> {
        let mut datagram = self.noise();
        datagram.resize(datagram.len().max(4), 0);
        datagram[..2].copy_from_slice(&MAGIC);
        datagram[2] %= 32;
        datagram[3] %= 3;
        datagram
    }

    /// A real datagram, cut off or with one bit turned over.
    fn damaged(&mut self) -> Option<Vec<u8>> {
        let (nth, place) = (usize::from(self.number()), usize::from(self.number()));
        let mut datagram = self.overheard.get(nth % self.overheard.len().max(1))?.clone();
        if datagram.is_empty() {
            return None;
        }
        if nth.is_multiple_of(2) {
            datagram.truncate(place % datagram.len());
        } else {
            let bit = place % (datagram.len() * 8);
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
        Some(datagram)
    }

    fn number(&mut self) -> u16 {
        let mut two = [0; 2];
        self.draw.read_exact(&mut two).expect("the noise never ends");
        u16::from_be_bytes(two)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.draw.read_exact(&mut bytes).expect("the noise never ends");
        bytes
    }
}
