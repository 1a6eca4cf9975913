//! Which setting of a contestant is best: each is tried once, unless it was tried before.

use std::time::Duration;

use super::report::Entry;
use super::tell;
use crate::arena::Arena;
use crate::contestant::{Contestant, Setting};
use crate::interrupt::Interrupted;
use crate::race::{self, Failure};

/// Settings that are given the whole bound before the rest are taken to fail, too: what does not
/// finish in five minutes three times will not be the best at the fourth.
const LATE_MAX: u32 = 3;

/// What trying came to.
pub enum Trial {
    /// This one was fastest, or is to be taken without trying.
    Best(Setting),
    /// None finished, for these reasons.
    None(Vec<String>),
}

/// Tries `settings` one by one, each for no longer than the fastest before it took; one that cannot
/// be faster is not tried.
///
/// # Errors
/// When the whole is interrupted.
pub fn try_all(
    arena: &Arena,
    contestant: &dyn Contestant,
    settings: &[Setting],
    bound: Duration,
    interrupted: &Interrupted,
) -> anyhow::Result<Trial> {
    if let [only] = settings {
        return Ok(Trial::Best(only.clone()));
    }
    let mut best: Option<(Duration, &Setting)> = None;
    let (mut failures, mut late) = (Vec::new(), 0);
    for setting in settings {
        interrupted.check()?;
        let limit = best.map_or(bound, |(time, _)| time.min(bound));
        if late == LATE_MAX || setting.exceeds(limit, arena.cell().file_bytes) {
            continue;
        }
        let run = race::run(arena, contestant, setting, limit, interrupted);
        interrupted.check()?;
        tell("trying", contestant.name(), setting, &run);
        match run {
            // The check of the copies may have come after the limit.
            Ok(run) if run.time < limit => best = Some((run.time, setting)),
            Ok(_) => {}
            Err(failure) => {
                late += u32::from(best.is_none() && matches!(failure, Failure::Late(_)));
                failures.push(format!("{setting}: {failure}"));
            }
        }
    }
    Ok(match best {
        Some((_, setting)) => Trial::Best(setting.clone()),
        None => Trial::None(failures),
    })
}

impl Trial {
    /// The setting, if one finished.
    pub fn best(&self) -> Option<&Setting> {
        match self {
            Self::Best(setting) => Some(setting),
            Self::None(_) => None,
        }
    }

    /// The entry that the runs go to.
    pub fn entry(self, contestant: &dyn Contestant) -> (Entry, Option<Setting>) {
        match self {
            Self::Best(setting) => {
                (Entry::new(contestant.name(), &setting.to_string()), Some(setting))
            }
            Self::None(failures) => {
                let mut entry = Entry::new(contestant.name(), "none of those tried");
                entry.failures = failures;
                (entry, None)
            }
        }
    }
}
