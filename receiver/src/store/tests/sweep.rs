//! A process that is killed, a disk that fails and a disk that is full, at every store call of an
//! install, and what the next start makes of it.
//!
//! Goal: `current` is the old or the new release, all of it; the state file agrees; what was
//! received is not received again; no loop device, mount, temporary link or half tree is left.
//! Method: the calls are taken from a clean trace. For a kill, this test program starts itself
//! again as the victim, which sends itself SIGKILL before or after the call; the judge is a start
//! of the store in this process. A point that never fires is a failure.
//!
//! `tests/run` does every point of one kind and every seventh of the others; `--full` every one.

#![expect(clippy::disallowed_methods, reason = "tests ask the environment and read files")]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::id::ImageKind;

use super::fixture::{
    Place, Release, comes_true, image, in_private_mounts, mount_tmpfs, patiently, shop,
    unmount_below,
};
use super::install::{current_of, version};
use super::recorder::{Fate, Recorder};
use crate::store::app::read_state;
use crate::store::layout::Layout;
use crate::store::{Step, Store, StoreError, SystemWorld, World};

/// Tells a test program that it is the victim of such a [`Scene`].
const VICTIM: &str = "FANFARE_SWEEP_VICTIM";
/// Of the kinds that `tests/run` does not sweep whole it does every so many points.
const SAMPLE: usize = 7;

/// Who installs, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scene {
    kind: ImageKind,
    /// A tenant receives, a helper adopts.
    is_parted: bool,
}

impl Scene {
    fn release(self, images: &Path, sequence: u64) -> Release {
        match self.kind {
            ImageKind::Tar => Release::tar(sequence),
            kind => {
                let path = images.join(format!("image-{sequence}"));
                Release::new(kind, sequence, std::fs::read(path).unwrap())
            }
        }
    }

    fn open(self, place: &Place, world: Arc<dyn World>) -> Result<Store, StoreError> {
        match self.is_parted {
            true => place.open_for_tenant(world),
            false => place.open_in(world),
        }
    }

    /// Receives, stages, activates and prunes.
    fn install(
        self,
        place: &Place,
        store: &Store,
        world: Arc<dyn World>,
        release: &Release,
    ) -> Result<(), StoreError> {
        if !self.is_parted {
            return release.install(store);
        }
        store.check(&shop(), &release.offer())?;
        release.receive_for(&place.incoming_in(world))?;
        let image = patiently(|| store.adopt(&shop(), &release.offer()))?;
        store.stage(&shop(), &release.offer(), image)?;
        store.activate(&shop(), release.id())?;
        store.prune(&shop())?;
        store.empty_trash(None);
        Ok(())
    }
}

/// A place with release 1, and release 2 ready to be installed in `recorder`'s world.
struct Attempt {
    _directory: tempfile::TempDir,
    place: Place,
    base: PathBuf,
}

impl Attempt {
    fn new(scene: Scene, images: &Path) -> Self {
        let directory = tempfile::tempdir_in(images).unwrap();
        let base = directory.path().canonicalize().unwrap();
        let place = Place::new(&base);
        let world: Arc<dyn World> = Arc::new(SystemWorld);
        let store = scene.open(&place, Arc::clone(&world)).unwrap();
        scene.install(&place, &store, world, &scene.release(images, 1)).unwrap();
        Self { _directory: directory, place, base }
    }

    fn run(
        &self,
        scene: Scene,
        images: &Path,
        plan: Option<(Option<usize>, Fate)>,
    ) -> (Arc<Recorder>, Result<(), StoreError>) {
        let recorder = Arc::new(Recorder::default());
        let world = Arc::clone(&recorder) as Arc<dyn World>;
        let store = scene.open(&self.place, Arc::clone(&world)).unwrap();
        recorder.start(plan);
        let result = scene.install(&self.place, &store, world, &scene.release(images, 2));
        (recorder, result)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        unmount_below(&self.base);
    }
}

