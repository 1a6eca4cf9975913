//! `fanhost restore`: brings releases back after a reboot, before the services that need them, and
//! says whether each app has one that is whole.
//!
//! Not here: what is put right, which is the store's business. It needs no network, asks no clock
//! what a release may do, and fails closed: an app without a whole release is a failure.

use std::path::Path;
use std::sync::Arc;

use common::id::AppName;

use super::args::PlaceArgs;
use super::{inspect, print, settings};
use crate::config::Config;
use crate::exit::{Complaint, Exit};
use crate::store::{Inventory, ReleaseFacts, Store, SystemWorld};

/// Brings back what is there, and names every app that cannot serve.
pub(super) fn restore(place: &PlaceArgs) -> Result<(), Complaint> {
    let config = settings::load(place)?;
    let options = settings::resolve_restore(place, &config)?;
    let opened = Store::open_for(
        Arc::new(SystemWorld),
        &options.store,
        options.apps.clone(),
        options.tenant,
    );
    match opened {
        Ok(store) => store.take_complaints().iter().for_each(|line| tracing::warn!("{line}")),
        Err(error) if error.is_busy() => tracing::info!("{BESIDE}"),
        Err(error) => return Err(Complaint::new(Exit::of_store(&error), error)),
    }
    let held = inspect(&options.store, &config)?;
    let mut lines = String::new();
    let mut missing = Vec::new();
    for app in options.apps.iter().map(|app| &app.app) {
        match whole(app, &held, &config) {
            Ok(facts) => {
                let (label, path) = (&facts.label, facts.path.display());
                lines.push_str(&format!("{app}: {label} is current, {path}\n"));
            }
            Err(reason) => missing.push(format!("{app}: {reason}")),
        }
    }
    print(&lines)?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Complaint::new(Exit::NotReached, missing.join("; "))),
    }
}

/// Who has the store brought everything back when it started: the helper, or a daemon.
const BESIDE: &str = "nothing is brought back, only looked at: fanhost runs already, and did that \
                      when it started";

/// The app's current release, if services can use it.
fn whole<'a>(
    app: &AppName,
    held: &'a Inventory,
    config: &Config,
) -> Result<&'a ReleaseFacts, String> {
    let current = held.releases.iter().find(|it| it.app == *app && it.is_current);
    let facts = current.ok_or("it has no current release")?;
    let (label, path) = (&facts.label, facts.path.display());
    if !facts.is_staged {
        return Err(format!("{label} is current and not there: {path}"));
    }
    let sentinel = config.app.get(app).and_then(|settings| settings.sentinel.as_deref());
    match sentinel.map(|sentinel| look(&facts.path, sentinel)) {
        Some(Err(error)) => Err(error),
        _ => Ok(facts),
    }
}

/// Whether the file that shows that a release is whole is in it.
fn look(release: &Path, sentinel: &Path) -> Result<(), String> {
    let path = release.join(sentinel);
    match path.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("its sentinel {} is not there: {error}", path.display())),
    }
}
