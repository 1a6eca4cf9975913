//! The profile: where the sender and one host spend their processor time, in the arena.
//!
//! One run of fanfare under `perf` or callgrind, and the functions that took most. Hardware
//! counters are not to be had on every machine: perf counts by the clock. Needs root, for the
//! namespaces.
#![expect(clippy::print_stdout, reason = "it is a program for people")]

mod top;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use common::units::Bitrate;

use crate::arena::Arena;
use crate::cell::{Cell, per_mille};
use crate::contestant::Setting;
use crate::fanfare::{Fanfare, Profiler, Tool};
use crate::interrupt::{Interrupted, Leftovers};
use crate::{program, race};

/// Functions shown of each process.
const SHOWN: usize = 15;

/// Runs fanfare once under a profiler: the sender, and the first of the hosts
#[derive(Debug, Parser)]
#[command(name = "profile", args_override_self = true)]
struct Args {
    /// By the clock, or by simulated instructions (some fifty times slower: use --megabytes 8 and
    /// --fanfare "--rate 20Mbit")
    #[arg(long, value_name = "TOOL", value_enum, default_value = "perf")]
    tool: ToolArg,

    /// Hosts, each in a network namespace of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=200))]
    hosts: u16,

    /// Length of the file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=8192))]
    megabytes: u64,

    /// Percent of all datagrams lost at every machine, in steps of 0.1; a train counts as one
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,

    /// What the sender's link carries [default: no limit]
    #[arg(long, value_name = "RATE")]
    rate_limit: Option<Bitrate>,

    /// Arguments of fanfare send
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, default_value = "")]
    fanfare: String,

    /// Seconds after which it did not finish
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    bound: u16,

    /// Directory for the profiles, sender.* and host.*
    #[arg(long, value_name = "DIR", default_value = "target/profile")]
    write: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ToolArg {
    Perf,
    Callgrind,
}

/// Profiles; what is wrong goes to standard error.
pub fn main() -> ExitCode {
    let args = Args::parse();
    program::run("profile", |leftovers, interrupted| profile(&args, leftovers, interrupted))
}

fn profile(args: &Args, leftovers: &Leftovers, interrupted: &Interrupted) -> anyhow::Result<()> {
    program::ensure_root()?;
    let cell = Cell {
        hosts: args.hosts.into(),
        file_bytes: args.megabytes << 20,
        loss_per_mille: per_mille(args.loss)?,
        has_offload: true,
        rate_limit: args.rate_limit,
    };
    let failed = || format!("cannot make {}", args.write.display());
    std::fs::create_dir_all(&args.write).with_context(failed)?;
    // Commands of a lab run in the root directory.
    let directory = std::path::absolute(&args.write).with_context(failed)?;
    let tool = match args.tool {
        ToolArg::Perf => Tool::Perf,
        ToolArg::Callgrind => Tool::Callgrind,
    };
    let profiler = Profiler { tool, directory };
    let fanfare = Fanfare::beside_us()?.under(profiler.clone());
    ensure!(program::is_complete("profile", &fanfare), "nothing to profile");
    let arena = Arena::new(&cell)?;
    leftovers.enter_directory(arena.lab().directory());
    interrupted.check()?;
    fanfare.pack(&arena)?;
    let (setting, bound) =
        (Setting::new(&args.fanfare, None), Duration::from_secs(args.bound.into()));
    let run = race::run(&arena, &fanfare, &setting, bound, interrupted)
        .map_err(|failure| anyhow::anyhow!("{failure}"))?;
    println!("{cell}: {:.2} s under {}", run.time.as_secs_f64(), tool.program());
    for who in ["sender", "host"] {
        let output = report(&profiler, who)?;
        println!("\n{who} ({}):\n{}", profiler.file(who).display(), top::of(tool, &output, SHOWN));
    }
    Ok(())
}

/// What the tool says of a profile that it wrote.
fn report(profiler: &Profiler, who: &str) -> anyhow::Result<String> {
    let file = profiler.file(who);
    let mut command = match profiler.tool {
        Tool::Perf => {
            let mut perf = Command::new("perf");
            perf.args(["report", "--stdio", "--no-children", "--fields", "overhead,comm,symbol"]);
            perf.arg("--input");
            perf
        }
        Tool::Callgrind => Command::new("callgrind_annotate"),
    };
    let output = command.arg(&file).output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        assert_eq!(Args::parse_from(["profile"]).tool, ToolArg::Perf);
    }
}
