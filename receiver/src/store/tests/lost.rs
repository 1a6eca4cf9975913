//! A power cut at any moment: what the page cache held and nobody had synced is lost, in part.
//!
//! Goal: after the start `current` is the old or the new release, byte for byte, an older sequence
//! is not accepted any more once the newer was switched to, and nothing half is left. Method: the
//! steps of an install are recorded as operations on names and on data; for a random moment a disk
//! is made on which every operation that was synced is, and of the others any: data whole, torn or
//! not at all; names in the order of a journal up to some place (ext4, xfs), or any of them whose
//! objects are there (btrfs). The store is then started on that disk. Renames are atomic.
//!
//! `tests/run` looks at 1,500 different disks, `--full` at 20,000.

#![expect(clippy::disallowed_methods, reason = "tests make files and ask the environment")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::fixture::{Place, Release, shop};
use super::install::{current_of, memory, version};
use crate::store::app::read_state;
use crate::store::layout::Layout;
use crate::store::{Step, StepError, SystemWorld, With, World};

/// A file's number.
type Inode = usize;

/// One thing that happened to the disk.
#[derive(Debug, Clone)]
enum Operation {
    Name(PathBuf, Inode),
    Directory(PathBuf),
    Link(PathBuf, PathBuf),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
    Data(Inode, usize, Vec<u8>),
    Length(Inode, usize),
    SyncFile(Inode),
    SyncDirectory(PathBuf),
    SyncAll,
}

/// What is on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Disk {
    files: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    File(Inode),
    Directory,
    Link(PathBuf),
}

