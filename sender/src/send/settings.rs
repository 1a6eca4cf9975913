//! What a send is to be: flags over environment over `/etc/fanfare/fanfare.toml` over defaults.
//!
//! Invariant: a key that this program does not know is refused, with file and line: a misspelt
//! setting must not silently mean its default.
#![expect(clippy::disallowed_methods, reason = "reads the configuration file")]

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use common::net::parse_group;
use common::seal::SenderKeys;
use common::wire::Activation;
use serde::{Deserialize, Deserializer};

use super::args::{ActivateArg, DurationArg, RateArg, SendArgs, SymbolBytesArg};
use super::expect;
use crate::complaint::Complaint;
use crate::keys::{DEFAULT_DIRECTORY, sealing};
use crate::transfer::{RateOption, SendOptions};

/// Where the file lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/fanfare/fanfare.toml";
/// The group that hosts listen to unless told otherwise.
pub const DEFAULT_GROUP: &str = "239.192.70.70:7070";
/// Hosts hear an announce every tenth of a second; a sleeping one is awake within this.
pub const DEFAULT_JOIN_WINDOW: Duration = Duration::from_secs(2);

/// Longer than hosts take by default (30 s of splay, a minute of hooks, 30 s of soak), and no host
/// can have a sender wait for longer.
pub const DEFAULT_VERDICT_WAIT: Duration = Duration::from_secs(300);

/// The file's content; what it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(deserialize_with = "text")]
    activate: Option<ActivateArg>,
    interface: Option<String>,
    group: Option<String>,
    #[serde(deserialize_with = "text")]
    rate: Option<RateArg>,
    #[serde(deserialize_with = "text")]
    join_window: Option<DurationArg>,
    #[serde(deserialize_with = "text")]
    timeout: Option<DurationArg>,
    #[serde(deserialize_with = "text")]
    verdict_wait: Option<DurationArg>,
    #[serde(deserialize_with = "hops")]
    ttl: Option<u8>,
    source: Option<IpAddr>,
    #[serde(deserialize_with = "symbol_bytes")]
    symbol_bytes: Option<u16>,
    #[serde(deserialize_with = "code_point")]
    dscp: Option<u8>,
    feedback_port: Option<u16>,
    keys: Option<PathBuf>,
    insecure: Option<bool>,
}

fn text<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T::Err: Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn hops<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match u8::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("0 is no ttl: give 1 to 255")),
        ttl => Ok(Some(ttl)),
    }
}

fn code_point<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match u8::deserialize(deserializer)? {
        64.. => Err(serde::de::Error::custom("a dscp is 0 to 63")),
        dscp => Ok(Some(dscp)),
    }
}

fn symbol_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let bytes = u16::deserialize(deserializer)?;
    SymbolBytesArg::try_from(bytes).map(|arg| Some(arg.0)).map_err(serde::de::Error::custom)
}

impl Config {
    /// Reads the file that `--config` names, or the usual one if it exists.
    ///
    /// # Errors
    /// A file that cannot be read or says what is not understood, with its line.
    pub fn load(named: Option<&Path>) -> Result<Self, Complaint> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        match fs::read(path) {
            Ok(bytes) => Self::parse(&String::from_utf8_lossy(&bytes), path),
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => {
                Err(Complaint::usage(format!("{}: cannot be read: {error}", path.display())))
            }
        }
    }

    /// Reads the text of a file; `path` names it in errors.
    ///
    /// # Errors
    /// When the text says something that is not understood.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Complaint> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
            Complaint::usage(format!("{}:{line}: {}", path.display(), error.message().trim()))
        })
    }
}

/// What is to be sent, and how.
///
/// # Errors
/// What the command line lacks, or what does not fit together.
pub fn resolve(args: &SendArgs, config: &Config) -> Result<SendOptions, Complaint> {
    let expect = args.expect.as_ref().ok_or_else(|| {
        Complaint::usage(
            "whom do you expect? give --expect N, --expect @FILE with host names, or --expect any",
        )
    })?;
    let group = args.group.as_ref().or(config.group.as_ref());
    let group = group.map_or(DEFAULT_GROUP, String::as_str);
    let group = parse_group(group).map_err(Complaint::usage)?;
    let (expect, quorum) = expect::resolve(expect, args.quorum)?;
    let source = args.source.or(config.source);
    check_source(source, group)?;
    let join_window = args.join_window.or(config.join_window);
    let join_window = join_window.map_or(DEFAULT_JOIN_WINDOW, |time| time.0);
    let symbol_bytes = args.symbol_bytes.map(|arg| arg.0).or(config.symbol_bytes);
    Ok(SendOptions {
        bundle: args.bundle.clone(),
        expect,
        quorum,
        activation: args.activate.or(config.activate).map_or(Activation::Together, Into::into),
        interface: args.interface.clone().or_else(|| config.interface.clone()),
        group,
        rate: args.rate.or(config.rate).map_or(RateOption::Auto, |rate| rate.0),
        join_window,
        timeout: args.timeout.or(config.timeout).map(|time| time.0),
        verdict_wait: args
            .verdict_wait
            .or(config.verdict_wait)
            .map_or(DEFAULT_VERDICT_WAIT, |time| time.0),
        force: args.force,
        ttl: args.ttl.or(config.ttl).unwrap_or(1),
        source,
        symbol_bytes,
        dscp: args.dscp.or(config.dscp).unwrap_or(0),
        feedback_port: args.feedback_port.or(config.feedback_port).unwrap_or(0),
        keys: sealing_keys(args, config)?,
    })
}

