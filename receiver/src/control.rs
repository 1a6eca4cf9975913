//! The daemon's control side: signals, the status socket, the service manager.
//!
//! One thread with a runtime of its own, which the data path never waits for.

use std::io;
use std::os::unix::net::UnixListener;
use std::thread;

use common::net::StopFlag;
use sd_notify::NotifyState;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::exit::Exit;
use crate::status::{self, StatusBoard};

/// Heeds signals and does `work` until the process ends: the first SIGTERM or SIGINT raises `stop`,
/// the second ends the process at once.
///
/// # Errors
/// When no thread or no signal handler can be had.
pub fn start(stop: StopFlag, work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // Registered before this returns: a signal that comes early is not lost.
    let signals = {
        let _context = runtime.enter();
        [SignalKind::terminate(), SignalKind::interrupt()].map(signal)
    };
    let [terminate, interrupt] = signals;
    let (terminate, interrupt) = (terminate?, interrupt?);
    thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async {
            tokio::join!(heed(stop, terminate, interrupt), work);
        });
    })?;
    Ok(())
}

/// Shows the board to whoever connects to `listener`, or to a socket in the store, and tells the
/// service manager when there is something to see.
pub async fn show(board: StatusBoard, listener: Option<UnixListener>) {
    tokio::join!(status::serve(board.clone(), listener), tell_ready(&board));
}

async fn heed(stop: StopFlag, mut terminate: Signal, mut interrupt: Signal) {
    let name = next(&mut terminate, &mut interrupt).await;
    info!("{name}: ending");
    tell(&[NotifyState::Stopping]);
    stop.raise();
    next(&mut terminate, &mut interrupt).await;
    std::process::exit(i32::from(Exit::Interrupted.code()));
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn tell_ready(board: &StatusBoard) {
    let daemon = board.opened().await;
    let line = format!("listens to {} on {}", daemon.group, daemon.interface);
    tell(&[NotifyState::Ready, NotifyState::Status(&line)]);
}

/// Without a service manager this does nothing, and one that does not listen is no fault of ours.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
