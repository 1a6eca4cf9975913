//! What is on a disk, and what of it a power cut leaves.
//!
//! Not here: how a store came to do it ([`super::camera`]), and what it makes of the rest.

#![expect(clippy::disallowed_methods, reason = "tests make files and read them")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::digest::Digest;
use rand::RngExt;
use rand::rngs::StdRng;

/// A file's number.
pub(super) type Inode = usize;

/// One thing that happened to the disk.
#[derive(Debug, Clone)]
pub(super) enum Operation {
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
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) files: Vec<Vec<u8>>,
    pub(super) names: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File(Inode),
    Directory,
    Link(PathBuf),
}

impl Disk {
    /// What lies below `root`.
    pub(super) fn read(root: &Path) -> Self {
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
    pub(super) fn write(&self, root: &Path) {
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
    pub(super) fn apply(&mut self, operation: &Operation) {
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

    /// What tells it from other disks.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (path, node) in &self.names {
            let (kind, content): (u8, &[u8]) = match node {
                Node::File(inode) => (0, &self.files[*inode]),
                Node::Directory => (1, b""),
                Node::Link(target) => (2, target.as_os_str().as_bytes()),
            };
            let path = path.as_os_str().as_bytes();
            hasher.update(&[kind]).update(&path.len().to_be_bytes()).update(path);
            hasher.update(&content.len().to_be_bytes()).update(content);
        }
        hasher.finalize().into()
    }

    /// Every name below `root`, and what a file holds or a link says.
    pub(super) fn content(&self, root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let names = self.names.iter().filter_map(|(path, node)| {
            let content = match node {
                Node::File(inode) => Some(self.files[*inode].clone()),
                Node::Directory => None,
                Node::Link(target) => Some(target.as_os_str().as_bytes().to_vec()),
            };
            Some((path.strip_prefix(root).ok()?.to_path_buf(), content))
        });
        names.collect()
    }

    pub(super) fn store(&mut self, inode: Inode, offset: usize, bytes: &[u8]) {
        let file = &mut self.files[inode];
        file.resize(file.len().max(offset + bytes.len()), 0);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

/// A recorded install.
pub(super) struct Recording {
    pub(super) before: Disk,
    pub(super) operations: Vec<Operation>,
    /// Files that there are at its end.
    pub(super) files: usize,
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
    pub(super) fn cut(&self, count: usize, random: &mut StdRng) -> Disk {
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
