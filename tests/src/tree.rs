//! A directory tree as plain data, and what differs between two.
//!
//! Compared are names, kinds, content, permission bits, owners, targets of symbolic links and whole
//! seconds of the modification time (ext2 keeps no more in 128-byte inodes). Not compared: hard
//! links, access and change times, holes, extended attributes.
#![expect(clippy::disallowed_methods, reason = "it reads real files")]

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::digest::Digest;

/// Differences that [`Tree::differences`] lists at most.
const LISTED_MAX: usize = 20;

/// Who must own the entries of the second tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// The same users as in the first.
    Kept,
    /// Root, as `pack` sets unless told otherwise.
    Root,
    /// Anybody: the tree was unpacked without root.
    Any,
}

/// A tree by relative path; the root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    content: Content,
    mode: u32,
    owner: (u32, u32),
    modified: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Directory,
    File(Digest),
    Link(PathBuf),
    Other(&'static str),
}

impl Tree {
    /// Reads the tree below `root`.
    ///
    /// # Panics
    /// When a part of it cannot be read.
    pub fn read(root: &Path) -> Self {
        let mut tree = Self { entries: BTreeMap::new() };
        tree.add(root, PathBuf::new())
            .unwrap_or_else(|error| panic!("cannot read the tree {}: {error}", root.display()));
        tree
    }

    /// Entries, the root counted too.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entry, not even a root.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is otherwise in `copy`, one sentence each, the first few of them.
    pub fn differences(&self, copy: &Self, owners: Owners) -> Vec<String> {
        let mut paths: Vec<&PathBuf> = self.entries.keys().chain(copy.entries.keys()).collect();
        paths.sort();
        paths.dedup();
        paths
            .into_iter()
            .filter_map(|path| {
                let said = match (self.entries.get(path), copy.entries.get(path)) {
                    (Some(entry), Some(copied)) => entry.difference(copied, owners)?,
                    (Some(_), None) => "is missing".to_owned(),
                    _ => "is too many".to_owned(),
                };
                Some(format!("{} {said}", Path::new("/").join(path).display()))
            })
            .take(LISTED_MAX)
            .collect()
    }

    fn add(&mut self, path: &Path, relative: PathBuf) -> io::Result<()> {
        let facts = path.symlink_metadata()?;
        self.entries.insert(relative.clone(), Entry::read(path, &facts)?);
        if facts.is_dir() {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                self.add(&entry.path(), relative.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}

impl Entry {
    fn read(path: &Path, facts: &Metadata) -> io::Result<Self> {
        Ok(Self {
            content: Content::read(path, facts)?,
            // The permission bits of a symbolic link mean nothing.
            mode: if facts.is_symlink() { 0 } else { facts.mode() & 0o7777 },
            owner: (facts.uid(), facts.gid()),
            modified: facts.mtime(),
        })
    }

    fn difference(&self, copied: &Self, owners: Owners) -> Option<String> {
        let owner = match owners {
            Owners::Kept => self.owner,
            Owners::Root => (0, 0),
            Owners::Any => copied.owner,
        };
        let mut said = Vec::new();
        if self.content != copied.content {
            said.push(format!("holds {:?}, not {:?}", copied.content, self.content));
        }
        if self.mode != copied.mode {
            said.push(format!("has mode {:o}, not {:o}", copied.mode, self.mode));
        }
        if owner != copied.owner {
            said.push(format!("belongs to {:?}, not to {owner:?}", copied.owner));
        }
        if self.modified != copied.modified {
            said.push(format!("changed at {}, not at {}", copied.modified, self.modified));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

impl Content {
    fn read(path: &Path, facts: &Metadata) -> io::Result<Self> {
        let kind = facts.file_type();
        Ok(if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Link(fs::read_link(path)?)
        } else if kind.is_file() {
            Self::File(digest_of_file(path)?)
        } else if kind.is_fifo() {
            Self::Other("fifo")
        } else if kind.is_socket() {
            Self::Other("socket")
        } else {
            Self::Other("device")
        })
    }
}

/// Digest of the content of the file at `path`.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of_file(path: &Path) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().into())
}

/// Says what differs between `source` and `copy`, if anything does.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn assert_same_tree(source: &Path, copy: &Path, owners: Owners) {
    let differences = Tree::read(source).differences(&Tree::read(copy), owners);
    assert!(
        differences.is_empty(),
        "{} is not {}: {differences:#?}",
        copy.display(),
        source.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A small tree, changed by `change`; what the comparison says.
    fn said_after(change: impl FnOnce(&Path)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let root = dir.path().join(name);
            fs::create_dir_all(root.join("sub")).unwrap();
            fs::write(root.join("sub/file"), "content").unwrap();
            symlink("sub/file", root.join("link")).unwrap();
        }
        change(&dir.path().join("b"));
        let (a, mut b) = (Tree::read(&dir.path().join("a")), Tree::read(&dir.path().join("b")));
        for (path, entry) in &mut b.entries {
            if a.entries.contains_key(path) && path != Path::new("sub/file") {
                entry.modified = a.entries[path].modified;
            }
        }
        a.differences(&b, Owners::Kept)
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        assert_eq!(said_after(|_| ()), Vec::<String>::new());
        let said = said_after(|root| fs::write(root.join("sub/file"), "Content").unwrap());
        assert!(said[0].starts_with("/sub/file holds"), "{said:?}");
        let said = said_after(|root| {
            let mode = fs::Permissions::from_mode(0o4711);
            fs::set_permissions(root.join("sub"), mode).unwrap();
        });
        assert!(said[0].starts_with("/sub has mode 4711, not "), "{said:?}");
        let said = said_after(|root| fs::remove_file(root.join("link")).unwrap());
        assert_eq!(said, ["/link is missing"]);
        let said = said_after(|root| fs::write(root.join("new"), "").unwrap());
        assert_eq!(said, ["/new is too many"]);
        let said = said_after(|root| {
            let file = File::options().write(true).open(root.join("sub/file")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        });
        assert!(said[0].starts_with("/sub/file changed at 0, not at"), "{said:?}");
    }

    #[test]
    fn a_link_is_compared_by_its_target() {
        let said = said_after(|root| {
            fs::remove_file(root.join("link")).unwrap();
            symlink("./sub/file", root.join("link")).unwrap();
        });
        assert!(said[0].contains("\"./sub/file\""), "{said:?}");
    }
}