/// The program that is killed. Not the victim, it does nothing.
#[test]
fn victim() {
    let Ok(words) = std::env::var(VICTIM) else { return };
    let words: Vec<&str> = words.split('|').collect();
    let [images, base, kind, is_parted, at, is_after] = words[..] else { panic!("{words:?}") };
    let kind = ImageKind::ALL.into_iter().find(|it| it.as_str() == kind).unwrap();
    let scene = Scene { kind, is_parted: is_parted == "true" };
    let fate = if is_after == "true" { Fate::KilledAfter } else { Fate::KilledBefore };
    let place = Place::new(Path::new(base));
    let recorder = Arc::new(Recorder::default());
    let world = Arc::clone(&recorder) as Arc<dyn World>;
    let store = scene.open(&place, Arc::clone(&world)).unwrap();
    recorder.start(Some((at.parse().ok(), fate)));
    let release = scene.release(Path::new(images), 2);
    // It ends here by a signal, or the judge sees that it did not.
    let _ = scene.install(&place, &store, world, &release);
}

/// Has a victim killed at this point of an install; false when it lived to the end.
fn kill(scene: Scene, images: &Path, attempt: &Attempt, at: Option<usize>, fate: Fate) -> bool {
    let words = [
        images.display().to_string(),
        attempt.base.display().to_string(),
        scene.kind.to_string(),
        scene.is_parted.to_string(),
        at.map_or_else(|| "unpack".into(), |at| at.to_string()),
        (fate == Fate::KilledAfter).to_string(),
    ];
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "store::tests::sweep::victim"]).env(VICTIM, words.join("|"));
    let ended = victim.stdout(Stdio::null()).status().unwrap();
    ended.signal() == Some(libc::SIGKILL)
}

/// Every point of a clean install, in order; unpacking, which has a thread of its own, is `None`.
struct Points {
    alone: Vec<Step>,
    has_unpack: bool,
}

impl Points {
    fn of(scene: Scene, images: &Path) -> Self {
        let attempt = Attempt::new(scene, images);
        let (recorder, result) = attempt.run(scene, images, None);
        result.unwrap();
        let trace = recorder.trace();
        let count = trace.len();
        let alone: Vec<Step> =
            trace.into_iter().filter(|step| !matches!(step, Step::Unpack { .. })).collect();
        Self { has_unpack: alone.len() < count, alone }
    }

    fn all(&self) -> impl Iterator<Item = Option<usize>> {
        (0..self.alone.len()).map(Some).chain(self.has_unpack.then_some(None))
    }

    /// How many calls were done when it ended there.
    fn done(&self, at: usize, fate: Fate) -> &[Step] {
        &self.alone[..at + usize::from(fate == Fate::KilledAfter)]
    }
}

/// What a sweep did.
#[derive(Default)]
struct Tally {
    points: usize,
    resumed_bytes: u64,
    cleaned: BTreeMap<String, usize>,
}

/// Sweeps `fates` over every `step`th point of a scene.
fn sweep(scene: Scene, images: &Path, fates: &[Fate], step: usize) -> Tally {
    let points = Points::of(scene, images);
    let is_switch = |step: &Step| matches!(step, Step::Switch { .. });
    let mut tally = Tally::default();
    for (number, at) in points.all().enumerate().filter(|(number, _)| number % step == 0) {
        for fate in fates.iter().copied() {
            let what = format!("{scene:?}, {fate:?} at {at:?} of {}", points.alone.len());
            let attempt = Attempt::new(scene, images);
            let is_kill = matches!(fate, Fate::KilledBefore | Fate::KilledAfter);
            if is_kill {
                assert!(kill(scene, images, &attempt, at, fate), "{what}: never fired");
            } else {
                let (recorder, result) = attempt.run(scene, images, Some((at, fate)));
                assert!(recorder.has_fired(), "{what}: never fired");
                let has_switched = version(&attempt.place) == Some(2);
                assert_eq!(result.is_ok(), has_switched, "{what}: {result:?}");
            }
            // While unpacking nothing was switched; a call that failed after the switch had no say.
            let expected = match at.map(|at| points.done(at, fate).iter().any(is_switch)) {
                Some(true) => 2,
                _ => 1,
            };
            assert_eq!(version(&attempt.place), Some(expected), "{what}");
            // Every second start is one after a reboot.
            if number % 2 == 1 {
                unmount_below(&attempt.base);
            }
            let claimed = at.filter(|_| is_kill).map_or(0, |at| claimed(points.done(at, fate)));
            judge(scene, images, &attempt, expected, claimed, &what, &mut tally);
            tally.points += 1;
        }
    }
    tally
}

