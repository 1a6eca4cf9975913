//! Peak memory of a process: anonymous pages and what waits in its socket buffers.
//!
//! The kernel keeps no peak of these two, so a thread looks every few milliseconds; a peak that is
//! shorter than that is missed. The high-water mark of the whole resident set is the kernel's own.
#![expect(clippy::disallowed_methods, reason = "it reads /proc on a thread of its own")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A thread that watches one process.
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Peak>>,
}

/// The most that was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Anonymous memory, in bytes.
    pub anonymous_bytes: u64,
    /// Datagrams waiting in the socket buffers of the process's network, in bytes as the kernel
    /// counts them.
    pub socket_bytes: u64,
    /// Both at the same moment.
    pub both_bytes: u64,
    /// Everything resident, file pages included, as the kernel remembers it.
    pub resident_bytes: u64,
    /// How often it was looked.
    pub looks: u32,
}

impl MemoryWatch {
    /// Watches process `pid` until it ends or [`MemoryWatch::end`].
    pub fn of(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = Peak::default();
            while !stopped.load(Ordering::Relaxed) && peak.look(pid).is_some() {
                thread::sleep(LOOK_EVERY);
            }
            peak
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the watch.
    ///
    /// # Panics
    /// When the process was never seen.
    pub fn end(mut self) -> Peak {
        let peak = self.join().unwrap_or_default();
        assert!(peak.looks > 0, "the process ended before it was looked at");
        peak
    }

    fn join(&mut self) -> Option<Peak> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.join();
    }
}

impl Peak {
    /// One look at process `pid`; `None` when it is gone.
    pub fn look(&mut self, pid: u32) -> Option<()> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let anonymous_bytes = kib_of(&status, "RssAnon:")?;
        let socket_bytes = ["udp", "udp6"]
            .iter()
            .filter_map(|file| fs::read_to_string(format!("/proc/{pid}/net/{file}")).ok())
            .map(|table| queued_bytes(&table))
            .sum();
        self.anonymous_bytes = self.anonymous_bytes.max(anonymous_bytes);
        self.socket_bytes = self.socket_bytes.max(socket_bytes);
        self.both_bytes = self.both_bytes.max(anonymous_bytes + socket_bytes);
        self.resident_bytes = self.resident_bytes.max(kib_of(&status, "VmHWM:")?);
        self.looks += 1;
        Some(())
    }
}

/// The number behind `name` in the status of a process, in bytes.
fn kib_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes in the send and receive queues of a table like /proc/net/udp.
fn queued_bytes(table: &str) -> u64 {
    let queues = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(4));
    queues
        .filter_map(|queue| queue.split_once(':'))
        .flat_map(|(send, receive)| [send, receive])
        .filter_map(|hex| u64::from_str_radix(hex, 16).ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nRssAnon:\t     100 kB\n";
        assert_eq!(kib_of(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(kib_of(status, "RssAnon:"), Some(100 << 10));
        let udp = "  sl  local_address rem_address   st tx_queue rx_queue tr\n\
                   1: 00000000:1B9E 00000000:0000 07 00000010:00000F00 00:00000000 0\n";
        assert_eq!(queued_bytes(udp), 0xF10);
    }

    #[test]
    fn a_peak_is_remembered_after_it_is_over() {
        let watch = MemoryWatch::of(std::process::id());
        let block = vec![1_u8; 64 << 20];
        thread::sleep(LOOK_EVERY * 20);
        assert_eq!(block.iter().rev().take(3).map(|byte| u32::from(*byte)).sum::<u32>(), 3);
        drop(block);
        let peak = watch.end();
        assert!(peak.anonymous_bytes >= 64 << 20, "{peak:?}");
        assert!(peak.resident_bytes >= peak.anonymous_bytes, "{peak:?}");
    }
}
