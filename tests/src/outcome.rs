//! What `fanfare send` answers: an exit code, and one JSON object with every host.

use std::time::Duration;

use serde_json::Value;

use crate::process::Ending;

/// Exit codes of DESIGN, chapter 8, by what they mean.
pub mod exit {
    /// Every expected host, or the given quorum, is active.
    pub const DONE: i32 = 0;
    /// Our own fault.
    pub const INTERNAL: i32 = 1;
    /// The command line makes no sense.
    pub const USAGE: i32 = 2;
    /// Not every expected host got there.
    pub const NOT_REACHED: i32 = 3;
    /// Nobody joined.
    pub const NOBODY_JOINED: i32 = 4;
    /// Verification or signature refused.
    pub const REFUSED: i32 = 5;
    /// Disk, memory or descriptors.
    pub const RESOURCES: i32 = 6;
    /// Busy, or the network is configured otherwise.
    pub const NETWORK: i32 = 7;
    /// Hosts found the release bad and went back.
    pub const ROLLED_BACK: i32 = 8;
    /// The configuration file of the daemon is wrong.
    pub const CONFIG: i32 = 78;
    /// The time given was over.
    pub const TIMEOUT: i32 = 124;
    /// Interrupted.
    pub const INTERRUPTED: i32 = 130;
}

/// How a send ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The process's end.
    pub ending: Ending,
    report: Option<Value>,
}

/// What became of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostOutcome {
    /// Its name.
    pub host: String,
    /// `received`, `staged`, `active`, `failed`, `lost` or `absent`.
    pub state: String,
    /// Why it is not active, in words.
    pub reason: String,
    /// From the start of the session to its state.
    pub seconds: Option<f64>,
}

impl Outcome {
    /// Reads what `ending` printed.
    pub fn of(ending: Ending) -> Self {
        let report = serde_json::from_str(&ending.stdout).ok();
        Self { ending, report }
    }

    /// This outcome, if the exit code is `code`.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect_exit(self, code: i32) -> Self {
        assert_eq!(
            self.ending.code,
            Some(code),
            "exit code; signal {:?}\nstdout: {}\nstderr: {}",
            self.ending.signal,
            self.ending.stdout,
            self.ending.stderr
        );
        self
    }

    /// The JSON object.
    ///
    /// # Panics
    /// When standard output is not exactly one object with schema 1.
    #[track_caller]
    pub fn report(&self) -> &Value {
        let report = self.report.as_ref();
        let report = report.unwrap_or_else(|| panic!("not one object: {:?}", self.ending.stdout));
        assert_eq!(report["schema"], 1, "schema of {report}");
        report
    }

    /// What became of the session, in the product's word.
    #[track_caller]
    pub fn outcome(&self) -> &str {
        self.report()["outcome"].as_str().unwrap_or_default()
    }

    /// Every host that the report names.
    #[track_caller]
    pub fn hosts(&self) -> Vec<HostOutcome> {
        let hosts = self.report()["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
        hosts.iter().map(HostOutcome::read).collect()
    }

    /// The host called `name`.
    ///
    /// # Panics
    /// When the report names it not exactly once.
    #[track_caller]
    pub fn host(&self, name: &str) -> HostOutcome {
        let mut found: Vec<_> = self.hosts().into_iter().filter(|it| it.host == name).collect();
        assert_eq!(found.len(), 1, "{name} in {}", self.report());
        found.remove(0)
    }

    /// Names of the hosts in `state`.
    #[track_caller]
    pub fn hosts_in(&self, state: &str) -> Vec<String> {
        self.hosts().into_iter().filter(|it| it.state == state).map(|it| it.host).collect()
    }

    /// Symbols sent for each source symbol.
    ///
    /// # Panics
    /// When the report does not count them.
    #[track_caller]
    pub fn symbols_per_source_symbol(&self) -> f64 {
        let wire = &self.report()["wire"];
        let count = |name: &str| {
            wire[name].as_u64().unwrap_or_else(|| panic!("{name} is no count in {wire}"))
        };
        count("sent_symbols") as f64 / count("source_symbols") as f64
    }

    /// Time from the command's start to its end.
    pub fn elapsed(&self) -> Duration {
        self.ending.elapsed
    }

    /// The one line that says what is wrong.
    ///
    /// # Panics
    /// When standard error is not one line.
    #[track_caller]
    pub fn complaint(&self) -> &str {
        one_line(&self.ending.stderr)
    }
}

impl HostOutcome {
    fn read(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self {
            host: text("host"),
            state: text("state"),
            reason: text("reason"),
            seconds: value["seconds"].as_f64(),
        }
    }
}

/// `stderr` without its line end, when it is one line.
///
/// # Panics
/// When it is none or several.
#[track_caller]
pub fn one_line(stderr: &str) -> &str {
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "one line that a person reads, not {lines:#?}");
    lines[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stdout: &str) -> Outcome {
        Outcome::of(Ending {
            code: Some(3),
            signal: None,
            elapsed: Duration::ZERO,
            stdout: stdout.to_owned(),
            stderr: "fanfare: h2: disk full\n".to_owned(),
        })
    }

    #[test]
    fn a_report_is_read_host_by_host() {
        let read = outcome(
            r#"{"schema":1,"outcome":"not-reached",
                "hosts":[{"host":"h1","state":"staged","reason":"","seconds":1.5},
                         {"host":"h2","state":"failed","reason":"disk full","seconds":0.5}],
                "wire":{"source_symbols":1000,"sent_symbols":1030,"bytes":1,"seconds":2.0}}"#,
        );
        assert_eq!(read.host("h2").reason, "disk full");
        assert_eq!(read.hosts_in("staged"), ["h1"]);
        assert_eq!(read.symbols_per_source_symbol(), 1.03);
        assert_eq!(read.complaint(), "fanfare: h2: disk full");
    }

    #[test]
    #[should_panic(expected = "not one object")]
    fn a_report_beside_other_text_is_no_report() {
        outcome("done\n{\"schema\":1}").report();
    }
}
