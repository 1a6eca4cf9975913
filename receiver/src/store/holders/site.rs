//! Where a release lies, and whether something that a process has a hold of belongs to it.
//!
//! A mounted release is a filesystem of its own: its device tells it, under whatever name. A tree
//! shares its device with everything else, so its files are told by their names, and by their
//! inodes where a name is seen from another root or from a mount that is gone.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dev, StatxFlags, makedev};

use super::process::Link;
use super::{Hold, How, counts};
use crate::store::table::Mounted;

/// One release's place.
#[derive(Debug)]
pub(super) struct Site {
    path: PathBuf,
    /// The filesystem of the release, or the one that its tree lies on, as the mount table has it.
    device: Option<Dev>,
    /// The same as its files have it, which on some filesystems is another number.
    files: Option<Dev>,
    /// The tree within that filesystem.
    root: PathBuf,
    /// The mount that the release's own mount lies on, by number; `None` for a tree.
    parent: Option<u32>,
}

impl Site {
    /// The release at `path`, as the mount table of this namespace has it.
    pub(super) fn of(path: &Path, table: &[Mounted]) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let containing = path.ancestors().find_map(|directory| {
            // The last of several at one place is the one that is seen.
            let mount = table.iter().rev().find(|mount| mount.target == directory)?;
            Some((directory, mount))
        });
        let files = file_of(&path).map(|(device, _)| device);
        let Some((directory, mount)) = containing else {
            return Self { path, device: None, files, root: PathBuf::new(), parent: None };
        };
        let is_own = directory == path && mount.root == Path::new("/");
        let below = path.strip_prefix(directory).expect("an ancestor");
        let root = mount.root.join(below);
        let parent = is_own.then_some(mount.parent);
        Self { path, device: Some(mount.device), files, root, parent }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How a process holds it by these links.
    pub(super) fn held_by(&self, links: &[Link]) -> Vec<Hold> {
        let held = links.iter().filter(|link| self.has(link));
        counts(held.map(|link| (link.how, link.path.clone())))
    }

    fn has(&self, link: &Link) -> bool {
        let Some((device, _)) = link.file else { return link.path.starts_with(&self.path) };
        match self.parent {
            Some(_) => self.files == Some(device),
            None if self.files != Some(device) => false,
            None => {
                link.path.starts_with(&self.path)
                    || self.inside(&link.path).any(|own| file_of(&own) == link.file)
            }
        }
    }

    /// Where a name that was seen from elsewhere may lie in the tree: below another root it still
    /// has the release's directory in it, below a mount of the tree that is gone it starts there.
    fn inside<'a>(&'a self, seen: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let name = self.path.file_name();
        let directory = seen.ancestors().find(|directory| directory.file_name() == name);
        let below = directory.and_then(|directory| seen.strip_prefix(directory).ok());
        let from_mount = seen.strip_prefix("/").ok();
        below.into_iter().chain(from_mount).map(|inside| self.path.join(inside))
    }

    /// Whether a mount, of whatever namespace, shows some of it.
    pub(super) fn is_shown_by(&self, mount: &Mounted) -> bool {
        let is_ours = self.device == Some(mount.device) && mount.root.starts_with(&self.root);
        // Unmounted here, it is told by its directory's name, which has the release's id in it.
        let is_unmounted = self.parent.is_none() && mount.root == Path::new("/");
        let name = self.path.file_name();
        is_ours || is_unmounted && mount.target.file_name() == name && name.is_some()
    }

    /// Mounts of it in this namespace besides its own.
    pub(super) fn other_mounts(&self, table: &[Mounted]) -> Vec<PathBuf> {
        let others = table.iter().filter(|it| self.is_shown_by(it) && it.target != self.path);
        others.map(|mount| mount.target.clone()).collect()
    }

    /// What a namespace of `count` processes holds by `mount`.
    pub(super) fn hold_of(mount: &Mounted, count: usize) -> Hold {
        Hold { how: How::MountNamespace, count, path: mount.target.clone() }
    }
}

fn file_of(path: &Path) -> Option<(Dev, u64)> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW;
    let facts = rustix::fs::statx(CWD, path, flags, StatxFlags::INO).ok()?;
    Some((makedev(facts.stx_dev_major, facts.stx_dev_minor), facts.stx_ino))
}
