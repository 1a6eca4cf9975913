//! The operator's terminal: results to standard output, everything else to standard error.
//!
//! Invariant: log lines and progress bars never tear each other, and a reader who has gone away is
//! no error.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::{ArgAction, Args};
use indicatif::MultiProgress;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::complaint::Complaint;
use crate::exit::Exit;
use crate::progress::Surroundings;

/// How much the log says.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Verbosity {
    /// Log more: -v what happens, -vv what is decided, -vvv every datagram
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say nothing but errors and the result
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Verbosity {
    const fn level(self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, 2) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        }
    }
}

/// The terminal, or what stands in its place.
#[derive(Debug, Clone)]
pub struct Console {
    /// Where bars are drawn.
    pub screen: MultiProgress,
    /// What standard error is.
    pub surroundings: Surroundings,
    /// Whether results may be coloured.
    pub is_result_coloured: bool,
    /// Whether the operator wants errors only.
    pub is_quiet: bool,
}

impl Console {
    /// Looks at the surroundings and starts the log.
    pub fn open(verbosity: Verbosity) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let surroundings = Surroundings {
            is_terminal: io::stderr().is_terminal(),
            is_dumb: std::env::var_os("TERM").is_none_or(|term| term == "dumb"),
            is_ci: is_set("CI"),
            is_colourless: is_set("NO_COLOR"),
        };
        let is_coloured = !surroundings.is_colourless && !surroundings.is_dumb;
        let console = Self {
            screen: MultiProgress::new(),
            surroundings,
            is_result_coloured: is_coloured && io::stdout().is_terminal(),
            is_quiet: verbosity.quiet,
        };
        let log = tracing_subscriber::fmt()
            .with_max_level(verbosity.level())
            .with_ansi(is_coloured && surroundings.is_terminal)
            .with_target(verbosity.verbose > 1)
            .without_time()
            .with_writer(AroundBars(console.screen.clone()));
        // A second console in one process (a test) keeps the first one's log.
        let _ = log.try_init();
        console
    }

    /// A line on standard error, beside the bars.
    pub fn say(&self, line: impl Display) {
        write_around(&self.screen, format!("fanfare: {line}\n").as_bytes());
    }

    /// The result, on standard output; a reader who has gone away wants no more of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn result(&self, text: &str) -> Result<(), Complaint> {
        self.result_bytes(text.as_bytes())
    }

    /// The result as bytes, which need be no text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn result_bytes(&self, bytes: &[u8]) -> Result<(), Complaint> {
        let mut output = io::stdout().lock();
        match output.write_all(bytes).and_then(|()| output.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Complaint::new(Exit::Resources, format!("cannot write the result: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// Takes the bars away while it writes a line, and draws them again below it.
struct AroundBars(MultiProgress);

impl Write for AroundBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write_around(&self.0, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for AroundBars {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What cannot be told on standard error cannot be told at all.
fn write_around(screen: &MultiProgress, bytes: &[u8]) {
    screen.suspend(|| {
        let _ = io::stderr().write_all(bytes);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_wins_over_verbose() {
        let level = |verbose, quiet| Verbosity { verbose, quiet }.level();
        assert_eq!(level(0, false), LevelFilter::WARN);
        assert_eq!(level(2, false), LevelFilter::DEBUG);
        assert_eq!(level(9, false), LevelFilter::TRACE);
        assert_eq!(level(3, true), LevelFilter::ERROR);
    }
}
