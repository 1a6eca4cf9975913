//! A copy of the tree without what is left out, for tools that take a directory as it is.
//!
//! Only made when something is left out: mke2fs has no way to skip a file, and removing it from the
//! image afterwards would leave its traces. Copies are made by the kernel, which shares the blocks
//! where the filesystem can.
#![expect(clippy::disallowed_methods, reason = "copies the source directory")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::cancel::Cancel;
use super::error::PackError;
use super::scan::{Entry, EntryKind, Tree};

/// A staged tree; removed when dropped.
#[derive(Debug)]
pub struct Staged {
    root: PathBuf,
    _directory: tempfile::TempDir,
}

impl Staged {
    /// Copies `tree` into a new directory below `within`.
    ///
    /// # Errors
    /// Names what could not be read or written.
    pub fn new(
        tree: &Tree,
        within: &Path,
        keep_owner: bool,
        cancel: &Cancel,
    ) -> Result<Self, PackError> {
        let directory = tempfile::Builder::new()
            .prefix(".fanfare-")
            .tempdir_in(within)
            .map_err(|error| PackError::output(within, error))?;
        let staged = Self { root: directory.path().join("tree"), _directory: directory };
        let mut firsts = HashMap::new();
        for entry in &tree.entries {
            cancel.check()?;
            staged.copy(tree, entry, &mut firsts)?;
        }
        // Children first: making them changes the modification time of their directory.
        for entry in tree.entries.iter().rev() {
            let path = staged.path_of(entry);
            set_facts(&path, entry, keep_owner).map_err(|error| PackError::output(&path, error))?;
        }
        Ok(staged)
    }

    /// Where the copy is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path_of(&self, entry: &Entry) -> PathBuf {
        self.root.join(&entry.path)
    }

    fn copy(
        &self,
        tree: &Tree,
        entry: &Entry,
        firsts: &mut HashMap<(u64, u64), PathBuf>,
    ) -> Result<(), PackError> {
        let to = self.path_of(entry);
        let made = match &entry.kind {
            EntryKind::Directory => fs::create_dir(&to),
            EntryKind::Symlink(target) => symlink(target, &to),
            EntryKind::File => match firsts.get(&entry.facts.identity) {
                Some(first) => fs::hard_link(first, &to),
                None => {
                    firsts.insert(entry.facts.identity, to.clone());
                    return copy_file(&tree.full_path(entry), &to, entry.facts.bytes);
                }
            },
        };
        made.map_err(|error| PackError::output(&to, error))
    }
}

fn copy_file(from: &Path, to: &Path, bytes: u64) -> Result<(), PackError> {
    let mut source = fs::File::open(from).map_err(|error| PackError::source(from, error))?;
    let mut target = fs::File::create(to).map_err(|error| PackError::output(to, error))?;
    let copied =
        io::copy(&mut source, &mut target).map_err(|error| PackError::output(to, error))?;
    if copied == bytes { Ok(()) } else { Err(PackError::Changed(from.to_owned())) }
}

fn set_facts(path: &Path, entry: &Entry, keep_owner: bool) -> io::Result<()> {
    let facts = &entry.facts;
    if keep_owner {
        std::os::unix::fs::lchown(path, Some(facts.uid), Some(facts.gid))?;
    }
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        fs::set_permissions(path, fs::Permissions::from_mode(facts.mode))?;
    }
    let mtime = Timespec { tv_sec: facts.mtime, tv_nsec: facts.mtime_nanos };
    let times = Timestamps { last_access: mtime, last_modification: mtime };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_staged_tree_has_modes_times_and_hard_links_of_the_source() {
        let source = tempfile::tempdir().unwrap();
        let path = |name: &str| source.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/file"), "text").unwrap();
        fs::hard_link(path("d/file"), path("d/other")).unwrap();
        symlink("file", path("d/link")).unwrap();
        fs::write(path("left-out"), "text").unwrap();
        fs::set_permissions(path("d"), fs::Permissions::from_mode(0o555)).unwrap();
        let cancel = Cancel::default();
        let tree = Tree::scan(source.path(), &["left-out".into()], &cancel).unwrap();
        let within = tempfile::tempdir().unwrap();
        let staged = Staged::new(&tree, within.path(), false, &cancel).unwrap();
        let copy = Tree::scan(staged.root(), &[], &cancel).unwrap();
        assert!(!copy.is_filtered);
        for (from, to) in tree.entries.iter().zip(&copy.entries) {
            assert_eq!((&from.path, &from.kind), (&to.path, &to.kind));
            assert_eq!(from.facts.mode, to.facts.mode, "{:?}", from.path);
            assert_eq!(from.facts.mtime_nanos, to.facts.mtime_nanos, "{:?}", from.path);
        }
        let inode = |name| fs::metadata(staged.root().join(name)).unwrap().ino();
        assert_eq!(inode("d/file"), inode("d/other"));
        drop(staged);
        assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0);
    }
}
