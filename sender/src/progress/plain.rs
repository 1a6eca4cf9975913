//! Progress as plain lines: one at each phase, and one every 10 s or 10 % in between.

use std::io::Write;
use std::time::Duration;

use common::count::counted;

use crate::session::{Phase, Progress};
use crate::transfer::Observer;

use super::{
    Display, clock_time, fleet_line, hosts_line, percent, phase_word, rate_word, write_line,
};

/// A line comes at least so often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A line comes when the work has moved on by this share.
const LINE_SHARE: f64 = 0.1;
/// And not more often than this, however fast the work moves.
const LINE_GAP: Duration = Duration::from_secs(1);

/// Writes lines.
pub struct Lines<W> {
    output: W,
    said: Option<Said>,
}

/// Where things stood at the last line.
struct Said {
    phase: Phase,
    at: Duration,
    done: f64,
}

impl<W: Write> Lines<W> {
    /// Lines to `output`.
    pub fn new(output: W) -> Self {
        Self { output, said: None }
    }

    /// Beginning and end are not told: most senders have listened before it is read, one that finds
    /// the group busy says that and nothing else, and the end is the summary's.
    fn is_due(&self, elapsed: Duration, progress: &Progress) -> bool {
        if matches!(progress.phase, Phase::Listening | Phase::Ended) {
            return false;
        }
        let Some(said) = &self.said else { return true };
        let quiet = elapsed.saturating_sub(said.at);
        progress.phase != said.phase
            || quiet >= LINE_EVERY
            || (quiet >= LINE_GAP && (done(progress) - said.done).abs() >= LINE_SHARE)
    }
}

/// Share of the phase's work that is done.
fn done(progress: &Progress) -> f64 {
    let hosts = progress.joined.max(1) as f64;
    match progress.phase {
        Phase::Pass => progress.sent,
        Phase::Flush => progress.median,
        Phase::CatchUp | Phase::Unicast => progress.slowest,
        Phase::Settling => progress.staged as f64 / hosts,
        Phase::Activating => progress.active as f64 / hosts,
        _ => 0.0,
    }
}

fn line(elapsed: Duration, progress: &Progress) -> String {
    let word = phase_word(progress.phase);
    let share = match progress.phase {
        Phase::Pass => format!(" {} %", percent(progress.sent)),
        _ => String::new(),
    };
    let mut parts = vec![format!("{} {word}{share}", clock_time(elapsed)), hosts_line(progress)];
    if let Some(rate) = rate_word(progress) {
        parts.extend([fleet_line(progress), rate.to_string()]);
    }
    if progress.repair_symbols > 0 {
        parts.push(counted(progress.repair_symbols, "repair symbol"));
    }
    parts.retain(|part| !part.is_empty());
    format!("fanfare: {}", parts.join(", "))
}

impl<W: Write> Observer for Lines<W> {
    fn notice(&mut self, text: &str) {
        write_line(&mut self.output, &format!("fanfare: {text}"));
    }

    fn progress(&mut self, elapsed: Duration, progress: &Progress) {
        if self.is_due(elapsed, progress) {
            write_line(&mut self.output, &line(elapsed, progress));
            let done = done(progress);
            self.said = Some(Said { phase: progress.phase, at: elapsed, done });
        }
    }
}

impl<W: Write> Display for Lines<W> {
    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::super::tests::progress;
    use super::*;

    fn said(steps: &[(u64, Phase, f64)]) -> Vec<String> {
        let mut lines = Lines::new(Vec::new());
        for (millis, phase, sent) in steps {
            let shown = Progress { sent: *sent, ..progress(*phase) };
            lines.progress(Duration::from_millis(*millis), &shown);
        }
        String::from_utf8(lines.output).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_phase_between_beginning_and_end_has_a_line() {
        let lines = said(&[
            (0, Phase::Listening, 0.0),
            (100, Phase::Joining, 0.0),
            (200, Phase::Joining, 0.0),
            (72_000, Phase::Pass, 0.58),
            (73_000, Phase::Ended, 1.0),
        ]);
        assert_eq!(
            lines,
            [
                "fanfare: 0:00 joining, 8 of 8 hosts joined, 412 repair symbols",
                "fanfare: 1:12 pass 58 %, 8 of 8 hosts joined, median 57 %, slowest web-17 31 %, \
             941 Mbit/s, 412 repair symbols",
            ]
        );
    }

    #[test]
    fn within_a_phase_a_line_comes_every_ten_seconds_or_ten_percent() {
        let pass = |millis, sent| (millis, Phase::Pass, sent);
        let count = |steps: &[(u64, Phase, f64)]| said(steps).len();
        assert_eq!(count(&[pass(0, 0.0), pass(9_900, 0.05)]), 1);
        assert_eq!(count(&[pass(0, 0.0), pass(10_000, 0.05)]), 2);
        assert_eq!(count(&[pass(0, 0.0), pass(2_000, 0.1), pass(4_000, 0.15)]), 2);
        assert_eq!(count(&[pass(0, 0.0), pass(300, 0.5)]), 1, "no flood when it goes fast");
    }

    #[test]
    fn an_output_that_is_gone_is_no_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut lines = Lines::new(Gone);
        lines.notice("heard");
        lines.progress(Duration::ZERO, &progress(Phase::Pass));
    }
}
