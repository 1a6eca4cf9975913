//! The verbs that change what the store holds: asked of the daemon, or done here where none runs.
//!
//! Not here: what a request does. Lines that say what was done are results; what could not be done
//! is a complaint.

#![expect(clippy::disallowed_methods, reason = "asks the environment who runs this")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{ActivateArgs, PinArgs, PlaceArgs, PruneArgs, RollbackArgs, UnpinArgs};
use super::args::{ReleaseArgs, ScopeArgs};
use super::{machine_name, print, settings};
use crate::activation::Activator;
use crate::config::Config;
use crate::exit::{Complaint, Exit};
use crate::keys::KnownKeys;
use crate::pipeline::Manners;
use crate::releases;
use crate::store::{AppConfig, Audit, Pruned, Store, StoreError};
use crate::verbs::{self, Answer, Request};

pub(super) fn activate(args: &ActivateArgs) -> Result<(), Complaint> {
    let ReleaseArgs { app, release } = args.release.clone();
    tell(&args.place, &Request::Activate { app, release, force: args.force })
}

pub(super) fn rollback(args: &RollbackArgs) -> Result<(), Complaint> {
    tell(&args.place, &Request::Rollback { app: args.app.clone(), to: args.to.clone() })
}

pub(super) fn pin(args: &PinArgs) -> Result<(), Complaint> {
    let ReleaseArgs { app, release } = args.release.clone();
    let owner = owner(args.owner.as_ref())?;
    let (reason, seconds) = (word("--reason", &args.reason)?, args.time.map(|time| time.as_secs()));
    tell(&args.place, &Request::Pin { app, release, owner, reason, seconds })
}

pub(super) fn unpin(args: &UnpinArgs) -> Result<(), Complaint> {
    let ReleaseArgs { app, release } = args.release.clone();
    tell(&args.place, &Request::Unpin { app, release, owner: owner(args.owner.as_ref())? })
}

/// Who runs this, where nobody is named.
fn owner(named: Option<&String>) -> Result<String, Complaint> {
    let user = || ["SUDO_USER", "USER"].into_iter().find_map(|name| std::env::var(name).ok());
    let owner = named.cloned().or_else(user).unwrap_or_else(|| "root".to_owned());
    match owner.is_empty() {
        true => Err(Complaint::usage("give --owner a name")),
        false => word("--owner", &owner),
    }
}

/// Text that is shown to people, in one line that fits a table.
fn word(flag: &str, text: &str) -> Result<String, Complaint> {
    const LETTERS_MAX: usize = 200;
    if text.chars().any(char::is_control) || text.chars().count() > LETTERS_MAX {
        let line = format!("{flag} must be one line of at most {LETTERS_MAX} letters");
        return Err(Complaint::usage(line));
    }
    Ok(text.to_owned())
}

/// Has a request carried out and says what was done.
fn tell(place: &PlaceArgs, request: &Request) -> Result<(), Complaint> {
    let at = At::of(place)?;
    match at.ask(request)? {
        Answer::Done(line) => print(&format!("{line}\n")),
        Answer::Pruned(pruned) => print(&releases::pruned_to_lines(&pruned, false)),
        Answer::Refused { cause, line } => Err(Complaint::new(Exit::of_cause(cause), line)),
    }
}

pub(super) fn prune(args: &PruneArgs) -> Result<(), Complaint> {
    let at = At::of(&args.output.place)?;
    let request = Request::Prune { app: args.app.clone(), dry_run: args.dry_run };
    let pruned = match at.ask(&request)? {
        Answer::Pruned(pruned) => pruned,
        Answer::Refused { cause, line } => {
            return Err(Complaint::new(Exit::of_cause(cause), line));
        }
        Answer::Done(line) => return Err(Complaint::new(Exit::Internal, line)),
    };
    print(&match (args.output.json, args.explain) {
        (true, _) => releases::pruned_to_json(&pruned),
        (false, true) => releases::reasons_to_table(&pruned),
        (false, false) => releases::pruned_to_lines(&pruned, args.dry_run),
    })?;
    complain_of(&pruned)
}

/// What could not be removed is said line by line, and decides the exit code.
fn complain_of(pruned: &Pruned) -> Result<(), Complaint> {
    let Some((last, others)) = pruned.complaints.split_last() else { return Ok(()) };
    others.iter().for_each(|line| tracing::warn!("{line}"));
    Err(Complaint::new(Exit::Resources, last))
}