impl Disk {
    /// What lies below `root`.
    fn read(root: &Path) -> Self {
        let (mut disk, mut inodes) = (Self::default(), BTreeMap::new());
        let mut left = vec![root.to_path_buf()];
        while let Some(path) = left.pop() {
            let facts = path.symlink_metadata().unwrap();
            let node = if facts.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                Node::Directory
            } else if facts.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap())
            } else {
                Node::File(*inodes.entry(facts.ino()).or_insert_with(|| {
                    disk.files.push(fs::read(&path).unwrap());
                    disk.files.len() - 1
                }))
            };
            disk.names.insert(path, node);
        }
        disk
    }

    /// Puts it below `root`, in the place of what is there.
    fn write(&self, root: &Path) {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap()
            } else {
                fs::remove_file(path).unwrap()
            }
        }
        let mut written: BTreeMap<Inode, &Path> = BTreeMap::new();
        for (path, node) in self.names.iter().filter(|(path, _)| *path != root) {
            match node {
                Node::Directory => fs::create_dir(path).unwrap(),
                Node::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                Node::File(inode) => match written.get(inode) {
                    Some(first) => fs::hard_link(first, path).unwrap(),
                    None => {
                        fs::write(path, &self.files[*inode]).unwrap();
                        written.insert(*inode, path);
                    }
                },
            }
        }
    }

    /// Applies what happened to names; without effect where what it needs is not there.
    fn apply(&mut self, operation: &Operation) {
        let has_parent = |disk: &Self, path: &Path| {
            path.parent().is_some_and(|it| disk.names.get(it) == Some(&Node::Directory))
        };
        match operation {
            Operation::Name(path, inode) if has_parent(self, path) => {
                self.names.insert(path.clone(), Node::File(*inode));
            }
            Operation::Directory(path) if has_parent(self, path) => {
                self.names.insert(path.clone(), Node::Directory);
            }
            Operation::Link(path, target) if has_parent(self, path) => {
                self.names.insert(path.clone(), Node::Link(target.clone()));
            }
            Operation::Move(from, to) if self.names.contains_key(from) && has_parent(self, to) => {
                let moved: Vec<_> =
                    self.names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    let node = self.names.remove(&path).unwrap();
                    let rest = path.strip_prefix(from).unwrap();
                    let path = if rest == Path::new("") { to.clone() } else { to.join(rest) };
                    self.names.insert(path, node);
                }
            }
            Operation::Remove(path) => self.names.retain(|name, _| !name.starts_with(path)),
            _ => {}
        }
    }

    fn store(&mut self, inode: Inode, offset: usize, bytes: &[u8]) {
        let file = &mut self.files[inode];
        file.resize(file.len().max(offset + bytes.len()), 0);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

/// Does steps on the machine and writes down what they do to the disk.
#[derive(Debug, Default)]
struct Camera {
    film: Mutex<Film>,
}

#[derive(Debug, Default)]
struct Film {
    /// Where every name leads now.
    disk: Disk,
    operations: Vec<Operation>,
}

impl Film {
    fn take(&mut self, operation: Operation) {
        match &operation {
            Operation::Data(inode, offset, bytes) => self.disk.store(*inode, *offset, bytes),
            Operation::Length(inode, bytes) => self.disk.files[*inode].resize(*bytes, 0),
            other => self.disk.apply(other),
        }
        self.operations.push(operation);
    }

    /// The file of this name, which is made if it is new.
    fn file(&mut self, path: &Path) -> Inode {
        if let Some(Node::File(inode)) = self.disk.names.get(path) {
            return *inode;
        }
        self.disk.files.push(Vec::new());
        let inode = self.disk.files.len() - 1;
        self.take(Operation::Name(path.to_path_buf(), inode));
        inode
    }

    fn record(&mut self, step: &Step, with: With<'_>) {
        match (step, with) {
            (Step::MakeDirectory { path, .. }, _) if !self.disk.names.contains_key(path) => {
                self.take(Operation::Directory(path.clone()));
            }
            (Step::Allocate { path, bytes, .. }, _) => {
                let inode = self.file(path);
                self.take(Operation::Length(inode, *bytes as usize));
            }
            (Step::Write { path, offset, .. }, With::Bytes(_, bytes)) => {
                let inode = self.file(path);
                self.take(Operation::Data(inode, *offset as usize, bytes.to_vec()));
            }
            (Step::Claim { path, .. }, With::Bytes(_, bytes)) => {
                let inode = self.file(path);
                let end = self.disk.files[inode].len();
                self.take(Operation::Data(inode, end, bytes.to_vec()));
            }
            (Step::OpenJournal { path, header, bytes }, _) => {
                let inode = self.file(path);
                self.take(Operation::Length(inode, *bytes as usize));
                if *bytes == 0 {
                    self.take(Operation::Data(inode, 0, header.clone()));
                }
            }
            (Step::Save { path, content }, _) => {
                let inode = self.file(path);
                self.take(Operation::Length(inode, 0));
                self.take(Operation::Data(inode, 0, content.clone()));
                self.take(Operation::SyncFile(inode));
            }
            (Step::Sync { path }, _) => match self.disk.names.get(path) {
                Some(Node::File(inode)) => self.take(Operation::SyncFile(*inode)),
                _ => self.take(Operation::SyncDirectory(path.clone())),
            },
            (Step::SyncTree { .. }, _) => self.take(Operation::SyncAll),
            (Step::Rename { from, to } | Step::Switch { from, current: to }, _) => {
                self.take(Operation::Move(from.clone(), to.clone()));
            }
            (Step::Place { image, path }, _) => {
                let inode = self.file(image);
                self.take(Operation::Name(path.clone(), inode));
            }
            (Step::Link { to, path }, _) => self.take(Operation::Link(path.clone(), to.clone())),
            (Step::Remove { path } | Step::RemoveTree { path }, _)
                if self.disk.names.contains_key(path) =>
            {
                self.take(Operation::Remove(path.clone()));
            }
            // The mode of a file says nothing about its content.
            _ => {}
        }
    }
}

impl World for Camera {
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError> {
        SystemWorld.apply(step, with)?;
        self.film.lock().unwrap().record(step, with);
        Ok(())
    }
}

/// The machine, but nothing can be mounted: raw releases need no mount, and trying costs more than
/// all the rest of a start.
#[derive(Debug)]
struct Unmounted;

impl World for Unmounted {
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError> {
        match step {
            Step::Mount { .. } => Err(StepError::Mount("not here".into())),
            _ => SystemWorld.apply(step, with),
        }
    }
}

/// A recorded install.
struct Recording {
    before: Disk,
    operations: Vec<Operation>,
    files: usize,
}

impl Recording {
    fn parents(operation: &Operation) -> Vec<&Path> {
        let paths = match operation {
            Operation::Name(path, _) | Operation::Directory(path) | Operation::Link(path, _) => {
                vec![path]
            }
            Operation::Remove(path) => vec![path],
            Operation::Move(from, to) => vec![from, to],
            _ => Vec::new(),
        };
        paths.into_iter().filter_map(|path| path.parent()).collect()
    }

    /// Whether what `operation` did was on the disk once `later` was done.
    fn is_synced_by(operation: &Operation, later: &Operation) -> bool {
        match (operation, later) {
            (_, Operation::SyncAll) => true,
            (Operation::Data(one, ..) | Operation::Length(one, _), Operation::SyncFile(other)) => {
                one == other
            }
            (_, Operation::SyncDirectory(path)) => Self::parents(operation).contains(&&**path),
            _ => false,
        }
    }

    /// A disk as a power cut after the first `count` operations may leave it.
    fn cut(&self, count: usize, random: &mut StdRng) -> Disk {
        let done = &self.operations[..count];
        let is_synced: Vec<bool> = done
            .iter()
            .enumerate()
            .map(|(at, it)| done[at..].iter().any(|later| Self::is_synced_by(it, later)))
            .collect();
        let is_name = |operation: &Operation| !Self::parents(operation).is_empty();
        let synced_names = (0..count).filter(|at| is_synced[*at] && is_name(&done[*at]));
        let last = synced_names.max().map_or(0, |at| at + 1);
        let journal = random.random_range(last..=count);
        let is_journaled = random.random_bool(0.5);
        let mut disk = self.before.clone();
        disk.files.resize(self.files, Vec::new());
        for (at, operation) in done.iter().enumerate() {
            match operation {
                Operation::Data(inode, offset, bytes) => {
                    let bytes = match random.random_range(0..4) {
                        _ if is_synced[at] => &bytes[..],
                        0 => continue,
                        1 => &bytes[..random.random_range(0..bytes.len())],
                        _ => bytes,
                    };
                    disk.store(*inode, *offset, bytes);
                }
                Operation::Length(inode, bytes) if is_synced[at] || random.random_bool(0.7) => {
                    disk.files[*inode].resize(*bytes, 0);
                }
                Operation::Length(..) => {}
                // What is synced brings with it what came before in a journal; elsewhere at least
                // what it stands on, for it would else have no name at all.
                _ if at < last && (is_journaled || is_synced[at] || self.is_needed(at, count)) => {
                    disk.apply(operation);
                }
                _ if is_journaled && at < journal => disk.apply(operation),
                _ if !is_journaled && random.random_bool(0.5) => disk.apply(operation),
                _ => {}
            }
        }
        // A file without a name is not there.
        let named: BTreeSet<Inode> = disk
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                _ => None,
            })
            .collect();
        let files = disk.files.iter_mut().enumerate();
        files.filter(|(inode, _)| !named.contains(inode)).for_each(|(_, file)| file.clear());
        disk
    }

    /// Whether a later name that is synced was made from the one that this operation made.
    fn is_needed(&self, at: usize, count: usize) -> bool {
        let made = match &self.operations[at] {
            Operation::Name(path, _) | Operation::Directory(path) | Operation::Link(path, _) => {
                path
            }
            Operation::Move(_, to) => to,
            _ => return false,
        };
        let later = &self.operations[at + 1..count];
        later.iter().enumerate().any(|(ahead, it)| {
            let stands_on = match it {
                Operation::Name(path, _) | Operation::Link(path, _) => path.starts_with(made),
                Operation::Move(from, to) => from.starts_with(made) || to.starts_with(made),
                _ => false,
            };
            stands_on && later[ahead..].iter().any(|sync| Self::is_synced_by(it, sync))
        })
    }
}

