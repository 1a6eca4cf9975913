//! The summary that a script reads: one object, base units, every host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::hook::Ran;
use common::wire::{Alarm, Trial, escaped};
use serde::Serialize;

use super::{expected, outcome_name, reason, rfc3339};
use crate::session::{HostReport, Outcome, Quorum};
use crate::transfer::{Report, SendOptions};

/// Version of the object's form; it rises when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Summary<'a> {
    schema: u32,
    release: String,
    app: &'a str,
    label: &'a str,
    activation: &'static str,
    outcome: &'static str,
    exit: u8,
    expected: usize,
    required: usize,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    busy: Option<Busy<'a>>,
    hosts: Vec<Host<'a>>,
    wire: Wire,
    /// Datagrams that were not believed; left out where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused<'a>>,
}

#[derive(Serialize)]
struct Refused<'a> {
    datagrams: u64,
    reasons: &'a BTreeMap<&'static str, u64>,
    /// The first eight that sent some.
    sources: Vec<Source>,
}

#[derive(Serialize)]
struct Source {
    address: IpAddr,
    datagrams: u64,
}

#[derive(Serialize)]
struct Busy<'a> {
    host: &'a str,
    user: &'a str,
    started: String,
}

#[derive(Serialize)]
struct Host<'a> {
    host: &'a str,
    address: Option<String>,
    state: &'static str,
    fault: &'static str,
    reason: &'a str,
    seconds: Option<f64>,
    received: u32,
    lost: u32,
    kernel_drops: u32,
    dropped_blocks: u32,
    straggler: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    /// What it was sent by a forger.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<Forged>,
    /// What the host's administrator had run around the switch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hooks: Vec<Ran>,
}

#[derive(Serialize)]
struct Forged {
    false_symbols: u32,
    foreign: u32,
    source: String,
}

#[derive(Serialize)]
struct Wire {
    source_symbols: u64,
    sent_symbols: u64,
    preamble_symbols: u64,
    catch_up_symbols: u64,
    needs: u64,
    hashes: u64,
    bytes: u64,
    seconds: f64,
}

/// The summary as one JSON object with a line break.
pub fn to_json(report: &Report, options: &SendOptions) -> String {
    let expected = expected(report, options);
    let quorum = options.quorum;
    let summary = Summary {
        schema: SCHEMA,
        release: report.release.to_string(),
        app: report.app.as_str(),
        label: report.label.as_str(),
        activation: super::activation_name(report.activation),
        outcome: outcome_name(&report.outcome),
        exit: super::exit_of(&report.outcome).code(),
        expected,
        required: if quorum == Quorum::All { expected } else { quorum.of(expected) },
        seconds: report.seconds,
        busy: busy(&report.outcome),
        hosts: super::by_name(&report.hosts).into_iter().map(host).collect(),
        wire: wire(report),
        refused: refused(report),
    };
    let mut text = serde_json::to_string_pretty(&summary).expect("words and numbers serialise");
    text.push('\n');
    text
}

fn refused(report: &Report) -> Option<Refused<'_>> {
    let refused = &report.refused;
    let source = |&(address, datagrams)| Source { address, datagrams };
    (refused.total() > 0).then(|| Refused {
        datagrams: refused.total(),
        reasons: refused.reasons(),
        sources: refused.sources().iter().map(source).collect(),
    })
}

fn busy(outcome: &Outcome) -> Option<Busy<'_>> {
    match outcome {
        Outcome::Busy { host, user, started } => {
            Some(Busy { host, user, started: rfc3339(*started) })
        }
        _ => None,
    }
}

/// A host that never came has no time; all others have been seen at some moment.
fn host(report: &HostReport) -> Host<'_> {
    Host {
        host: &report.host,
        address: report.address.map(|address| address.to_string()),
        state: report.state.as_str(),
        fault: report.fault.as_str(),
        reason: reason(report),
        seconds: report.address.map(|_| report.seconds),
        received: report.received,
        lost: report.lost,
        kernel_drops: report.kernel_drops,
        dropped_blocks: report.dropped_blocks,
        straggler: Some(report.straggler.as_str()).filter(|cause| !cause.is_empty()),
        verdict: report.trial.as_ref().map(|trial| trial.verdict.as_str()),
        alarm: report.alarm.as_ref().map(forged),
        hooks: report.trial.iter().flat_map(results).collect(),
    }
}

fn forged(alarm: &Alarm) -> Forged {
    let Alarm { false_symbols, foreign, source } = *alarm;
    Forged { false_symbols, foreign, source: source.to_string() }
}

/// What ran on a host, its words safe to print.
fn results(trial: &Trial) -> impl Iterator<Item = Ran> {
    trial.results.iter().map(|ran| Ran { output: escaped(&ran.output).to_string(), ..ran.clone() })
}

fn wire(report: &Report) -> Wire {
    let wire = &report.wire;
    Wire {
        source_symbols: wire.source_symbols,
        sent_symbols: wire.sent_symbols,
        preamble_symbols: wire.preamble_symbols,
        catch_up_symbols: wire.catch_up_symbols,
        needs: wire.needs,
        hashes: wire.hashes,
        bytes: wire.bytes,
        seconds: wire.time.as_secs_f64(),
    }
}
