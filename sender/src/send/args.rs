//! The arguments of `fanfare send`, as values with units.
//!
//! Not here: the configuration file, and what holds when nobody says anything (`settings`).

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use common::limits::{SYMBOL_BYTES_MAX, SYMBOL_BYTES_STEP};
use common::wire::Activation;

use super::expect::{ExpectArg, QuorumArg};
use crate::transfer::RateOption;

const EXAMPLES: &str = "\
Examples:
  fanfare send shop-2.0.fan --expect 8
      to 8 hosts, which all switch together once all have it
  fanfare send shop-2.0.fan --expect @hosts --quorum 95% --timeout 2m
      to the hosts named in a file; 95 % of them are a success
  fanfare send shop-2.0.fan --expect any --activate hold --rate 200Mbit
      to whoever listens, at most 200 Mbit/s, nobody switches
  fanfare send shop-2.0.fan --expect 8 --json | jq '.hosts[].state'
      for scripts: one JSON object on standard output
";

const EXIT_CODES: &str = "\
Exit codes:
  0 every expected host (or the quorum) is active, staged with --activate hold
  3 not reached    4 nobody joined    5 bundle refused    6 resources
  7 busy, or network configuration    8 hosts found it bad and went back
  124 --timeout    130 interrupted    2 usage    1 our own fault

Every option but --expect, --quorum, --force, --json and --dry-run can also be set in
/etc/fanfare/fanfare.toml (--join-window 5s is join_window = \"5s\") or in the environment
(FANFARE_JOIN_WINDOW); a flag wins over the environment, and that over the file.";

/// Sends a release to every host that listens, once
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES, after_help = EXIT_CODES, args_override_self = true)]
pub struct SendArgs {
    /// The bundle, as made by fanfare pack
    #[arg(value_name = "FILE.fan")]
    pub bundle: PathBuf,

    /// Whom to expect: a number of hosts, a file of names (one a line, # comments), or any
    #[arg(long, value_name = "N|@FILE|any", allow_negative_numbers = true)]
    pub expect: Option<ExpectArg>,

    /// How many of the expected hosts make a success [default: all]
    #[arg(long, value_name = "N|P%", allow_negative_numbers = true)]
    pub quorum: Option<QuorumArg>,

    /// When hosts switch: together once enough have staged, each when it has staged, or not at all
    /// [default: together]
    #[arg(long, value_name = "WHEN", env = "FANFARE_ACTIVATE", hide_env = true)]
    pub activate: Option<ActivateArg>,

    /// Interface to send through, by name or address [default: the one with the route to the group]
    #[arg(long, value_name = "IF", env = "FANFARE_INTERFACE", hide_env = true)]
    pub interface: Option<String>,

    /// Control group that the hosts listen to [default: 239.192.70.70:7070]
    #[arg(long, value_name = "ADDR:PORT", env = "FANFARE_GROUP", hide_env = true)]
    pub group: Option<String>,

    /// How fast: at most R, or exactly fixed:R whatever is lost (500Mbit, fixed:2.5Gbit)
    /// [default: at most half of the slower of our link and the hosts']
    #[arg(long, value_name = "R|fixed:R", env = "FANFARE_RATE", hide_env = true)]
    pub rate: Option<RateArg>,

    /// How long hosts may take to join; over at once when all expected are here [default: 2s]
    #[arg(long, value_name = "DUR", env = "FANFARE_JOIN_WINDOW", hide_env = true)]
    pub join_window: Option<DurationArg>,

    /// Give up after this time, with exit code 124 [default: never]
    #[arg(long, value_name = "DUR", env = "FANFARE_TIMEOUT", hide_env = true)]
    pub timeout: Option<DurationArg>,

    /// How long to wait for hosts that watch the release's health before they keep it; 0s reports
    /// them active at once [default: 5m]
    #[arg(long, value_name = "DUR", env = "FANFARE_VERDICT_WAIT", hide_env = true)]
    pub verdict_wait: Option<DurationArg>,

    /// Routers that datagrams may pass, plus one [default: 1, this network only]
    #[arg(long, value_name = "N", env = "FANFARE_TTL", hide_env = true)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: Option<u8>,

    /// Address to send from, where hosts admit a single source (SSM) [default: the interface's]
    #[arg(long, value_name = "ADDR", env = "FANFARE_SOURCE", hide_env = true)]
    pub source: Option<IpAddr>,

    /// Bytes of a symbol, a multiple of 64 [default: as many as fit, at most 1408]
    #[arg(long, value_name = "N", env = "FANFARE_SYMBOL_BYTES", hide_env = true)]
    pub symbol_bytes: Option<SymbolBytesArg>,

    /// Differentiated services code point, 0 to 63 [default: 0]
    #[arg(long, value_name = "N", env = "FANFARE_DSCP", hide_env = true)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..64))]
    pub dscp: Option<u8>,

    /// UDP port that hosts answer to, for firewalls [default: any]
    #[arg(long, value_name = "PORT", env = "FANFARE_FEEDBACK_PORT", hide_env = true)]
    pub feedback_port: Option<u16>,

