//! The comparison: fanfare beside UFTP and udpcast, on the same machines, in the same hour.
//!
//! Cell by cell of a matrix (hosts, loss): five alternating runs, medians, the clock from the
//! sender's start to the last host staged and checked; every contestant with the settings that were
//! fastest when tried. The rules are in `README.md`. Needs root, for the network namespaces.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod args;
mod ceiling;
mod contest;
mod norm;
mod plot;
mod remembered;
mod report;
mod table;
mod trial;
mod udpcast;
mod uftp;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use common::units::ByteSize;

use self::args::{Args, Name};
use self::contest::Contest;
use self::norm::Norm;
use self::remembered::Remembered;
use self::report::{CellReport, Report};
use self::udpcast::Udpcast;
use self::uftp::Uftp;
use crate::conditions::Conditions;
use crate::contestant::{Contestant, Setting};
use crate::fanfare::Fanfare;
use crate::interrupt::{Interrupted, Leftovers};
use crate::machine;
use crate::program;
use crate::race::{Failure, Run};

/// Below this the peers, which cannot go beyond net.core.rmem_max, lose more than they need to.
const RMEM_MAX_FAIR: u64 = 4 << 20;

/// Compares; what is wrong goes to standard error.
pub fn main() -> ExitCode {
    let args = Args::parse();
    program::run("compare", |leftovers, interrupted| compare(&args, leftovers, interrupted))
}

fn compare(args: &Args, leftovers: &Leftovers, interrupted: &Interrupted) -> anyhow::Result<()> {
    program::ensure_root()?;
    let cells = args.cells()?;
    let mut contestants = contestants(args)?;
    contestants.retain(|contestant| program::is_complete("compare", &**contestant));
    let usual = Remembered::usual_path()?;
    let path = args.settings.as_ref().unwrap_or(&usual);
    let mut best = Remembered::load(path)?;
    let known = args.settings.is_some().then(|| best.clone());
    if let Some(ByteSize(bytes)) = args.rmem {
        leftovers.change(Path::new(machine::RMEM_MAX), &bytes.to_string())?;
    }
    tell_conditions(args, &Conditions::now());
    let contest = Contest { args, contestants: &contestants, leftovers, interrupted };
    let mut report = Report::default();
    for cell in &cells {
        println!("\n{cell}");
        let held = contest.hold(cell, known.as_ref(), &mut best)?;
        best.save(path)?;
        if let Some(directory) = &args.write {
            write(directory, &held)?;
        }
        report.put(held);
    }
    for kind in report.kinds() {
        println!("\n{}", table::tables(kind));
    }
    Ok(())
}

fn contestants(args: &Args) -> anyhow::Result<Vec<Box<dyn Contestant>>> {
    let mut all: Vec<Box<dyn Contestant>> = Vec::new();
    for name in &args.contestants {
        match name {
            Name::Fanfare => all.push(Box::new(Fanfare::beside_us()?)),
            Name::Sealed => all.push(Box::new(Fanfare::beside_us()?.sealed())),
            Name::Uftp => all.push(Box::new(Uftp)),
            Name::Udpcast => all.push(Box::new(Udpcast)),
            Name::Norm => all.push(Box::new(Norm::in_directory(&program::directory()?))),
            Name::Ceiling => {}
        }
    }
    Ok(all)
}

fn tell_conditions(args: &Args, conditions: &Conditions) {
    println!("{conditions}; {} runs, alternating", args.runs);
    let rmem_max = conditions.rmem_max_bytes;
    println!("receive buffers of the peers: {} (--rmem)", ByteSize(rmem_max));
    if rmem_max < RMEM_MAX_FAIR {
        eprintln!("compare: unfair to the peers: use --rmem {}", ByteSize(RMEM_MAX_FAIR));
    }
    program::warn_of_load("compare", conditions);
}

/// Enters a cell into the files of `directory`: all figures, and a table and a plot of each kind.
fn write(directory: &Path, held: &CellReport) -> anyhow::Result<()> {
    let failed = || format!("cannot write to {}", directory.display());
    fs::create_dir_all(directory).with_context(failed)?;
    let figures = directory.join("compare.json");
    let mut report = Report::load(&figures)?;
    report.put(held.clone());
    report.save(&figures)?;
    for kind in report.kinds() {
        let cell = &kind[0].cell;
        let title = format!("Goodput and bytes on the wire{}", cell.kind_words());
        let place = |extension: &str| directory.join(format!("{}.{extension}", cell.kind()));
        program::write_file(&place("md"), &table::tables(kind))?;
        program::write_file(&place("svg"), &plot::svg(kind, &title))?;
    }
    Ok(())
}

/// Tells one run in one line.
fn tell(what: &str, name: &str, setting: &Setting, run: &Result<Run, Failure>) {
    match run {
        Ok(run) => println!("{what}  {name:<8} {:7.2} s  {setting}", run.time.as_secs_f64()),
        Err(failure) => {
            let word = if matches!(failure, Failure::Late(_)) { "late" } else { "failed" };
            println!("{what}  {name:<8} {word:>9}  {setting}: {failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::report::tests::cell_report;
    use super::*;

    #[test]
    fn every_contestant_has_settings_for_every_cell_and_none_faster_than_its_link() {
        let args = Args::parse_from(["compare", "--offload", "on,off"]);
        let limited = Args::parse_from(["compare", "--rate-limit", "120Mbit"]);
        let contestants = contestants(&args).unwrap();
        assert_eq!(contestants.len(), 4);
        for cell in [args.cells().unwrap(), limited.cells().unwrap()].concat() {
            for contestant in &contestants {
                let settings = contestant.settings(&cell);
                let name = contestant.name();
                assert!(!settings.is_empty(), "{name}, {cell}");
                for (nth, setting) in settings.iter().enumerate() {
                    assert!(!settings[..nth].contains(setting), "{name}, {cell}: {setting} twice");
                    assert!(
                        cell.rate_limit.is_none_or(|limit| {
                            setting.rate_max.is_none_or(|rate| rate <= limit)
                        })
                    );
                }
            }
        }
    }

    #[test]
    fn every_kind_of_cell_has_its_table_and_plot_beside_the_figures() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("docs").join("performance");
        write(&place, &cell_report(0)).unwrap();
        let mut other = cell_report(50);
        other.cell.has_offload = false;
        write(&place, &other).unwrap();
        let mut names: Vec<String> = fs::read_dir(&place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let kinds = ["compare-singly.md", "compare-singly.svg", "compare.json", "compare.md"];
        assert_eq!(names, [&kinds[..], &["compare.svg"]].concat());
        let table = fs::read_to_string(place.join("compare.md")).unwrap();
        assert!(table.contains("| fanfare") && !table.contains("5 % loss"), "{table}");
    }
}
