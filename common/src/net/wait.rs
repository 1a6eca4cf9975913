//! Waiting for links, for a moment, or for another thread.
//!
//! Invariant: a thread in [`wait`] sleeps; it returns when a link is readable, the time is over or
//! its [`Waker`] was used, whichever comes first, and a wake-up is never lost.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Links that one thread waits for at a time.
pub const WAIT_LINKS_MAX: usize = 64;

/// Which of the links that were waited for have something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready(u64);

impl Ready {
    /// Whether the link at this position can be read.
    pub const fn is_ready(self, position: usize) -> bool {
        position < WAIT_LINKS_MAX && self.0 >> position & 1 == 1
    }

    /// Whether none can be read: the time is over.
    pub const fn is_idle(self) -> bool {
        self.0 == 0
    }
}

/// Sleeps until one of `links` can be read or `timeout` is over; without a timeout, for as long as
/// it takes. A signal ends the sleep like the timeout does.
///
/// The kernel adds its timer slack (50 µs unless the thread asked for less) to the timeout.
///
/// # Errors
/// The kernel's, for lack of memory.
///
/// # Panics
/// With more than [`WAIT_LINKS_MAX`] links.
pub fn wait(links: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Ready> {
    assert!(links.len() <= WAIT_LINKS_MAX, "one bit per link");
    wait_for(links, PollFlags::IN, timeout)
}

/// Sleeps until `link` has room to send, or `timeout` is over.
pub(super) fn wait_for_room(link: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    wait_for(&[link], PollFlags::OUT, Some(timeout)).map(drop)
}

fn wait_for(
    links: &[BorrowedFd<'_>],
    events: PollFlags,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let mut polled: Vec<PollFd<'_>> =
        links.iter().map(|link| PollFd::from_borrowed_fd(*link, events)).collect();
    // A time too long for the kernel is for ever.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
        Err(error) => return Err(error.into()),
    }
    // An error or a hang-up is reported as readable: reading tells what it is.
    let ready = polled.iter().enumerate().filter(|(_, link)| !link.revents().is_empty());
    Ok(Ready(ready.fold(0, |bits, (position, _)| bits | 1 << position)))
}

/// Ends another thread's [`wait`]. Clones wake the same thread.
#[derive(Debug, Clone)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// A waker; the thread that is to be woken waits for its [`AsFd`].
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { event: Arc::new(event) })
    }

    /// Makes the current or the next wait return at once. Never blocks; many wakes are one.
    pub fn wake(&self) {
        // Fails only when the counter is full, and then a wake-up is already waiting.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }

    /// Takes the wake-ups that have come; the waiting thread calls this before it looks at what it
    /// was woken for.
    pub fn drain(&self) {
        // Fails only when there was none.
        let _ = rustix::io::read(&*self.event, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Tells the thread of a running program's sockets to end, from a thread of signals. Clones are the
/// same flag.
#[derive(Debug, Clone)]
pub struct StopFlag {
    is_raised: Arc<AtomicBool>,
    waker: Waker,
}

impl StopFlag {
    /// Not raised.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { is_raised: Arc::default(), waker: Waker::new()? })
    }

    /// Raises it, and ends the wait of whoever waits for its [`AsFd`].
    pub fn raise(&self) {
        self.is_raised.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Acquire)
    }

    /// Takes the wake-ups that have come.
    pub fn drain(&self) {
        self.waker.drain();
    }
}

impl AsFd for StopFlag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn an_idle_wait_ends_after_its_time() {
        let clock = Clock::start();
        let waker = Waker::new().unwrap();
        let ready = wait(&[waker.as_fd()], Some(Duration::from_millis(20))).unwrap();
        assert!(ready.is_idle());
        assert!(clock.now().as_micros() >= 20_000, "{}", clock.now());
    }

    #[test]
    fn a_wake_from_another_thread_ends_the_wait_and_says_which_link_it_was() {
        let (idle, waker) = (Waker::new().unwrap(), Waker::new().unwrap());
        let other = waker.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || other.wake());
            let ready = wait(&[idle.as_fd(), waker.as_fd()], None).unwrap();
            assert!(!ready.is_ready(0) && ready.is_ready(1) && !ready.is_ready(64), "{ready:?}");
        });
    }

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_is_taken_once() {
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        assert!(wait(&[waker.as_fd()], None).unwrap().is_ready(0));
        waker.drain();
        assert!(wait(&[waker.as_fd()], Some(Duration::ZERO)).unwrap().is_idle());
    }

    #[test]
    fn a_time_beyond_the_kernels_range_waits_for_ever() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert!(wait(&[waker.as_fd()], Some(Duration::MAX)).unwrap().is_ready(0));
    }
}
