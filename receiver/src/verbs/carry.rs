//! Carrying a request out on the store of this process, with what belongs around a switch.

use common::id::{AppName, Label, ReleaseId};

use super::{Answer, Cause, Request};
use crate::activation::Activator;
use crate::store::{Pin, Pruned, Store, StoreError};
use crate::utc::utc;

/// Does what is asked; what follows a switch goes on after this has returned.
pub fn carry_out(activator: &Activator, request: &Request) -> Answer {
    attempt(activator, request).unwrap_or_else(|error| Answer::Refused {
        cause: cause_of(&error),
        line: error.to_string(),
    })
}

fn cause_of(error: &StoreError) -> Cause {
    match error {
        error if error.is_asked() => Cause::Asked,
        error if error.is_lacking() => Cause::Lacking,
        error if error.is_busy() => Cause::Busy,
        _ => Cause::Machine,
    }
}

fn attempt(activator: &Activator, request: &Request) -> Result<Answer, StoreError> {
    let store = activator.store();
    let line = match request {
        Request::Activate { app, release, force } => {
            let (id, label) = store.find(app, release)?;
            let former = store.current(app)?;
            activator.choose(app, id, *force)?;
            switched(app, &former, &label, id) + &warning(store, app, id)?
        }
        Request::Rollback { app, to } => {
            let to = to.as_ref().map(|to| store.find(app, to)).transpose()?;
            let former = store.current(app)?;
            let id = activator.roll_back(app, to.map(|to| to.0))?;
            let (_, label) = store.find(app, &id.to_string())?;
            let held = store.held(app)?.map(|hold| format!("; {hold}"));
            switched(app, &former, &label, id)
                + &held.unwrap_or_default()
                + &warning(store, app, id)?
        }
        Request::Pin { app, release, owner, reason, seconds } => {
            let (id, label) = store.find(app, release)?;
            let since = common::clock::unix_seconds();
            let until = seconds.map(|seconds| since.saturating_add(seconds));
            let (owner, reason) = (owner.clone(), reason.clone());
            let line = format!("{app} {label} is pinned by {owner}{}", until_words(until));
            store.pin(app, id, Pin { owner, reason, since, until })?;
            line
        }
        Request::Unpin { app, release, owner } => {
            let (id, label) = store.find(app, release)?;
            store.unpin(app, id, owner)?;
            format!("{app} {label} is no longer pinned by {owner}")
        }
        Request::Prune { app, dry_run } => return prune(store, app.as_ref(), *dry_run),
        Request::Examined { app, release, damaged } => {
            let (id, label) = store.find(app, release)?;
            store.note_condition(app, id, *damaged)?;
            let words = if *damaged { "is damaged on this disk" } else { "is intact again" };
            format!("{app} {label} {words}")
        }
    };
    Ok(Answer::Done(line))
}

/// What speaks against a release that was chosen here, behind what is said of the switch.
fn warning(store: &Store, app: &AppName, id: ReleaseId) -> Result<String, StoreError> {
    let reason = store.distrust(app, &id)?;
    Ok(reason.map_or_else(String::new, |reason| format!("; no sender could do that: {reason}")))
}

fn until_words(until: Option<u64>) -> String {
    until.map_or_else(String::new, |until| format!(" until {}", utc(until)))
}

fn switched(
    app: &AppName,
    former: &Option<(ReleaseId, Label)>,
    label: &Label,
    id: ReleaseId,
) -> String {
    match former {
        Some((former, _)) if *former == id => format!("{app} {label} is active already"),
        Some((_, former)) => format!("{app} {label} is active, {former} was"),
        None => format!("{app} {label} is active"),
    }
}

fn prune(store: &Store, app: Option<&AppName>, is_dry: bool) -> Result<Answer, StoreError> {
    let apps = app.map_or_else(|| store.apps(), |app| vec![app.clone()]);
    let mut all = Pruned::default();
    for app in apps {
        let pruned = if is_dry { store.plan_prune(&app)? } else { store.prune(&app)? };
        all.releases.extend(pruned.releases);
        all.leftovers.extend(pruned.leftovers);
        all.complaints.extend(pruned.complaints);
    }
    Ok(Answer::Pruned(all))
}
