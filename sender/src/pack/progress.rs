//! What the operator sees while packing: a bar on a terminal, a line now and then elsewhere.
//!
//! Not here: results, which go to stdout when all is done.
#![expect(clippy::disallowed_methods, reason = "lines are spaced by the clock")]
#![expect(clippy::print_stderr, reason = "progress goes to stderr")]

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use common::units::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};

use crate::console::Console;
use crate::progress::Style;

/// Time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);

/// Where progress is shown.
#[derive(Debug)]
pub struct Progress {
    shape: Shape,
    what: String,
    done: u64,
    total: Option<u64>,
}

#[derive(Debug)]
enum Shape {
    Bar(ProgressBar),
    Lines(Instant),
    Quiet,
}

impl Progress {
    /// A bar when stderr is a terminal, lines otherwise.
    pub fn auto() -> Self {
        let shape = if stderr().is_terminal() {
            Shape::Bar(ProgressBar::hidden())
        } else {
            Shape::Lines(Instant::now())
        };
        Self::of(shape)
    }

    /// As suits the operator's console.
    pub fn on(console: &Console) -> Self {
        Self::of(match console.surroundings.automatic() {
            _ if console.is_quiet => Shape::Quiet,
            Style::Tty { .. } => Shape::Bar(ProgressBar::hidden()),
            _ => Shape::Lines(Instant::now()),
        })
    }

    /// Nothing at all.
    pub fn quiet() -> Self {
        Self::of(Shape::Quiet)
    }

    fn of(shape: Shape) -> Self {
        Self { shape, what: String::new(), done: 0, total: None }
    }

    /// A new stage, of which `total` bytes are expected.
    pub fn begin(&mut self, what: impl Into<String>, total: Option<u64>) {
        (self.what, self.done, self.total) = (what.into(), 0, total);
        match &mut self.shape {
            Shape::Bar(bar) => {
                bar.finish_and_clear();
                *bar = new_bar(total);
                bar.set_message(self.what.clone());
                bar.enable_steady_tick(TICK);
            }
            Shape::Lines(last) => *last = Instant::now(),
            Shape::Quiet => (),
        }
    }

    /// Something that the operator should know.
    pub fn warn(&self, warning: &str) {
        match &self.shape {
            Shape::Bar(bar) => bar.suspend(|| eprintln!("warning: {warning}")),
            Shape::Lines(_) => eprintln!("warning: {warning}"),
            Shape::Quiet => (),
        }
    }

    /// `bytes` more are done.
    pub fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        match &mut self.shape {
            Shape::Bar(bar) => bar.inc(bytes),
            Shape::Lines(last) if last.elapsed() >= LINE_INTERVAL => {
                *last = Instant::now();
                eprintln!("{}", line(&self.what, self.done, self.total));
            }
            Shape::Lines(_) | Shape::Quiet => (),
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Shape::Bar(bar) = &self.shape {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn new_bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ),
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {bytes} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).expect("the templates are constant");
    bar.with_style(style)
}

fn line(what: &str, done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 0 => {
            let percent = done.min(total) * 100 / total;
            format!("{what}: {percent} % of {}", ByteSize(total))
        }
        _ => format!("{what}: {}", ByteSize(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_and_how_far() {
        assert_eq!(line("packing", 512, Some(1024)), "packing: 50 % of 1.00 KiB");
        assert_eq!(line("packing", 512, None), "packing: 512 B");
    }
}
