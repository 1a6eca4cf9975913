//! What became of a command or a probe around a switch: the same words on the host, on the wire and
//! in the sender's report.
//!
//! Not here: running one, and the form on the wire.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Before the switch, which it may refuse.
    PreActivate,
    /// After it.
    PostActivate,
    /// While the release is on trial.
    Health,
}

impl Point {
    /// Name in the configuration, in reports and in FANFARE_HOOK.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreActivate => "pre-activate",
            Self::PostActivate => "post-activate",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a command, or a probe, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// By itself with this status; 0 is success. Of an HTTP probe, success as well.
    Exited(i32),
    /// By a signal that was not ours.
    Signalled(i32),
    /// It took too long and was killed.
    TimedOut,
    /// It could not be begun.
    NotStarted,
    /// An HTTP probe was answered with this status, which was not the expected one.
    Answered(u16),
    /// An HTTP probe was not answered.
    NoAnswer,
}

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Which point it ran at.
    pub point: Point,
    /// How it ended.
    pub ending: Ending,
    /// How long it took.
    #[serde(rename = "seconds", with = "seconds")]
    pub took: Duration,
    /// The end of its output, as text; not escaped.
    pub output: String,
}

impl Ran {
    /// Whether it did what it should.
    pub fn is_success(&self) -> bool {
        self.ending == Ending::Exited(0)
    }
}

impl fmt::Display for Ran {
    /// One line: which, how it ended, when, and the last line that it wrote. Not escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(f, "{} ", self.point)?;
        match self.ending {
            Ending::Exited(0) => write!(f, "succeeded after {seconds:.1} s")?,
            Ending::Exited(status) => write!(f, "ended with status {status} after {seconds:.1} s")?,
            Ending::Signalled(signal) => write!(f, "was ended by signal {signal}")?,
            Ending::TimedOut => write!(f, "was killed after {seconds:.1} s, its timeout")?,
            Ending::NotStarted => write!(f, "could not be started")?,
            Ending::Answered(status) => write!(f, "was answered with status {status}")?,
            Ending::NoAnswer => write!(f, "was not answered within {seconds:.1} s")?,
        }
        match self.output.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => write!(f, ": {line}"),
            None => Ok(()),
        }
    }
}

pub mod seconds {
    //! A duration as a number of seconds.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the number.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_f64(time.as_secs_f64())
    }

    /// Reads the number.
    ///
    /// # Errors
    /// When it is none, or no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(input)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}
