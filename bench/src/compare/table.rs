//! The figures of a comparison as tables of Markdown.
//!
//! Pure text: nothing is printed or read here.

use std::collections::{BTreeMap, BTreeSet};

use common::units::ByteSize;

use super::report::{CellReport, Entry, Usage};
use crate::columns::markdown;
use crate::conditions::Conditions;
use crate::contestant::OURS;

/// Failures of a contestant that are shown; more would say the same.
const FAILURES_SHOWN: usize = 2;
/// Characters of one.
const FAILURE_CHARS_MAX: usize = 160;

/// Threads that take less, per GB, have no column: those that wait for signals, for example.
const STAGE_SECONDS_MIN: f64 = 0.005;

/// Seconds by the name of the thread.
type Stages = BTreeMap<String, f64>;

/// All tables of cells of one kind: who was how fast at what cost, fanfare's stages, what failed.
pub fn tables(cells: &[CellReport]) -> String {
    let Some(first) = cells.first() else { return String::new() };
    let mut text = format!("Noise to N hosts{}.\n\n{}", first.cell.kind_words(), main_table(cells));
    if let Some(stages) = stage_table(cells) {
        text.push_str("\nProcessor seconds per GB of file by thread, of fanfare:\n\n");
        text.push_str(&stages);
    }
    let failures = failures(cells);
    if !failures.is_empty() {
        text.push_str(&format!("\nFailed runs:\n\n{failures}"));
    }
    text.push_str(&format!("\n{}", machines(cells)));
    text
}

fn main_table(cells: &[CellReport]) -> String {
    let headings = [
        "hosts",
        "loss %",
        "contestant",
        "Mbit/s",
        "seconds",
        "range s",
        "× best peer",
        "wire ÷ file",
        "wire Mbit/s",
        "sender s/GB",
        "host s/GB",
        "sender MiB",
        "host MiB",
        "runs",
        "setting",
    ];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    for cell in cells {
        lines.extend(cell.entries.iter().map(|entry| entry_line(cell, entry)));
        lines.extend(cell.ceiling().map(|bits| ceiling_line(cell, bits)));
    }
    markdown(&lines)
}

fn entry_line(cell: &CellReport, entry: &Entry) -> Vec<String> {
    let range = entry.seconds_range().map(|(least, most)| format!("{least:.2}..{most:.2}"));
    let per_gigabyte = |seconds: Option<f64>| number(seconds.map(|it| cell.per_gigabyte(it)), 2);
    let mebibytes = |bytes: fn(&Usage) -> u64| {
        number(entry.usage.as_ref().map(|usage| bytes(usage) as f64 / 1_048_576.0), 0)
    };
    let [hosts, loss] = place(cell);
    vec![
        hosts,
        loss,
        entry.name.clone(),
        number(cell.goodput(entry).map(|bits| bits / 1e6), 0),
        number(entry.seconds(), 2),
        range.unwrap_or_else(nothing),
        number(cell.ratio(entry), 2),
        number(cell.wire_ratio(entry), 3),
        number(entry.wire_rate().map(|bits| bits / 1e6), 0),
        per_gigabyte(entry.median_of(|run| run.sender_cpu_seconds)),
        per_gigabyte(entry.median_of(|run| run.host_cpu_seconds)),
        mebibytes(|usage| usage.sender_bytes),
        mebibytes(|usage| usage.host_bytes),
        runs(entry),
        entry.setting.clone(),
    ]
}

fn ceiling_line(cell: &CellReport, bits: f64) -> Vec<String> {
    let [hosts, loss] = place(cell);
    let mut line = vec![hosts, loss, "raw ceiling".to_owned(), number(Some(bits / 1e6), 0)];
    line.extend(std::iter::repeat_with(nothing).take(9));
    line.extend([cell.ceiling_bits_per_second.len().to_string(), String::new()]);
    line
}

fn place(cell: &CellReport) -> [String; 2] {
    [cell.cell.hosts.to_string(), cell.cell.loss_percent().to_string()]
}

/// How many runs count, of how many.
fn runs(entry: &Entry) -> String {
    match (entry.runs.len(), entry.failures.len()) {
        (0, _) => "did not finish".to_owned(),
        (runs, 0) => runs.to_string(),
        (runs, failures) => format!("{runs} of {}", runs + failures),
    }
}

