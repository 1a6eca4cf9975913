//! Switching an app to a release, with all that the administrator wants done around it.
//!
//! Not here: the switch itself ([`crate::store`]), and how a command is run ([`crate::hooks`]).
//! Invariant: of one app, hooks and switches come one after another; apps never wait for each
//! other, and nobody waits for what follows a switch.
#![expect(clippy::disallowed_methods, reason = "hooks take time and threads of their own")]

mod health;
mod policy;
mod sequel;
mod trial;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use common::id::{AppName, HostName, ReleaseId};
use common::wire::{Fault, escaped};
use tracing::{info, warn};

use crate::hooks::{Cause, Facts, Hook, Point, Previous, Ran, run};
use crate::store::{AppConfig, ReleaseFacts, Store, StoreError, Verdict as Judgement};

pub use health::{
    Health, PROBE_INTERVAL_DEFAULT, PROBE_RETRIES_DEFAULT, PROBE_RETRIES_MAX,
    PROBE_TIMEOUT_DEFAULT, Probe, SOAK_DEFAULT, SOAK_MAX,
};
pub use policy::{Policy, SPLAY_DEFAULT, SPLAY_MAX};
pub use trial::{Progress, Stage, Verdict};

use sequel::Sequel;
use trial::Trial;

/// A daemon that ends waits so long for a hook that is running.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// Between two looks whether it is through.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// Switches apps, and cares for what belongs to it.
#[derive(Debug)]
pub struct Activator {
    store: Arc<Store>,
    host: HostName,
    lanes: BTreeMap<AppName, Arc<Lane>>,
    /// Activations begun.
    count: AtomicU64,
}

/// One app's way.
#[derive(Debug)]
struct Lane {
    app: AppName,
    /// What services follow.
    current: PathBuf,
    policy: Policy,
    /// Held while hooks run and `current` is switched.
    turn: Mutex<()>,
    /// What follows the last switch.
    trial: Mutex<Option<Arc<Trial>>>,
    /// The last activation, which may have come to no switch.
    last: Mutex<Option<Arc<Trial>>>,
}

impl Lane {
    /// How a release's health is asked; of what somebody on this host chose, he is the judge.
    fn health(&self, cause: Cause) -> Option<&Health> {
        self.policy.health.as_ref().filter(|_| !cause.is_local())
    }

    /// How long the hooks after the switch wait. Nothing is spread where one host alone switches.
    fn delay(&self, host: &HostName, facts: &Facts) -> Duration {
        match facts.cause.is_local() {
            true => Duration::ZERO,
            false => self.policy.delay(host, &facts.release),
        }
    }
}

impl Activator {
    /// An activator of `apps` in `store`; an app without a policy has no hooks.
    pub fn new(
        store: Arc<Store>,
        host: HostName,
        apps: &[AppConfig],
        policies: &BTreeMap<AppName, Policy>,
    ) -> Self {
        let lanes = apps.iter().map(|config| {
            let current = config.root.join("current");
            let lane = Lane {
                app: config.app.clone(),
                current,
                policy: policies.get(&config.app).cloned().unwrap_or_default(),
                turn: Mutex::default(),
                trial: Mutex::default(),
                last: Mutex::default(),
            };
            (config.app.clone(), Arc::new(lane))
        });
        let lanes = lanes.collect();
        Self { store, host, lanes, count: AtomicU64::new(0) }
    }

    /// The store that it switches in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Runs the pre-activate hooks, switches `current` to a staged release, and begins what follows
    /// on a thread of its own. Does nothing where the release is current already.
    ///
    /// # Errors
    /// When a hook refuses, or the store does; `current` is then what it was.
    pub fn activate(
        &self,
        app: &AppName,
        release: ReleaseId,
        cause: Cause,
    ) -> Result<(), StoreError> {
        let has_sequel = self.lane(app)?.policy.has_sequel();
        self.switch(app, release, cause, || match has_sequel {
            true => self.store.activate_on_trial(app, release),
            false => self.store.activate(app, release),
        })
    }

