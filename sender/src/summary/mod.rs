//! How a send ended: the table for people, the object for scripts, the line and code for both.
//!
//! Not here: how it went meanwhile (`progress`). Invariant: every host that failed, was lost or
//! never came is named with its reason, however many there are.

mod json;
mod table;

use std::time::{Duration, UNIX_EPOCH};

use common::count::{counted, counted_of};
use common::wire::{Activation, escaped};

use crate::complaint::Complaint;
use crate::exit::Exit;
use crate::session::{Expect, HostReport, HostState, Outcome};
use crate::transfer::{Report, SendOptions};

pub use json::to_json;
pub use table::to_table;

/// Causes that the closing line names before it counts the rest.
const CAUSES_MAX: usize = 3;
/// The end of the year 9999, after which RFC 3339 has no form.
const LAST_SECOND: u64 = 253_402_300_799;

/// An outcome's name in JSON and in the summary.
pub const fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Reached => "reached",
        Outcome::Unstated => "unstated",
        Outcome::NotReached => "not-reached",
        Outcome::RolledBack => "rolled-back",
        Outcome::NobodyJoined => "nobody-joined",
        Outcome::Busy { .. } => "busy",
        Outcome::TimedOut => "timed-out",
        Outcome::Interrupted => "interrupted",
    }
}

/// What the program ends with.
pub const fn exit_of(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Reached | Outcome::Unstated => Exit::Done,
        Outcome::NotReached => Exit::NotReached,
        Outcome::RolledBack => Exit::RolledBack,
        Outcome::NobodyJoined => Exit::NobodyJoined,
        Outcome::Busy { .. } => Exit::Network,
        Outcome::TimedOut => Exit::Timeout,
        Outcome::Interrupted => Exit::Interrupted,
    }
}

/// A policy's name in JSON, as `--activate` takes it.
pub const fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Together => "together",
        Activation::Each => "each",
        Activation::Hold => "hold",
    }
}

/// The line on standard error, with the exit code, when it did not end well.
pub fn complaint(report: &Report, options: &SendOptions) -> Option<Complaint> {
    let line = match &report.outcome {
        Outcome::Reached | Outcome::Unstated => return None,
        Outcome::NotReached => format!("not reached: {}{}", score(report, options), causes(report)),
        Outcome::RolledBack => format!(
            "rolled back: {}; the release is bad where it was tried{}",
            score(report, options),
            causes(report)
        ),
        Outcome::NobodyJoined => format!(
            "nobody joined within {}: is fanhost running for {} on the same network with --group \
             {} and {}?{}",
            time(options.join_window),
            report.app,
            options.group,
            if options.keys.is_some() { "keys of this site" } else { "--insecure, as here" },
            if options.ttl == 1 { " (--ttl 1 reaches this network only)" } else { "" }
        ),
        Outcome::Busy { host, user, started } => format!(
            "busy: {} is being sent by {} on {} since {}: wait for it, or stop it there",
            report.app,
            escaped(user),
            escaped(host),
            rfc3339(*started)
        ),
        Outcome::TimedOut => format!(
            "timed out after {}: {}{}",
            options.timeout.map_or_else(|| "a while".to_owned(), time),
            score(report, options),
            causes(report)
        ),
        Outcome::Interrupted => {
            format!("interrupted: the hosts were told to stop; {}", score(report, options))
        }
    };
    Some(Complaint::new(exit_of(&report.outcome), line))
}

/// The state that the operator asked for.
const fn target(activation: Activation) -> HostState {
    match activation {
        Activation::Hold => HostState::Staged,
        Activation::Together | Activation::Each => HostState::Active,
    }
}

/// Hosts that are where the operator wants them, or further.
fn there(report: &Report) -> usize {
    let target = target(report.activation);
    report.hosts.iter().filter(|host| host.state <= target).count()
}

/// Hosts that somebody counts on: those expected, or where nobody was named those that came.
fn expected(report: &Report, options: &SendOptions) -> usize {
    match &options.expect {
        Expect::Count(count) => *count,
        Expect::Names(names) => names.len(),
        Expect::Any => report.hosts.len(),
    }
}

/// `7 of 8 hosts active`, and what the others came to where that explains it.
fn score(report: &Report, options: &SendOptions) -> String {
    let (there, expected) = (there(report), expected(report, options));
    let word = target(report.activation).as_str();
    let mut line = counted_of(there, expected, "host", word);
    let staged = report.hosts.iter().filter(|host| host.state == HostState::Staged).count();
    if report.activation != Activation::Hold && staged > 0 {
        line.push_str(&format!(", {staged} staged"));
        if there == 0 && report.activation == Activation::Together {
            line.push_str(" and nobody switched");
        }
    }
    line
}

/// The first hosts that stand in the way, each with its reason.
fn causes(report: &Report) -> String {
    let in_the_way = by_name(&report.hosts).into_iter().filter(|it| is_exception(it));
    let (nameless, named): (Vec<_>, Vec<_>) = in_the_way.partition(|it| is_nameless(it));
    let mut line = String::new();
    for host in named.iter().take(CAUSES_MAX) {
        line.push_str(&format!("; {} {}: {}", host.host, host.state.as_str(), reason(host)));
    }
    if named.len() > CAUSES_MAX {
        line.push_str(&format!("; and {}", counted(named.len() - CAUSES_MAX, "more host")));
    }
    if !nameless.is_empty() {
        line.push_str(&format!("; {} never joined", counted(nameless.len(), "host")));
    }
    line
}

/// The hosts by name, those that were expected by number alone at the end.
fn by_name(hosts: &[HostReport]) -> Vec<&HostReport> {
    let mut hosts: Vec<&HostReport> = hosts.iter().collect();
    hosts.sort_by_key(|host| match is_nameless(host) {
        true => (true, ""),
        false => (false, host.host.as_str()),
    });
    hosts
}

/// Whether the line stands for a host that was expected by number and never came.
fn is_nameless(host: &HostReport) -> bool {
    host.state == HostState::Absent && host.host.starts_with('(')
}

/// Whether the host must be named in every summary.
fn is_named(host: &HostReport) -> bool {
    is_exception(host) || !host.straggler.is_empty() || failed_hook(host).is_some()
}

/// The line about the first hook that failed on a host, safe to print.
fn failed_hook(host: &HostReport) -> Option<String> {
    let ran = host.trial.as_ref()?.results.iter().find(|ran| !ran.is_success())?;
    Some(escaped(&ran.to_string()).to_string())
}

/// Whether the host is not where it should be.
const fn is_exception(host: &HostReport) -> bool {
    matches!(
        host.state,
        HostState::RolledBack
            | HostState::Failed
            | HostState::Lost
            | HostState::Absent
            | HostState::Receiving
    )
}

/// Why a host is what it is, also where the session had no words for it.
fn reason(host: &HostReport) -> &str {
    match (host.reason.as_str(), host.state) {
        ("", HostState::Receiving) => "not finished when the session ended",
        ("", HostState::Failed) => host.fault.text(),
        (reason, _) => reason,
    }
}

/// A second of 1970's count as RFC 3339 writes it; what a peer claims may be any number.
fn rfc3339(seconds: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(at).to_string()
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

#[cfg(test)]
mod tests;
