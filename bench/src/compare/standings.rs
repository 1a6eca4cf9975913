//! The runs of every contestant, and the table that they end in.
#![expect(clippy::print_stdout, reason = "every run is told as it ends")]

use common::units::{Bitrate, ByteSize};
use std::time::Duration;

use super::contestant::{Contestant, Setting};
use super::race::{Peaks, Run};
use crate::columns::aligned;

/// A contestant, its setting and its runs.
pub struct Standing<'a> {
    /// Who.
    pub contestant: &'a dyn Contestant,
    /// How.
    pub setting: Setting,
    /// Memory, from a run of its own.
    pub peaks: Option<Peaks>,
    runs: Vec<Run>,
    failures: usize,
}

impl<'a> Standing<'a> {
    /// Before the first run.
    pub fn new(contestant: &'a dyn Contestant, setting: Setting) -> Self {
        Self { contestant, setting, peaks: None, runs: Vec::new(), failures: 0 }
    }

    /// Counts run number `nth` and tells it.
    pub fn add(&mut self, nth: u16, run: anyhow::Result<Run>) {
        tell_run(&format!("run {nth}"), self.contestant.name(), &self.setting, &run);
        match run {
            Ok(run) => self.runs.push(run),
            Err(_) => self.failures += 1,
        }
    }

    fn median_seconds(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.seconds).collect())
    }

    fn is_peer(&self) -> bool {
        self.contestant.name() != "fanfare"
    }

    fn cells(&self, bytes: u64, best_peer: Option<f64>) -> Vec<String> {
        let name = self.contestant.name().to_owned();
        let number = |number: Option<f64>| number.map_or_else(nothing, |it| format!("{it:.2}"));
        let seconds = self.median_seconds();
        let all = self.runs.iter().map(|run| run.seconds);
        let spread =
            format!("{}..{}", number(all.clone().reduce(f64::min)), number(all.reduce(f64::max)));
        let megabits = seconds.map(|seconds| {
            Bitrate::of(bytes, Duration::from_secs_f64(seconds)).as_bits() as f64 / 1e6
        });
        let ratio = best_peer.zip(seconds).map(|(peer, seconds)| peer / seconds);
        let memory = |bytes: Option<u64>| {
            bytes.map_or_else(nothing, |bytes| format!("{:.0}", bytes as f64 / 1048576.0))
        };
        vec![
            name,
            number(seconds),
            spread,
            number(median(self.runs.iter().map(|run| run.check_seconds).collect())),
            megabits.map_or_else(nothing, |it| format!("{it:.0}")),
            number(ratio),
            memory(self.peaks.map(|peaks| peaks.sender.both_bytes)),
            memory(self.peaks.map(|peaks| peaks.host.both_bytes)),
            self.failures.to_string(),
            self.setting.to_string(),
        ]
    }
}

fn nothing() -> String {
    "-".to_owned()
}

/// Tells one run in one line.
pub fn tell_run(what: &str, name: &str, setting: &Setting, run: &anyhow::Result<Run>) {
    match run {
        Ok(run) => println!("{what}  {name:<8} {:7.2} s  {setting}", run.seconds),
        Err(error) => println!("{what}  {name:<8}  failed  {setting}: {error:#}"),
    }
}

/// All standings below their headings. The ratio is the better peer's median to one's own.
pub fn table(standings: &[Standing<'_>], bytes: u64) -> String {
    let headings = [
        "contestant",
        "median s",
        "range s",
        "check s",
        "Mbit/s",
        "ratio",
        "sender MiB",
        "host MiB",
        "failed",
        "setting",
    ];
    let peers = standings.iter().filter(|standing| standing.is_peer());
    let best_peer = peers.filter_map(Standing::median_seconds).reduce(f64::min);
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    lines.extend(standings.iter().map(|standing| standing.cells(bytes, best_peer)));
    format!(
        "{}{} each; memory is anonymous pages and socket buffers\n",
        aligned(&lines),
        ByteSize(bytes)
    )
}

/// The middle of `numbers`; the mean of the two in the middle when their count is even.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        count if count % 2 == 1 => Some(numbers[middle]),
        _ => Some(f64::midpoint(numbers[middle - 1], numbers[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::super::peers::{Udpcast, Uftp};
    use super::*;

    #[test]
    fn a_median_is_the_middle_one() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_table_compares_with_the_better_peer_and_counts_failures() {
        let setting = || Setting::new("-R 1", None);
        let (mut slow, mut fast) =
            (Standing::new(&Uftp, setting()), Standing::new(&Udpcast, setting()));
        for seconds in [8.0, 6.0, 10.0] {
            slow.runs.push(Run { seconds, check_seconds: 0.5 });
            fast.runs.push(Run { seconds: seconds / 2.0, check_seconds: 0.5 });
        }
        slow.failures = 1;
        let text = table(&[slow, fast], 125_000_000);
        let lines: Vec<Vec<&str>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[0][..9],
            ["uftp", "8.00", "6.00..10.00", "0.50", "125", "0.50", "-", "-", "1"]
        );
        assert_eq!(lines[1][..6], ["udpcast", "4.00", "3.00..5.00", "0.50", "250", "1.00"]);
    }
}
