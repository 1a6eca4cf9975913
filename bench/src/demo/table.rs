//! The table that the demo ends with, and what in it makes the demo a failure.
//!
//! Pure text: nothing is printed or read here.

use ::tests::lossy::LossCounts;
use common::units::ByteSize;
use sender::session::{HostReport, HostState, WireReport};

use super::check::Findings;
use crate::columns::aligned;

/// One host's row.
#[derive(Debug, Clone)]
pub struct Row {
    /// What the sender says of it.
    pub report: HostReport,
    /// What the harness lost on the way to it.
    pub counts: LossCounts,
    /// What was found in its store.
    pub findings: Findings,
}

impl Row {
    /// Lost source symbols that are there all the same: all of them, when the image is right.
    fn repaired(&self) -> u64 {
        if self.findings.image_fault.is_none() { self.counts.lost_sources } else { 0 }
    }

    /// Why this host makes the demo a failure, one line each.
    pub fn faults(&self) -> Vec<String> {
        let host = &self.report.host;
        let mut faults = Vec::new();
        if self.report.state != HostState::Active {
            let (state, reason) = (self.report.state.as_str(), &self.report.reason);
            faults.push(format!("{host} is {state}, not active ({reason})"));
        }
        faults.extend(self.findings.image_fault.iter().map(|fault| format!("{host}: {fault}")));
        faults.extend(self.findings.tree_faults.iter().map(|fault| format!("{host}: {fault}")));
        if self.findings.current.is_none() {
            faults.push(format!("{host} has no current"));
        }
        if self.counts.lost == 0 || self.report.lost == 0 {
            faults.push(format!("{host} lost nothing, so the demo shows nothing"));
        }
        if self.repaired() == 0 {
            faults.push(format!("{host} had nothing repaired, so the demo shows nothing"));
        }
        faults
    }

    fn cells(&self) -> Vec<String> {
        let verdict = |is_good: bool| if is_good { "same" } else { "WRONG" }.to_owned();
        let current = self.findings.current.as_ref();
        vec![
            self.report.host.clone(),
            self.report.state.as_str().to_owned(),
            format!("{:.2}", self.report.seconds),
            self.counts.arrived.to_string(),
            self.counts.lost.to_string(),
            self.repaired().to_string(),
            verdict(self.findings.image_fault.is_none()),
            verdict(self.findings.tree_faults.is_empty()),
            current.map_or_else(|| "none".to_owned(), |current| current.display().to_string()),
        ]
    }
}

/// The rows below their headings.
pub fn table(rows: &[Row]) -> String {
    let headings =
        ["host", "state", "seconds", "datagrams", "lost", "repaired", "digest", "tree", "current"];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    aligned(&lines)
}

/// What the repairs cost: symbols sent per source symbol.
pub fn cost_line(wire: &WireReport) -> String {
    let share = wire.sent_symbols as f64 / wire.source_symbols.max(1) as f64;
    format!(
        "{share:.3} symbols sent per source symbol ({} of {}), {} in all, {} NEEDs heard",
        wire.sent_symbols,
        wire.source_symbols,
        ByteSize(wire.bytes),
        wire.needs
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::Fault;

    fn row() -> Row {
        Row {
            report: HostReport {
                host: "host-1".to_owned(),
                address: None,
                state: HostState::Active,
                fault: Fault::None,
                reason: String::new(),
                seconds: 3.21,
                received: 9000,
                lost: 280,
                kernel_drops: 0,
                dropped_blocks: 0,
                straggler: String::new(),
                trial: None,
                alarm: None,
            },
            counts: LossCounts { arrived: 9280, lost: 280, lost_sources: 262 },
            findings: Findings {
                image_fault: None,
                tree_faults: Vec::new(),
                current: Some("releases/1-0a".into()),
            },
        }
    }

    fn said_after(change: impl FnOnce(&mut Row)) -> Vec<String> {
        let mut row = row();
        change(&mut row);
        row.faults()
    }

    #[test]
    fn only_a_host_that_lost_and_has_everything_is_no_fault() {
        assert_eq!(said_after(|_| ()), Vec::<String>::new());
        assert_eq!(
            said_after(|row| row.report.state = HostState::Staged),
            ["host-1 is staged, not active ()"]
        );
        assert_eq!(said_after(|row| row.counts.lost = 0).len(), 1);
        assert_eq!(said_after(|row| row.report.lost = 0).len(), 1);
        assert_eq!(said_after(|row| row.counts.lost_sources = 0).len(), 1);
        assert_eq!(said_after(|row| row.findings.current = None), ["host-1 has no current"]);
        // A wrong image has had nothing repaired, either.
        assert_eq!(said_after(|row| row.findings.image_fault = Some("bad".into())).len(), 2);
        assert_eq!(said_after(|row| row.findings.tree_faults.push("bad".into())), ["host-1: bad"]);
    }

    #[test]
    fn the_table_is_aligned_and_names_where_current_points() {
        let text = table(&[row()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "host    state   seconds  datagrams  lost  repaired  digest  tree  current",
                "host-1  active     3.21       9280   280       262  same    same  releases/1-0a",
            ]
        );
    }

    #[test]
    fn the_cost_is_a_ratio_to_three_places() {
        let wire = WireReport {
            source_symbols: 1000,
            sent_symbols: 1043,
            bytes: 1 << 20,
            catch_up_symbols: 0,
            needs: 12,
            ..WireReport::default()
        };
        assert_eq!(
            cost_line(&wire),
            "1.043 symbols sent per source symbol (1043 of 1000), 1.00 MiB in all, 12 NEEDs heard"
        );
    }
}
