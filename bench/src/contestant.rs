//! What a contestant is: how its hosts are started, how it sends, where the file ends up.
//!
//! Every contestant runs as its manual says, with the settings that were fastest when tried; none
//! is handicapped, and fanfare is one of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::tests::lab::{Host, Node};
use common::units::Bitrate;

use crate::arena::Arena;
use crate::cell::Cell;

/// The product's name among the contestants.
pub const OURS: &str = "fanfare";
/// Its name where it seals what it sends.
pub const SEALED: &str = "sealed";

/// A way to bring a file to many hosts.
pub trait Contestant: Sync {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Programs that it needs, and what installs them.
    fn needs(&self) -> (Vec<PathBuf>, &'static str);

    /// Settings of the sender that are worth trying in `cell`, the likely best first.
    fn settings(&self, cell: &Cell) -> Vec<Setting>;

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

    /// Whether its receivers must be told to end, for they have something to write then; those of
    /// the others are killed.
    fn ends_cleanly(&self) -> bool {
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
    /// A rate that the setting cannot exceed, where it has one.
    pub rate_max: Option<Bitrate>,
}

impl Setting {
    /// `arguments`, separated by blanks, that limit the rate to `rate_max`.
    pub fn new(arguments: &str, rate_max: Option<Bitrate>) -> Self {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Self { arguments, rate_max }
    }

    /// Whether it is too slow to bring `bytes` anywhere within `time`.
    pub fn exceeds(&self, time: Duration, bytes: u64) -> bool {
        self.rate_max.is_some_and(|rate| rate.time_for(bytes) >= time)
    }
}

/// Rates worth trying in `cell`, in Mbit/s: those of `megabits` that its link carries, and before
/// them nearly all of it where it is limited.
pub fn rates(cell: &Cell, megabits: &[u64]) -> Vec<u64> {
    let Some(limit) = cell.rate_limit else { return megabits.to_vec() };
    let limit = limit.as_bits() / 1_000_000;
    let nearly_all = [limit * 95 / 100, limit].into_iter().filter(|megabits| *megabits > 0);
    nearly_all.chain(megabits.iter().copied().filter(|megabits| *megabits < limit)).collect()
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
    fn a_rate_bounds_the_time_from_below() {
        let setting = Setting::new("-R 100000", Some(Bitrate::from_megabits(100)));
        assert_eq!(setting.arguments, ["-R", "100000"]);
        assert!(setting.exceeds(Duration::from_secs(10), 125_000_000));
        assert!(!setting.exceeds(Duration::from_secs(11), 125_000_000));
        assert!(!Setting::new("", None).exceeds(Duration::ZERO, 1));
        assert_eq!(Setting::new("", None).to_string(), "(none)");
    }

    #[test]
    fn no_rate_is_tried_that_the_link_does_not_carry() {
        let mut cell = Cell {
            hosts: 1,
            file_bytes: 1,
            loss_per_mille: 0,
            has_offload: true,
            rate_limit: None,
        };
        assert_eq!(rates(&cell, &[3000, 900, 100]), [3000, 900, 100]);
        cell.rate_limit = Some(Bitrate::from_megabits(1000));
        assert_eq!(rates(&cell, &[3000, 900, 100]), [950, 1000, 900, 100]);
    }
}
