//! The comparison: fanfare beside UFTP and udpcast, on the same machines, in the same hour.
//!
//! Five alternating runs, medians, the clock from the sender's start to the last host staged and
//! checked; every contestant with the settings that were fastest when tried. The rules are in
//! `README.md`. Needs root, for the network namespaces.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod arena;
mod ceiling;
mod contestant;
mod fanfare;
mod peers;
mod race;
mod standings;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use common::units::ByteSize;

use self::arena::Arena;
use self::contestant::{Contestant, Setting};
use self::fanfare::Fanfare;
use self::peers::{Udpcast, Uftp};
use self::standings::Standing;
use crate::interrupt::{INTERRUPTED, Interrupted, Leftovers, on_signals};

/// Below this the peers, which cannot go beyond net.core.rmem_max, lose more than they need to.
const RMEM_MAX_FAIR: u64 = 4 << 20;

/// Sends one incompressible file to many hosts with fanfare, UFTP and udpcast, and compares
#[derive(Debug, Parser)]
#[command(name = "compare", args_override_self = true)]
pub struct Args {
    /// Hosts, each in a network namespace of its own
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=200))]
    hosts: u16,

    /// Length of the file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=8192))]
    megabytes: u64,

    /// Percent of all datagrams lost at every machine, in steps of 0.1; a lost train counts as one
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,

    /// Runs of each contestant, alternating; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,

    /// Who takes part
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[arg(default_value = "fanfare,uftp,udpcast,ceiling")]
    contestants: Vec<Name>,

    /// Settings tried for each contestant before the runs; 1 takes the first without trying
    #[arg(long, value_name = "N", default_value_t = 9)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    tries: u16,

    /// Arguments of fanfare send instead of trying some, such as "--rate 1Gbit"
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    fanfare: Option<String>,
}

/// A contestant, or the raw ceiling beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Fanfare,
    Uftp,
    Udpcast,
    Ceiling,
}

/// Compares; what is wrong goes to standard error.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let leftovers = Leftovers::default();
    let compared =
        on_signals(&leftovers, || {}).context("cannot wait for signals").and_then(|interrupted| {
            match compare(&args, &leftovers, &interrupted) {
                Err(_) if interrupted.is_raised() => Ok(false),
                compared => compared.map(|()| true),
            }
        });
    match compared {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("compare: interrupted; the namespaces are gone");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args, leftovers: &Leftovers, interrupted: &Interrupted) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
    ensure!((0.0..=50.0).contains(&args.loss), "--loss is 0 to 50 percent, not {}", args.loss);
    let mut contestants = contestants(args)?;
    contestants.retain(|contestant| is_complete(&**contestant));
    tell_conditions(args);
    let loss_per_mille = (args.loss * 10.0).round() as u32;
    let arena = Arena::new(args.hosts.into(), args.megabytes << 20, loss_per_mille);
    leftovers.enter_directory(arena.lab().directory());
    if args.contestants.contains(&Name::Ceiling) {
        let ceiling = ceiling::measure(&arena)?;
        println!(
            "raw ceiling, trains of 16: {} sent, {} received by a host\n",
            ceiling.sent, ceiling.received
        );
    }
    let mut standings = Vec::new();
    for contestant in &contestants {
        contestant.prepare(&arena)?;
        let setting = best_setting(&arena, &**contestant, args, interrupted)?;
        standings.push(Standing::new(&**contestant, setting));
    }
    for nth in 1..=args.runs {
        for standing in &mut standings {
            interrupted.check()?;
            let run = race::run(&arena, standing.contestant, &standing.setting, interrupted);
            standing.add(nth, run);
        }
    }
    for standing in &mut standings {
        interrupted.check()?;
        standing.peaks =
            race::watch(&arena, standing.contestant, &standing.setting, interrupted).ok();
    }
    println!("\n{}", standings::table(&standings, arena.bytes()));
    Ok(())
}

fn contestants(args: &Args) -> anyhow::Result<Vec<Box<dyn Contestant>>> {
    let mut all: Vec<Box<dyn Contestant>> = Vec::new();
    for name in &args.contestants {
        match name {
            Name::Fanfare => all.push(Box::new(Fanfare::beside_us()?)),
            Name::Uftp => all.push(Box::new(Uftp)),
            Name::Udpcast => all.push(Box::new(Udpcast)),
            Name::Ceiling => {}
        }
    }
    Ok(all)
}

/// Whether its programs are there; says which are not.
fn is_complete(contestant: &dyn Contestant) -> bool {
    let (programs, remedy) = contestant.needs();
    let missing: Vec<String> = programs
        .iter()
        .filter(|program| !exists(program))
        .map(|program| program.display().to_string())
        .collect();
    if !missing.is_empty() {
        let (name, missing) = (contestant.name(), missing.join(" and "));
        eprintln!("compare: without {name}: {missing} missing ({remedy})");
    }
    missing.is_empty()
}

fn exists(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.is_file()
        || program.is_relative()
            && std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn tell_conditions(args: &Args) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{} MiB of noise to {} hosts, {} % loss, {} runs each, alternating; {cores} cores",
        args.megabytes, args.hosts, args.loss, args.runs
    );
    let text = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    let rmem_max: u64 = text.trim().parse().unwrap_or(0);
    println!("receive buffers of the peers: {} (net.core.rmem_max)", ByteSize(rmem_max));
    if rmem_max < RMEM_MAX_FAIR {
        eprintln!("compare: unfair to the peers: sysctl -w net.core.rmem_max={RMEM_MAX_FAIR}");
    }
}

/// The fastest of the settings, each tried once; one that cannot win is not tried.
fn best_setting(
    arena: &Arena,
    contestant: &dyn Contestant,
    args: &Args,
    interrupted: &Interrupted,
) -> anyhow::Result<Setting> {
    let mut settings = contestant.settings();
    if let Some(arguments) = args.fanfare.as_ref().filter(|_| contestant.name() == "fanfare") {
        settings = vec![Setting::new(arguments, None)];
    }
    settings.truncate(args.tries.into());
    let mut best: Option<(f64, &Setting)> = None;
    for setting in settings.iter().filter(|_| settings.len() > 1) {
        interrupted.check()?;
        if best.is_some_and(|(seconds, _)| setting.seconds_min(arena.bytes()) >= seconds) {
            continue;
        }
        let run = race::run(arena, contestant, setting, interrupted);
        standings::tell_run("trying", contestant.name(), setting, &run);
        if let Ok(run) = run
            && best.is_none_or(|(seconds, _)| run.seconds < seconds)
        {
            best = Some((run.seconds, setting));
        }
    }
    let best = best.map_or_else(|| settings.first(), |(_, setting)| Some(setting));
    best.cloned().with_context(|| format!("{} has no setting", contestant.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_has_the_rules_as_defaults() {
        Args::command().debug_assert();
        let args = Args::parse_from(["compare"]);
        assert_eq!((args.hosts, args.megabytes, args.runs), (8, 256, 5));
        assert_eq!(args.contestants.len(), 4);
    }

    #[test]
    fn a_missing_program_is_noticed() {
        assert!(exists(Path::new("sh")));
        assert!(!exists(Path::new("no-such-program-anywhere")));
        assert!(!exists(Path::new("/no/such/program")));
    }
}
