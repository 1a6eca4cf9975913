//! One run of one contestant, from the sender's start to the last host staged and checked.
//!
//! Receivers stand ready before the clock starts; stores are empty; everything is in memory. What a
//! run costs is read from the kernel's counters before it and after it; only [`watch`] looks
//! meanwhile. Not here: which contestants, and how often.
#![expect(clippy::disallowed_methods, reason = "it waits in real time")]

use std::fs;
use std::thread;
use std::time::Duration;

use ::tests::process::{Ending, Running};
use anyhow::{Context, anyhow, ensure};
use common::clock::Clock;
use common::time::Timestamp;
use common::units::Bitrate;

use crate::arena::Arena;
use crate::contestant::{Contestant, Setting};
use crate::interrupt::Interrupted;
use crate::machine;
use crate::meter::cpu;
use crate::meter::watch::{Used, Watch};
use crate::meter::wire::{Counts, Trace};

/// How long receivers may take to listen, and to end.
const RECEIVER_PATIENCE: Duration = Duration::from_secs(20);
/// The same for each of them: hundreds start on the same two cores.
const RECEIVER_PATIENCE_EACH: Duration = Duration::from_millis(200);
/// How often is looked whether a process has ended: less than a hundredth of the shortest run.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often the sender's interface is looked at meanwhile.
const TRACE_EVERY: Duration = Duration::from_millis(20);
/// Last lines of a failed sender that are shown.
const TAIL_LINES: usize = 3;

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// From the sender's start to the last host staged and checked.
    pub time: Duration,
    /// The part of it in which we checked, because the contestant does not.
    pub check_time: Duration,
    /// What left the sender's machine.
    pub wire: Counts,
    /// How fast it left while most of it did.
    pub wire_rate: Option<Bitrate>,
    /// Processor time of the sender.
    pub sender_cpu: Duration,
    /// Processor time of each host.
    pub host_cpu: Vec<Duration>,
    /// What the sender wrote to standard output.
    pub said: String,
}

/// What a run used that was watched.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The run itself; its time does not count.
    pub run: Run,
    /// Memory and threads of the sender.
    pub sender: Used,
    /// The same of each host.
    pub hosts: Vec<Used>,
}

/// Why a run does not count.
#[derive(Debug)]
pub enum Failure {
    /// It was not done within this time, and was ended.
    Late(Duration),
    /// It ended, but not as it should; or could not begin.
    Wrong(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late(bound) => write!(f, "not done within {:.1} s", bound.as_secs_f64()),
            Self::Wrong(error) => write!(f, "{error:#}"),
        }
    }
}

/// Runs `contestant` once, without looking at its processes: that takes processor time. It is ended
/// when it is not done within `bound`.
///
/// # Errors
/// Why the run does not count.
pub fn run(
    arena: &Arena,
    contestant: &dyn Contestant,
    setting: &Setting,
    bound: Duration,
    interrupted: &Interrupted,
) -> Result<Run, Failure> {
    let mut race = Race::prepare(arena, contestant, bound, interrupted)?;
    race.run(setting, false).map(|(run, _)| run)
}

/// Runs `contestant` once and looks at memory and threads; the time of such a run does not count.
///
/// # Errors
/// Why there is no figure.
pub fn watch(
    arena: &Arena,
    contestant: &dyn Contestant,
    setting: &Setting,
    bound: Duration,
    interrupted: &Interrupted,
) -> Result<Watched, Failure> {
    let mut race = Race::prepare(arena, contestant, bound, interrupted)?;
    let (run, used) = race.run(setting, true)?;
    let mut used = used.into_iter();
    let sender = used.next().unwrap_or_default();
    Ok(Watched { run, sender, hosts: used.collect() })
}

/// Touches as much memory as a run fills. A virtual machine gives pages that have been free for
/// some seconds back to its host, and touching them again costs three times as much: whoever runs
/// after a slow contestant would pay for that.
fn warm_memory(arena: &Arena) {
    let cell = arena.cell();
    let bytes = (cell.hosts as u64 + 1) * cell.file_bytes + (1 << 30);
    let most = machine::available_bytes() / 2;
    let memory = vec![1u8; bytes.min(most) as usize];
    std::hint::black_box(&memory);
}

struct Race<'a> {
    arena: &'a Arena,
    contestant: &'a dyn Contestant,
    bound: Duration,
    interrupted: &'a Interrupted,
    receivers: Vec<Running>,
    clock: Clock,
    trace: Trace,
    next_trace: Timestamp,
}

