//! What a crowd took: the figures, and the table of them.
//!
//! Pure: nothing is printed or read here.

use std::time::Duration;

use anyhow::Context;
use common::units::ByteSize;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::columns::markdown;
use crate::conditions::Conditions;
use crate::race::Watched;
use crate::statistics::{median, range};

/// Version of the figures' form.
const SCHEMA: u32 = 1;

/// What a crowd took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crowd {
    schema: u32,
    cell: Cell,
    conditions: Conditions,
    seconds: f64,
    staged_seconds: Spread,
    wire_bytes: u64,
    needs: u64,
    symbols_per_source: f64,
    lost: Spread,
    kernel_drops: u64,
    sender_cpu_seconds: f64,
    host_cpu_seconds: Spread,
    hosts_cpu_seconds: f64,
    sender_bytes: u64,
    host_bytes: Spread,
    hosts_bytes: f64,
    sender_resident_bytes: u64,
    host_resident_bytes: Spread,
}

/// One figure of all hosts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

/// The part of `fanfare send --json` that is needed here.
#[derive(Deserialize)]
struct Summary {
    hosts: Vec<Host>,
    wire: Wire,
}

#[derive(Deserialize)]
struct Host {
    state: String,
    seconds: Option<f64>,
    lost: u64,
    kernel_drops: u64,
}

#[derive(Deserialize)]
struct Wire {
    source_symbols: u64,
    sent_symbols: u64,
    needs: u64,
}

impl Crowd {
    /// What a run came to.
    ///
    /// # Errors
    /// When the sender's summary is none, or names a host that has not staged.
    pub fn of(cell: &Cell, conditions: Conditions, watched: &Watched) -> anyhow::Result<Self> {
        let run = &watched.run;
        let summary: Summary =
            serde_json::from_str(&run.said).context("the sender's summary is no object")?;
        let staged = summary.hosts.iter().filter(|host| host.state == "staged").count();
        anyhow::ensure!(staged == cell.hosts, "{staged} of {} hosts staged", cell.hosts);
        let of_hosts = |figure: &dyn Fn(&Host) -> f64| Spread::of(summary.hosts.iter().map(figure));
        let cpu = run.host_cpu.iter().map(Duration::as_secs_f64);
        let used = |bytes: fn(&::tests::memory::Peak) -> u64| {
            watched.hosts.iter().map(move |host| bytes(&host.peak) as f64)
        };
        let anonymous = used(|peak| peak.both_bytes);
        Ok(Self {
            schema: SCHEMA,
            cell: cell.clone(),
            conditions,
            seconds: run.time.as_secs_f64(),
            staged_seconds: of_hosts(&|host| host.seconds.unwrap_or(0.0)),
            wire_bytes: run.wire.bytes,
            needs: summary.wire.needs,
            symbols_per_source: summary.wire.sent_symbols as f64
                / summary.wire.source_symbols.max(1) as f64,
            lost: of_hosts(&|host| host.lost as f64),
            kernel_drops: summary.hosts.iter().map(|host| host.kernel_drops).sum(),
            sender_cpu_seconds: run.sender_cpu.as_secs_f64(),
            host_cpu_seconds: Spread::of(cpu.clone()),
            hosts_cpu_seconds: cpu.sum(),
            sender_bytes: watched.sender.peak.both_bytes,
            host_bytes: Spread::of(anonymous.clone()),
            hosts_bytes: anonymous.sum(),
            sender_resident_bytes: watched.sender.peak.resident_bytes,
            host_resident_bytes: Spread::of(used(|peak| peak.resident_bytes)),
        })
    }