    /// As [`Activator::activate`], as the host's own administrator wants it ([`Store::choose`]):
    /// the hooks that follow run at once, and nobody asks for health.
    ///
    /// # Errors
    /// As [`Activator::activate`] and [`Store::choose`].
    pub fn choose(
        &self,
        app: &AppName,
        release: ReleaseId,
        even_bad: bool,
    ) -> Result<(), StoreError> {
        let cause = Cause::Administrator;
        self.switch(app, release, cause, || self.store.choose(app, release, even_bad))
    }

    /// Goes back and stays there ([`Store::rollback`]); which release it is. No hook may refuse
    /// that; those that follow run at once.
    ///
    /// # Errors
    /// As [`Store::rollback`].
    pub fn roll_back(&self, app: &AppName, to: Option<ReleaseId>) -> Result<ReleaseId, StoreError> {
        let Some(target) = to.or(self.store.previous_good(app)?) else {
            // The store has the words for that.
            return self.store.rollback(app, None);
        };
        self.switch(app, target, Cause::Rollback, || {
            self.store.rollback(app, Some(target)).map(drop)
        })?;
        Ok(target)
    }

    /// Has `switch` make `release` current, with all that belongs around it.
    fn switch(
        &self,
        app: &AppName,
        release: ReleaseId,
        cause: Cause,
        switch: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let lane = self.lane(app)?;
        let _turn = lock(&lane.turn);
        let known = self.store.releases_of(app)?;
        let target = known.iter().find(|it| it.id == release).filter(|it| !it.is_current);
        let Some(target) = target else {
            // The store has the words for a release that is not here.
            return switch();
        };
        let previous = known.iter().find(|it| it.is_current);
        let trial = Arc::new(Trial::new(
            self.next_number(),
            facts(lane, &self.host, target, previous, cause),
        ));
        *lock(&lane.last) = Some(Arc::clone(&trial));
        let done = ask_hooks(lane, &trial).and_then(|()| switch());
        done.inspect_err(|_| trial.settle(Verdict::Refused))?;
        // What was on trial before is not current any more.
        if let Some(former) = lock(&lane.trial).replace(Arc::clone(&trial)) {
            former.cancel();
        }
        self.begin_sequel(lane, trial)
    }

    /// Waits until nothing follows a switch any more, for a command that ends then.
    pub fn finish(&self) {
        while !self.is_idle() {
            thread::sleep(STOP_LOOK);
        }
    }

