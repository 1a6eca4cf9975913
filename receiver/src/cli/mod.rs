//! The command line of `fanhost`: which verb, and what the program ends with.
//!
//! Not here: what the daemon does. Results go to standard output, everything else to standard
//! error; a reader who has gone away is no error.

pub mod args;
mod pinned;
mod restore;
pub mod settings;
mod upkeep;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use common::net::{StopFlag, SystemNetwork};
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

use self::args::{Cli, HelperArgs, RunArgs, ScopeArgs, StoreArgs, Verb};
use crate::config::Config;
use crate::exit::{Complaint, Exit};
use crate::helper::HelperError;
use crate::keeper::Remote;
use crate::keys::KnownKeys;
use crate::status::StatusBoard;
use crate::store::{Inventory, Store};
use crate::{confine, control, daemon, helper, holders, releases, status};

/// Does what the command line says.
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    start_log(cli.verbose, cli.quiet);
    let done = match cli.verb {
        Verb::Run(args) => run_daemon(&args),
        Verb::Helper(args) => run_helper(&args),
        Verb::Releases(args) => list(&args),
        Verb::Activate(args) => upkeep::activate(&args),
        Verb::Rollback(args) => upkeep::rollback(&args),
        Verb::Pin(args) => upkeep::pin(&args),
        Verb::Unpin(args) => upkeep::unpin(&args),
        Verb::Verify(args) => upkeep::verify(&args),
        Verb::Prune(args) => upkeep::prune(&args),
        Verb::Status(args) => show(&args),
        Verb::Holders(args) => name_holders(&args),
        Verb::Restore(args) => restore::restore(&args.place),
        Verb::RunPinned(args) => pinned::run_pinned(&args),
        Verb::Unpack => unpack(),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(complaint) => complain(&complaint),
    }
}

fn run_daemon(args: &RunArgs) -> Result<(), Complaint> {
    let config = settings::load(&args.place)?;
    let mut options = settings::resolve(args, &config, machine_name)?;
    let remote = settings::helper_socket(args.helper.as_deref(), &config)
        .map(|socket| part_from(&mut options, &socket))
        .transpose()?;
    if remote.is_none() {
        settings::check_hooks(&args.place, &options.policies)?;
    }
    let stop = StopFlag::new().map_err(cannot_start)?;
    let board = StatusBoard::default();
    let (keeper, listener) = remote.unzip();
    control::start(stop.clone(), control::show(board.clone(), listener)).map_err(cannot_start)?;
    let done = match keeper {
        Some(keeper) => daemon::run_with(&options, Arc::new(keeper), &SystemNetwork, &stop, &board),
        None => daemon::run(&options, &SystemNetwork, &stop, &board),
    };
    done.map_err(|error| Complaint::new(Exit::of_daemon(&error), error))
}

/// Has the helper do what needs privileges, and gives up its own, before there is another thread.
fn part_from(
    options: &mut daemon::Options,
    socket: &Path,
) -> Result<(Remote, UnixListener), Complaint> {
    let refused = |error| Complaint::new(Exit::Resources, error);
    let remote = Remote::connect(socket).map_err(refused)?;
    if let Some(app) = options.apps.iter().find(|app| !remote.apps().contains(&app.app)) {
        let line = format!(
            "the helper keeps no app {}: add [app.{}] to its configuration and restart it",
            app.app, app.app
        );
        return Err(Complaint::new(Exit::Configuration, line));
    }
    options.store = remote.store().to_path_buf();
    let listener = remote.listener().map_err(refused)?;
    let confined = confine::enter(&remote.directories());
    let lines = confined.map_err(|error| Complaint::new(Exit::Configuration, error))?;
    info!("confined to its incoming directories; the helper at {} does the rest", socket.display());
    lines.iter().for_each(|line| warn!("{line}"));
    Ok((remote, listener.into()))
}