/// Installs release 1, and records how release 2 is installed over it.
fn record(place: &Place, root: &Path) -> Recording {
    let camera = Arc::new(Camera::default());
    let store = place.open_in(Arc::clone(&camera) as Arc<dyn World>).unwrap();
    Release::raw(1).install(&store).unwrap();
    let before = Disk::read(root);
    *camera.film.lock().unwrap() = Film { disk: before.clone(), operations: Vec::new() };
    Release::raw(2).install(&store).unwrap();
    let film = camera.film.lock().unwrap();
    let files = film.disk.files.len();
    // What was recorded is what happened, or the disks below are of another machine.
    let after = Disk::read(root);
    let content = |disk: &Disk| -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let of = |node: &Node| match node {
            Node::File(inode) => Some(disk.files[*inode].clone()),
            _ => None,
        };
        disk.names.iter().map(|(path, node)| (path.clone(), of(node))).collect()
    };
    assert_eq!(content(&film.disk), content(&after));
    Recording { before, operations: film.operations.clone(), files }
}

/// What the store makes of a disk, when so much of the install was done.
fn judge(place: &Place, expected: &[u64], reinstalls: bool, what: &str) {
    let store = place.open_in(Arc::new(Unmounted)).unwrap();
    assert_eq!(store.take_complaints(), [""; 0], "{what}");
    place.assert_tidy();
    let found = version(place);
    assert!(found.is_some_and(|found| expected.contains(&found)), "{what}: {found:?}");
    let found = found.unwrap();
    assert_eq!(current_of(&store), [format!("v{found}")], "{what}");
    let layout = Layout::new(&place.store, &shop(), &place.root);
    let state = read_state(&layout).unwrap().unwrap();
    assert!(state.accepted[&0].sequence >= found, "{what}: {:?}", state.accepted);
    let is_right = |facts: &crate::store::ReleaseFacts| {
        let release = Release::raw(facts.sequence);
        !facts.is_staged || fs::read(facts.path.join("shop.raw")).unwrap() == release.image
    };
    assert!(store.releases().unwrap().iter().all(is_right), "{what}: a staged release is half");
    if reinstalls {
        let release = Release::raw(2);
        match store.holds_release(&shop(), &release.id()) {
            true => store.activate(&shop(), release.id()).unwrap(),
            false => release.install(&store).unwrap_or_else(|error| panic!("{what}: {error}")),
        }
        assert_eq!(version(place), Some(2), "{what}: installed again");
    }
}

