//! What a host does for itself: at its start, looking whether what services are on is what it was;
//! from time to time, pruning what has drained, been given up or let go.
//!
//! One thread, behind everybody else at the disk. Not here: what goes, which the store decides.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use common::net::{StopFlag, wait};
use tracing::{info, warn};

use crate::activation::Activator;
use crate::pipeline::Manners;
use crate::store::Store;
use crate::verbs::{self, Server};

/// Between two rounds: as long as a release drains, so that it goes within twice that time.
const INTERVAL: Duration = Duration::from_secs(600);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Housekeeping {
    stop: StopFlag,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeping {
    /// Begins to look after the apps of a store: at once whether what services are on is what it
    /// was, what else there is after an interval.
    ///
    /// # Errors
    /// When the system gives no thread or event.
    pub fn start(store: Arc<Store>, manners: Manners) -> io::Result<Self> {
        let stop = StopFlag::new()?;
        let stopped = stop.clone();
        let thread = Builder::new().name("housekeeping".into()).spawn(move || {
            // The first worker has told where it cannot be done.
            let _ = manners.adopt();
            look(&store);
            // A machine without memory for a poll has other troubles than old releases.
            while wait(&[stopped.as_fd()], Some(INTERVAL)).is_ok() && !stopped.is_raised() {
                prune(&store);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// A start is when a disk that lost something is noticed: services would read it soon.
fn look(store: &Store) {
    for app in store.apps() {
        match store.audit_current(&app) {
            Ok(audit) => audit.and_then(|audit| audit.complaint()).iter().for_each(|line| {
                warn!("{line}");
            }),
            Err(error) => warn!("{app}: what services are on was not looked at: {error}"),
        }
    }
}

/// What whoever has the store does beside the sessions, until the answer is dropped.
///
/// # Errors
/// As [`Housekeeping::start`].
pub fn beside(
    store: &Arc<Store>,
    activator: &Arc<Activator>,
    manners: Manners,
) -> io::Result<(Housekeeping, Option<Server>)> {
    let housekeeping = Housekeeping::start(Arc::clone(store), manners)?;
    let server = Server::start(Arc::clone(activator), store.root()).inspect_err(|error| {
        let socket = store.root().join(verbs::SOCKET);
        warn!("activate, rollback, pin and prune will not work: {}: {error}", socket.display());
    });
    Ok((housekeeping, server.ok()))
}

fn prune(store: &Store) {
    for app in store.apps() {
        match store.prune(&app) {
            Ok(pruned) => pruned.lines().iter().for_each(|line| info!("{line}")),
            Err(error) => warn!("{app}: not pruned: {error}"),
        }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
