//! Whether the person at the terminal wants it to stop.
//!
//! Invariant: after a signal everything temporary is removed before the process ends; only a second
//! signal ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};

use super::error::PackError;
use crate::exit::Exit;

/// A flag that a signal sets; looked at between two frames and while waiting for a tool.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Set by SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// When no thread or no signal handler can be had.
    pub fn on_signals() -> Result<Self, PackError> {
        let cancel = Self::default();
        let flag = cancel.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(PackError::Machine)?;
        // Registered before this returns: a signal that comes early is not lost.
        let signals = {
            let _context = runtime.enter();
            Signals::register().map_err(PackError::Machine)?
        };
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(flag.watch(signals)))
            .map_err(PackError::Machine)?;
        Ok(cancel)
    }

    /// Asks for the end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Goes on unless the end was asked for.
    ///
    /// # Errors
    /// [`PackError::Interrupted`] when it was.
    pub fn check(&self) -> Result<(), PackError> {
        if self.0.load(Ordering::Relaxed) { Err(PackError::Interrupted) } else { Ok(()) }
    }

    async fn watch(self, mut signals: Signals) {
        signals.next().await;
        self.cancel();
        signals.next().await;
        std::process::exit(i32::from(Exit::Interrupted.code()));
    }
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn register() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            _ = self.hangup.recv() => (),
        }
    }
}
