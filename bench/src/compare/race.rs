//! One run of one contestant, from the sender's start to the last host staged and checked.
//!
//! Receivers stand ready before the clock starts; stores are empty; everything is in memory.
#![expect(clippy::disallowed_methods, reason = "it waits in real time")]

use std::fs;
use std::thread;
use std::time::Duration;

use ::tests::memory::{MemoryWatch, Peak};
use ::tests::process::{Ending, Running};
use anyhow::{Context, bail, ensure};
use common::clock::Clock;
use common::time::Timestamp;

use super::arena::Arena;
use super::contestant::{Contestant, Setting};
use crate::interrupt::Interrupted;

/// Longer than any contestant takes at the lowest rate tried.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long receivers may take to listen, and to end.
const RECEIVER_PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether a process has ended: less than a hundredth of the shortest run.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Last lines of a failed sender that are shown.
const TAIL_LINES: usize = 3;

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// From the sender's start to the last host staged and checked.
    pub seconds: f64,
    /// The part of it in which we checked, because the contestant does not.
    pub check_seconds: f64,
}

/// The most memory that was in use in a run, anonymous and in socket buffers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peaks {
    /// The sender's.
    pub sender: Peak,
    /// That of the host that used most.
    pub host: Peak,
}

/// Runs `contestant` once, without watching its memory: that takes processor time.
///
/// # Errors
/// Why the run does not count.
pub fn run(
    arena: &Arena,
    contestant: &dyn Contestant,
    setting: &Setting,
    interrupted: &Interrupted,
) -> anyhow::Result<Run> {
    Race::prepare(arena, contestant, interrupted)?.run(setting, false).map(|(run, _)| run)
}

/// Runs `contestant` once and watches its memory; the time of such a run does not count.
///
/// # Errors
/// Why there is no figure.
pub fn watch(
    arena: &Arena,
    contestant: &dyn Contestant,
    setting: &Setting,
    interrupted: &Interrupted,
) -> anyhow::Result<Peaks> {
    Race::prepare(arena, contestant, interrupted)?.run(setting, true).map(|(_, peaks)| peaks)
}

struct Race<'a> {
    arena: &'a Arena,
    contestant: &'a dyn Contestant,
    interrupted: &'a Interrupted,
    receivers: Vec<Running>,
}

impl<'a> Race<'a> {
    fn prepare(
        arena: &'a Arena,
        contestant: &'a dyn Contestant,
        interrupted: &'a Interrupted,
    ) -> anyhow::Result<Self> {
        arena.clear()?;
        // Logs of earlier runs would only be looked through for a free name.
        let _ = fs::remove_dir_all(arena.lab().logs());
        let start = |host| {
            let mut command = contestant.host_command(host);
            Running::start(host.name(), &mut command, &arena.lab().logs())
        };
        let receivers = arena.lab().hosts().iter().map(start).collect();
        let mut race = Self { arena, contestant, interrupted, receivers };
        race.wait_ready()?;
        Ok(race)
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let name = self.contestant.name();
        for (host, receiver) in self.arena.lab().hosts().iter().zip(&mut self.receivers) {
            let began = Clock::start();
            while !self.contestant.is_ready(host.node()) {
                self.interrupted.check()?;
                let is_late = began.now() > Timestamp::ZERO + RECEIVER_PATIENCE;
                if is_late || !receiver.is_running() {
                    bail!("{name} on {} is not ready:\n{}", host.name(), receiver.tails());
                }
                thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }

    fn run(&mut self, setting: &Setting, is_watched: bool) -> anyhow::Result<(Run, Peaks)> {
        let contestant = self.contestant;
        let mut command = contestant.send_command(self.arena, setting);
        let clock = Clock::start();
        let name = contestant.name();
        let mut sender = Running::start(name, &mut command, &self.arena.lab().logs());
        let watches = is_watched.then(|| Watches::start(&sender, &self.receivers));
        let ending = self.wait_for(&mut sender, &clock)?;
        ensure!(ending.code == Some(0), "{name} failed: {}", blame(&ending));
        self.wait_for_receivers(&clock)?;
        let staged = clock.now();
        self.arena.check(|store| contestant.received(store)).with_context(|| blame(&ending))?;
        let checked = if contestant.checks_itself() { staged } else { clock.now() };
        let peaks = watches.map(Watches::end).unwrap_or_default();
        let run = Run {
            seconds: checked.since(Timestamp::ZERO).as_secs_f64(),
            check_seconds: checked.since(staged).as_secs_f64(),
        };
        Ok((run, peaks))
    }

    fn wait_for_receivers(&mut self, clock: &Clock) -> anyhow::Result<()> {
        if !self.contestant.receivers_end() {
            return Ok(());
        }
        let mut receivers = std::mem::take(&mut self.receivers);
        receivers.iter_mut().try_for_each(|receiver| self.wait_for(receiver, clock).map(drop))
    }

    fn wait_for(&self, process: &mut Running, clock: &Clock) -> anyhow::Result<Ending> {
        while process.is_running() {
            self.interrupted.check()?;
            if clock.now() > Timestamp::ZERO + PATIENCE {
                let ending = process.kill();
                bail!(
                    "{} is not done after {PATIENCE:?}: {}",
                    self.contestant.name(),
                    blame(&ending)
                );
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(process.wait(RECEIVER_PATIENCE))
    }
}

/// How a sender ended and its last words.
fn blame(ending: &Ending) -> String {
    let words = format!("{}\n{}", ending.stdout, ending.stderr);
    let lines: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("exit {:?}, signal {:?}: {}", ending.code, ending.signal, tail.join(" / "))
}

struct Watches {
    sender: MemoryWatch,
    hosts: Vec<MemoryWatch>,
}

impl Watches {
    fn start(sender: &Running, receivers: &[Running]) -> Self {
        let hosts = receivers.iter().map(|receiver| MemoryWatch::of(receiver.pid())).collect();
        Self { sender: MemoryWatch::of(sender.pid()), hosts }
    }

    fn end(self) -> Peaks {
        let hosts = self.hosts.into_iter().map(MemoryWatch::end);
        let host = hosts.max_by_key(|peak| peak.both_bytes).unwrap_or_default();
        Peaks { sender: self.sender.end(), host }
    }
}
