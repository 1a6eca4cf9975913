//! The demo's hosts as child processes: begun, ended, asked for their counts, and certainly gone.
//!
//! Invariant: a host's process is killed and waited for when its [`HostProcess`] is dropped.
#![expect(clippy::disallowed_methods, reason = "it starts processes and makes directories")]

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ::tests::lossy::LossCounts;
use ::tests::process::holds_within;
use anyhow::Context;
use rustix::process::Pid;

use super::host::{HostArgs, read_counts};
use crate::interrupt::Leftovers;

/// How long a host may take to end once it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of a host's log that a failed demo prints.
const TAIL_LINES: usize = 5;

/// A host that runs.
pub struct HostProcess {
    /// What it was told.
    pub args: HostArgs,
    child: Child,
    log: PathBuf,
    leftovers: Leftovers,
}

impl HostProcess {
    /// Starts this program again as a host; its store and its log lie in `directory`.
    ///
    /// # Errors
    /// When the program or its files cannot be had.
    pub fn start(args: HostArgs, directory: &Path, leftovers: &Leftovers) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program to start hosts")?;
        let log = directory.join(format!("{}.log", args.host));
        fs::create_dir_all(&args.store)
            .with_context(|| format!("cannot make {}", args.store.display()))?;
        let errors =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(program)
            .args(args.to_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C is for the demo, which ends its hosts itself.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", args.host))?;
        leftovers.enter_process(Pid::from_child(&child));
        Ok(Self { args, child, log, leftovers: leftovers.clone() })
    }

    /// Asks the host to end; [`HostProcess::counts`] waits for it.
    pub fn ask_to_end(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end of a host that was asked to, and reads its counts.
    ///
    /// # Errors
    /// When it does not end by itself, or did so without a word.
    pub fn counts(&mut self) -> anyhow::Result<LossCounts> {
        // Its id may be given to another process as soon as it was waited for.
        self.leftovers.leave_process(Pid::from_child(&self.child));
        let has_ended = holds_within(PATIENCE, || !matches!(self.child.try_wait(), Ok(None)));
        let output = self.child.stdout.take().filter(|_| has_ended);
        let output = output.with_context(|| format!("{} does not end", self.args.host))?;
        read_counts(output).with_context(|| format!("{} failed", self.args.host))
    }

    /// The end of its log, its name before each line.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        lines[from..].iter().map(|line| format!("  {}: {line}\n", self.args.host)).collect()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        self.leftovers.leave_process(Pid::from_child(&self.child));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
