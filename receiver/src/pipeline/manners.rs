//! What the data path takes of a machine whose business is something else.
//!
//! Not here: what one session may take of another's memory ([`crate::daemon`]).

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread;

use common::sys::processes::{IoRank, rank_thread};
use serde::Deserialize;

/// A window has at most 64 blocks, which are decoded side by side: more threads find nothing to do.
pub const WORKERS_MAX: usize = 64;

/// How a disk's scheduler ranks what the data path reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoClass {
    /// Behind everybody else's.
    #[default]
    Idle,
    /// Like everybody else's.
    Normal,
}

impl FromStr for IoClass {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "idle" => Ok(Self::Idle),
            "normal" => Ok(Self::Normal),
            _ => Err("neither idle nor normal"),
        }
    }
}

impl fmt::Display for IoClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Normal => "normal",
        })
    }
}

/// What the administrator lets the data path take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Threads that decode, verify, decompress and write.
    pub workers: NonZeroUsize,
    /// Their and the installers' rank at the disk.
    pub io_class: IoClass,
}

impl Default for Manners {
    /// Half of the cores that this process may use, and the disk when nobody else wants it.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = NonZeroUsize::new((cores / 2).clamp(1, WORKERS_MAX));
        Self { workers: workers.unwrap_or(NonZeroUsize::MIN), io_class: IoClass::default() }
    }
}

impl Manners {
    /// Ranks what this thread, and those it will start, do to disks.
    ///
    /// # Errors
    /// When the kernel refuses, as in some sandboxes.
    pub fn adopt(&self) -> io::Result<()> {
        if self.io_class == IoClass::Normal {
            return Ok(());
        }
        rank_thread(IoRank::Idle)
    }
}

/// Gives this thread, and the processes that it will start, the rank that the process as a whole
/// has: what runs for the services does not stand behind them.
pub fn take_process_rank() {
    // Where the kernel refuses, the rank was never another.
    let _ = rank_thread(IoRank::OfProcess);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cores_and_the_idle_class_are_the_default() {
        let cores = thread::available_parallelism().unwrap().get();
        let manners = Manners::default();
        assert_eq!(manners.workers.get(), (cores / 2).clamp(1, WORKERS_MAX));
        assert_eq!(manners.io_class, "idle".parse().unwrap());
        assert!("realtime".parse::<IoClass>().is_err());
    }
}
