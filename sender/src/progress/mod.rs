//! How a send goes, told on standard error: live bars, plain lines, JSON lines or nothing.
//!
//! Not here: the result, which goes to standard output (`summary`).
//! Invariant: telling never stops a send; an output that is gone is left alone.

mod json;
mod plain;
mod tty;

use std::io::{self, Write};
use std::time::Duration;

use common::count::{counted, counted_of};
use common::units::Bitrate;
use indicatif::MultiProgress;

use crate::session::{Phase, Progress};
use crate::transfer::Observer;

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Live bars.
    Tty {
        /// Whether in colour.
        is_coloured: bool,
    },
    /// A line now and then.
    Plain,
    /// A JSON object a line.
    Json,
    /// Nothing.
    None,
}

/// What standard error is, as far as it matters for progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// It is a terminal.
    pub is_terminal: bool,
    /// That terminal cannot move its cursor (`TERM=dumb`, or none).
    pub is_dumb: bool,
    /// A build server watches (`CI` is set).
    pub is_ci: bool,
    /// Colours are not wanted (`NO_COLOR` is set).
    pub is_colourless: bool,
}

impl Surroundings {
    /// The style that `--progress auto` takes.
    pub fn automatic(self) -> Style {
        if self.is_terminal && !self.is_dumb && !self.is_ci { self.tty() } else { Style::Plain }
    }

    /// Live bars here.
    pub fn tty(self) -> Style {
        Style::Tty { is_coloured: !self.is_colourless }
    }
}

/// An observer that leaves the terminal as it was when the send is over.
pub trait Display: Observer {
    /// Takes the bars away.
    fn finish(&mut self);
}

/// The observer for `style`; bars are drawn on `screen`, which the log writes around.
pub fn display(style: Style, screen: &MultiProgress) -> Box<dyn Display> {
    match style {
        Style::Tty { is_coloured } => Box::new(tty::Bars::new(screen.clone(), is_coloured)),
        Style::Plain => Box::new(plain::Lines::new(io::stderr())),
        Style::Json => Box::new(json::Events::new(io::stderr())),
        Style::None => Box::new(Silence),
    }
}

struct Silence;

impl Observer for Silence {
    fn notice(&mut self, _line: &str) {}

    fn progress(&mut self, _elapsed: Duration, _progress: &Progress) {}
}

impl Display for Silence {
    fn finish(&mut self) {}
}

/// A phase in words for people and for scripts.
const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Listening => "listening",
        Phase::Joining => "joining",
        Phase::Preamble => "preamble",
        Phase::Pass => "pass",
        Phase::Flush => "flush",
        Phase::CatchUp => "catch-up",
        Phase::Unicast => "unicast",
        Phase::Settling => "settling",
        Phase::Activating => "activating",
        Phase::Judging => "judging",
        Phase::Closing => "closing",
        Phase::Ended => "ended",
    }
}

/// Minutes and seconds, hours where there are any: `0:12`, `1:02:03`.
fn clock_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A share as whole percent; only what is whole counts as 100. (0.58 is a hair less than 58/100.)
fn percent(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * 100.0 + 1e-9).floor() as u32
}

/// `3 of 8 hosts joined, 2 staged, 1 active, 1 failed`; counts of nothing are left out.
fn hosts_line(progress: &Progress) -> String {
    let mut line = match progress.expected {
        Some(expected) => counted_of(progress.joined, expected, "host", "joined"),
        None => format!("{} joined", counted(progress.joined, "host")),
    };
    let counts = [
        (progress.staged, "staged"),
        (progress.active, "active"),
        (progress.failed, "failed or lost"),
    ];
    for (count, word) in counts.into_iter().filter(|(count, _)| *count > 0) {
        line.push_str(&format!(", {count} {word}"));
    }
    if progress.catching_up > 0 {
        line.push_str(&format!(", catch-up: {}", counted(progress.catching_up as u64, "host")));
    }
    line
}

/// `median 57 %, slowest web-17 31 %`; nothing while nobody is there.
fn fleet_line(progress: &Progress) -> String {
    match &progress.slowest_host {
        None => String::new(),
        Some(host) => format!(
            "median {} %, slowest {host} {} %",
            percent(progress.median),
            percent(progress.slowest)
        ),
    }
}

/// The rate that is being sent at; nothing while nothing is sent.
fn rate_word(progress: &Progress) -> Option<Bitrate> {
    let is_sending = (Phase::Preamble..=Phase::Unicast).contains(&progress.phase);
    is_sending.then_some(progress.rate)
}

/// Writes a line whole; an output that is gone is no reason to stop a send.
fn write_line(output: &mut impl Write, line: &str) {
    let _ = output.write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn progress(phase: Phase) -> Progress {
        Progress {
            phase,
            joined: 8,
            expected: Some(8),
            staged: 0,
            active: 0,
            catching_up: 0,
            failed: 0,
            sent: 0.58,
            slowest: 0.315,
            slowest_host: Some("web-17".parse().unwrap()),
            median: 0.57,
            repair_symbols: 412,
            rate: Bitrate::from_megabits(941),
            bytes: 1 << 30,
        }
    }

    #[test]
    fn bars_are_for_terminals_that_a_person_watches() {
        let terminal =
            Surroundings { is_terminal: true, is_dumb: false, is_ci: false, is_colourless: false };
        assert_eq!(terminal.automatic(), Style::Tty { is_coloured: true });
        let colourless = Surroundings { is_colourless: true, ..terminal };
        assert_eq!(colourless.automatic(), Style::Tty { is_coloured: false });
        for other in [
            Surroundings { is_terminal: false, ..terminal },
            Surroundings { is_dumb: true, ..terminal },
            Surroundings { is_ci: true, ..terminal },
        ] {
            assert_eq!(other.automatic(), Style::Plain, "{other:?}");
        }
    }

    #[test]
    fn hosts_are_counted_in_words_and_the_slowest_is_named() {
        let mut shown = progress(Phase::Settling);
        assert_eq!(hosts_line(&shown), "8 of 8 hosts joined");
        (shown.staged, shown.failed, shown.expected) = (6, 1, None);
        assert_eq!(hosts_line(&shown), "8 hosts joined, 6 staged, 1 failed or lost");
        assert_eq!(fleet_line(&shown), "median 57 %, slowest web-17 31 %");
        shown.catching_up = 3;
        let line = "8 hosts joined, 6 staged, 1 failed or lost, catch-up: 3 hosts";
        assert_eq!(hosts_line(&shown), line);
        (shown.expected, shown.catching_up) = (Some(1), 0);
        let line = "8 hosts joined (1 expected), 6 staged, 1 failed or lost";
        assert_eq!(hosts_line(&shown), line);
        shown.slowest_host = None;
        assert_eq!(fleet_line(&shown), "");
    }

    #[test]
    fn a_share_short_of_whole_is_not_a_hundred_percent() {
        assert_eq!(
            [percent(0.9999), percent(1.0), percent(-1.0), percent(f64::NAN)],
            [99, 100, 0, 0]
        );
    }

    #[test]
    fn times_are_written_as_clocks_write_them() {
        let at = |seconds| clock_time(Duration::from_secs(seconds));
        assert_eq!([at(0), at(72), at(3723)], ["0:00", "1:12", "1:02:03"]);
    }
}