    /// One row a figure.
    pub fn table(&self) -> String {
        let row = |what: &str, value: String| vec![what.to_owned(), value];
        let mebibytes = |bytes: u64| format!("{:.0} MiB", bytes as f64 / MEBI);
        let lines = [
            row("", self.cell.to_string()),
            row("verified", format!("{} of {0} hosts", self.cell.hosts)),
            row("from the command to the last host staged", format!("{:.2} s", self.seconds)),
            row("a host staged after", self.staged_seconds.show(1.0, 2, " s")),
            row("bytes on the wire ÷ file", format!("{:.3}", self.wire_ratio())),
            row("symbols sent ÷ source symbols", format!("{:.3}", self.symbols_per_source)),
            row("NEEDs", self.needs.to_string()),
            row("datagrams lost by a host", self.lost.show(1.0, 0, "")),
            row("datagrams dropped by the kernel, all hosts", self.kernel_drops.to_string()),
            row("processor time, sender", format!("{:.2} s", self.sender_cpu_seconds)),
            row("processor time, a host", self.host_cpu_seconds.show(1.0, 2, " s")),
            row("processor time, all hosts", format!("{:.1} s", self.hosts_cpu_seconds)),
            row("memory, sender", mebibytes(self.sender_bytes)),
            row("memory, a host", self.host_bytes.show(MEBI, 0, " MiB")),
            row("memory, all hosts, sum of peaks", ByteSize(self.hosts_bytes as u64).to_string()),
            row("resident, sender", mebibytes(self.sender_resident_bytes)),
            row("resident, a host", self.host_resident_bytes.show(MEBI, 0, " MiB")),
        ];
        format!(
            "{}\nOf hosts: least, median, most. Memory is anonymous pages and socket buffers, \
             resident memory has the program's own pages, too. Measured at {}.\n",
            markdown(&lines),
            self.conditions
        )
    }

    fn wire_ratio(&self) -> f64 {
        self.wire_bytes as f64 / self.cell.file_bytes as f64
    }
}

const MEBI: f64 = 1_048_576.0;

impl Spread {
    fn of(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let (least, most) = range(numbers.clone()).unwrap_or_default();
        Self { least, median: median(numbers).unwrap_or_default(), most }
    }

    fn show(self, scale: f64, decimals: usize, unit: &str) -> String {
        let Self { least, median, most } = self;
        let [least, median, most] = [least, median, most].map(|number| number / scale);
        format!("{least:.decimals$}, {median:.decimals$}, {most:.decimals$}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::watch::Used;
    use crate::meter::wire::Counts;
    use crate::race::Run;

    fn crowd(states: [&str; 2]) -> anyhow::Result<Crowd> {
        let host = |state: &str, seconds: f64| {
            format!(
                "{{\"host\": \"h\", \"state\": \"{state}\", \"seconds\": {seconds}, \"lost\": 7, \
                 \"kernel_drops\": 1}}"
            )
        };
        let said = format!(
            "{{\"schema\": 1, \"hosts\": [{}, {}], \
             \"wire\": {{\"source_symbols\": 100, \"sent_symbols\": 103, \"needs\": 9}}}}",
            host(states[0], 1.5),
            host(states[1], 2.5)
        );
        let cell = Cell {
            hosts: 2,
            file_bytes: 1 << 20,
            loss_per_mille: 5,
            has_offload: true,
            rate_limit: None,
        };
        let run = Run {
            time: Duration::from_millis(3250),
            check_time: Duration::ZERO,
            wire: Counts { bytes: 1_153_434, datagrams: 800, dropped: 0 },
            wire_rate: None,
            sender_cpu: Duration::from_millis(500),
            host_cpu: vec![Duration::from_millis(100), Duration::from_millis(200)],
            said,
        };
        let used = |mebibytes: u64| {
            let mut used = Used::default();
            used.peak.both_bytes = mebibytes << 20;
            used
        };
        let watched = Watched { run, sender: used(50), hosts: vec![used(20), used(30)] };
        Crowd::of(&cell, Conditions::default(), &watched)
    }

    #[test]
    fn the_table_has_sums_and_spreads() {
        let table = crowd(["staged", "staged"]).unwrap().table();
        let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in [
            "| verified | 2 of 2 hosts |",
            "| from the command to the last host staged | 3.25 s |",
            "| a host staged after | 1.50, 2.00, 2.50 s |",
            "| bytes on the wire ÷ file | 1.100 |",
            "| symbols sent ÷ source symbols | 1.030 |",
            "| datagrams lost by a host | 7, 7, 7 |",
            "| datagrams dropped by the kernel, all hosts | 2 |",
            "| processor time, a host | 0.10, 0.15, 0.20 s |",
            "| processor time, all hosts | 0.3 s |",
            "| memory, a host | 20, 25, 30 MiB |",
            "| memory, all hosts, sum of peaks | 50.0 MiB |",
        ] {
            assert!(table.contains(line), "{line}\n{table}");
        }
    }

    #[test]
    fn a_crowd_of_which_one_is_missing_is_an_error() {
        let error = crowd(["staged", "failed"]).unwrap_err().to_string();
        assert_eq!(error, "1 of 2 hosts staged");
    }
}