/// Bytes of the image that these calls received and did not finish.
fn claimed(done: &[Step]) -> u64 {
    let is_finished = |step: &Step| match step {
        Step::Rename { to, .. } => to.components().any(|part| part.as_os_str() == "images"),
        _ => false,
    };
    if done.iter().any(is_finished) {
        return 0;
    }
    let bytes = done.iter().filter_map(|step| match step {
        Step::Claim { bytes, .. } => Some(bytes),
        _ => None,
    });
    bytes.sum()
}

/// Starts the store again, and looks at all of it.
fn judge(
    scene: Scene,
    images: &Path,
    attempt: &Attempt,
    expected: u64,
    claimed: u64,
    what: &str,
    tally: &mut Tally,
) {
    let (place, release) = (&attempt.place, scene.release(images, 2));
    let half = halves(place);
    let world: Arc<dyn World> = Arc::new(SystemWorld);
    let store = scene.open(place, Arc::clone(&world)).unwrap();
    assert_eq!(store.take_complaints(), [""; 0], "{what}");
    let cleaned = store.take_cleaned();
    assert!(half.is_empty() || !cleaned.is_empty(), "{what}: nothing said of {half:?}");
    for line in &cleaned {
        let found = line.split(" found ").nth(1).and_then(|rest| rest.split(" of an").next());
        *tally.cleaned.entry(found.unwrap_or("a checked image").to_owned()).or_default() += 1;
    }
    place.assert_tidy(&store);
    assert_eq!(version(place), Some(expected), "{what}: after the start");
    assert_eq!(current_of(&store), [format!("v{expected}")], "{what}");
    expect_agreement(scene, attempt, &store, &scene.release(images, expected), what);
    if claimed > 0 {
        let partial = match scene.is_parted {
            true => {
                let begin = || place.incoming().begin(&shop(), Arc::clone(&release.preamble));
                patiently(begin).unwrap()
            }
            false => super::fixture::begin(&store, &release.preamble),
        };
        let held: u64 =
            partial.held().into_iter().map(|frame| release.frame(frame).len() as u64).sum();
        assert!(held >= claimed, "{what}: {held} bytes held of {claimed} that were received");
        tally.resumed_bytes += held;
    }
    match store.holds_release(&shop(), &release.id()) {
        true => store.activate(&shop(), release.id()).unwrap(),
        false => scene
            .install(place, &store, world, &release)
            .unwrap_or_else(|error| panic!("{what}: {error}")),
    }
    assert_eq!(version(place), Some(2), "{what}: installed again");
    assert_eq!(place.names("incoming"), [""; 0], "{what}");
    place.assert_tidy(&store);
    expect_agreement(scene, attempt, &store, &release, what);
    drop(store);
    unmount_below(&attempt.base);
    assert_eq!(loops_below(&attempt.base, 0), [""; 0], "{what}: loop devices are left");
}

/// What lies about that belongs to no finished thing.
fn halves(place: &Place) -> Vec<String> {
    let mut all = place.names("srv/.incoming");
    all.extend(place.names("srv/.").into_iter().filter(|name| name.starts_with(".current-")));
    all.extend(place.names("manifests").into_iter().filter(|name| name.ends_with(".new")));
    all.extend(place.names(".").into_iter().filter(|name| name.ends_with(".new")));
    all
}