#[test]
fn no_power_cut_leaves_a_wrong_or_half_release() {
    let directory = tempfile::tempdir_in(memory()).unwrap();
    let root = directory.path().canonicalize().unwrap();
    let place = Place::new(&root);
    let recording = record(&place, &root);
    let is_switch = |it: &Operation| matches!(it, Operation::Move(_, to) if *to == place.current());
    let switched = recording.operations.iter().position(is_switch).unwrap();
    let is_durable =
        |it: &Operation| matches!(it, Operation::SyncDirectory(path) if *path == place.root);
    let durable = recording.operations[switched..].iter().position(is_durable).unwrap() + switched;
    let is_full = std::env::var_os("FANFARE_TESTS_FULL").is_some();
    let (wanted, seed) = (if is_full { 20_000 } else { 1_500 }, 4);
    let mut random = StdRng::seed_from_u64(seed);
    let (mut seen, hasher) = (HashSet::new(), RandomState::new());
    let mut moments = BTreeSet::new();
    let (mut draws, mut old) = (0_u64, 0_u64);
    while seen.len() < wanted {
        draws += 1;
        assert!(draws < 200 * wanted as u64, "only {} different disks", seen.len());
        let count = random.random_range(0..=recording.operations.len());
        let disk = recording.cut(count, &mut random);
        let (number, is_new) = (seen.len(), seen.insert(hasher.hash_one((count, &disk))));
        if !is_new {
            continue;
        }
        moments.insert(count);
        disk.write(&root);
        let expected: &[u64] = match count {
            _ if count <= switched => &[1],
            _ if count > durable => &[2],
            _ => &[1, 2],
        };
        let what = format!("seed {seed}, draw {draws}, after {count} operations");
        judge(&place, expected, number % 8 == 0, &what);
        old += u64::from(count <= switched);
    }
    assert_eq!(moments.len(), recording.operations.len() + 1, "every moment was one of a cut");
    eprintln!(
        "{} different disks after {} moments, {old} of them before the switch: none wrong",
        seen.len(),
        moments.len()
    );
}

#[test]
fn an_image_that_nobody_synced_would_be_found() {
    let directory = tempfile::tempdir_in(memory()).unwrap();
    let root = directory.path().canonicalize().unwrap();
    let place = Place::new(&root);
    let mut recording = record(&place, &root);
    recording.operations.retain(|it| !matches!(it, Operation::SyncFile(_)));
    let mut random = StdRng::seed_from_u64(4);
    let is_wrong = |_: &i32| {
        recording.cut(recording.operations.len(), &mut random).write(&root);
        let store = place.open_in(Arc::new(Unmounted));
        // A torn state file is refused, a torn release is no release.
        store.is_err() || version(&place).is_none()
    };
    let wrong = (0..50).filter(is_wrong).count();
    assert!(wrong > 25, "only {wrong} of 50 disks are wrong without a sync of any file");
}
