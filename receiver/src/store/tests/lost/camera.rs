//! Does an install's steps and writes down what they do to the disk.
//!
//! Not here: what of it a power cut leaves ([`super::disk`]).

#![expect(clippy::disallowed_methods, reason = "tests make files")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::digest::Digest;

use super::disk::{Disk, Inode, Node, Operation};
use crate::store::mount::descriptor;
use crate::store::table::Mounted;
use crate::store::{PROBE, Step, StepError, SystemWorld, With, World};

/// The file that a start looks for in the images that it tries to mount.
const TRIED: &str = "fanfare";

fn is_tried(target: &Path) -> bool {
    target.iter().any(|part| part == PROBE)
}

/// The machine, but its mounts are only noted down, by the content of what is mounted: a power cut
/// ends mounts anyway, and to make thousands of them takes longer than all the rest.
#[derive(Debug, Default)]
pub(super) struct Unmounted {
    mounts: Mutex<BTreeMap<PathBuf, Digest>>,
}

impl Unmounted {
    /// What is mounted at `target`.
    pub(super) fn image_at(&self, target: &Path) -> Option<Digest> {
        self.mounts.lock().unwrap().get(target).copied()
    }
}

impl World for Unmounted {
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError> {
        match (step, with) {
            (Step::Mount { target, .. }, With::File(image)) => {
                if is_tried(target) {
                    fs::write(target.join(TRIED), "")?;
                }
                // Of its own, from the start: the store has read this one to its end.
                let digest = Digest::of(&fs::read(descriptor(image))?);
                self.mounts.lock().unwrap().insert(target.clone(), digest);
                Ok(())
            }
            (Step::Unmount { target }, _) => {
                self.mounts.lock().unwrap().remove(target);
                if is_tried(target) {
                    fs::remove_file(target.join(TRIED))?;
                }
                Ok(())
            }
            _ => SystemWorld.apply(step, with),
        }
    }

    fn users(&self, places: &[PathBuf]) -> io::Result<Vec<Option<String>>> {
        Ok(vec![None; places.len()])
    }

    fn mounted(&self) -> io::Result<Vec<Mounted>> {
        let mounted = |target: &PathBuf| Mounted {
            id: 0,
            parent: 0,
            device: 0,
            root: "/".into(),
            target: target.clone(),
            shared: None,
            master: None,
            kind: String::new(),
            source: PathBuf::new(),
        };
        Ok(self.mounts.lock().unwrap().keys().map(mounted).collect())
    }
}

/// Does steps on the machine and writes down what they do to the disk.
#[derive(Debug, Default)]
pub(super) struct Camera {
    world: Unmounted,
    film: Mutex<Film>,
}

impl Camera {
    /// Starts anew, from what the disk is now.
    pub(super) fn start(&self, disk: Disk) {
        *self.film.lock().unwrap() = Film { disk, operations: Vec::new() };
    }

    /// What has happened, and what the disk is after it.
    pub(super) fn take(&self) -> (Vec<Operation>, Disk) {
        let film = std::mem::take(&mut *self.film.lock().unwrap());
        (film.operations, film.disk)
    }
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

    /// What unpacking has made, in the order of names. A thread of its own does it beside the other
    /// steps, so when it was done is not known; at the latest now, and nothing of it was synced.
    fn unpacked(&mut self, tree: &Path) {
        let made = Disk::read(tree);
        for (path, node) in &made.names {
            match node {
                Node::Directory => self.take(Operation::Directory(path.clone())),
                Node::Link(target) => self.take(Operation::Link(path.clone(), target.clone())),
                Node::File(inode) => {
                    let file = self.file(path);
                    self.take(Operation::Data(file, 0, made.files[*inode].clone()));
                }
            }
        }
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
            (Step::SyncTree { path }, _) => {
                self.unpacked(path);
                self.take(Operation::SyncAll);
            }
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
        self.world.apply(step, with)?;
        self.film.lock().unwrap().record(step, with);
        Ok(())
    }

    fn users(&self, places: &[PathBuf]) -> io::Result<Vec<Option<String>>> {
        self.world.users(places)
    }

    fn mounted(&self) -> io::Result<Vec<Mounted>> {
        self.world.mounted()
    }
}
