//! A power cut at any moment: what the page cache held and nobody had synced is lost, in part.
//!
//! Goal: after the start `current` is the old or the new release, byte for byte, an older sequence
//! is not accepted any more once the newer was switched to, and nothing half is left. Method: the
//! steps of an install are recorded as operations on names and on data ([`camera`]); for a random
//! moment a disk is made on which every operation that was synced is, and of the others any
//! ([`disk`]): data whole, torn or not at all; names in the order of a journal up to some place
//! (ext4, xfs), or any of them whose objects are there (btrfs). The store is then started on that
//! disk. Renames are atomic. Mounts are only noted down, by the digest of what is mounted.
//!
//! `tests/run` looks at 300 different disks of each kind, `--full` at 7,000.

mod camera;
mod disk;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::id::ImageKind;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::camera::{Camera, Unmounted};
use self::disk::{Disk, Operation, Recording};
use super::fixture::{Place, Release, content, shop};
use super::install::memory;
use crate::store::app::read_state;
use crate::store::layout::Layout;
use crate::store::{AppConfig, Store, StoreError, World};

/// Seed of all that is drawn.
const SEED: u64 = 4;
/// Of so many disks, on one the release is installed again afterwards.
const REINSTALL: usize = 8;

/// Names of a tree, and what its files hold and its links say.
type Content = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// An app with two releases of one kind.
struct Scene {
    _directory: tempfile::TempDir,
    root: PathBuf,
    place: Place,
    releases: [Release; 2],
    /// What the releases that are no mounts look like.
    trees: [Content; 2],
    recording: Recording,
}

impl Scene {
    /// Installs release 1, and records how release 2 is installed over it.
    fn record(kind: ImageKind) -> Self {
        let directory = tempfile::tempdir_in(memory()).unwrap();
        let root = directory.path().canonicalize().unwrap();
        let place = Place::new(&root);
        let releases = [1, 2].map(|sequence| match kind {
            ImageKind::Raw => Release::raw(sequence),
            ImageKind::Tar => Release::tar(sequence),
            // Nobody mounts it, so it need be no filesystem.
            _ => Release::new(kind, sequence, content(sequence, 150_000)),
        });
        let camera = Arc::new(Camera::default());
        let store = open(&place, kind, Arc::clone(&camera) as Arc<dyn World>).unwrap();
        releases[0].install(&store).unwrap();
        let before = Disk::read(&root);
        camera.start(before.clone());
        releases[1].install(&store).unwrap();
        let (operations, after) = camera.take();
        // What was recorded is what happened, or the disks below are of another machine.
        assert!(after.content(&root) == Disk::read(&root).content(&root));
        let trees = [0, 1].map(|at: usize| {
            let path = place.root.join("releases").join(releases[at].directory_name());
            Disk::read(&path).content(&path)
        });
        let recording = Recording { before, operations, files: after.files.len() };
        Self { _directory: directory, root, place, releases, trees, recording }
    }

    fn kind(&self) -> ImageKind {
        self.releases[0].preamble.manifest.image.kind
    }

    /// The release that lies at `path`, all of it.
    fn sequence_at(&self, world: &Unmounted, path: &Path) -> Option<u64> {
        let is_there = |at: &usize| match self.kind().is_mounted() {
            true => {
                let image = self.releases[*at].preamble.manifest.image.digest;
                path.canonicalize().ok().and_then(|path| world.image_at(&path)) == Some(image)
            }
            false => {
                let tree = path.canonicalize().map(|path| Disk::read(&path).content(&path));
                tree.is_ok_and(|tree| tree == self.trees[*at])
            }
        };
        (0..2).find(is_there).map(|at| at as u64 + 1)
    }

    /// What the store makes of the disk; `expected`: the releases that may be current.
    fn judge(&self, expected: &[u64], reinstalls: bool, what: &str) {
        let world = Arc::new(Unmounted::default());
        let store = open(&self.place, self.kind(), Arc::clone(&world) as Arc<dyn World>).unwrap();
        assert_eq!(store.take_complaints(), [""; 0], "{what}");
        self.place.assert_tidy(&store);
        let found = self.sequence_at(&world, &self.place.current());
        assert!(found.is_some_and(|found| expected.contains(&found)), "{what}: {found:?}");
        let found = found.unwrap();
        let all = store.releases_of(&shop()).unwrap();
        let current: Vec<u64> =
            all.iter().filter(|facts| facts.is_current).map(|facts| facts.sequence).collect();
        assert_eq!(current, [found], "{what}");
        let layout = Layout::new(&self.place.store, &shop(), &self.place.root);
        let state = read_state(&layout).unwrap().unwrap();
        assert!(state.accepted[&0].sequence >= found, "{what}: {:?}", state.accepted);
        for facts in all.iter().filter(|facts| facts.is_staged) {
            let seen = self.sequence_at(&world, &facts.path);
            assert_eq!(seen, Some(facts.sequence), "{what}: a staged release is half");
        }
        if reinstalls {
            self.install_again(&store, what);
            assert_eq!(self.sequence_at(&world, &self.place.current()), Some(2), "{what}: again");
        }
    }