/// What seals the session; nothing, where the operator does without by name.
fn sealing_keys(args: &SendArgs, config: &Config) -> Result<Option<Arc<SenderKeys>>, Complaint> {
    if args.insecure || (args.keys.is_none() && config.insecure.unwrap_or(false)) {
        return Ok(None);
    }
    let named = args.keys.as_deref().or(config.keys.as_deref());
    let default = || Some(Path::new(DEFAULT_DIRECTORY)).filter(|path| path.exists());
    let Some(directory) = named.or_else(default) else {
        return Err(Complaint::usage(format!(
            "there are no keys in {DEFAULT_DIRECTORY}, so nothing would be sealed: fanfare keygen \
             makes them; or give --insecure here and on the hosts"
        )));
    };
    sealing::load(directory).map(Some)
}

fn check_source(source: Option<IpAddr>, group: SocketAddr) -> Result<(), Complaint> {
    match source {
        Some(source) if source.is_ipv4() != group.is_ipv4() => Err(Complaint::usage(format!(
            "--source {source} and --group {group} are of two families: give both as IPv4 or IPv6"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::session::{Expect, Quorum};
    use clap::Parser;
    use common::units::Bitrate;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        send: SendArgs,
    }

    fn resolved(arguments: &[&str], config: &str) -> Result<SendOptions, Complaint> {
        let args = Cli::try_parse_from([&["send", "x.fan"], arguments].concat()).unwrap().send;
        resolve(&args, &Config::parse(config, Path::new("fanfare.toml"))?)
    }

    fn refused(arguments: &[&str], config: &str) -> (Exit, String) {
        let complaint = resolved(arguments, config).unwrap_err();
        (complaint.exit, complaint.to_string())
    }

    #[test]
    fn what_nobody_says_has_the_documented_default() {
        let options = resolved(&["--expect", "8", "--insecure"], "").unwrap();
        assert_eq!(options.expect, Expect::Count(8));
        assert_eq!(options.quorum, Quorum::All);
        assert_eq!(options.activation, Activation::Together);
        assert_eq!(options.group, SocketAddr::from(([239, 192, 70, 70], 7070)));
        assert_eq!(options.rate, RateOption::Auto);
        assert_eq!(options.join_window, Duration::from_secs(2));
        assert_eq!((options.ttl, options.dscp, options.feedback_port), (1, 0, 0));
        assert_eq!((options.timeout, options.symbol_bytes), (None, None));
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let file = "group = \"[ff15::7070]:7070\"\nrate = \"fixed:1Gbit\"\nttl = 4\n\
            join_window = \"5s\"\nactivate = \"hold\"\nsymbol_bytes = 1024\ninsecure = true\n";
        let options = resolved(&["--expect", "any", "--ttl", "9"], file).unwrap();
        assert_eq!(options.ttl, 9);
        assert_eq!(options.rate, RateOption::Fixed(Bitrate::from_megabits(1000)));
        assert_eq!(options.join_window, Duration::from_secs(5));
        assert_eq!(options.activation, Activation::Hold);
        assert_eq!(options.symbol_bytes, Some(1024));
        assert!(options.group.is_ipv6());
    }

    #[test]
    fn a_send_without_an_expectation_or_without_keys_says_what_is_missing() {
        let (exit, line) = refused(&["--insecure"], "");
        assert_eq!(exit, Exit::Usage);
        assert!(line.starts_with("whom do you expect? give --expect N"), "{line}");
        let (exit, line) = refused(&["--expect", "8"], "insecure = false");
        assert_eq!(exit, Exit::Usage);
        assert!(line.contains("give --insecure here and on the hosts"), "{line}");
    }

    #[test]
    fn what_is_no_multicast_group_is_a_usage_error() {
        for group in ["192.0.2.1:7070", "239.192.70.70", "239.192.70.70:0"] {
            let (exit, line) = refused(&["--expect", "8", "--insecure", "--group", group], "");
            assert_eq!(exit, Exit::Usage);
            assert!(line.contains(group), "{line}");
        }
    }

    #[test]
    fn a_source_of_the_other_family_is_refused() {
        let (exit, line) = refused(&["--expect", "8", "--insecure", "--source", "fd00::1"], "");
        assert_eq!(exit, Exit::Usage);
        assert!(line.contains("two families"), "{line}");
    }

    #[test]
    fn what_the_file_says_wrongly_is_refused_with_its_line() {
        for (file, expected) in [
            ("ttl = 1\n\nintreface = \"lo\"", "fanfare.toml:3: unknown field `intreface`"),
            ("\nrate = \"500\"", "fanfare.toml:2: \"500\" is not a rate"),
            ("join_window = \"2\"", "fanfare.toml:1: \"2\" is no time"),
            ("ttl = 0", "fanfare.toml:1: 0 is no ttl"),
            ("dscp = 64", "fanfare.toml:1: a dscp is 0 to 63"),
            ("symbol_bytes = 1400", "fanfare.toml:1: 1400 is no multiple of 64"),
            ("activate = \"now\"", "fanfare.toml:1: \"now\" is none of together, each, hold"),
            ("expect = 8", "fanfare.toml:1: unknown field `expect`"),
            ("group = ", "fanfare.toml:1: "),
        ] {
            let (exit, line) = refused(&["--expect", "8", "--insecure"], file);
            assert_eq!(exit, Exit::Usage);
            assert!(line.starts_with(expected), "{file:?}: {line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let line = Config::load(Some(Path::new("/nonexistent/f.toml"))).unwrap_err().to_string();
        assert!(line.starts_with("/nonexistent/f.toml: cannot be read: No such"), "{line}");
    }
}
