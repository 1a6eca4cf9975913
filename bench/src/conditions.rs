//! Where and when is measured: what belongs beside every figure.

use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use common::clock::unix_seconds;
use serde::{Deserialize, Serialize};

use crate::machine;

/// The machine and the state that it was in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Commit of the sources that were measured.
    pub commit: String,
    /// When it was begun.
    pub date: String,
    /// Kernel.
    pub kernel: String,
    /// Model of the processor.
    pub processor: String,
    /// How many cores.
    pub cores: usize,
    /// Load of the machine before, by others.
    pub load: f64,
    /// Receive buffers of the peers, at most.
    pub rmem_max_bytes: u64,
}

impl Conditions {
    /// Those of now.
    pub fn now() -> Self {
        let at = UNIX_EPOCH + Duration::from_secs(unix_seconds());
        Self {
            commit: commit(),
            date: humantime::format_rfc3339_seconds(at).to_string(),
            kernel: machine::kernel(),
            processor: machine::processor(),
            cores: machine::cores(),
            load: machine::load(),
            rmem_max_bytes: machine::rmem_max_bytes(),
        }
    }
}

impl std::fmt::Display for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { commit, date, kernel, processor, cores, .. } = self;
        let (day, _) = date.split_once('T').unwrap_or((date, ""));
        write!(f, "commit {commit}, {day}, {cores} cores of {processor}, Linux {kernel}")
    }
}

/// The commit of the sources beside this program's, with `-dirty` where they have changed since.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    let output = git.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_told_in_one_line_with_the_day() {
        let conditions = Conditions {
            commit: "abc".to_owned(),
            date: "2026-11-26T04:15:00Z".to_owned(),
            kernel: "6.18".to_owned(),
            processor: "AMD EPYC".to_owned(),
            cores: 2,
            ..Conditions::default()
        };
        let line = "commit abc, 2026-11-26, 2 cores of AMD EPYC, Linux 6.18";
        assert_eq!(conditions.to_string(), line);
        assert!(Conditions::now().date.ends_with('Z'));
    }
}
