//! Progress as live bars: what is sent, what the fleet has, who is slowest.

use std::io::{self, Write};
use std::time::Duration;

use common::count::counted;
use common::units::ByteSize;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::session::{Phase, Progress};
use crate::transfer::Observer;

use super::{
    Display, clock_time, fleet_line, hosts_line, percent, phase_word, rate_word, write_line,
};

/// Steps of a bar.
const STEPS: u64 = 1000;
/// Before this share of the pass was watched, the rest cannot be told.
const ETA_SHARE_MIN: f64 = 0.02;

/// Draws bars.
pub struct Bars {
    screen: MultiProgress,
    drawn: Option<Drawn>,
    is_coloured: bool,
    pass_began: Option<(Duration, f64)>,
}

struct Drawn {
    head: ProgressBar,
    sent: ProgressBar,
    fleet: ProgressBar,
    hosts: ProgressBar,
}

impl Bars {
    /// Bars on `screen`; nothing is drawn before there is progress.
    pub fn new(screen: MultiProgress, is_coloured: bool) -> Self {
        Self { screen, drawn: None, is_coloured, pass_began: None }
    }

    fn draw(&self) -> Drawn {
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .expect("the templates are literals")
                .progress_chars("█▉▊▋▌▍▎▏ ")
        };
        let text = style("{prefix:<11}{wide_msg}");
        let bar = match self.is_coloured {
            true => style("{prefix:<11}{bar:30.cyan/blue} {wide_msg}"),
            false => style("{prefix:<11}{bar:30} {wide_msg}"),
        };
        let add = |prefix: &'static str, style: &ProgressStyle| {
            let bar = self.screen.add(ProgressBar::new(STEPS));
            bar.set_style(style.clone());
            bar.set_prefix(prefix);
            bar
        };
        Drawn {
            head: add("", &text),
            sent: add("sent", &bar),
            fleet: add("received", &bar),
            hosts: add("hosts", &text),
        }
    }

    /// What remains of the pass, as far as it can be told.
    fn eta(&mut self, elapsed: Duration, progress: &Progress) -> Option<Duration> {
        if progress.phase != Phase::Pass {
            self.pass_began = None;
            return None;
        }
        let (began, before) = *self.pass_began.get_or_insert((elapsed, progress.sent));
        let gained = progress.sent - before;
        let is_known = gained >= ETA_SHARE_MIN;
        is_known.then(|| (elapsed - began).mul_f64((1.0 - progress.sent) / gained))
    }
}

/// The line above the bars.
fn head_line(elapsed: Duration, progress: &Progress, eta: Option<Duration>) -> String {
    let mut parts = vec![clock_time(elapsed)];
    parts.extend(rate_word(progress).map(|rate| rate.to_string()));
    if progress.bytes > 0 {
        parts.push(format!("{} sent", ByteSize(progress.bytes)));
        parts.push(counted(progress.repair_symbols, "repair symbol"));
    }
    parts.extend(eta.map(|eta| format!("{} left", clock_time(eta))));
    parts.join("  ")
}

fn steps(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * STEPS as f64) as u64
}

impl Observer for Bars {
    fn notice(&mut self, line: &str) {
        self.screen.suspend(|| write_line(&mut io::stderr(), &format!("fanfare: {line}")));
    }

    fn progress(&mut self, elapsed: Duration, progress: &Progress) {
        let eta = self.eta(elapsed, progress);
        let drawn = self.drawn.take().unwrap_or_else(|| self.draw());
        drawn.head.set_prefix(phase_word(progress.phase));
        drawn.head.set_message(head_line(elapsed, progress, eta));
        drawn.sent.set_position(steps(progress.sent));
        drawn.sent.set_message(format!("{} %", percent(progress.sent)));
        drawn.fleet.set_position(steps(progress.median));
        drawn.fleet.set_message(fleet_line(progress));
        drawn.hosts.set_message(hosts_line(progress));
        self.drawn = Some(drawn);
    }
}

impl Display for Bars {
    fn finish(&mut self) {
        if let Some(drawn) = self.drawn.take() {
            for bar in [drawn.head, drawn.sent, drawn.fleet, drawn.hosts] {
                bar.finish_and_clear();
            }
        }
        let _ = self.screen.clear();
        let _ = io::stderr().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::progress;
    use super::*;
    use indicatif::{ProgressDrawTarget, TermLike};
    use std::sync::{Arc, Mutex};

    /// A terminal that keeps what is written to it, line by line.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn(phase: Phase, is_coloured: bool) -> String {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(paper.clone()), 255);
        let mut bars = Bars::new(MultiProgress::with_draw_target(target), is_coloured);
        bars.progress(Duration::from_secs(12), &progress(phase));
        bars.finish();
        let text = paper.0.lock().unwrap();
        text.clone()
    }

    #[test]
    fn the_bars_show_rate_pass_fleet_repairs_and_hosts() {
        let text = drawn(Phase::Pass, false);
        for part in [
            "pass",
            "0:12  941 Mbit/s  1.00 GiB sent  412 repair symbols",
            "58 %",
            "median 57 %, slowest web-17 31 %",
            "8 of 8 hosts joined",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(!text.contains('\x1b'), "no colours: {text:?}");
    }

    #[test]
    fn what_is_left_is_told_once_it_can_be() {
        let mut bars = Bars::new(MultiProgress::new(), false);
        let at = |sent| Progress { sent, ..progress(Phase::Pass) };
        assert_eq!(bars.eta(Duration::from_secs(10), &at(0.0)), None);
        let eta = bars.eta(Duration::from_secs(20), &at(0.25));
        assert_eq!(eta, Some(Duration::from_secs(30)));
        assert_eq!(bars.eta(Duration::from_secs(90), &progress(Phase::Flush)), None);
    }
}
