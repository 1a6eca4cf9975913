//! `fanhost run-pinned`: becomes a command that keeps the release that it started on.
//!
//! The command has the release as its working directory and a shared lock on its directory: the
//! kernel tells of both for as long as the process lives, whatever ends it, and nothing that
//! somebody has in use is pruned. No file says so, hence none can be left behind by a kill. Not
//! here: who else uses a release, and that it is kept then ([`crate::holders`], [`crate::store`]).

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::args::PinnedArgs;
use super::{inspect, settings};
use crate::exit::{Complaint, Exit};
use crate::store::pin;

/// Becomes the command; comes back only with a complaint.
pub(super) fn run_pinned(args: &PinnedArgs) -> Result<(), Complaint> {
    let config = settings::load(&args.place)?;
    let held = inspect(&settings::store(&args.place, &config), &config)?;
    let app = &args.app;
    let current = held.releases.into_iter().find(|it| it.app == *app && it.is_current);
    let facts = current.filter(|it| it.is_staged).ok_or_else(|| {
        Complaint::new(Exit::NotReached, format!("{app} has no current release to run on"))
    })?;
    let unusable = |error: std::io::Error| {
        let line = format!("cannot use {}: {error}", facts.path.display());
        Complaint::new(Exit::Resources, line)
    };
    // Kept across the exec: also a command that changes its directory has the release.
    let release = pin(&facts.path).map_err(unusable)?;
    let path = fs::read_link(format!("/proc/self/fd/{}", release.as_raw_fd())).map_err(unusable)?;
    let [program, arguments @ ..] = &args.command[..] else {
        return Err(Complaint::usage("give a command behind --"));
    };
    let error = Command::new(program)
        .args(arguments)
        .current_dir(&path)
        .env("FANFARE_APP", app.as_str())
        .env("FANFARE_LABEL", facts.label.as_str())
        .env("FANFARE_RELEASE", facts.id.to_string())
        .env("FANFARE_SEQUENCE", facts.sequence.to_string())
        .env("FANFARE_PATH", &path)
        .exec();
    drop(release);
    let name = PathBuf::from(program);
    Err(Complaint::usage(format!("cannot run {}: {error}", name.display())))
}
