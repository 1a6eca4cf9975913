//! What a comparison found, cell by cell: the figures, and the file that keeps them.
//!
//! Pure but for reading and writing that file. Not here: how figures are shown (`table`, `plot`).
#![expect(clippy::disallowed_methods, reason = "it reads and writes the file")]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::conditions::Conditions;
use crate::contestant::{OURS, SEALED};
use crate::meter::watch::Used;
use crate::race::{Run, Watched};
use crate::statistics::{mean, median, range};

/// Version of the file's form.
const SCHEMA: u32 = 1;

/// All cells that were compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    schema: u32,
    /// By kind, hosts and loss.
    pub cells: Vec<CellReport>,
}

/// One cell: everything in it ran in alternation, and is worth comparing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// The circumstances.
    pub cell: Cell,
    /// Where and when.
    pub conditions: Conditions,
    /// What each host received of a raw blast, a figure a run, in bits per second.
    pub ceiling_bits_per_second: Vec<f64>,
    /// The contestants.
    pub entries: Vec<Entry>,
}

/// One contestant in one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Arguments that it ran with.
    pub setting: String,
    /// The runs that count.
    pub runs: Vec<Figures>,
    /// Why others do not, and where it never finished why no setting did.
    pub failures: Vec<String>,
    /// Memory and threads, from a run of its own.
    pub usage: Option<Usage>,
}

/// What one run came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// From the sender's start to the last host staged and checked.
    pub seconds: f64,
    /// The part of it in which we checked.
    pub check_seconds: f64,
    /// Bytes that left the sender, headers included.
    pub wire_bytes: u64,
    /// How fast, while most of them left.
    pub wire_bits_per_second: Option<u64>,
    /// Processor time of the sender.
    pub sender_cpu_seconds: f64,
    /// Processor time of a host, on average.
    pub host_cpu_seconds: f64,
}

/// Memory and processor time by thread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Most memory of the sender: anonymous pages and socket buffers.
    pub sender_bytes: u64,
    /// The same of the host that used most.
    pub host_bytes: u64,
    /// Processor time of the sender's threads, by name.
    pub sender_stages: BTreeMap<String, f64>,
    /// Processor time of a host's threads, by name, on average.
    pub host_stages: BTreeMap<String, f64>,
}

impl Default for Report {
    fn default() -> Self {
        Self { schema: SCHEMA, cells: Vec::new() }
    }
}

impl Report {
    /// What `path` holds; nothing where there is no such file.
    ///
    /// # Errors
    /// Names the file when it cannot be read or is of another form.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let foreign = || format!("{} is no report of this version", path.display());
        let report: Self = serde_json::from_str(&text).with_context(foreign)?;
        ensure!(report.schema == SCHEMA, foreign());
        Ok(report)
    }

    /// Writes it to `path`.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("figures are numbers")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// Enters a cell, instead of what was there of it.
    pub fn put(&mut self, new: CellReport) {
        self.cells.retain(|old| old.cell != new.cell);
        self.cells.push(new);
        let order = |it: &CellReport| {
            let cell = &it.cell;
            (cell.kind(), cell.hosts, cell.loss_per_mille, cell.file_bytes)
        };
        self.cells.sort_by_key(order);
    }

    /// The cells in groups of one kind.
    pub fn kinds(&self) -> impl Iterator<Item = &[CellReport]> {
        self.cells.chunk_by(|a, b| a.cell.kind() == b.cell.kind())
    }
}

impl CellReport {
    /// What a host can receive at most, in bits per second.
    pub fn ceiling(&self) -> Option<f64> {
        median(self.ceiling_bits_per_second.iter().copied())
    }

    /// Bits per second of `entry`: the file's length over the median time.
    pub fn goodput(&self, entry: &Entry) -> Option<f64> {
        entry.seconds().map(|seconds| self.cell.file_bytes as f64 * 8.0 / seconds)
    }

    /// Goodput of `entry` over that of the best peer that finished.
    pub fn ratio(&self, entry: &Entry) -> Option<f64> {
        let peers = self.entries.iter().filter(|entry| ![OURS, SEALED].contains(&&*entry.name));
        let best = peers.filter_map(|peer| self.goodput(peer)).reduce(f64::max)?;
        self.goodput(entry).map(|goodput| goodput / best)
    }

    /// Bytes on the wire over the file's length.
    pub fn wire_ratio(&self, entry: &Entry) -> Option<f64> {
        let bytes = self.cell.file_bytes as f64;
        median(entry.runs.iter().map(|run| run.wire_bytes as f64 / bytes))
    }

    /// Seconds over the file's length in GB (10⁹ bytes).
    pub fn per_gigabyte(&self, seconds: f64) -> f64 {
        seconds * 1e9 / self.cell.file_bytes as f64
    }
}

impl Entry {
    /// Before its first run.
    pub fn new(name: &str, setting: &str) -> Self {
        let (name, setting) = (name.to_owned(), setting.to_owned());
        Self { name, setting, runs: Vec::new(), failures: Vec::new(), usage: None }
    }

