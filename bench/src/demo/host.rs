//! One of the demo's hosts: the same program in another process, running the receiver's daemon.
//!
//! It lives as long as its standard input is open, so that no end of the demo, not even SIGKILL,
//! leaves it behind; the kernel's parent-death signal is the second string. Its last words are its
//! loss counts, for the table.
#![expect(clippy::disallowed_methods, reason = "a host is a process of its own")]
#![expect(clippy::print_stdout, reason = "the demo reads the counts from its standard output")]

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use ::tests::lossy::{LossCounts, LossyNetwork};
use anyhow::{Context, bail};
use common::id::{AppName, HostName};
use common::net::{StopFlag, SystemNetwork};
use receiver::config::Config;
use receiver::daemon::{Options, run};
use receiver::keys::KnownKeys;
use receiver::pipeline::Manners;
use receiver::status::StatusBoard;
use receiver::store::{AppConfig, serve_unpacker};
use rustix::process::{Signal, set_parent_process_death_signal};

/// First argument of a process that is to be a host; it is not for people.
pub const ROLE: &str = "--be-a-host-of-the-demo";

/// What a host is told on its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostArgs {
    /// Its name.
    pub host: HostName,
    /// Its store.
    pub store: PathBuf,
    /// The control group.
    pub group: SocketAddr,
    /// Name of the loopback interface.
    pub interface: String,
    /// The only app.
    pub app: AppName,
    /// The directory of its keys.
    pub keys: PathBuf,
    /// Datagrams lost, in thousandths.
    pub loss_per_mille: u32,
    /// What the losses are drawn from.
    pub seed: u64,
}

impl HostArgs {
    /// As a command line.
    pub fn to_arguments(&self) -> Vec<String> {
        vec![
            ROLE.to_owned(),
            self.host.to_string(),
            self.store.display().to_string(),
            self.group.to_string(),
            self.interface.clone(),
            self.app.to_string(),
            self.keys.display().to_string(),
            self.loss_per_mille.to_string(),
            self.seed.to_string(),
        ]
    }

    /// From a command line.
    ///
    /// # Errors
    /// When it was not made by [`HostArgs::to_arguments`].
    pub fn from_arguments(arguments: &[String]) -> anyhow::Result<Self> {
        let [role, host, store, group, interface, app, keys, loss, seed] = arguments else {
            bail!("a host of the demo takes 9 arguments, not {}", arguments.len());
        };
        if role != ROLE {
            bail!("{role:?} is no role");
        }
        Ok(Self {
            host: host.parse()?,
            store: store.into(),
            group: group.parse()?,
            interface: interface.clone(),
            app: app.parse()?,
            keys: keys.into(),
            loss_per_mille: loss.parse()?,
            seed: seed.parse()?,
        })
    }
}

/// Where the app's `current` is.
pub fn app_root(store: &Path, app: &AppName) -> PathBuf {
    store.join(app.as_str()).join("root")
}

/// The process: runs until standard input ends.
pub fn main(arguments: &[String]) -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let done = HostArgs::from_arguments(arguments).and_then(|args| be(&args));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The process that one of the hosts starts for an archive.
pub fn unpack() -> ExitCode {
    match serve_unpacker() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn be(args: &HostArgs) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot tie life to the demo's")?;
    let stop = StopFlag::new()?;
    let stopped = stop.clone();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        stopped.raise();
    });
    let probability = f64::from(args.loss_per_mille) / 1000.0;
    let network = LossyNetwork::new(SystemNetwork, probability, args.seed);
    let keys = KnownKeys::load(Some(&args.keys), &Config::default()).map_err(anyhow::Error::msg)?;
    let app = AppConfig {
        // The demo reads the image again to check its digest.
        keep_image: true,
        trust: keys.trust(&args.app),
        ..AppConfig::new(args.app.clone(), app_root(&args.store, &args.app))
    };
    let options = Options {
        interface: Some(args.interface.clone()),
        group: args.group,
        store: args.store.clone(),
        apps: vec![app],
        policies: BTreeMap::new(),
        host: args.host.clone(),
        once: false,
        keys: Some(Arc::new(keys.sealing().map_err(anyhow::Error::msg)?)),
        source: None,
        manners: Manners::default(),
    };
    run(&options, &network, &stop, &StatusBoard::default())?;
    println!("{}", counts_line(network.counts()));
    Ok(())
}

fn counts_line(counts: LossCounts) -> String {
    format!("counts {} {} {}", counts.arrived, counts.lost, counts.lost_sources)
}

/// The counts in a host's standard output, read to its end.
///
/// # Errors
/// When there are none: the host did not end by itself.
pub fn read_counts(mut output: impl Read) -> anyhow::Result<LossCounts> {
    let mut text = String::new();
    output.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix("counts "));
    let numbers: Vec<u64> =
        line.unwrap_or_default().split(' ').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [arrived, lost, lost_sources] => Ok(LossCounts { arrived, lost, lost_sources }),
        _ => bail!("no counts in {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_command_line() {
        let args = HostArgs {
            host: "host-1".parse().unwrap(),
            store: "/tmp/a b/store".into(),
            group: "239.192.7.9:7170".parse().unwrap(),
            interface: "lo".to_owned(),
            keys: "/tmp/keys".into(),
            app: "shop".parse().unwrap(),
            loss_per_mille: 30,
            seed: u64::MAX,
        };
        assert_eq!(HostArgs::from_arguments(&args.to_arguments()).unwrap(), args);
        assert!(HostArgs::from_arguments(&[ROLE.to_owned()]).is_err());
    }

    #[test]
    fn counts_survive_the_pipe_and_their_absence_is_an_error() {
        let counts = LossCounts { arrived: 9000, lost: 271, lost_sources: 250 };
        assert_eq!(read_counts(counts_line(counts).as_bytes()).unwrap(), counts);
        assert!(read_counts(&b"panicked"[..]).is_err());
    }
}
