//! Ctrl-C and SIGTERM while a send runs: once to stop in order, twice to stop at once.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// Calls `on_first` at the first signal and ends the process at the second.
///
/// # Errors
/// When no thread or no signal handler can be had.
pub fn watch(on_first: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    // Registered before this returns: a signal that comes early is not lost.
    let signals = {
        let _context = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate()].map(signal)
    };
    let [interrupt, terminate] = signals;
    let (mut interrupt, mut terminate) = (interrupt?, terminate?);
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            next(&mut interrupt, &mut terminate).await;
            on_first();
            next(&mut interrupt, &mut terminate).await;
            std::process::exit(i32::from(Exit::Interrupted.code()));
        });
    })?;
    Ok(())
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}