/// What each thread of fanfare cost; none where nobody looked.
fn stage_table(cells: &[CellReport]) -> Option<String> {
    let rows: Vec<(&CellReport, &Usage)> = cells
        .iter()
        .flat_map(|cell| cell.entries.iter().map(move |entry| (cell, entry)))
        .filter(|(_, entry)| entry.name == OURS)
        .filter_map(|(cell, entry)| Some((cell, entry.usage.as_ref()?)))
        .collect();
    let shown = |stages: fn(&Usage) -> &Stages| -> BTreeSet<&String> {
        let all = rows.iter().flat_map(|(cell, usage)| {
            stages(usage).iter().map(|(name, seconds)| (name, cell.per_gigabyte(*seconds)))
        });
        all.filter(|(_, seconds)| *seconds >= STAGE_SECONDS_MIN).map(|(name, _)| name).collect()
    };
    let of_sender = shown(|usage| &usage.sender_stages);
    let of_host = shown(|usage| &usage.host_stages);
    let mut headings = vec!["hosts".to_owned(), "loss %".to_owned()];
    headings.extend(of_sender.iter().map(|name| format!("sender: {name}")));
    headings.extend(of_host.iter().map(|name| format!("host: {name}")));
    let mut lines = vec![headings];
    for (cell, usage) in &rows {
        let cost = |seconds: Option<&f64>| number(seconds.map(|it| cell.per_gigabyte(*it)), 2);
        let mut line = place(cell).to_vec();
        line.extend(of_sender.iter().map(|name| cost(usage.sender_stages.get(*name))));
        line.extend(of_host.iter().map(|name| cost(usage.host_stages.get(*name))));
        lines.push(line);
    }
    (!rows.is_empty()).then(|| markdown(&lines))
}

fn failures(cells: &[CellReport]) -> String {
    let mut text = String::new();
    for cell in cells {
        for entry in &cell.entries {
            for failure in entry.failures.iter().take(FAILURES_SHOWN) {
                let line = failure.split_whitespace().collect::<Vec<_>>().join(" ");
                let shown: String = line.chars().take(FAILURE_CHARS_MAX).collect();
                text.push_str(&format!("* {}, {}: {shown}\n", entry.name, cell.cell));
            }
        }
    }
    text
}

/// The machines and states of sources that the cells were measured with, each once.
fn machines(cells: &[CellReport]) -> String {
    let told: BTreeSet<String> = cells.iter().map(|cell| machine(&cell.conditions)).collect();
    told.into_iter().collect()
}

fn machine(conditions: &Conditions) -> String {
    let rmem_max = ByteSize(conditions.rmem_max_bytes);
    format!("Measured at {conditions}; receive buffers of the peers up to {rmem_max}.\n")
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(nothing, |value| format!("{value:.decimals$}"))
}

fn nothing() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::cell_report;
    use super::*;

    fn cells_of(line: &str) -> Vec<&str> {
        line.trim_matches('|').split('|').map(str::trim).collect()
    }

    #[test]
    fn the_table_has_every_figure_and_compares_with_the_better_peer() {
        let text = tables(&[cell_report(10)]);
        let lines: Vec<Vec<&str>> =
            text.lines().filter(|line| line.starts_with('|')).map(cells_of).collect();
        let ours = [
            "8",
            "1",
            "fanfare",
            "500",
            "2.00",
            "1.00..3.00",
            "2.00",
            "1.100",
            "930",
            "2.00",
            "1.00",
            "100",
            "120",
            "3",
            "--rate 3000Mbit",
        ];
        assert_eq!(lines[2], ours);
        assert_eq!(lines[3][..7], ["8", "1", "uftp", "250", "4.00", "4.00..4.00", "1.00"]);
        assert_eq!(lines[3][11..14], ["-", "-", "1"]);
        assert_eq!(lines[5][..4], ["8", "1", "raw ceiling", "6000"]);
        assert!(lines.iter().take(6).all(|line| line.len() == ours.len()), "{text}");
    }

    #[test]
    fn who_did_not_finish_stays_in_the_table_with_the_reason_below() {
        let text = tables(&[cell_report(50)]);
        let line = text.lines().find(|line| line.contains("| udpcast")).unwrap();
        let cells = cells_of(line);
        assert_eq!((cells[3], cells[13]), ("-", "did not finish"));
        let reason = "* udpcast, 119 MiB to 8 hosts, 5 % loss: not done within 300.0 s\n";
        assert_eq!(text.matches(reason).count(), 2, "{text}");
    }

    #[test]
    fn stages_have_a_column_for_each_thread() {
        let mut cell = cell_report(0);
        let usage = cell.entries[0].usage.as_mut().unwrap();
        usage.host_stages.insert("signals".to_owned(), 0.0);
        let text = tables(&[cell]);
        let head = text.lines().find(|line| line.contains("sender: prepare")).unwrap();
        assert_eq!(cells_of(head), ["hosts", "loss %", "sender: prepare", "host: worker"]);
        assert!(text.contains("|     8 |      0 |            1.00 |         0.50 |"), "{text}");
        assert_eq!(tables(&[]), "");
    }
}
