//! The arguments of `fanhost`.
//!
//! Not here: the configuration file, and what holds when nobody says anything (`settings`).

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};
use common::id::{AppName, HostName};

use crate::pipeline::{IoClass, WORKERS_MAX};

const EXAMPLES: &str = "\
Examples:
  fanhost run --app shop --insecure
      takes releases of shop; /var/lib/fanfare/shop/root/current is the release
  fanhost run
      the same, as /etc/fanfare/fanhost.toml says
  fanhost status
      what the running daemon does, and what the store holds
  fanhost rollback shop
      back to the previous good release, now
";

const FILE: &str = "\
Configuration file, by default /etc/fanfare/fanhost.toml:
  group = \"239.192.70.70:7070\"
  interface = \"eth0\"
  insecure = true
  [app.shop]
  root = \"/srv/shop\"
  keep = 5
A flag wins over the environment (FANHOST_INTERFACE, FANHOST_APP=shop,blog), and that over the file.

Exit codes: 0 ended as asked, 2 usage, 3 no whole release, or none to go back to, 5 damage,
6 store or other resources, 7 store in use or network configuration, 78 configuration, 1 our own
fault";

/// Receives releases on this host, and shows what it has
#[derive(Debug, Parser)]
#[command(name = "fanhost", version, arg_required_else_help = true)]
pub struct Cli {
    /// Log more: -v what is decided, -vv every datagram
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Log warnings and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Listen, receive, stage and switch, until told to end
    Run(RunArgs),
    /// Change this host for a `fanhost run` that has no privileges; needs root, has no network
    Helper(HelperArgs),
    /// List the releases that the store holds, and why each is kept
    Releases(StoreArgs),
    /// Switch an app to a release that is staged here; ends what a rollback holds
    Activate(ActivateArgs),
    /// Go back to the previous good release, and stay there until a newer one comes
    Rollback(RollbackArgs),
    /// Keep a release, whatever pruning would do
    Pin(PinArgs),
    /// Take a pin away
    Unpin(UnpinArgs),
    /// Hash what is on disk again, behind everybody else at the disk
    Verify(ScopeArgs),
    /// Remove releases that there is no reason to keep
    Prune(PruneArgs),
    /// Show what the daemon does, and what the store holds
    Status(StoreArgs),
    /// Say who still uses a release: processes, containers, mount namespaces
    Holders(ScopeArgs),
    /// Bring releases back after a reboot, and fail unless every app has a whole one
    Restore(RestoreArgs),
    /// Run a command on the current release, which is kept for it as long as it runs
    RunPinned(PinnedArgs),
    /// Unpack an archive, as another fanhost says on standard input
    #[command(hide = true)]
    Unpack,
}

/// `fanhost restore`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct RestoreArgs {
    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fanhost run-pinned`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct PinnedArgs {
    /// The app
    #[arg(value_name = "APP")]
    pub app: AppName,

    /// The command, behind --; it starts in the release, and finds it in FANFARE_PATH
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fanhost run`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES, after_help = FILE, args_override_self = true)]
pub struct RunArgs {
    /// Interface to listen on, by name or address [default: the one with the route to the group]
    #[arg(long, value_name = "IF", env = "FANHOST_INTERFACE", hide_env = true)]
    pub interface: Option<String>,

    /// Control group of the senders [default: 239.192.70.70:7070]
    #[arg(long, value_name = "ADDR:PORT", env = "FANHOST_GROUP", hide_env = true)]
    pub group: Option<String>,

    /// An app to receive, may be repeated [default: those of the configuration file]
    #[arg(long = "app", value_name = "NAME", env = "FANHOST_APP", hide_env = true)]
    #[arg(value_delimiter = ',')]
    pub apps: Vec<AppName>,

    /// This host's name in every report [default: the machine's]
    #[arg(long, value_name = "NAME", env = "FANHOST_HOST", hide_env = true)]
    pub host: Option<HostName>,

    /// The only address to receive from (SSM) [default: any]
    #[arg(long, value_name = "ADDR", env = "FANHOST_SOURCE", hide_env = true)]
    pub source: Option<IpAddr>,

    /// Threads that decode, verify and write [default: half of the cores]
    #[arg(long, value_name = "N", env = "FANHOST_WORKERS", hide_env = true)]
    #[arg(value_parser = parse_workers)]
    pub workers: Option<usize>,

    /// Rank of their work at the disk: idle (others first) or normal [default: idle]
    #[arg(long, value_name = "CLASS", env = "FANHOST_IO_CLASS", hide_env = true)]
    pub io_class: Option<IoClass>,

    /// End after the first session
    #[arg(long)]
    pub once: bool,

    /// Believe senders without keys: anybody on this network can change what this host serves
    #[arg(long, env = "FANHOST_INSECURE", hide_env = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub insecure: bool,

