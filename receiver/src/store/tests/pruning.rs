//! What pruning keeps and removes, on a stage whose clock and processes the test commands.

#![expect(clippy::disallowed_methods, reason = "tests read files")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::id::{ImageKind, ReleaseId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::fixture::{Place, Release, begin, content, image, in_private_mounts, shop};
use crate::store::limits::ABANDONED_AGE;
use crate::store::{
    AppConfig, Keep, Pin, Policy, Reservation, Step, StepError, Store, SystemWorld, Verdict, With,
    World,
};

/// Drain time of these tests, in seconds.
const DRAIN: u64 = 600;

/// The machine, but for its clock and who uses what.
#[derive(Debug)]
struct Stage {
    now: AtomicU64,
    /// By the name of a release's directory.
    users: Mutex<BTreeMap<String, String>>,
}

impl Stage {
    fn new() -> Arc<Self> {
        let now = AtomicU64::new(common::clock::unix_seconds());
        Arc::new(Self { now, users: Mutex::default() })
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    fn open(self: &Arc<Self>, place: &Place, keep: usize) -> Store {
        let policy = Policy { keep, drain_after: Duration::from_secs(DRAIN) };
        let config = AppConfig { policy, ..place.config() };
        Store::open_in(Arc::clone(self) as Arc<dyn World>, &place.store, vec![config]).unwrap()
    }
}

impl World for Stage {
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError> {
        SystemWorld.apply(step, with)
    }

    fn unix_seconds(&self) -> u64 {
        self.now()
    }

