//! The helper: the one process that changes this host, for a process on the network that may not.
//!
//! It has the store, a UNIX socket, and no network. It believes nothing that it is told: whoever
//! asks must be root or the one user that receives; a manifest must be that of its release; an
//! image must have the manifest's digest once nobody else can write to it; an app must be of its
//! own configuration, which only root may have written.
//!
//! Not here: how a release is made and switched ([`crate::store`]). Invariant: no request reaches
//! the store that was not parsed whole, and a request that hangs holds up one thread of a few.
#![expect(clippy::disallowed_methods, reason = "the helper is threads and files")]

mod answer;
#[cfg(test)]
mod tests;
mod user;

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::id::{AppName, HostName};
use common::net::{StopFlag, wait};
use common::sys::processes::{self, Namespace};
use sd_notify::NotifyState;
use tracing::{info, warn};

pub use self::user::find_user;
use crate::activation::{Activator, Policy};
use crate::control;
use crate::housekeeping;
use crate::keeper::socket;
use crate::pipeline::Manners;
use crate::status;
use crate::store::{AppConfig, Owner, Store, StoreError, SystemWorld};

/// Requests that are worked off side by side: one of each session, and some for people.
const THREADS: usize = common::limits::HOST_SESSIONS_MAX + 4;
/// Who connects and says nothing, or does not read, is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the administrator asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the socket is made, unless a service manager hands it over.
    pub socket: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// The apps that are kept here.
    pub apps: Vec<AppConfig>,
    /// What is done around their switches; nothing where an app has none.
    pub policies: BTreeMap<AppName, Policy>,
    /// This host's name, for hooks.
    pub host: HostName,
    /// The user that receives.
    pub tenant: Owner,
}

/// Why a helper could not start.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It is not root.
    #[error("the helper mounts and gives files away: start it as root")]
    NotRoot,
    /// The user that receives is root as well.
    #[error("the user that receives must not be root: name another with --user")]
    TenantIsRoot,
    /// Somebody else could have written its configuration.
    #[error("{0}")]
    Configuration(String),
    /// The socket cannot be made.
    #[error("cannot listen at {}: {error}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something of the machine is missing.
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
}

/// Opens the store and answers requests until `stop` is raised.
///
/// # Errors
/// When the helper cannot start.
pub fn run(options: &Options, stop: &StopFlag) -> Result<(), HelperError> {
    if !rustix::process::geteuid().is_root() {
        return Err(HelperError::NotRoot);
    }
    if options.tenant.user == 0 {
        return Err(HelperError::TenantIsRoot);
    }
    // From now on there is no network for this process, whatever it opens; before there is another
    // thread, which would keep it.
    processes::leave(Namespace::Network)
        .map_err(|error| HelperError::System("leave the network", error))?;
    control::start(stop.clone(), async {}).map_err(|error| HelperError::System("start", error))?;
    let failed = |error| HelperError::Socket { path: options.socket.clone(), error };
    let listener = match inherited().map_err(failed)? {
        Some(listener) => listener,
        None => socket::bind(&options.socket, options.tenant).map_err(failed)?,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let world = Arc::new(SystemWorld);
    let apps = options.apps.clone();
    let store = Arc::new(Store::open_for(world, &options.store, apps, Some(options.tenant))?);
    store.take_cleaned().iter().chain(&store.trusted()).for_each(|line| info!("{line}"));
    announce(options, &store);
    let (shared, host) = (Arc::clone(&store), options.host.clone());
    let activator = Arc::new(Activator::new(shared, host, &options.apps, &options.policies));
    let _beside = housekeeping::beside(&store, &activator, Manners::default())
        .map_err(|error| HelperError::System("start", error))?;
    activator.resume();
    let done = serve(&activator, options, &listener, stop);
    activator.stop();
    done
}

/// The socket that a service manager made, if one did.
fn inherited() -> io::Result<Option<UnixListener>> {
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(None);
    }
    Ok(Some(processes::take_inherited_descriptor()?.into()))
}

fn announce(options: &Options, store: &Store) {
    let capabilities = store.capabilities();
    let kinds: Vec<_> = capabilities.kinds.iter().map(|kind| kind.as_str()).collect();
    let apps: Vec<_> = options.apps.iter().map(|app| app.app.as_str()).collect();
    info!(
        "helps user {} for {}; store {}; kinds {}",
        options.tenant.user,
        apps.join(", "),
        options.store.display(),
        kinds.join(" ")
    );
    for line in capabilities.complaints.iter().chain(&store.take_complaints()) {
        warn!("{line}");
    }
    let status = format!("keeps {}", apps.join(", "));
    // Without a service manager this does nothing.
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

fn serve(
    activator: &Activator,
    options: &Options,
    listener: &UnixListener,
    stop: &StopFlag,
) -> Result<(), HelperError> {
    let claims = answer::Claims::default();
    let helper = answer::Helper { activator, tenant: options.tenant, claims: &claims };
    let work = || {
        while !stop.is_raised() {
            match next(listener, stop) {
                Ok(Some(stream)) => helper.serve(&stream),
                Ok(None) => {}
                Err(error) => {
                    warn!("a request was not taken: {error}");
                    thread::sleep(PATIENCE);
                }
            }
        }
    };
    // What is being done when the end is asked for is finished.
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("helper".into()).spawn_scoped(scope, work);
        let started: io::Result<Vec<_>> = (0..THREADS).map(start).collect();
        started.map(drop).map_err(|error| {
            stop.raise();
            HelperError::System("start a thread", error)
        })
    })
}

/// The next connection, unless another thread took it or the helper ends.
fn next(listener: &UnixListener, stop: &StopFlag) -> io::Result<Option<UnixStream>> {
    wait(&[listener.as_fd(), stop.as_fd()], None)?;
    let stream = match listener.accept() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        accepted => accepted?.0,
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Some(stream))
}

/// Refuses a configuration that others than root could have written.
///
/// # Errors
/// Names the file or the directory, and what to do.
pub fn expect_roots_own(file: &Path) -> Result<(), HelperError> {
    let unreadable = |path: &Path, error: io::Error| {
        HelperError::Configuration(format!("{} cannot be read: {error}", path.display()))
    };
    let real = file.canonicalize().map_err(|error| unreadable(file, error))?;
    for path in real.ancestors() {
        let facts = fs::symlink_metadata(path).map_err(|error| unreadable(path, error))?;
        if !is_roots_own(&facts) {
            let path = path.display();
            return Err(HelperError::Configuration(format!(
                "{path} can be changed by others than root, and the helper does what it says: \
                 chown root {path}; chmod go-w {path}"
            )));
        }
    }
    Ok(())
}

/// Whether nobody but root can change or replace it; in a sticky directory only root could.
fn is_roots_own(facts: &Metadata) -> bool {
    let is_closed = facts.mode() & 0o022 == 0 || facts.is_dir() && facts.mode() & 0o1000 != 0;
    facts.uid() == 0 && is_closed
}

/// The socket of `fanhost status`, for who may not make it himself.
fn status_listener(store: &Store) -> io::Result<UnixListener> {
    status::bind(store.root())
}