    /// Socket of the helper: this process then takes its own privileges away, and must not be root
    /// [default: one process does all]
    #[arg(long, value_name = "SOCKET", env = "FANHOST_HELPER", hide_env = true)]
    pub helper: Option<PathBuf>,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fanhost helper`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct HelperArgs {
    /// Where to listen, unless a service manager hands the socket over
    /// [default: /run/fanfare/helper.sock]
    #[arg(long, value_name = "SOCKET", env = "FANHOST_HELPER", hide_env = true)]
    pub helper: Option<PathBuf>,

    /// The user that `fanhost run` runs as, by name or number [default: fanhost]
    #[arg(long, value_name = "USER", env = "FANHOST_USER", hide_env = true)]
    pub user: Option<String>,

    /// An app to keep, may be repeated [default: those of the configuration file]
    #[arg(long = "app", value_name = "NAME", env = "FANHOST_APP", hide_env = true)]
    #[arg(value_delimiter = ',')]
    pub apps: Vec<AppName>,

    /// Take releases that nobody has signed: whoever can send can change what this host serves
    #[arg(long, env = "FANHOST_INSECURE", hide_env = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub insecure: bool,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

fn parse_workers(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=WORKERS_MAX).contains(number));
    number.ok_or_else(|| format!("give a number from 1 to {WORKERS_MAX}"))
}

/// `fanhost releases`, `fanhost status`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct StoreArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fanhost activate`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct ActivateArgs {
    /// The release.
    #[command(flatten)]
    pub release: ReleaseArgs,

    /// Also one that was found bad; it counts as good again
    #[arg(long)]
    pub force: bool,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Which release.
#[derive(Debug, Clone, Args)]
pub struct ReleaseArgs {
    /// The app
    #[arg(value_name = "APP")]
    pub app: AppName,

    /// Label, id, or the beginning of the id
    #[arg(value_name = "RELEASE")]
    pub release: String,
}

/// `fanhost rollback`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct RollbackArgs {
    /// The app
    #[arg(value_name = "APP")]
    pub app: AppName,

    /// Label, id, or the beginning of the id [default: the previous good release]
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fanhost pin`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct PinArgs {
    /// The release.
    #[command(flatten)]
    pub release: ReleaseArgs,

    /// Whose pin it is; an owner has one on a release [default: who runs this]
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,

    /// What for, for whoever wonders why it is kept
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,

    /// For how long, as in 2h or 30days [default: until it is taken away]
    #[arg(long = "for", value_name = "DUR", value_parser = humantime::parse_duration)]
    pub time: Option<Duration>,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fanhost unpin`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct UnpinArgs {
    /// The release.
    #[command(flatten)]
    pub release: ReleaseArgs,

    /// Whose pin goes [default: who runs this]
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,

    /// Where the store lies.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fanhost verify`, `fanhost holders`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct ScopeArgs {
    /// Only releases of this app
    #[arg(value_name = "APP")]
    pub app: Option<AppName>,

    /// Only this release, by its label, id, or the beginning of that
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,

    /// Output and store.
    #[command(flatten)]
    pub output: StoreArgs,
}

/// `fanhost prune`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct PruneArgs {
    /// Only releases of this app
    #[arg(value_name = "APP")]
    pub app: Option<AppName>,

    /// Say of every release why it is kept
    #[arg(long)]
    pub explain: bool,

    /// Remove nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Output and store.
    #[command(flatten)]
    pub output: StoreArgs,
}

/// Where store and configuration lie.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// Directory of the store [default: /var/lib/fanfare]
    #[arg(long, value_name = "DIR", env = "FANHOST_STORE", hide_env = true)]
    pub store: Option<PathBuf>,

    /// Configuration file [default: /etc/fanfare/fanhost.toml if it exists]
    #[arg(long, value_name = "FILE", env = "FANHOST_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,

    /// Directory of keys [default: /etc/fanfare/keys if it exists]
    #[arg(long, value_name = "DIR", env = "FANHOST_KEYS", hide_env = true)]
    pub keys: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn apps_are_collected_and_other_flags_take_their_last_value() {
        let line =
            ["fanhost", "run", "--app", "shop", "--app", "blog", "--host", "a", "--host", "b"];
        let Verb::Run(args) = Cli::try_parse_from(line).unwrap().verb else { panic!("run") };
        let apps: Vec<&str> = args.apps.iter().map(AppName::as_str).collect();
        assert_eq!(apps, ["shop", "blog"]);
        assert_eq!(args.host.unwrap().as_str(), "b");
    }

    #[test]
    fn names_that_would_be_paths_and_no_workers_are_refused() {
        for line in
            [["run", "--app", "../etc"], ["run", "--host", "a b"], ["run", "--workers", "0"]]
        {
            assert!(Cli::try_parse_from([&["fanhost"], &line[..]].concat()).is_err(), "{line:?}");
        }
    }
}
