//! One cell: contestants in one arena, tried, run in alternation, watched once.

use super::args::{Args, Name};
use super::remembered::Remembered;
use super::report::{CellReport, Entry};
use super::trial::{Trial, try_all};
use super::{ceiling, tell};
use crate::arena::Arena;
use crate::cell::Cell;
use crate::conditions::Conditions;
use crate::contestant::{Contestant, Setting};
use crate::contestant::{OURS, SEALED};
use crate::interrupt::{Interrupted, Leftovers};
use crate::race::{self, Failure};

/// Runs that must fail for want of time before the others are spared.
const LATE_MAX: usize = 2;

/// Who meets, and by which rules.
pub struct Contest<'a> {
    /// The command line.
    pub args: &'a Args,
    /// All that take part, their programs present.
    pub contestants: &'a [Box<dyn Contestant>],
    /// What an interrupt must clean up.
    pub leftovers: &'a Leftovers,
    /// Whether there was one.
    pub interrupted: &'a Interrupted,
}

/// A contestant on the starting line.
struct Place<'a> {
    contestant: &'a dyn Contestant,
    /// None where no setting finished.
    setting: Option<Setting>,
    entry: Entry,
    late: usize,
}

impl Contest<'_> {
    /// Holds it in `cell`. Settings that were `known` are not tried again; what is best is entered
    /// there.
    ///
    /// # Errors
    /// What keeps the arena from being used, or that it was interrupted.
    pub fn hold(
        &self,
        cell: &Cell,
        known: Option<&Remembered>,
        best: &mut Remembered,
    ) -> anyhow::Result<CellReport> {
        let conditions = Conditions::now();
        let arena = Arena::new(cell)?;
        self.leftovers.enter_directory(arena.lab().directory());
        let mut places = Vec::new();
        for contestant in self.contestants {
            self.interrupted.check()?;
            places.push(self.place(&arena, &**contestant, known, best)?);
        }
        let mut ceiling_bits_per_second = Vec::new();
        for nth in 1..=self.args.runs {
            if self.args.contestants.contains(&Name::Ceiling) {
                self.interrupted.check()?;
                let received = ceiling::measure(&arena)?.received;
                ceiling_bits_per_second.push(received.as_bits() as f64);
            }
            for place in &mut places {
                self.interrupted.check()?;
                self.run(&arena, place, nth);
            }
        }
        for place in &mut places {
            self.interrupted.check()?;
            self.watch(&arena, place);
        }
        self.interrupted.check()?;
        let entries = places.into_iter().map(|place| place.entry).collect();
        Ok(CellReport { cell: cell.clone(), conditions, ceiling_bits_per_second, entries })
    }

    fn place<'a>(
        &self,
        arena: &Arena,
        contestant: &'a dyn Contestant,
        known: Option<&Remembered>,
        best: &mut Remembered,
    ) -> anyhow::Result<Place<'a>> {
        contestant.prepare(arena)?;
        let (cell, name) = (arena.cell(), contestant.name());
        let mut settings = contestant.settings(cell);
        settings.truncate(self.args.tries.into());
        let given = self.args.fanfare.as_ref().filter(|_| [OURS, SEALED].contains(&name));
        let trial = match (given, known.and_then(|known| known.get(cell, name))) {
            (Some(arguments), _) => Trial::Best(Setting::new(arguments, None)),
            (None, Some(Some(arguments))) => Trial::Best(Setting::new(arguments, None)),
            (None, Some(None)) => Trial::None(vec!["no setting finished when tried".to_owned()]),
            (None, None) => {
                let bound = self.args.bound();
                let trial = try_all(arena, contestant, &settings, bound, self.interrupted)?;
                // What was not tried is not known to be best.
                if settings.len() > 1 {
                    best.put(cell, name, trial.best().map(|setting| setting.arguments.join(" ")));
                }
                trial
            }
        };
        let (entry, setting) = trial.entry(contestant);
        Ok(Place { contestant, setting, entry, late: 0 })
    }

    fn run(&self, arena: &Arena, place: &mut Place<'_>, nth: u16) {
        let Some(setting) = place.setting.as_ref().filter(|_| !place.has_given_up()) else {
            return;
        };
        let bound = self.args.bound();
        let run = race::run(arena, place.contestant, setting, bound, self.interrupted);
        if self.interrupted.is_raised() {
            return;
        }
        tell(&format!("run {nth} "), place.contestant.name(), setting, &run);
        match run {
            Ok(run) => place.entry.runs.push((&run).into()),
            Err(failure) => {
                place.late += usize::from(matches!(failure, Failure::Late(_)));
                place.entry.failures.push(failure.to_string());
            }
        }
    }

    fn watch(&self, arena: &Arena, place: &mut Place<'_>) {
        let has_finished = !place.entry.runs.is_empty();
        let Some(setting) = place.setting.as_ref().filter(|_| has_finished) else { return };
        let bound = self.args.bound();
        let watched = race::watch(arena, place.contestant, setting, bound, self.interrupted);
        match watched {
            Ok(watched) => place.entry.usage = Some((&watched).into()),
            Err(failure) => place.entry.failures.push(format!("while watched: {failure}")),
        }
    }
}

impl Place<'_> {
    /// Whether it never finished and had its chances.
    fn has_given_up(&self) -> bool {
        self.entry.runs.is_empty() && self.late >= LATE_MAX
    }
}
