//! What a contestant is: how its hosts are started, how it sends, where the file ends up.
//!
//! Every contestant runs as its manual says, with the settings that were fastest when tried; none
//! is handicapped, and fanfare is one of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::lab::{Host, Node};

use super::arena::Arena;

/// A way to bring a file to many hosts.
pub trait Contestant: Sync {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Programs that it needs, and what installs them.
    fn needs(&self) -> (Vec<PathBuf>, &'static str);

    /// Settings of the sender that are worth trying, the likely best first.
    fn settings(&self) -> Vec<Setting>;

    /// What comes before all clocks: for example packing.
    ///
    /// # Errors
    /// One line.
    fn prepare(&self, _arena: &Arena) -> anyhow::Result<()> {
        Ok(())
    }

    /// The command that receives on `host`.
    fn host_command(&self, host: &Host) -> Command;

    /// Whether the receiver on `node` listens.
    fn is_ready(&self, node: &Node) -> bool;

    /// The command that sends.
    fn send_command(&self, arena: &Arena, setting: &Setting) -> Command;

    /// Whether the end of the receivers, not only of the sender, is the end of the transfer.
    fn receivers_end(&self) -> bool {
        false
    }

    /// Whether its own end says that every host has read its file again and found it right; for
    /// the others the clock runs on until we have.
    fn checks_itself(&self) -> bool {
        false
    }

    /// Where the file lies in a host's store.
    fn received(&self, store: &Path) -> Option<PathBuf>;
}

/// Arguments of the sender that are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As they are given.
    pub arguments: Vec<String>,
    /// A rate in Mbit/s that the setting cannot exceed, where it has one.
    pub megabits_max: Option<u64>,
}

impl Setting {
    /// `arguments`, separated by blanks, that limit the rate to `megabits_max`.
    pub fn new(arguments: &str, megabits_max: Option<u64>) -> Self {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Self { arguments, megabits_max }
    }

    /// Seconds below which it cannot bring `bytes` anywhere.
    pub fn seconds_min(&self, bytes: u64) -> f64 {
        self.megabits_max.map_or(0.0, |megabits| bytes as f64 * 8.0 / (megabits as f64 * 1e6))
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.arguments.is_empty() {
            return f.pad("(none)");
        }
        f.pad(&self.arguments.join(" "))
    }
}

/// The file below `directory` that is the only one there.
pub fn only_file(directory: &Path) -> Option<PathBuf> {
    let mut files = directory.read_dir().ok()?.flatten().map(|entry| entry.path());
    files.next().filter(|_| files.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_bounds_the_time_from_below() {
        let setting = Setting::new("-R 100000", Some(100));
        assert_eq!(setting.arguments, ["-R", "100000"]);
        assert_eq!(setting.seconds_min(125_000_000), 10.0);
        assert_eq!(Setting::new("", None).seconds_min(1), 0.0);
        assert_eq!(Setting::new("", None).to_string(), "(none)");
    }
}