pub(super) fn verify(args: &ScopeArgs) -> Result<(), Complaint> {
    let at = At::of(&args.output.place)?;
    if let Err(error) = Manners::default().adopt() {
        tracing::warn!("the disk is not left to others first: ioprio_set: {error}");
    }
    let (mut audits, mut output) = (Vec::new(), Ok(()));
    let mut show = |audit: Audit| {
        if !args.output.json && output.is_ok() {
            output = print(&releases::audit_to_line(&audit));
        }
        audits.push(audit);
    };
    let keys = KnownKeys::default();
    let config_of = |store: &Path, app: &_| settings::app(app, &at.config, store, &keys);
    let (app, release) = (args.app.as_ref(), args.release.as_deref());
    Store::audit(&at.store, config_of, app, release, &mut show).map_err(of_store)?;
    output?;
    match (args.output.json, audits.is_empty()) {
        (true, _) => print(&releases::audits_to_json(&audits))?,
        (false, true) => print("no releases\n")?,
        (false, false) => {}
    }
    note(&at, &audits)
}

/// Has noted what changed: what is not what it was is not gone back to, until it is again.
fn note(at: &At, audits: &[Audit]) -> Result<(), Complaint> {
    let mut lines: Vec<String> = Vec::new();
    for audit in audits {
        lines.extend(audit.complaint());
        let found = audit.is_damaged().filter(|damaged| *damaged != audit.was_damaged);
        let Some(damaged) = found else { continue };
        let (app, release) = (audit.app.clone(), audit.id.to_string());
        match at.ask(&Request::Examined { app, release, damaged })? {
            Answer::Refused { line, .. } => {
                lines.push(format!("{} {}: not noted: {line}", audit.app, audit.label));
            }
            Answer::Done(_) | Answer::Pruned(_) => {}
        }
    }
    let Some((last, others)) = lines.split_last() else { return Ok(()) };
    others.iter().for_each(|line| tracing::error!("{line}"));
    Err(Complaint::new(Exit::Damaged, last))
}

fn of_store(error: StoreError) -> Complaint {
    Complaint::new(Exit::of_store(&error), error)
}

/// The store that a verb is about.
struct At {
    place: PlaceArgs,
    store: PathBuf,
    config: Config,
    keys: KnownKeys,
}

impl At {
    fn of(place: &PlaceArgs) -> Result<Self, Complaint> {
        let config = settings::load(place)?;
        // A key that cannot be read keeps nobody from going back.
        let keys = settings::keys(place, &config).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            KnownKeys::default()
        });
        Ok(Self { place: place.clone(), store: settings::store(place, &config), config, keys })
    }

    /// Asks the daemon, or does it here.
    fn ask(&self, request: &Request) -> Result<Answer, Complaint> {
        if let Some(answer) = self.ask_daemon(request)? {
            return Ok(answer);
        }
        match self.open(request) {
            Ok((store, apps)) => self.carry_out(store, &apps, request),
            // A daemon that has just started listens by now.
            Err(error) if error.is_busy() => match self.ask_daemon(request)? {
                Some(answer) => Ok(answer),
                None => Err(of_store(error)),
            },
            Err(error) => Err(of_store(error)),
        }
    }

    /// Does it here, with the hooks that belong to it, and waits for those.
    fn carry_out(
        &self,
        store: Store,
        apps: &[AppConfig],
        request: &Request,
    ) -> Result<Answer, Complaint> {
        let policies = settings::policies(apps, &self.config);
        if request.is_switch() {
            settings::check_hooks(&self.place, &policies)?;
        }
        let host = settings::host(None, &self.config, machine_name)?;
        let activator = Activator::new(Arc::new(store), host, apps, &policies);
        let tell = || {
            let lines = activator.store().take_complaints();
            lines.iter().for_each(|line| tracing::warn!("{line}"));
        };
        tell();
        let answer = verbs::carry_out(&activator, request);
        activator.finish();
        // Nobody is there to do it later.
        activator.store().empty_trash(None);
        tell();
        Ok(answer)
    }

    fn ask_daemon(&self, request: &Request) -> Result<Option<Answer>, Complaint> {
        verbs::ask(&self.store, request).map_err(|error| {
            let line = format!("cannot ask the daemon of {}: {error}", self.store.display());
            Complaint::new(Exit::Resources, line)
        })
    }

    /// Takes the store for this process, with those apps that it holds something of.
    fn open(&self, request: &Request) -> Result<(Store, Vec<AppConfig>), StoreError> {
        let config_of = |store: &Path, app: &_| settings::app(app, &self.config, store, &self.keys);
        let mut apps: Vec<AppConfig> = Store::apps_at(&self.store, config_of)?;
        if let Some(app) = request.app().filter(|app| apps.iter().any(|it| it.app == **app)) {
            apps.retain(|config| config.app == *app);
        }
        Ok((Store::open(&self.store, apps.clone())?, apps))
    }
}