    /// How far the last activation of an app has come, or came; nothing where none was since the
    /// start.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn progress(&self, app: &AppName) -> Result<Option<Progress>, StoreError> {
        Ok(lock(&self.lane(app)?.last).as_ref().map(|trial| trial.progress()))
    }

    /// Whether nothing follows a switch at the moment.
    pub fn is_idle(&self) -> bool {
        let is_over = |lane: &Arc<Lane>| {
            let trial = lock(&lane.trial);
            trial.as_ref().is_none_or(|trial| trial.is_over())
        };
        self.lanes.values().all(is_over)
    }

    /// Ends what follows a switch, for a daemon that ends: waits are cut short, a hook that is
    /// running is given a moment.
    pub fn stop(&self) {
        self.lanes.values().filter_map(|lane| lock(&lane.trial).clone()).for_each(|it| it.cancel());
        let until = Instant::now() + STOP_WAIT;
        for lane in self.lanes.values() {
            while matches!(lane.turn.try_lock(), Err(TryLockError::WouldBlock)) {
                if Instant::now() >= until {
                    warn!("{}: a hook is still running; it is left alone", lane.app);
                    return;
                }
                thread::sleep(STOP_LOOK);
            }
        }
    }

    fn next_number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lane(&self, app: &AppName) -> Result<&Arc<Lane>, StoreError> {
        self.lanes.get(app).ok_or_else(|| {
            StoreError::new(Fault::Internal, format!("{app} is no app of this host"))
        })
    }

    fn begin_sequel(&self, lane: &Arc<Lane>, trial: Arc<Trial>) -> Result<(), StoreError> {
        if !lane.policy.has_sequel() {
            trial.settle(Verdict::Unjudged);
            return Ok(());
        }
        trial.enter(Stage::Splay);
        match lane.health(trial.facts().cause) {
            None => trial.expect_nothing(),
            Some(health) => {
                let delay = lane.delay(&self.host, trial.facts());
                let hooks = lane.policy.post_activate_longest();
                trial.expect_within(delay + hooks + health.longest());
            }
        }
        self.spawn(lane, trial, Sequel::run)
    }

    fn spawn(
        &self,
        lane: &Arc<Lane>,
        trial: Arc<Trial>,
        work: impl FnOnce(&Sequel) + Send + 'static,
    ) -> Result<(), StoreError> {
        let (store, host) = (Arc::clone(&self.store), self.host.clone());
        let sequel = Sequel { store, host, lane: Arc::clone(lane), trial };
        let thread = thread::Builder::new().name("trial".into()).spawn(move || work(&sequel));
        thread.map(drop).map_err(|error| {
            StoreError::new(Fault::Internal, format!("cannot go on after the switch: {error}"))
        })
    }

    /// Goes on with what the end of the last process cut short: a release whose health was being
    /// asked, and one that was found bad and not yet left.
    pub fn resume(&self) {
        for lane in self.lanes.values() {
            if let Err(error) = self.resume_lane(lane) {
                warn!("{}: {error}", lane.app);
            }
        }
    }

    fn resume_lane(&self, lane: &Arc<Lane>) -> Result<(), StoreError> {
        let app = &lane.app;
        let _turn = lock(&lane.turn);
        let known = self.store.releases_of(app)?;
        let Some(current) = known.iter().find(|it| it.is_current) else { return Ok(()) };
        let facts = facts(lane, &self.host, current, None, Cause::Restart);
        let verdict = self.store.record(app, &current.id)?.verdict;
        let is_on_trial = self.store.on_trial(app)? == Some(current.id);
        let good = match &verdict {
            Judgement::Bad(reason) => {
                let Some(good) = self.store.fall_back(app, current.id, reason)? else {
                    return Ok(());
                };
                Some((good, reason.clone()))
            }
            _ if is_on_trial => None,
            _ => return Ok(()),
        };
        info!("{app} {}: goes on with what followed the last switch", current.label);
        let trial = Arc::new(Trial::new(self.next_number(), facts));
        for place in [&lane.last, &lane.trial] {
            *lock(place) = Some(Arc::clone(&trial));
        }
        match good {
            None => self.begin_sequel(lane, trial),
            Some((good, reason)) => self.spawn(lane, trial, move |sequel| {
                sequel.finish_falling_back(good, &reason);
            }),
        }
    }
}

fn facts(
    lane: &Lane,
    host: &HostName,
    target: &ReleaseFacts,
    previous: Option<&ReleaseFacts>,
    cause: Cause,
) -> Facts {
    let previous = previous.map(|it| Previous {
        label: it.label.clone(),
        release: it.id,
        path: it.path.clone(),
    });
    Facts {
        host: host.clone(),
        cause,
        app: lane.app.clone(),
        label: target.label.clone(),
        release: target.id,
        epoch: target.epoch,
        sequence: target.sequence,
        created: target.created,
        kind: target.kind,
        path: target.path.clone(),
        current: lane.current.clone(),
        previous,
    }
}

/// Runs the hooks that may refuse the switch; nothing stands in the way of going back.
fn ask_hooks(lane: &Lane, trial: &Trial) -> Result<(), StoreError> {
    if trial.facts().cause == Cause::Rollback {
        return Ok(());
    }
    let hooks = &lane.policy.pre_activate;
    if !hooks.is_empty() {
        trial.expect_within(hooks.iter().map(|hook| hook.timeout).sum());
    }
    for hook in hooks {
        let ran = run_noted(trial, hook, Point::PreActivate, trial.facts());
        if !ran.is_success() {
            let facts = trial.facts();
            let line = format!("{} {}: {ran}", facts.app, facts.label);
            return Err(StoreError::new(Fault::HookFailed, line));
        }
    }
    Ok(())
}

/// Runs a hook, and keeps what became of it for the log and for whoever asks.
fn run_noted(trial: &Trial, hook: &Hook, point: Point, facts: &Facts) -> Ran {
    let ran = run(hook, point, facts);
    let (app, label) = (&facts.app, &facts.label);
    let (program, line) = (hook.program().display(), ran.to_string());
    match ran.is_success() {
        true => info!("{app} {label}: {program}: {}", escaped(&line)),
        false => warn!("{app} {label}: {program}: {}", escaped(&line)),
    }
    trial.add(ran.clone());
    ran
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