    fn users(&self, places: &[PathBuf]) -> io::Result<Vec<Option<String>>> {
        let users = self.users.lock().unwrap();
        let name = |place: &PathBuf| place.file_name().unwrap().to_string_lossy().into_owned();
        Ok(places.iter().map(|place| users.get(&name(place)).cloned()).collect())
    }
}

/// A release of few bytes.
fn small(sequence: u64) -> Release {
    Release::new(ImageKind::Raw, sequence, content(sequence, 300))
}

/// Receives and stages.
fn stage(store: &Store, release: &Release) {
    let image = release.receive(store).unwrap();
    store.stage(&shop(), &release.offer(), image).unwrap();
}

fn labels(store: &Store) -> Vec<String> {
    store.releases().unwrap().iter().map(|facts| facts.label.to_string()).collect()
}

/// Why the release is kept.
fn kept(store: &Store, release: &Release) -> Vec<Keep> {
    let plan = store.plan_prune(&shop()).unwrap();
    plan.releases.into_iter().find(|it| it.id == release.id()).unwrap().kept
}

fn memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

#[test]
fn twenty_failed_deploys_and_then_a_good_one_leave_a_good_rollback_target() {
    let directory = memory();
    let place = Place::new(directory.path());
    let stage_of_test = Stage::new();
    let store = stage_of_test.open(&place, 2);
    let first = small(1);
    first.install(&store).unwrap();
    for sequence in 2..=21 {
        let failing = small(sequence);
        stage(&store, &failing);
        store.activate_on_trial(&shop(), failing.id()).unwrap();
        let good = store.fall_back(&shop(), failing.id(), "it says 503").unwrap();
        assert_eq!(good, Some(first.id()), "after deploy {sequence}");
        stage_of_test.pass(DRAIN);
        store.prune(&shop()).unwrap();
        assert_eq!(labels(&store), ["v1"], "after deploy {sequence}");
    }
    let last = small(22);
    last.install(&store).unwrap();
    stage_of_test.pass(DRAIN);
    store.prune(&shop()).unwrap();
    assert_eq!(labels(&store), ["v22", "v1"]);
    assert_eq!(store.previous_good(&shop()).unwrap(), Some(first.id()));
    assert_eq!(store.rollback(&shop(), None).unwrap(), first.id());
    assert_eq!(fs::read(place.current().join("shop.raw")).unwrap(), first.image);
    // That they failed is remembered, though they are gone.
    let verdict = store.record(&shop(), &small(21).id()).unwrap().verdict;
    assert_eq!(verdict, Verdict::Bad("it says 503".into()));
}

#[test]
fn every_release_is_kept_for_a_reason_that_is_said() {
    let directory = memory();
    let place = Place::new(directory.path());
    let world = Stage::new();
    let store = world.open(&place, 2);
    let releases: Vec<Release> = (1..=8).map(small).collect();
    for release in &releases[..7] {
        release.install(&store).unwrap();
        world.pass(DRAIN / 2);
    }
    stage(&store, &releases[7]);
    // v1 to v4 have drained and are gone: five was left 600 seconds ago, six 300.
    assert_eq!(labels(&store), ["v8", "v7", "v6", "v5"]);
    assert_eq!(kept(&store, &releases[7]), [Keep::Waiting]);
    assert_eq!(kept(&store, &releases[6]), [Keep::Active, Keep::Good]);
    let until = world.now() + DRAIN / 2;
    let draining = [Keep::PreviousGood, Keep::Draining { until }, Keep::Good];
    assert_eq!(kept(&store, &releases[5]), draining);
    assert_eq!(kept(&store, &releases[4]), []);
    let pin = |until| Pin {
        owner: "alice".into(),
        reason: "audit".into(),
        since: world.now(),
        until: Some(until),
    };
    store.pin(&shop(), releases[4].id(), pin(world.now() + 1000)).unwrap();
    world.users.lock().unwrap().insert(releases[4].directory_name(), "in use by php".into());
    let why = kept(&store, &releases[4]);
    assert_eq!(why[1], Keep::InUse { how: "in use by php".into() });
    let words = why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let until = crate::utc::utc(world.now() + 1000);
    assert_eq!(words, format!("pinned by alice until {until}: audit, in use by php"));
    // Another pin of one owner takes the place of the former.
    store.pin(&shop(), releases[4].id(), pin(world.now() + 10)).unwrap();
    world.pass(10);
    world.users.lock().unwrap().clear();
    assert_eq!(kept(&store, &releases[4]), []);
    let again = Release::new(ImageKind::Raw, 9, releases[4].image.clone());
    let reservation = store.reserve(&shop(), &again.offer()).unwrap();
    assert_eq!(kept(&store, &releases[4]), [Keep::Transfer], "its image comes again");
    drop(reservation);
    store.prune(&shop()).unwrap();
    assert_eq!(labels(&store), ["v8", "v7", "v6"]);
}

#[test]
fn a_release_that_the_kernel_finds_in_use_stays_with_its_image_and_is_not_said_to_be_gone() {
    in_private_mounts("a_release_that_the_kernel_finds_in_use", |directory| {
        let place = Place::new(directory);
        let world = Stage::new();
        let store = world.open(&place, 1);
        let of = |sequence, content| {
            Release::new(
                ImageKind::Squashfs,
                sequence,
                image(ImageKind::Squashfs, content, directory),
            )
        };
        // The first two are one image.
        of(1, 1).install(&store).unwrap();
        of(2, 1).install(&store).unwrap();
        let open = File::open(place.current().join("version")).unwrap();
        of(3, 3).install(&store).unwrap();
        of(4, 4).install(&store).unwrap();
        world.pass(DRAIN);
        let pruned = store.prune(&shop()).unwrap();
        assert_eq!(pruned.lines(), ["shop v1: pruned, 0 B freed"]);
        let line = "shop v2 is kept: in use; fanhost holders, run by root, says by whom";
        assert_eq!((pruned.in_use(), pruned.complaints), (vec![line.to_owned()], vec![]));
        assert_eq!((place.names("srv/releases").len(), place.names("images").len()), (3, 3));
        drop(open);
        assert_eq!(store.prune(&shop()).unwrap().gone().count(), 1);
        assert_eq!((place.names("srv/releases").len(), place.names("images").len()), (2, 2));
    });
}

#[test]
fn what_waits_to_be_activated_is_the_newest_and_what_came_within_a_day() {
    let directory = memory();
    let place = Place::new(directory.path());
    let world = Stage::new();
    let store = world.open(&place, 2);
    small(1).install(&store).unwrap();
    (2..=4).for_each(|sequence| stage(&store, &small(sequence)));
    store.prune(&shop()).unwrap();
    assert_eq!(labels(&store), ["v4", "v3", "v2", "v1"]);
    world.pass(ABANDONED_AGE.as_secs());
    store.prune(&shop()).unwrap();
    assert_eq!(labels(&store), ["v4", "v1"]);
}

#[test]
fn an_unfinished_image_stays_a_day_unless_a_session_has_it_open() {
    let directory = memory();
    let place = Place::new(directory.path());
    let store = place.open();
    let parts: Vec<Release> = (1..=3).map(Release::raw).collect();
    let mut begun: Vec<_> = parts.iter().map(|release| begin(&store, &release.preamble)).collect();
    let name_of =
        |release: &Release, end: &str| format!("{}.{end}", release.preamble.manifest.image.digest);
    let age = |release: &Release, age: Duration| {
        let path = place.store.join("shop/incoming").join(name_of(release, "part"));
        let time = std::time::SystemTime::now() - age;
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    let minute = Duration::from_secs(60);
    age(&parts[0], ABANDONED_AGE + minute);
    age(&parts[1], ABANDONED_AGE + minute);
    age(&parts[2], ABANDONED_AGE - minute);
    let in_use = begun.remove(0);
    drop(begun);
    let plan = store.plan_prune(&shop()).unwrap();
    assert_eq!(plan.leftovers.len(), 2, "a part and its journal: {plan:?}");
    store.prune(&shop()).unwrap();
    let left = |releases: &[&Release]| {
        let all = releases.iter().flat_map(|it| ["journal", "part"].map(|end| name_of(it, end)));
        let mut all: Vec<String> = all.collect();
        all.sort();
        all
    };
    assert_eq!(place.names("incoming"), left(&[&parts[0], &parts[2]]));
    assert_eq!(store.take_complaints(), [""; 0]);
    drop(in_use);
    drop(store);
    place.open();
    assert_eq!(place.names("incoming"), left(&[&parts[2]]), "a start does the same");
}

/// What the test itself knows of a history: a list of releases in the order in which they were
/// last active, and what was said of each.
#[derive(Default)]
struct Model {
    releases: Vec<Known>,
    order: Vec<usize>,
    current: Option<usize>,
}

struct Known {
    release: Release,
    is_here: bool,
    is_good: bool,
    was_active: bool,
    staged: u64,
    left: Option<u64>,
    pinned_until: u64,
    is_used: bool,
    transfer: Option<Reservation>,
}

impl Model {
    fn forward(&mut self, to: usize, is_good: bool, now: u64) {
        let former = self.current.filter(|former| *former != to);
        self.order.retain(|other| *other != to && Some(*other) != former);
        self.order.extend(former);
        self.order.push(to);
        self.releases[to].is_good = is_good;
        self.back(to, now);
    }

    fn back(&mut self, to: usize, now: u64) {
        if let Some(former) = self.current.replace(to).filter(|former| *former != to) {
            self.releases[former].left = Some(now);
        }
        self.releases[to].left = None;
        self.releases[to].was_active = true;
    }

    fn good(&self) -> impl DoubleEndedIterator<Item = usize> {
        let is_good = |at: &usize| self.releases[*at].is_here && self.releases[*at].is_good;
        self.order.iter().copied().filter(is_good)
    }

    fn previous_good(&self) -> Option<usize> {
        let place = |at: usize| self.order.iter().position(|other| *other == at);
        let current = self.current?;
        self.good().rev().find(|at| *at != current && place(*at) < place(current))
    }

    /// Whether the release must be there after a prune, with `keep` good ones, at `now`.
    fn must_stay(&self, at: usize, keep: usize, now: u64) -> bool {
        let known = &self.releases[at];
        let waits = |at: usize| {
            let known = &self.releases[at];
            known.is_here && !known.was_active && self.current.is_none_or(|current| at > current)
        };
        let newest = (0..self.releases.len()).rev().find(|at| waits(*at));
        known.is_here
            && (self.current == Some(at)
                || self.previous_good() == Some(at)
                || self.good().rev().take(keep).any(|good| good == at)
                || now < known.pinned_until
                || known.is_used
                || known.transfer.is_some()
                || known.left.is_some_and(|left| now < left + DRAIN)
                || waits(at) && (newest == Some(at) || now < known.staged + 24 * 3600))
    }
}

/// One random history on a store of its own.
struct History {
    place: Place,
    world: Arc<Stage>,
    store: Option<Store>,
    model: Model,
    keep: usize,
    rng: SmallRng,
}

impl History {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Any of the releases that are there.
    fn any(&mut self) -> Option<usize> {
        let here: Vec<usize> =
            (0..self.model.releases.len()).filter(|at| self.model.releases[*at].is_here).collect();
        if here.is_empty() { None } else { Some(here[self.rng.random_range(0..here.len())]) }
    }

    fn id(&self, at: usize) -> ReleaseId {
        self.model.releases[at].release.id()
    }

    fn deploy(&mut self) {
        let at = self.model.releases.len();
        let release = small(at as u64 + 1);
        stage(self.store(), &release);
        let now = self.world.now();
        self.model.releases.push(Known {
            release,
            is_here: true,
            is_good: false,
            was_active: false,
            staged: now,
            left: None,
            pinned_until: 0,
            is_used: false,
            transfer: None,
        });
        let id = self.id(at);
        match self.rng.random_range(0..4) {
            0 => {}
            1 => {
                self.store().activate_on_trial(&shop(), id).unwrap();
                self.model.forward(at, false, now);
                let expected = self.model.previous_good();
                let good = self.store().fall_back(&shop(), id, "no").unwrap();
                assert_eq!(good, expected.map(|at| self.id(at)));
                if let Some(good) = expected {
                    self.model.back(good, now);
                }
            }
            _ => {
                self.store().activate(&shop(), id).unwrap();
                self.model.forward(at, true, now);
            }
        }
    }

    fn go_back(&mut self) {
        let expected = self.model.previous_good();
        let result = self.store().rollback(&shop(), None);
        assert_eq!(result.ok(), expected.map(|at| self.id(at)));
        if let Some(at) = expected {
            self.model.back(at, self.world.now());
        }
    }

    fn choose(&mut self) {
        let Some(at) = self.any() else { return };
        let is_current = self.model.current == Some(at);
        self.store().choose(&shop(), self.id(at), true).unwrap();
        if !is_current {
            self.model.forward(at, true, self.world.now());
        }
    }

    fn touch(&mut self) {
        let Some(at) = self.any() else { return };
        let (id, now) = (self.id(at), self.world.now());
        match self.rng.random_range(0..4) {
            0 => {
                let until = now + self.rng.random_range(1..3000);
                let (owner, reason) = ("a".into(), String::new());
                let pin = Pin { owner, reason, since: now, until: Some(until) };
                self.store().pin(&shop(), id, pin).unwrap();
                self.model.releases[at].pinned_until = until;
            }
            1 => {
                let is_used = !self.model.releases[at].is_used;
                self.model.releases[at].is_used = is_used;
                let name = self.model.releases[at].release.directory_name();
                let mut users = self.world.users.lock().unwrap();
                match is_used {
                    true => drop(users.insert(name, "x (1)".into())),
                    false => drop(users.remove(&name)),
                }
            }
            2 => {
                let offer = self.model.releases[at].release.offer();
                let reservation = self.store().reserve(&shop(), &offer).unwrap();
                self.model.releases[at].transfer = Some(reservation);
            }
            _ => self.model.releases[at].transfer = None,
        }
    }

    fn restart(&mut self) {
        // What a transfer holds goes with its process.
        self.model.releases.iter_mut().for_each(|known| known.transfer = None);
        self.store = None;
        self.store = Some(self.world.open(&self.place, self.keep));
    }

    fn prune(&mut self) {
        let now = self.world.now();
        let count = self.model.releases.len();
        let stays: Vec<bool> =
            (0..count).map(|at| self.model.must_stay(at, self.keep, now)).collect();
        self.store().prune(&shop()).unwrap();
        for (at, stays) in stays.into_iter().enumerate() {
            let is_there = self.store().holds_release(&shop(), &self.id(at));
            assert_eq!(is_there, stays, "v{} of {count}", at + 1);
            self.model.releases[at].is_here = is_there;
        }
        assert_eq!(self.store().take_complaints(), [""; 0]);
        if let Some(current) = self.model.current {
            let read = fs::read(self.place.current().join("shop.raw")).unwrap();
            assert_eq!(read, self.model.releases[current].release.image);
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..12) {
            0..3 => self.deploy(),
            3 => self.go_back(),
            4 => self.choose(),
            5..7 => self.touch(),
            7..9 => {
                let seconds = self.rng.random_range(0..DRAIN * 2);
                self.world.pass(seconds);
            }
            9 => self.restart(),
            _ => self.prune(),
        }
    }
}

/// Goal: no history makes a prune remove what must stay, or keep what nobody needs. Method: random
/// histories on a real store, beside a model that only knows the words of the documentation.
#[test]
fn no_random_history_breaks_an_invariant_of_pruning() {
    for seed in 0..60 {
        let directory = memory();
        let place = Place::new(directory.path());
        let (world, keep) = (Stage::new(), 2 + seed as usize % 4);
        let store = Some(world.open(&place, keep));
        let (model, rng) = (Model::default(), SmallRng::seed_from_u64(seed));
        let mut history = History { place, world, store, model, keep, rng };
        for number in 0..50 {
            let step = std::panic::AssertUnwindSafe(|| history.step());
            if let Err(panic) = std::panic::catch_unwind(step) {
                eprintln!("seed {seed}, step {number}");
                std::panic::resume_unwind(panic);
            }
        }
        history.prune();
    }
}
