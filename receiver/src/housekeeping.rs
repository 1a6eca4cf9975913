//! What a host does for itself: at its start, looking whether what services are on is what it was;
//! from time to time, pruning what has drained, been given up or let go; and removing the trees of
//! what was pruned.
//!
//! Two threads, behind everybody else at the disk: a tree takes long to remove, and neither waits
//! for the other. Not here: what goes, which the store decides.

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

/// The rank of the thread that removes trees, among all that want a processor: the last.
const NICE: i32 = 19;

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub struct Housekeeping {
    stop: StopFlag,
    threads: Vec<JoinHandle<()>>,
}

impl Housekeeping {
    /// Begins to look after the apps of a store: at once whether what services are on is what it
    /// was, what else there is after an interval.
    ///
    /// # Errors
    /// When the system gives no thread or event.
    pub fn start(store: Arc<Store>, manners: Manners) -> io::Result<Self> {
        let stop = StopFlag::new()?;
        let mut started = Self { stop: stop.clone(), threads: Vec::new() };
        let (shared, stopped) = (Arc::clone(&store), stop.clone());
        started.threads.push(Builder::new().name("trash".into()).spawn(move || {
            let _ = manners.adopt();
            // Where the kernel refuses, it takes its turn like everybody.
            let _ = rustix::process::setpriority_process(None, NICE);
            remove_trash(&shared, &stopped);
        })?);
        started.threads.push(Builder::new().name("housekeeping".into()).spawn(move || {
            // The first worker has told where it cannot be done.
            let _ = manners.adopt();
            look(&store);
            // A machine without memory for a poll has other troubles than old releases.
            while wait(&[stop.as_fd()], Some(INTERVAL)).is_ok() && !stop.is_raised() {
                prune(&store);
            }
        })?);
        Ok(started)
    }
}

/// Removes what is put aside, whenever something is.
fn remove_trash(store: &Store, stop: &StopFlag) {
    while wait(&[stop.as_fd(), store.trash()], None).is_ok() && !stop.is_raised() {
        store.empty_trash(Some(stop));
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
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