fn run_helper(args: &HelperArgs) -> Result<(), Complaint> {
    let failed = |error: HelperError| Complaint::new(Exit::of_helper(&error), error);
    if let Some(file) = settings::file(&args.place) {
        helper::expect_roots_own(&file).map_err(failed)?;
    }
    let config = settings::load(&args.place)?;
    let options = settings::resolve_helper(args, &config, machine_name)?;
    settings::check_hooks(&args.place, &options.policies)?;
    let stop = StopFlag::new().map_err(cannot_start)?;
    helper::run(&options, &stop).map_err(failed)
}

/// No person gives this verb.
fn unpack() -> Result<(), Complaint> {
    crate::store::serve_unpacker().map_err(|error| {
        Complaint::usage(format!("unpack is what fanhost starts for itself: {error}"))
    })
}

fn cannot_start(error: io::Error) -> Complaint {
    Complaint::new(Exit::Resources, format!("cannot start: {error}"))
}

fn list(args: &StoreArgs) -> Result<(), Complaint> {
    let config = settings::load(&args.place)?;
    let held = inspect(&settings::store(&args.place, &config), &config)?;
    print(&if args.json { releases::to_json(&held) } else { releases::to_table(&held) })
}

fn show(args: &StoreArgs) -> Result<(), Complaint> {
    let config = settings::load(&args.place)?;
    let store = settings::store(&args.place, &config);
    let snapshot = status::ask(&store).map_err(|error| {
        let line = format!("cannot ask the daemon of {}: {error}", store.display());
        Complaint::new(Exit::Resources, line)
    })?;
    let held = inspect(&store, &config)?;
    print(&match args.json {
        true => status::to_json(snapshot.as_ref(), &held),
        false => status::to_table(&store, snapshot.as_ref(), &held),
    })
}

fn name_holders(args: &ScopeArgs) -> Result<(), Complaint> {
    let config = settings::load(&args.output.place)?;
    let mut held = inspect(&settings::store(&args.output.place, &config), &config)?.releases;
    holders::select(&mut held, args.app.as_ref(), args.release.as_deref())
        .map_err(Complaint::usage)?;
    let report = holders::Report::of(held)
        .map_err(|error| Complaint::new(Exit::Resources, format!("cannot read /proc: {error}")))?;
    print(&if args.output.json { report.to_json() } else { report.to_table() })
}

fn inspect(store: &Path, config: &Config) -> Result<Inventory, Complaint> {
    let keys = KnownKeys::default();
    Store::inspect(store, |store, app| settings::app(app, config, store, &keys))
        .map_err(|error| Complaint::new(Exit::of_store(&error), error))
}

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A daemon's log has times, unless a journal adds its own.
fn start_log(verbose: u8, is_quiet: bool) {
    let level = match (is_quiet, verbose) {
        (true, _) => LevelFilter::WARN,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_coloured = io::stderr().is_terminal() && !is_set("NO_COLOR");
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(is_coloured)
        .with_target(verbose > 0)
        .with_writer(io::stderr);
    // A second start in one process (a test) keeps the first one's log.
    let _ = match is_set("JOURNAL_STREAM") {
        true => log.without_time().try_init(),
        false => log.try_init(),
    };
}

/// Help and version are results; anything else is one line and a usage error.
fn refuse(error: &clap::Error) -> Exit {
    use clap::error::ErrorKind;
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_help || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader who has gone away has read enough of the help.
        let _ = error.print();
        return if is_help { Exit::Done } else { Exit::Usage };
    }
    complain(&Complaint::of_usage_page(&error.render().to_string()))
}

fn complain(complaint: &Complaint) -> Exit {
    // What cannot be told on standard error cannot be told at all.
    let _ = io::stderr().write_all(format!("fanhost: {complaint}\n").as_bytes());
    complaint.exit
}

fn print(text: &str) -> Result<(), Complaint> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Complaint::new(Exit::Resources, format!("cannot write the result: {error}")))
        }
        _ => Ok(()),
    }
}