    /// Progress on standard error; auto is tty on a terminal and plain elsewhere [default: auto]
    #[arg(long, value_name = "HOW", env = "FANFARE_PROGRESS", hide_env = true)]
    pub progress: Option<ProgressArg>,

    /// Have hosts take the release also where they found it bad before
    #[arg(long)]
    pub force: bool,

    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Print what would be sent, from where and how; send nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,

    /// Directory of group, master and operator key [default: /etc/fanfare/keys if it exists]
    #[arg(long, value_name = "DIR", env = "FANFARE_KEYS", hide_env = true)]
    #[arg(conflicts_with = "insecure")]
    pub keys: Option<PathBuf>,

    /// Send without keys: nothing is sealed or signed, and the hosts must say the same
    #[arg(long, env = "FANFARE_INSECURE", hide_env = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub insecure: bool,

    /// Configuration file [default: /etc/fanfare/fanfare.toml if it exists]
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
}

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// tty on a terminal, plain elsewhere
    Auto,
    /// Live bars
    Tty,
    /// A line at each phase, and every 10 s or 10 %
    Plain,
    /// A JSON object a line
    Json,
    /// Nothing
    None,
}

/// `--activate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActivateArg {
    /// All at once, when enough have staged
    Together,
    /// Every host when it has staged
    Each,
    /// Nobody: stage only
    Hold,
}

impl From<ActivateArg> for Activation {
    fn from(arg: ActivateArg) -> Self {
        match arg {
            ActivateArg::Together => Self::Together,
            ActivateArg::Each => Self::Each,
            ActivateArg::Hold => Self::Hold,
        }
    }
}

impl FromStr for ActivateArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(text, false)
            .map_err(|_| format!("{text:?} is none of together, each, hold"))
    }
}

/// `--rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateArg(pub RateOption);

impl FromStr for RateArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = match text.strip_prefix("fixed:") {
            _ if text == "auto" => Ok(RateOption::Auto),
            Some(rate) => rate.parse().map(RateOption::Fixed),
            None => text.parse().map(RateOption::Ceiling),
        };
        rate.map(Self).map_err(|error| error.to_string())
    }
}

/// A time with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationArg(pub Duration);

impl FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text.trim())
            .map(Self)
            .map_err(|error| format!("{text:?} is no time such as 500ms, 2s or 1m30s: {error}"))
    }
}

/// `--symbol-bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolBytesArg(pub u16);

impl TryFrom<u16> for SymbolBytesArg {
    type Error = String;

    fn try_from(bytes: u16) -> Result<Self, String> {
        let is_possible =
            bytes > 0 && bytes <= SYMBOL_BYTES_MAX && bytes.is_multiple_of(SYMBOL_BYTES_STEP);
        is_possible.then_some(Self(bytes)).ok_or_else(|| {
            format!("{bytes} is no multiple of {SYMBOL_BYTES_STEP} up to {SYMBOL_BYTES_MAX}")
        })
    }
}

impl FromStr for SymbolBytesArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u16>().map_err(|error| error.to_string()).and_then(Self::try_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use common::units::Bitrate;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        send: SendArgs,
    }

    fn parse(arguments: &[&str]) -> Result<SendArgs, clap::Error> {
        Cli::try_parse_from([&["send", "x.fan"], arguments].concat()).map(|cli| cli.send)
    }

    #[test]
    fn values_carry_units_and_bare_numbers_are_refused() {
        let args = parse(&["--rate", "fixed:2.5Gbit", "--join-window", "1500ms"]).unwrap();
        assert_eq!(args.rate, Some(RateArg(RateOption::Fixed(Bitrate::from_megabits(2500)))));
        assert_eq!(args.join_window, Some(DurationArg(Duration::from_millis(1500))));
        for bad in [
            ["--rate", "500"],
            ["--rate", "fixed:"],
            ["--rate", "500Mbps"],
            ["--join-window", "2"],
            ["--timeout", "soon"],
            ["--ttl", "0"],
            ["--ttl", "256"],
            ["--dscp", "64"],
            ["--symbol-bytes", "1400"],
            ["--symbol-bytes", "0"],
            ["--symbol-bytes", "8960"],
            ["--source", "eth0"],
            ["--activate", "now"],
            ["--progress", "loud"],
            ["--feedback-port", "70000"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_number_below_zero_is_told_what_is_wanted() {
        for option in ["--expect", "--quorum"] {
            let error = parse(&[option, "-1"]).unwrap_err().to_string();
            assert!(error.contains("give a number of hosts"), "{error}");
        }
    }

    #[test]
    fn a_repeated_flag_takes_its_last_value() {
        let args =
            parse(&["--ttl", "4", "--expect", "3", "--ttl", "9", "--expect", "any"]).unwrap();
        assert_eq!(args.ttl, Some(9));
        assert_eq!(args.expect, Some(ExpectArg::Any));
        assert!(parse(&["--insecure", "--insecure", "--json", "--json"]).unwrap().insecure);
    }

    #[test]
    fn help_begins_with_examples() {
        let help = parse(&["--help"]).unwrap_err().to_string();
        assert!(help.starts_with("Examples:\n  fanfare send"), "{help}");
        assert!(help.contains("124 --timeout"), "{help}");
    }
}
