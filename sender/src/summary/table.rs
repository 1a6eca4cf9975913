//! The summary that a person reads: one line of result, the hosts, the cost on the wire.

use common::count::{counted, counted_of};
use common::units::{Bitrate, ByteSize};
use common::wire::Alarm;

use super::{
    by_name, expected, failed_hook, is_named, is_nameless, outcome_name, reason, target, there,
};
use crate::session::{HostReport, HostState, Outcome};
use crate::transfer::{Report, SendOptions};

/// Up to so many hosts have a line each; more are counted, and only exceptions are named.
const LINES_MAX: usize = 20;
/// The states in the order in which they are counted.
const STATES: [HostState; 8] = [
    HostState::Active,
    HostState::Staged,
    HostState::Received,
    HostState::Receiving,
    HostState::RolledBack,
    HostState::Failed,
    HostState::Lost,
    HostState::Absent,
];

/// The summary, several lines.
pub fn to_table(report: &Report, options: &SendOptions, is_coloured: bool) -> String {
    let mut text = heading(report, options);
    if matches!(report.outcome, Outcome::Busy { .. }) {
        // No host was asked for, so none is missing.
        return text;
    }
    let hosts = by_name(&report.hosts);
    let rows = match hosts.len() {
        0 => Vec::new(),
        1..=LINES_MAX => host_rows(hosts.into_iter()),
        _ => {
            text.push_str(&layout(&count_rows(&report.hosts), is_coloured));
            host_rows(hosts.into_iter().filter(|host| is_named(host)))
        }
    };
    text.push_str(&layout(&rows, is_coloured));
    if report.hosts.len() > LINES_MAX {
        text.push_str(&loss_lines(&report.hosts));
    }
    text.push_str(&wire_line(report));
    text.push_str(&memory_line(report));
    text.push_str(&refused_line(report));
    text.push_str(&forged_line(report));
    text
}

fn heading(report: &Report, options: &SendOptions) -> String {
    format!(
        "{} {} ({}): {}, {} in {:.2} s\n",
        report.app,
        report.label,
        report.release.0.short(),
        outcome_name(&report.outcome),
        counted_of(
            there(report),
            expected(report, options),
            "host",
            target(report.activation).as_str()
        ),
        report.seconds
    )
}

/// One row a host; hosts without a name, expected by number alone, share one.
fn host_rows<'a>(hosts: impl Iterator<Item = &'a HostReport>) -> Vec<[String; 6]> {
    let heads = ["HOST", "STATE", "SECONDS", "LOSS", "KERNEL DROPS", "REASON"];
    let mut rows = vec![heads.map(String::from)];
    let mut nameless = 0;
    for host in hosts {
        if is_nameless(host) {
            nameless += 1;
        } else {
            rows.push(host_row(host));
        }
    }
    if nameless > 0 {
        let who = match rows.len() {
            1 => format!("({})", counted(nameless, "host")),
            _ => format!("({nameless} more)"),
        };
        let why = "never joined; --expect @FILE would name them".to_owned();
        rows.push([who, "absent".into(), "-".into(), "-".into(), "-".into(), why]);
    }
    if rows.len() == 1 { Vec::new() } else { rows }
}

fn host_row(host: &HostReport) -> [String; 6] {
    let sent = sent_to(host);
    let was_there = host.state != HostState::Absent;
    let or_dash = |has: bool, cell: String| if has { cell } else { "-".to_owned() };
    [
        host.host.clone(),
        host.state.as_str().to_owned(),
        or_dash(was_there, format!("{:.2}", host.seconds)),
        or_dash(sent > 0, format!("{:.2} %", 100.0 * loss(host))),
        or_dash(was_there, host.kernel_drops.to_string()),
        match (reason(host), host.straggler.as_str()) {
            ("", "") => failed_hook(host).unwrap_or_default(),
            ("", cause) => format!("straggler: {cause}"),
            (reason, _) => reason.to_owned(),
        },
    ]
}

fn count_rows(hosts: &[HostReport]) -> Vec<[String; 6]> {
    let mut rows = vec![["STATE", "HOSTS", "SECONDS", "", "", ""].map(String::from)];
    for state in STATES {
        let seconds: Vec<f64> =
            hosts.iter().filter(|host| host.state == state).map(|host| host.seconds).collect();
        if seconds.is_empty() {
            continue;
        }
        let (first, last) = seconds
            .iter()
            .fold((f64::INFINITY, 0.0), |(first, last), at| (at.min(first), at.max(last)));
        let span = match state {
            HostState::Absent => "-".to_owned(),
            _ => format!("{first:.2} to {last:.2}"),
        };
        let none = String::new;
        rows.push([state.as_str().into(), seconds.len().to_string(), span, none(), none(), none()]);
    }
    rows
}