/// The state file says what the link says, every mount is a staged release's, and no more loop
/// devices are in use than there are mounts.
fn expect_agreement(scene: Scene, attempt: &Attempt, store: &Store, current: &Release, what: &str) {
    let place = &attempt.place;
    let layout = Layout::new(&place.store, &shop(), &place.root);
    let state = read_state(&layout).unwrap().unwrap();
    assert_eq!(state.current, Some(current.id()), "{what}: the state file");
    let sequence = current.preamble.manifest.sequence;
    assert!(state.accepted[&0].sequence >= sequence, "{what}: an older one would be accepted");
    assert_eq!(state.youngest, current.preamble.manifest.created, "{what}");
    let named = current.preamble.manifest.next_key;
    assert!(state.announced.iter().any(|it| Some(it.key) == named), "{what}: the next key");
    let releases = store.releases().unwrap();
    let staged = releases.iter().filter(|facts| facts.is_mounted).count();
    let mounts = SystemWorld.mounted().unwrap();
    let mounts = mounts.iter().filter(|it| it.target.starts_with(&place.root)).count();
    assert_eq!(mounts, staged, "{what}: {releases:?}");
    let loops = loops_below(&attempt.base, mounts);
    assert!(loops.len() <= mounts, "{what}: {loops:?}");
    assert!(scene.kind == ImageKind::Tar || mounts > 0, "{what}");
}

/// Files below `base` that loop devices have, once the kernel had time to let go of all but so
/// many: it clears a device after the unmount has returned.
fn loops_below(base: &Path, at_most: usize) -> Vec<String> {
    let files = || -> Vec<String> {
        let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
        let files = devices
            .filter_map(|it| std::fs::read_to_string(it.path().join("loop/backing_file")).ok());
        files.filter(|file| Path::new(file.trim()).starts_with(base)).collect()
    };
    comes_true(|| files().len() <= at_most);
    files()
}

/// Sweeps all that installs of `kind` are made of, on a tmpfs.
fn sweep_kind(name: &str, kind: ImageKind, is_whole: bool) {
    in_private_mounts(name, |directory| {
        mount_tmpfs(directory, "size=128M");
        if kind != ImageKind::Tar {
            for sequence in [1, 2] {
                let bytes = image(kind, sequence, directory);
                std::fs::write(directory.join(format!("image-{sequence}")), bytes).unwrap();
            }
        }
        let is_full = std::env::var_os("FANFARE_TESTS_FULL").is_some();
        for is_parted in [false, true] {
            let scene = Scene { kind, is_parted };
            let step = if is_full || is_whole && !is_parted { 1 } else { SAMPLE };
            for fates in [&[Fate::KilledBefore, Fate::KilledAfter][..], &[Fate::Fails, Fate::Full]]
            {
                let tally = sweep(scene, directory, fates, step);
                eprintln!(
                    "{kind}, {}: {} points of {fates:?}, {} bytes not received again, cleaned {:?}",
                    if is_parted { "two processes" } else { "one process" },
                    tally.points,
                    tally.resumed_bytes,
                    tally.cleaned
                );
            }
        }
    });
}

#[test]
fn an_erofs_install_survives_a_kill_and_a_failing_or_full_disk_at_every_call() {
    sweep_kind("an_erofs_install_survives", ImageKind::Erofs, true);
}

#[test]
fn an_ext2_install_survives_a_kill_and_a_failing_or_full_disk_at_every_call() {
    sweep_kind("an_ext2_install_survives", ImageKind::Ext2, false);
}

#[test]
fn a_squashfs_install_survives_a_kill_and_a_failing_or_full_disk_at_every_call() {
    sweep_kind("a_squashfs_install_survives", ImageKind::Squashfs, false);
}

#[test]
fn a_tar_install_survives_a_kill_and_a_failing_or_full_disk_at_every_call() {
    sweep_kind("a_tar_install_survives", ImageKind::Tar, false);
}