impl<'a> Race<'a> {
    fn prepare(
        arena: &'a Arena,
        contestant: &'a dyn Contestant,
        bound: Duration,
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
        let (clock, next_trace) = (Clock::start(), Timestamp::ZERO);
        let trace = Trace::default();
        let mut race =
            Self { arena, contestant, bound, interrupted, receivers, clock, trace, next_trace };
        race.wait_ready()?;
        Ok(race)
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let (name, count) = (self.contestant.name(), self.receivers.len() as u32);
        let patience = RECEIVER_PATIENCE + RECEIVER_PATIENCE_EACH * count;
        for (host, receiver) in self.arena.lab().hosts().iter().zip(&mut self.receivers) {
            while !self.contestant.is_ready(host.node()) {
                self.interrupted.check()?;
                let is_late = self.clock.now() > Timestamp::ZERO + patience;
                ensure!(
                    !is_late && receiver.is_running(),
                    "{name} on {} is not ready:\n{}",
                    host.name(),
                    receiver.tails()
                );
                thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }

    fn run(&mut self, setting: &Setting, is_watched: bool) -> Result<(Run, Vec<Used>), Failure> {
        let (contestant, arena) = (self.contestant, self.arena);
        let mut command = contestant.send_command(arena, setting);
        let pids: Vec<u32> = self.receivers.iter().map(Running::pid).collect();
        let (sent_before, cpu_before) = (Counts::of(arena.lab().sender()), cpu_of(&pids));
        warm_memory(arena);
        self.clock = Clock::start();
        let mut sender = Running::start(contestant.name(), &mut command, &arena.lab().logs());
        let watch =
            is_watched.then(|| Watch::of([sender.pid()].into_iter().chain(pids.clone()).collect()));
        self.wait_for(&sender)?;
        let sender_cpu = cpu::cpu_time(sender.pid()).unwrap_or_default();
        let ending = sender.wait(RECEIVER_PATIENCE);
        if ending.code != Some(0) {
            return Err(anyhow!("{} failed: {}", contestant.name(), blame(&ending)).into());
        }
        self.wait_for_receivers()?;
        let staged = self.clock.now();
        let host_cpu = cpu_of(&pids).into_iter().zip(cpu_before);
        let host_cpu = host_cpu.map(|(after, before)| after.saturating_sub(before)).collect();
        arena.check(|store| contestant.received(store)).with_context(|| blame(&ending))?;
        let checked = if contestant.checks_itself() { staged } else { self.clock.now() };
        let wire = Counts::of(arena.lab().sender()).since(sent_before);
        let used = watch.map(Watch::end).unwrap_or_default();
        self.end_receivers();
        let run = Run {
            time: checked.since(Timestamp::ZERO),
            check_time: checked.since(staged),
            wire,
            wire_rate: self.trace.middle_rate(wire.bytes),
            sender_cpu,
            host_cpu,
            said: ending.stdout,
        };
        Ok((run, used))
    }

    fn wait_for_receivers(&mut self) -> Result<(), Failure> {
        let receivers = std::mem::take(&mut self.receivers);
        let ended = match self.contestant.receivers_end() {
            true => receivers.iter().try_for_each(|receiver| self.wait_for(receiver)),
            false => Ok(()),
        };
        self.receivers = receivers;
        ended
    }

    fn end_receivers(&mut self) {
        for receiver in self.receivers.iter_mut().filter(|_| self.contestant.ends_cleanly()) {
            receiver.terminate(RECEIVER_PATIENCE);
        }
    }

    /// Waits until `process` has ended; it is not waited for, so that its counters stay.
    fn wait_for(&mut self, process: &Running) -> Result<(), Failure> {
        while !cpu::has_ended(process.pid()) {
            self.interrupted.check().context("a run was ended")?;
            let now = self.clock.now();
            if now > Timestamp::ZERO + self.bound {
                return Err(Failure::Late(self.bound));
            }
            if now >= self.next_trace {
                self.trace.add(now, self.arena.lab().sender().sent_bytes());
                self.next_trace = now + TRACE_EVERY;
            }
            thread::sleep(LOOK_EVERY);
        }
        self.trace.add(self.clock.now(), self.arena.lab().sender().sent_bytes());
        Ok(())
    }
}

fn cpu_of(pids: &[u32]) -> Vec<Duration> {
    pids.iter().map(|pid| cpu::cpu_time(*pid).unwrap_or_default()).collect()
}

/// How a sender ended and its last words: those to standard error, if it had any.
fn blame(ending: &Ending) -> String {
    let words = if ending.stderr.trim().is_empty() { &ending.stdout } else { &ending.stderr };
    let lines: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("exit {:?}, signal {:?}: {}", ending.code, ending.signal, tail.join(" / "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_last_words_of_the_sender() {
        let mut ending = Ending {
            code: Some(3),
            signal: None,
            elapsed: Duration::ZERO,
            stdout: "{\n}\n".to_owned(),
            stderr: "1\n2\n\n3\n4\n".to_owned(),
        };
        assert_eq!(blame(&ending), "exit Some(3), signal None: 2 / 3 / 4");
        ending.stderr.clear();
        assert_eq!(blame(&ending), "exit Some(3), signal None: { / }");
        assert_eq!(Failure::Late(Duration::from_secs(60)).to_string(), "not done within 60.0 s");
    }
}
