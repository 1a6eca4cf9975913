//! Memory and threads of many processes, looked at while they run, by one thread.
//!
//! The kernel keeps no peak of anonymous memory and socket buffers, and forgets the time of a
//! thread with the thread: both are looked at every few hundredths of a second, and what happens
//! between two looks is missed. Looking takes processor time: a run that is watched is not timed.
#![expect(clippy::disallowed_methods, reason = "it looks at processes on a thread of its own")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::tests::memory::Peak;

use super::cpu;

/// Time between two looks at a process, for each of those that are watched: a look takes some
/// 0.2 ms, so that is a few hundredths of a core however many there are.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The same where there are few.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);

/// A thread that watches processes.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Used>>>,
}

/// What one process used.
#[derive(Debug, Clone, Default)]
pub struct Used {
    /// The most memory.
    pub peak: Peak,
    threads: BTreeMap<u32, Thread>,
}

#[derive(Debug, Clone)]
struct Thread {
    name: String,
    /// Time that it had run before the watch began.
    before: Duration,
    latest: Duration,
}

impl Watch {
    /// Watches the processes `pids` until [`Watch::end`], each until it ends.
    pub fn of(pids: Vec<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let count = u32::try_from(pids.len()).unwrap_or(u32::MAX);
        let pause = LOOK_EVERY_MIN.max(LOOK_EVERY.saturating_mul(count));
        let thread = thread::spawn(move || {
            let mut all = vec![Used::default(); pids.len()];
            let look_at_all = |all: &mut Vec<Used>, is_first| {
                pids.iter().zip(all).for_each(|(pid, used)| used.look(*pid, is_first));
            };
            look_at_all(&mut all, true);
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(pause);
                look_at_all(&mut all, false);
            }
            all
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the watch; what each process used, in the order that they were given.
    pub fn end(mut self) -> Vec<Used> {
        self.join().unwrap_or_default()
    }

    fn join(&mut self) -> Option<Vec<Used>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.join();
    }
}

impl Used {
    fn look(&mut self, pid: u32, is_first: bool) {
        // A process that is gone has been seen before, or used next to nothing.
        let _ = self.peak.look(pid);
        for (id, name, time) in cpu::threads(pid).unwrap_or_default() {
            let before = if is_first { time } else { Duration::ZERO };
            let new = Thread { name: name.clone(), before, latest: time };
            let thread = self.threads.entry(id).or_insert(new);
            // A process begins under the name of the program that started it.
            (thread.name, thread.latest) = (name, time);
        }
    }

    /// Processor time by the name of the thread; numbered ones of a kind (`worker-0`, `worker-1`)
    /// together.
    pub fn stages(&self) -> BTreeMap<String, Duration> {
        let mut stages = BTreeMap::new();
        for thread in self.threads.values() {
            let time = thread.latest.saturating_sub(thread.before);
            *stages.entry(kind(&thread.name).to_owned()).or_default() += time;
        }
        stages
    }
}

/// The name without the number behind it.
fn kind(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => kind,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_threads_are_of_one_kind() {
        assert_eq!(kind("worker-12"), "worker");
        assert_eq!(kind("udp-sender"), "udp-sender");
        let mut used = Used::default();
        for (id, name, before, latest) in
            [(1, "worker-0", 1, 3), (2, "worker-1", 0, 4), (3, "fanhost", 0, 2)]
        {
            let second = Duration::from_secs;
            let (before, latest) = (second(before), second(latest));
            used.threads.insert(id, Thread { name: name.to_owned(), before, latest });
        }
        let seconds: Vec<(String, u64)> =
            used.stages().into_iter().map(|(name, time)| (name, time.as_secs())).collect();
        assert_eq!(seconds, [("fanhost".to_owned(), 2), ("worker".to_owned(), 6)]);
    }

    #[test]
    fn a_thread_that_is_gone_has_left_its_time() {
        let watch = Watch::of(vec![std::process::id()]);
        let named = thread::Builder::new().name("busy-7".to_owned());
        let busy = named.spawn(|| {
            let mut sum = 0_u64;
            while cpu::threads(std::process::id())
                .into_iter()
                .flatten()
                .all(|(_, name, time)| name != "busy-7" || time < Duration::from_millis(100))
            {
                sum = std::hint::black_box(sum + 1);
            }
        });
        busy.unwrap().join().unwrap();
        let used = watch.end();
        let time = used[0].stages()["busy"];
        assert!(time >= Duration::from_millis(50), "{time:?}");
        assert!(used[0].peak.looks > 1 && used[0].peak.anonymous_bytes > 0);
    }
}