    fn install_again(&self, store: &Store, what: &str) {
        let release = &self.releases[1];
        match store.holds_release(&shop(), &release.id()) {
            true => store.activate(&shop(), release.id()).unwrap(),
            false => release.install(store).unwrap_or_else(|error| panic!("{what}: {error}")),
        }
    }

    /// How many operations were done before the switch, and before it was durable.
    fn switch(&self) -> (usize, usize) {
        let operations = &self.recording.operations;
        let is_switch =
            |it: &Operation| matches!(it, Operation::Move(_, to) if *to == self.place.current());
        let switched = operations.iter().position(is_switch).unwrap();
        let root = &self.place.root;
        let is_durable =
            |it: &Operation| matches!(it, Operation::SyncDirectory(path) if path == root);
        let durable = operations[switched..].iter().position(is_durable).unwrap() + switched;
        (switched, durable)
    }
}

/// Of the kinds that are mounted a start tries only this one.
fn open(place: &Place, kind: ImageKind, world: Arc<dyn World>) -> Result<Store, StoreError> {
    let config = AppConfig { kinds: [kind].into_iter().collect(), ..place.config() };
    Store::open_in(world, &place.store, vec![config])
}

/// Cuts the power at random moments of an install until so many disks were different.
fn cut_power(kind: ImageKind) {
    let scene = Scene::record(kind);
    let (switched, durable) = scene.switch();
    let count = scene.recording.operations.len();
    let is_full = std::env::var_os("FANFARE_TESTS_FULL").is_some();
    let wanted = if is_full { 7_000 } else { 300 };
    let mut random = StdRng::seed_from_u64(SEED);
    let (mut seen, mut moments) = (HashSet::new(), BTreeSet::new());
    let (mut draws, mut old) = (0, 0);
    while seen.len() < wanted {
        draws += 1;
        assert!(draws < 200 * wanted, "only {} different disks", seen.len());
        // Every moment once, then any.
        let done = if draws <= count + 1 { draws - 1 } else { random.random_range(0..=count) };
        let disk = scene.recording.cut(done, &mut random);
        let expected: &[u64] = match done {
            _ if done <= switched => &[1],
            _ if done > durable => &[2],
            _ => &[1, 2],
        };
        moments.insert(done);
        if !seen.insert((disk.digest(), expected)) {
            continue;
        }
        disk.write(&scene.root);
        let what = format!("{kind}, seed {SEED}, draw {draws}, after {done} operations");
        scene.judge(expected, seen.len().is_multiple_of(REINSTALL), &what);
        old += usize::from(done <= switched);
    }
    assert_eq!(moments.len(), count + 1, "every moment was one of a cut");
    eprintln!(
        "{kind}: {} different disks after {} moments, {old} of them before the switch: none wrong",
        seen.len(),
        moments.len()
    );
}

#[test]
fn no_power_cut_leaves_a_wrong_or_half_raw_release() {
    cut_power(ImageKind::Raw);
}

#[test]
fn no_power_cut_leaves_a_wrong_or_half_tar_release() {
    cut_power(ImageKind::Tar);
}

#[test]
fn no_power_cut_leaves_a_wrong_or_half_ext2_release() {
    cut_power(ImageKind::Ext2);
}

#[test]
fn what_nobody_synced_would_be_found() {
    for kind in [ImageKind::Raw, ImageKind::Tar, ImageKind::Ext2] {
        let mut scene = Scene::record(kind);
        let is_sync = |it: &Operation| matches!(it, Operation::SyncFile(_) | Operation::SyncAll);
        scene.recording.operations.retain(|it| !is_sync(it));
        let mut random = StdRng::seed_from_u64(SEED);
        let count = scene.recording.operations.len();
        let is_wrong = |_: &i32| {
            scene.recording.cut(count, &mut random).write(&scene.root);
            let world = Arc::new(Unmounted::default());
            let store = open(&scene.place, kind, Arc::clone(&world) as Arc<dyn World>);
            // A torn state file is refused, a torn release is no release.
            store.is_err() || scene.sequence_at(&world, &scene.place.current()).is_none()
        };
        let wrong = (0..50).filter(is_wrong).count();
        assert!(wrong > 25, "only {wrong} of 50 disks are wrong without a sync of any {kind} file");
    }
}
