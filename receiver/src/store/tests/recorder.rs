//! Worlds that write down the steps they do, and that fail where a test wants it.

use std::path::Path;
use std::sync::Mutex;

use crate::store::{Step, StepError, SystemWorld, With, World};

/// What happens at the chosen step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The disk fails: the step has done nothing; what follows works.
    Fails,
    /// The disk is full: the step has done nothing; what follows works.
    Full,
    /// The process dies before the step: it and all that follow do nothing.
    DiesBefore,
    /// The process dies after the step: all that follow do nothing.
    DiesAfter,
    /// The process is killed before the step: this process.
    KilledBefore,
    /// The process is killed after the step: this process.
    KilledAfter,
}

/// Does steps on the machine, writes them down, fails as told.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trace: Vec<Step>,
    /// The step with this place in the trace meets this fate; unpacking, which a thread of its
    /// own does, has no place: it is `None`.
    plan: Option<(Option<usize>, Fate)>,
    places: usize,
    is_dead: bool,
    has_fired: bool,
}

impl Recorder {
    /// Starts a new trace, in which the step at `place` meets `fate`.
    pub(super) fn start(&self, plan: Option<(Option<usize>, Fate)>) {
        *self.state.lock().unwrap() = State { plan, ..State::default() };
    }

    /// The trace so far.
    pub(super) fn trace(&self) -> Vec<Step> {
        self.state.lock().unwrap().trace.clone()
    }

    /// Whether the planned fate was met.
    pub(super) fn has_fired(&self) -> bool {
        self.state.lock().unwrap().has_fired
    }

    fn decide(&self, step: &Step) -> Option<Fate> {
        let mut state = self.state.lock().unwrap();
        if state.is_dead {
            return Some(Fate::DiesBefore);
        }
        let place = (!matches!(step, Step::Unpack { .. })).then_some(state.places);
        state.places += usize::from(place.is_some());
        state.trace.push(step.clone());
        let (at, fate) = state.plan?;
        if at != place || state.has_fired {
            return None;
        }
        state.has_fired = true;
        state.is_dead = matches!(fate, Fate::DiesBefore | Fate::DiesAfter);
        Some(fate)
    }
}

impl World for Recorder {
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError> {
        match self.decide(step) {
            None => SystemWorld.apply(step, with),
            Some(Fate::DiesAfter) => SystemWorld.apply(step, with),
            Some(Fate::KilledBefore) => kill_this_process(),
            Some(Fate::KilledAfter) => {
                let _ = SystemWorld.apply(step, with);
                kill_this_process()
            }
            Some(Fate::Full) => Err(std::io::Error::from_raw_os_error(libc::ENOSPC).into()),
            // What a disk says, and never what a step takes for an answer.
            Some(_) => Err(std::io::Error::from_raw_os_error(libc::EIO).into()),
        }
    }
}

/// Nothing is closed, unlocked or cleaned up by anybody but the kernel.
fn kill_this_process() -> ! {
    let us = rustix::process::getpid();
    rustix::process::kill_process(us, rustix::process::Signal::KILL).unwrap();
    unreachable!("it cannot be caught")
}

/// The trace in words, without the names of this run. Unpacking runs beside the rest: it is put
/// where its thread starts.
pub(super) fn words(
    trace: &[Step],
    names: &[(&Path, &str)],
    digests: &[(String, &str)],
) -> Vec<String> {
    let mut lines: Vec<String> = trace
        .iter()
        .map(|step| {
            let mut line = step.to_string();
            for (path, word) in names {
                line = line.replace(&path.display().to_string(), word);
            }
            for (digest, word) in digests {
                line = line.replace(digest, word);
            }
            line
        })
        .collect();
    if let Some(at) = lines.iter().position(|line| line.starts_with("unpack ")) {
        let line = lines.remove(at);
        let start = lines.iter().position(|line| line.contains(".tree")).map_or(at, |at| at + 1);
        lines.insert(start, line);
    }
    lines
}
