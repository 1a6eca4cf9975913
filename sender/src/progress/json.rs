//! Progress as JSON lines: one object at each phase and once a second, in base units.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use crate::session::{Phase, Progress};
use crate::transfer::Observer;

use super::{Display, phase_word, write_line};

/// Version of the events' form.
const SCHEMA: u32 = 1;
/// An event comes so often within a phase.
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// Writes events.
pub struct Events<W> {
    output: W,
    said: Option<(Phase, Duration)>,
}

impl<W: Write> Events<W> {
    /// Events to `output`.
    pub fn new(output: W) -> Self {
        Self { output, said: None }
    }
}

#[derive(Serialize)]
struct Notice<'a> {
    schema: u32,
    event: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
struct Event<'a> {
    schema: u32,
    event: &'static str,
    seconds: f64,
    phase: &'static str,
    joined: usize,
    expected: Option<usize>,
    staged: usize,
    active: usize,
    catching_up: usize,
    failed: usize,
    sent: f64,
    slowest: f64,
    slowest_host: Option<&'a str>,
    median: f64,
    repair_symbols: u64,
    bits_per_second: u64,
    bytes: u64,
}

fn event(elapsed: Duration, progress: &Progress) -> Event<'_> {
    Event {
        schema: SCHEMA,
        event: "progress",
        seconds: elapsed.as_secs_f64(),
        phase: phase_word(progress.phase),
        joined: progress.joined,
        expected: progress.expected,
        staged: progress.staged,
        active: progress.active,
        catching_up: progress.catching_up,
        failed: progress.failed,
        sent: progress.sent,
        slowest: progress.slowest,
        slowest_host: progress.slowest_host.as_ref().map(|host| host.as_str()),
        median: progress.median,
        repair_symbols: progress.repair_symbols,
        bits_per_second: progress.rate.as_bits(),
        bytes: progress.bytes,
    }
}

fn to_line(event: &impl Serialize) -> String {
    serde_json::to_string(event).expect("plain numbers and words serialise")
}

impl<W: Write> Observer for Events<W> {
    fn notice(&mut self, text: &str) {
        let notice = Notice { schema: SCHEMA, event: "notice", text };
        write_line(&mut self.output, &to_line(&notice));
    }

    fn progress(&mut self, elapsed: Duration, progress: &Progress) {
        let is_due = self.said.is_none_or(|(phase, at)| {
            phase != progress.phase || elapsed.saturating_sub(at) >= EVENT_EVERY
        });
        if is_due {
            self.said = Some((progress.phase, elapsed));
            write_line(&mut self.output, &to_line(&event(elapsed, progress)));
        }
    }
}

impl<W: Write> Display for Events<W> {
    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::super::tests::progress;
    use super::*;

    #[test]
    fn every_line_is_an_object_with_a_schema_and_base_units() {
        let mut events = Events::new(Vec::new());
        events.notice("a \"quoted\" word");
        events.progress(Duration::from_millis(100), &progress(Phase::Pass));
        events.progress(Duration::from_millis(200), &progress(Phase::Pass));
        events.progress(Duration::from_millis(300), &progress(Phase::Flush));
        let text = String::from_utf8(events.output).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line["schema"] == 1));
        assert_eq!(lines[0]["text"], "a \"quoted\" word");
        assert_eq!(lines[1]["bits_per_second"], 941_000_000);
        assert_eq!(lines[1]["slowest_host"], "web-17");
        assert_eq!(lines[2]["phase"], "flush");
    }
}
