//! Walks the source directory: what is packed, what is left out, and whether it changed meanwhile.
//!
//! Not here: any image format.
//!
//! Invariant: entries are in one order, parents before children and siblings by the bytes of their
//! names, whatever order the directory gives them in.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Access, AtFlags};

use super::cancel::Cancel;
use super::error::{PackError, shown};

/// Names of files with patterns of what to leave out, which are left out themselves.
const IGNORE_FILE: &str = ".fanignore";
/// Warnings of one sort that are spelled out; the rest is counted.
const WARNINGS_SPELLED: usize = 5;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link to this target.
    Symlink(PathBuf),
}

/// One thing in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, below the source; empty for the source itself.
    pub path: PathBuf,
    /// What.
    pub kind: EntryKind,
    /// Its facts, for the image and to see a change.
    pub facts: Facts,
}

/// What `lstat` says, without the access time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of a file, zero for anything else.
    pub bytes: u64,
    /// Modification time in seconds.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nanos: i64,
    /// Number of links.
    pub links: u64,
    /// Device and inode: equal for two names of one file.
    pub identity: (u64, u64),
    /// Status change time, seconds and nanoseconds.
    changed: (i64, i64),
}

impl Facts {
    fn of(metadata: &Metadata) -> Self {
        Self {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            bytes: if metadata.is_file() { metadata.len() } else { 0 },
            mtime: metadata.mtime(),
            mtime_nanos: metadata.mtime_nsec(),
            links: metadata.nlink(),
            identity: (metadata.dev(), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A source directory as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The source.
    pub root: PathBuf,
    /// Everything to pack, the source itself first.
    pub entries: Vec<Entry>,
    /// Whether something lies in the source that is not packed.
    pub is_filtered: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

impl Tree {
    /// Walks `root`, leaving out what `excludes` and the `.fanignore` files name.
    ///
    /// # Errors
    /// Names the first path that cannot be read, or the pattern that is none.
    pub fn scan(root: &Path, excludes: &[String], cancel: &Cancel) -> Result<Self, PackError> {
        let mut walk = Walk::new(root, excludes, cancel)?;
        walk.directory(Path::new(""))?;
        let Walk { entries, is_filtered, warnings, .. } = walk;
        let warnings = warnings.into_lines();
        Ok(Self { root: root.to_owned(), entries, is_filtered, warnings })
    }

    /// The first path at which the two differ.
    pub fn difference<'a>(&'a self, later: &'a Self) -> Option<&'a Path> {
        let pairs = self.entries.iter().zip(&later.entries);
        if let Some((before, after)) = pairs.clone().find(|(before, after)| before != after) {
            // The smaller name is the one that is missing on the other side.
            return Some(before.path.as_path().min(&after.path));
        }
        let (short, long) = if self.entries.len() < later.entries.len() {
            (&self.entries, &later.entries)
        } else {
            (&later.entries, &self.entries)
        };
        long.get(short.len()).map(|entry| entry.path.as_path())
    }

    /// Where an entry lies on disk.
    pub fn full_path(&self, entry: &Entry) -> PathBuf {
        if entry.path.as_os_str().is_empty() {
            self.root.clone()
        } else {
            self.root.join(&entry.path)
        }
    }

    /// The entries that a filesystem has an inode for: of several names of one file the first.
    pub fn inodes(&self) -> impl Iterator<Item = &Entry> {
        let mut seen = std::collections::HashSet::new();
        self.entries.iter().filter(move |entry| {
            entry.kind != EntryKind::File
                || entry.facts.links == 1
                || seen.insert(entry.facts.identity)
        })
    }
}

/// Warnings of one sort, the first few spelled out.
#[derive(Debug, Default)]
struct Sorted {
    git: Vec<PathBuf>,
    special: Vec<PathBuf>,
    private: Vec<PathBuf>,
}

impl Sorted {
    fn into_lines(self) -> Vec<String> {
        let sorts = [
            (self.git, "is a git repository and is packed; --exclude .git leaves it out"),
            (self.special, "is a socket, pipe or device and is left out"),
            (self.private, "is a directory that only its owner may enter, also on the hosts"),
        ];
        let mut lines = Vec::new();
        for (paths, what) in sorts {
            let spelled = paths.iter().take(WARNINGS_SPELLED);
            lines.extend(spelled.map(|path| format!("{} {what}", shown(path))));
            if paths.len() > WARNINGS_SPELLED {
                lines.push(format!("and {} more that {what}", paths.len() - WARNINGS_SPELLED));
            }
        }
        lines
    }
}

struct Walk<'a> {
    root: &'a Path,
    cancel: &'a Cancel,
    excludes: Gitignore,
    /// Patterns of the `.fanignore` files from the source down to the directory being read.
    ignores: Vec<Gitignore>,
    entries: Vec<Entry>,
    is_filtered: bool,
    warnings: Sorted,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, excludes: &[String], cancel: &'a Cancel) -> Result<Self, PackError> {
        let mut builder = GitignoreBuilder::new(root);
        builder.allow_unclosed_class(false);
        for glob in excludes {
            builder.add_line(None, glob).map_err(|error| {
                PackError::Usage(format!("--exclude {glob:?} is not a pattern: {error}"))
            })?;
        }
        let excludes = builder
            .build()
            .map_err(|error| PackError::Usage(format!("--exclude is not a pattern: {error}")))?;
        let facts = metadata(root)?;
        let entry =
            Entry { path: PathBuf::new(), kind: EntryKind::Directory, facts: Facts::of(&facts) };
        Ok(Self {
            root,
            cancel,
            excludes,
            ignores: Vec::new(),
            entries: vec![entry],
            is_filtered: false,
            warnings: Sorted::default(),
        })
    }

    fn directory(&mut self, path: &Path) -> Result<(), PackError> {
        self.cancel.check()?;
        let full = self.root.join(path);
        let names = sorted_names(&full).map_err(|error| PackError::source(&full, error))?;
        let ignore = read_ignore_file(&full, &names)?;
        self.ignores.push(ignore);
        for name in &names {
            self.child(&path.join(name), name)?;
        }
        self.ignores.pop();
        Ok(())
    }

    fn child(&mut self, path: &Path, name: &OsStr) -> Result<(), PackError> {
        let full = self.root.join(path);
        let metadata = metadata(&full)?;
        if self.is_left_out(path, &full, &metadata) {
            self.is_filtered = true;
            return Ok(());
        }
        let kind = entry_kind(&full, &metadata)?;
        if name == ".git" {
            self.warnings.git.push(path.to_owned());
        }
        let is_directory = kind == EntryKind::Directory;
        if is_directory && metadata.mode() & 0o077 == 0 {
            self.warnings.private.push(path.to_owned());
        }
        self.entries.push(Entry { path: path.to_owned(), kind, facts: Facts::of(&metadata) });
        if is_directory { self.directory(path) } else { Ok(()) }
    }

    fn is_left_out(&mut self, path: &Path, full: &Path, metadata: &Metadata) -> bool {
        let kind = metadata.file_type();
        let is_special =
            kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device();
        let is_ignored = self.is_ignored(full, metadata.is_dir());
        if is_special && !is_ignored {
            self.warnings.special.push(path.to_owned());
        }
        // mke2fs makes and fsck looks for a directory of this name in the root of a filesystem.
        is_special || is_ignored || path == Path::new("lost+found")
    }

    fn is_ignored(&self, full: &Path, is_directory: bool) -> bool {
        if self.excludes.matched(full, is_directory).is_ignore() {
            return true;
        }
        if full.file_name() == Some(OsStr::new(IGNORE_FILE)) {
            return true;
        }
        // As with .gitignore, the nearest file that has an opinion decides.
        let opinions = self.ignores.iter().rev().map(|ignore| ignore.matched(full, is_directory));
        opinions.into_iter().find(|opinion| !opinion.is_none()).is_some_and(|it| it.is_ignore())
    }
}

fn metadata(path: &Path) -> Result<Metadata, PackError> {
    fs::symlink_metadata(path).map_err(|error| vanished(path, error))
}

/// What was listed a moment ago and is gone now is a change, not a mistyped path.
fn vanished(path: &Path, error: io::Error) -> PackError {
    if error.kind() == io::ErrorKind::NotFound {
        return PackError::Changed(path.to_owned());
    }
    PackError::source(path, error)
}

fn entry_kind(full: &Path, metadata: &Metadata) -> Result<EntryKind, PackError> {
    if metadata.is_dir() {
        return Ok(EntryKind::Directory);
    }
    if metadata.is_symlink() {
        let target = fs::read_link(full).map_err(|error| vanished(full, error))?;
        return Ok(EntryKind::Symlink(target));
    }
    // Found now, in one line, instead of by a tool in the middle of the image.
    rustix::fs::accessat(rustix::fs::CWD, full, Access::READ_OK, AtFlags::EACCESS)
        .map_err(|error| vanished(full, error.into()))?;
    Ok(EntryKind::File)
}

fn sorted_names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}

fn read_ignore_file(
    directory: &Path,
    names: &[std::ffi::OsString],
) -> Result<Gitignore, PackError> {
    if !names.iter().any(|name| name == IGNORE_FILE) {
        return Ok(Gitignore::empty());
    }
    let path = directory.join(IGNORE_FILE);
    let mut builder = GitignoreBuilder::new(directory);
    if let Some(error) = builder.add(&path) {
        return Err(PackError::refused(&path, format!("not a list of patterns: {error}")));
    }
    builder
        .build()
        .map_err(|error| PackError::refused(&path, format!("not a list of patterns: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in ["b/x", "a", "b-c", "b/y.log", ".git/config", "logs/z.log"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        dir
    }

    fn scan(dir: &Path, excludes: &[&str]) -> Result<Tree, PackError> {
        let excludes: Vec<_> = excludes.iter().map(|glob| (*glob).to_owned()).collect();
        Tree::scan(dir, &excludes, &Cancel::default())
    }

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect()
    }

    #[test]
    fn parents_come_before_children_and_siblings_by_bytes() {
        let dir = tree();
        let tree = scan(dir.path(), &[]).unwrap();
        let expected = [
            "",
            ".git",
            ".git/config",
            "a",
            "b",
            "b/x",
            "b/y.log",
            "b-c",
            "link",
            "logs",
            "logs/z.log",
        ];
        assert_eq!(paths(&tree), expected);
        assert!(!tree.is_filtered);
        assert_eq!(tree.warnings.len(), 1, "{:?}", tree.warnings);
        assert!(tree.warnings[0].starts_with(".git is a git repository"));
    }

    #[test]
    fn excludes_and_ignore_files_leave_out_whole_subtrees() {
        let dir = tree();
        fs::write(dir.path().join(".fanignore"), "*.log\n!z.log\n").unwrap();
        fs::write(dir.path().join("b/.fanignore"), "!y.log\n").unwrap();
        let tree = scan(dir.path(), &["/.git", "b-c"]).unwrap();
        assert_eq!(paths(&tree), ["", "a", "b", "b/x", "b/y.log", "link", "logs", "logs/z.log"]);
        assert!(tree.is_filtered);
        let error = scan(dir.path(), &["a[", "["]).unwrap_err();
        assert!(matches!(error, PackError::Usage(_)), "{error}");
    }

    #[test]
    fn sockets_are_left_out_and_private_directories_named() {
        let dir = tree();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("sock")).unwrap();
        fs::set_permissions(dir.path().join("b"), fs::Permissions::from_mode(0o700)).unwrap();
        let tree = scan(dir.path(), &[".git"]).unwrap();
        assert!(!paths(&tree).contains(&"sock"));
        assert_eq!(tree.warnings.len(), 2, "{:?}", tree.warnings);
        assert!(tree.warnings[0].starts_with("sock is a socket"));
        assert!(tree.warnings[1].starts_with("b is a directory that only its owner"));
    }

    #[test]
    fn the_path_that_changed_is_found() {
        let dir = tree();
        let before = scan(dir.path(), &[]).unwrap();
        assert_eq!(before.difference(&scan(dir.path(), &[]).unwrap()), None);
        fs::write(dir.path().join("b/x"), "texT").unwrap();
        let changed = scan(dir.path(), &[]).unwrap();
        assert_eq!(before.difference(&changed), Some(Path::new("b/x")));
        let _ = fs::remove_file(dir.path().join("logs/z.log"));
        let removed = scan(dir.path(), &[]).unwrap();
        assert_eq!(changed.difference(&removed), Some(Path::new("logs")));
    }

    #[test]
    fn of_two_names_of_one_file_the_first_has_the_inode() {
        let dir = tree();
        fs::hard_link(dir.path().join("a"), dir.path().join("z")).unwrap();
        let tree = scan(dir.path(), &[".git"]).unwrap();
        let names: Vec<_> = tree.inodes().map(|entry| entry.path.to_str().unwrap()).collect();
        assert!(names.contains(&"a") && !names.contains(&"z"), "{names:?}");
    }
}