    /// Median time.
    pub fn seconds(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.seconds))
    }

    /// Shortest and longest time.
    pub fn seconds_range(&self) -> Option<(f64, f64)> {
        range(self.runs.iter().map(|run| run.seconds))
    }

    /// Median of a figure of the runs.
    pub fn median_of(&self, figure: impl Fn(&Figures) -> f64) -> Option<f64> {
        median(self.runs.iter().map(figure))
    }

    /// Median rate on the wire, while most bytes left.
    pub fn wire_rate(&self) -> Option<f64> {
        median(self.runs.iter().filter_map(|run| run.wire_bits_per_second).map(|bits| bits as f64))
    }
}

impl From<&Run> for Figures {
    fn from(run: &Run) -> Self {
        Self {
            seconds: run.time.as_secs_f64(),
            check_seconds: run.check_time.as_secs_f64(),
            wire_bytes: run.wire.bytes,
            wire_bits_per_second: run.wire_rate.map(|rate| rate.as_bits()),
            sender_cpu_seconds: run.sender_cpu.as_secs_f64(),
            host_cpu_seconds: mean(run.host_cpu.iter().map(Duration::as_secs_f64)).unwrap_or(0.0),
        }
    }
}

impl From<&Watched> for Usage {
    fn from(watched: &Watched) -> Self {
        let most = |used: &[Used]| used.iter().map(|used| used.peak.both_bytes).max().unwrap_or(0);
        Self {
            sender_bytes: watched.sender.peak.both_bytes,
            host_bytes: most(&watched.hosts),
            sender_stages: mean_stages(std::slice::from_ref(&watched.sender)),
            host_stages: mean_stages(&watched.hosts),
        }
    }
}

/// Seconds by the name of the thread, on average over `used`.
fn mean_stages(used: &[Used]) -> BTreeMap<String, f64> {
    let mut stages = BTreeMap::new();
    for (name, time) in used.iter().flat_map(Used::stages) {
        *stages.entry(name).or_insert(0.0) += time.as_secs_f64() / used.len() as f64;
    }
    stages
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run of so many seconds that sent so many bytes.
    pub fn figures(seconds: f64, wire_bytes: u64) -> Figures {
        Figures {
            seconds,
            check_seconds: 0.5,
            wire_bytes,
            wire_bits_per_second: Some(930_000_000),
            sender_cpu_seconds: 0.25,
            host_cpu_seconds: 0.125,
        }
    }

    /// Eight hosts, a file of 125 MB, at this loss: fanfare in 2 s, UFTP in 4, udpcast never.
    pub fn cell_report(loss_per_mille: u32) -> CellReport {
        let cell = Cell {
            hosts: 8,
            file_bytes: 125_000_000,
            loss_per_mille,
            has_offload: true,
            rate_limit: None,
        };
        let mut ours = Entry::new(OURS, "--rate 3000Mbit");
        ours.runs = [3.0, 2.0, 1.0].map(|seconds| figures(seconds, 137_500_000)).to_vec();
        ours.usage = Some(Usage {
            sender_bytes: 100 << 20,
            host_bytes: 120 << 20,
            sender_stages: BTreeMap::from([("prepare".to_owned(), 0.125)]),
            host_stages: BTreeMap::from([("worker".to_owned(), 0.0625)]),
        });
        let mut uftp = Entry::new("uftp", "-R 350000");
        uftp.runs = vec![figures(4.0, 150_000_000)];
        let mut udpcast = Entry::new("udpcast", "");
        udpcast.failures = vec!["not done within 300.0 s".to_owned(); 2];
        CellReport {
            cell,
            conditions: Conditions { commit: "abc".to_owned(), ..Conditions::default() },
            ceiling_bits_per_second: vec![5e9, 7e9, 6e9],
            entries: vec![ours, uftp, udpcast],
        }
    }

    #[test]
    fn figures_are_medians_and_ratios_are_to_the_better_peer_that_finished() {
        let report = cell_report(0);
        let [ours, uftp, udpcast] = &report.entries[..] else { panic!() };
        assert_eq!(report.goodput(ours), Some(5e8));
        assert_eq!((report.ratio(ours), report.ratio(uftp)), (Some(2.0), Some(1.0)));
        assert_eq!((report.goodput(udpcast), report.ratio(udpcast)), (None, None));
        assert_eq!(report.wire_ratio(ours), Some(1.1));
        assert_eq!(ours.seconds_range(), Some((1.0, 3.0)));
        assert_eq!(report.per_gigabyte(0.25), 2.0);
        assert_eq!(report.ceiling(), Some(6e9));
    }

    #[test]
    fn a_cell_replaces_what_was_known_of_it_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("compare.json");
        let mut report = Report::load(&path).unwrap();
        for loss_per_mille in [50, 0, 10] {
            report.put(cell_report(loss_per_mille));
        }
        let mut again = cell_report(10);
        again.entries.truncate(1);
        report.put(again);
        report.save(&path).unwrap();
        let loaded = Report::load(&path).unwrap();
        assert_eq!(loaded, report);
        let shape = |it: &CellReport| (it.cell.loss_per_mille, it.entries.len());
        assert_eq!(loaded.cells.iter().map(shape).collect::<Vec<_>>(), [(0, 3), (10, 1), (50, 3)]);
        let mut other = cell_report(0);
        other.cell.has_offload = false;
        report.put(other);
        assert_eq!(report.kinds().map(<[_]>::len).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn a_report_of_another_form_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("compare.json");
        fs::write(&path, "{\"schema\": 9, \"cells\": []}").unwrap();
        let error = Report::load(&path).unwrap_err().to_string();
        assert!(error.contains("compare.json"), "{error}");
    }
}
