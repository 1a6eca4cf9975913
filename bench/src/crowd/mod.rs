//! The crowd: hundreds of real `fanhost` processes on one machine, each in a network of its own.
//!
//! Not a comparison: it shows that so many hosts complete, and what they take together. It is one
//! run; each of so many processes is looked at once a second, which costs a few hundredths of a
//! core. Needs root, for the network namespaces.
#![expect(clippy::print_stdout, reason = "it is a program for people")]

mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;

use self::table::Crowd;
use crate::arena::Arena;
use crate::cell::{Cell, per_mille};
use crate::conditions::Conditions;
use crate::contestant::Setting;
use crate::fanfare::Fanfare;
use crate::interrupt::{Interrupted, Leftovers};
use crate::{program, race};

/// So many hosts on few cores need more than the usual two seconds to be heard.
const SETTING: &str = "--join-window 30s";

/// Sends one release to hundreds of hosts on this machine, and says what it took
#[derive(Debug, Parser)]
#[command(name = "crowd", args_override_self = true)]
struct Args {
    /// Hosts, each a process with a network, a store in memory and a share of the losses of its own
    #[arg(long, value_name = "N", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    hosts: u16,

    /// Length of the release in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    megabytes: u64,

    /// Percent of all datagrams lost at every machine, in steps of 0.1; a train counts as one
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5)]
    loss: f64,

    /// Arguments of fanfare send
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, default_value = SETTING)]
    fanfare: String,

    /// Seconds after which it did not finish
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    bound: u16,

    /// Write table and figures to this directory, as crowd.md and crowd.json
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Gathers the crowd; what is wrong goes to standard error.
pub fn main() -> ExitCode {
    let args = Args::parse();
    program::run("crowd", |leftovers, interrupted| gather(&args, leftovers, interrupted))
}

fn gather(args: &Args, leftovers: &Leftovers, interrupted: &Interrupted) -> anyhow::Result<()> {
    program::ensure_root()?;
    let cell = Cell {
        hosts: args.hosts.into(),
        file_bytes: args.megabytes << 20,
        loss_per_mille: per_mille(args.loss)?,
        has_offload: true,
        rate_limit: None,
    };
    let fanfare = Fanfare::beside_us()?;
    ensure!(program::is_complete("crowd", &fanfare), "nothing to gather");
    let conditions = Conditions::now();
    println!("{cell}; {conditions}");
    program::warn_of_load("crowd", &conditions);
    let arena = Arena::new(&cell)?;
    leftovers.enter_directory(arena.lab().directory());
    interrupted.check()?;
    fanfare.pack(&arena)?;
    let (setting, bound) =
        (Setting::new(&args.fanfare, None), Duration::from_secs(args.bound.into()));
    let watched = race::watch(&arena, &fanfare, &setting, bound, interrupted)
        .map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let crowd = Crowd::of(&cell, conditions, &watched)?;
    let table = crowd.table();
    println!("\n{table}");
    if let Some(directory) = &args.write {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        program::write_file(&directory.join("crowd.md"), &table)?;
        let figures = serde_json::to_string_pretty(&crowd).context("figures are numbers")?;
        program::write_file(&directory.join("crowd.json"), &(figures + "\n"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_has_the_rules_as_defaults() {
        Args::command().debug_assert();
        let args = Args::parse_from(["crowd"]);
        assert_eq!((args.hosts, args.megabytes, args.loss), (200, 16, 0.5));
    }
}