/// Datagrams that were sent to a host, as it counted them.
fn sent_to(host: &HostReport) -> u64 {
    u64::from(host.received) + u64::from(host.lost)
}

/// The share of them that was lost, 0..=1.
fn loss(host: &HostReport) -> f64 {
    f64::from(host.lost) / sent_to(host).max(1) as f64
}

/// What was lost on the way and what kernels dropped, where there are too many hosts to have a line
/// each; nothing of what did not happen.
fn loss_lines(hosts: &[HostReport]) -> String {
    let sent: u64 = hosts.iter().map(sent_to).sum();
    let lost: u64 = hosts.iter().map(|host| u64::from(host.lost)).sum();
    let mut lines = String::new();
    if let Some(most) = hosts.iter().max_by(|a, b| loss(a).total_cmp(&loss(b)))
        && lost > 0
    {
        let share = 100.0 * lost as f64 / sent.max(1) as f64;
        let (name, most) = (&most.host, 100.0 * loss(most));
        lines += &format!("lost on the way: {share:.2} %, most to {name} ({most:.2} %)\n");
    }
    let dropped = hosts.iter().filter(|host| host.kernel_drops > 0);
    if let Some(most) = dropped.clone().max_by_key(|host| host.kernel_drops) {
        let all = dropped.clone().map(|host| u64::from(host.kernel_drops)).sum::<u64>();
        lines += &format!(
            "dropped by kernels, since buffers were full: {all} datagrams at {}, most at {} ({})\n",
            counted(dropped.count(), "host"),
            most.host,
            most.kernel_drops
        );
    }
    lines
}

/// What was not believed, by reason and source; nothing where all was.
fn refused_line(report: &Report) -> String {
    let refused = &report.refused;
    if refused.total() == 0 {
        return String::new();
    }
    let reasons: Vec<_> =
        refused.reasons().iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let most = refused.sources().iter().max_by_key(|(_, count)| count);
    let from = most.map(|(from, count)| format!("; {count} of them from {from}"));
    format!(
        "refused: {} ({}{})\n",
        counted(refused.total() as usize, "datagram"),
        reasons.join(", "),
        from.unwrap_or_default()
    )
}

/// Columns of equal width, an empty line before them; nothing for no rows.
fn layout(rows: &[[String; 6]], is_coloured: bool) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            let padding = " ".repeat(width - cell.chars().count() + 2);
            format!("{}{padding}", if is_coloured { coloured(cell) } else { cell.clone() })
        });
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    if rows.is_empty() { text } else { format!("\n{text}") }
}

fn coloured(cell: &str) -> String {
    let colour = match cell {
        "active" | "staged" => 32,
        "received" | "receiving" => 33,
        "rolled-back" | "failed" | "lost" | "absent" => 31,
        _ => return cell.to_owned(),
    };
    format!("\x1b[{colour}m{cell}\x1b[0m")
}

fn wire_line(report: &Report) -> String {
    let wire = &report.wire;
    if wire.sent_symbols == 0 {
        return String::new();
    }
    format!(
        "\nwire: {} for {} ({:.3}), {} in {:.2} s ({}), {}\n",
        counted(wire.sent_symbols, "symbol"),
        counted(wire.source_symbols, "source symbol"),
        wire.sent_symbols as f64 / wire.source_symbols.max(1) as f64,
        ByteSize(wire.bytes),
        wire.time.as_secs_f64(),
        Bitrate::of(wire.bytes, wire.time),
        counted(wire.needs, "need")
    )
}

/// Which hosts had too little memory for the rate; nothing where all had enough.
fn memory_line(report: &Report) -> String {
    let dropped = report.hosts.iter().filter(|host| host.dropped_blocks > 0);
    let Some(most) = dropped.clone().max_by_key(|host| host.dropped_blocks) else {
        return String::new();
    };
    format!(
        "memory: {} dropped by {} that could not keep up, most by {} ({}); sent again\n",
        counted(dropped.clone().map(|host| host.dropped_blocks as usize).sum::<usize>(), "block"),
        counted(dropped.count(), "host"),
        most.host,
        most.dropped_blocks
    )
}

/// Which hosts were sent forged data; nothing where none was.
fn forged_line(report: &Report) -> String {
    let alarms: Vec<_> = report.hosts.iter().filter_map(|host| Some((host, host.alarm?))).collect();
    let weight = |alarm: &Alarm| u64::from(alarm.false_symbols) + u64::from(alarm.foreign);
    let Some((most, alarm)) = alarms.iter().max_by_key(|(_, alarm)| weight(alarm)) else {
        return String::new();
    };
    format!(
        "forged data came to {}, most to {}: {alarm}; none of it was used\n",
        counted(alarms.len(), "host"),
        most.host
    )
}
