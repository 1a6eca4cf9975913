//! The installer's ear: how far an activation has come, until its session ends.
//!
//! Not here: the activation, which goes on whoever listens.
#![expect(clippy::disallowed_methods, reason = "it looks again after a while")]

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use common::wire::{Trial, TrialVerdict};
use tracing::warn;

use super::Work;
use crate::activation::{Progress, Stage, Verdict};
use crate::keeper::Keeper;
use crate::session::StoreEvent;

/// Between two looks: a verdict takes seconds, and a sender hears of it a tenth of one later.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Tells the session of every activation of its release after number `after`, on a thread of its
/// own.
pub fn watch(keeper: &Arc<dyn Keeper>, work: &Arc<Work>, after: u64) {
    let (keeper, watched) = (Arc::clone(keeper), Arc::downgrade(work));
    let looks = move || look_until_over(&*keeper, &watched, after);
    if let Err(error) = thread::Builder::new().name("watch".into()).spawn(looks) {
        warn!("{}: the sender will not hear of its hooks: {error}", work.app);
    }
}

fn look_until_over(keeper: &dyn Keeper, watched: &Weak<Work>, after: u64) {
    let mut told = None;
    while let Some(work) = watched.upgrade().filter(|work| !work.is_cancelled()) {
        let progress = look(keeper, &work, after);
        if let Some(progress) = progress.filter(|it| told.as_ref() != Some(&standing(it))) {
            tell(&work, &progress);
            if progress.stage == Stage::Over {
                return;
            }
            told = Some(standing(&progress));
        }
        drop(work);
        thread::sleep(LOOK_EVERY);
    }
}

/// How far the activation of the session's release has come.
pub fn look(keeper: &dyn Keeper, work: &Work, after: u64) -> Option<Progress> {
    let progress = keeper.progress(&work.app).ok().flatten()?;
    (progress.number > after && progress.release == work.release).then_some(progress)
}

/// What is news when it changes.
fn standing(progress: &Progress) -> (Stage, Verdict, usize) {
    (progress.stage, progress.verdict, progress.results.len())
}

/// Tells the session how far its activation has come.
pub fn tell(work: &Work, progress: &Progress) {
    let verdict = match progress.verdict {
        Verdict::Pending => TrialVerdict::Pending,
        Verdict::Unjudged | Verdict::Refused | Verdict::Superseded => TrialVerdict::Unjudged,
        Verdict::Good => TrialVerdict::Good,
        Verdict::RolledBack => TrialVerdict::RolledBack,
        Verdict::Bad => TrialVerdict::Bad,
    };
    // Where nothing is run and nothing asked there is nothing to tell.
    if progress.results.is_empty() && verdict == TrialVerdict::Unjudged {
        return;
    }
    let last_line = |text: &str| {
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or_default().to_owned()
    };
    let mut results = progress.results.clone();
    results.iter_mut().for_each(|ran| ran.output = last_line(&ran.output));
    let trial = Trial { verdict, left: progress.left, results };
    work.tell(StoreEvent::Trial { trial, detail: progress.reason.clone() });
}
