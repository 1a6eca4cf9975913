//! Directories to pack: a small generated one, and the files of Debian's wordpress package.
//!
//! Generated content comes from a seed through BLAKE3, so that it is the same everywhere and does
//! not compress. Nothing here looks at how the product treats a tree.
#![expect(clippy::disallowed_methods, reason = "it makes real files, and asks whether this is CI")]

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, chownat, utimensat};

/// The file at the root of every generated tree that holds its label; see [`crate::watch`].
pub const LABEL_FILE: &str = "RELEASE";
/// The file that sorts last in every generated tree and holds its label, too.
pub const LAST_FILE: &str = "zz/last";

/// Makes a tree of about `files` small files below `root`, the same for the same `label`.
///
/// It holds what trees hold: empty files and directories, unusual modes, links that are relative,
/// absolute and dangling, a hard link, a hole, names with blanks and other scripts, old times.
///
/// # Panics
/// When the files cannot be made.
pub fn make_tree(root: &Path, label: &str, files: usize) {
    make(root, label, files).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
}

/// Makes a file of `bytes` incompressible bytes drawn from `seed`.
///
/// # Panics
/// When it cannot be made.
pub fn make_noise(path: &Path, seed: &str, bytes: u64) {
    let written = File::create(path).and_then(|mut file| {
        io::copy(&mut noise(seed).take(bytes), &mut io::BufWriter::new(&mut file))
    });
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A copy of `tree` at `copy`: same content, modes, links and times; other inode numbers, ctimes
/// and directory order.
///
/// # Panics
/// When it cannot be made.
pub fn copy_in_another_order(tree: &Path, copy: &Path) {
    copy_directory(tree, copy, &mut BTreeMap::new())
        .unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
}

/// The unpacked files of Debian's wordpress package, if `tests/run` could fetch them.
///
/// # Panics
/// In CI, when they are missing: nothing is skipped there.
pub fn wordpress() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fixtures/wordpress");
    let found = target.canonicalize().ok().filter(|path| path.join("usr").is_dir());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "{} is missing: tests/run fetches it",
        target.display()
    );
    found
}

/// Whether `tests/run --full` asked for the longer runs.
pub fn is_full_run() -> bool {
    std::env::var_os("FANFARE_TESTS_FULL").is_some()
}

/// Endless bytes that look random and depend on `seed` alone.
pub fn noise(seed: &str) -> impl Read {
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof()
}

fn make(root: &Path, label: &str, files: usize) -> io::Result<()> {
    fs::create_dir_all(root.join("zz"))?;
    fs::write(root.join(LABEL_FILE), label)?;
    let mut draw = noise(label);
    for nth in 0..files {
        make_file(root, label, nth, &mut draw)?;
    }
    make_oddities(root, label)?;
    fs::write(root.join(LAST_FILE), label)?;
    settle_times(root, &mut 0)
}

/// File number `nth`: of 0 to 16 KiB, half of it repeating, in one of a few dozen directories.
fn make_file(root: &Path, label: &str, nth: usize, draw: &mut impl Read) -> io::Result<()> {
    let directory = root.join(format!("d{:02}/e{}", nth % 23, nth % 3));
    fs::create_dir_all(&directory)?;
    let mut length = [0; 2];
    draw.read_exact(&mut length)?;
    let bytes = usize::from(u16::from_be_bytes(length) >> 2);
    let mut content = vec![0; bytes / 2];
    draw.read_exact(&mut content)?;
    let line = format!("file {nth} of {label}\n");
    content.extend(line.bytes().cycle().take(bytes - bytes / 2));
    let path = directory.join(format!("file-{nth}.php"));
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode([0o644, 0o600, 0o755][nth % 3]))
}

fn make_oddities(root: &Path, label: &str) -> io::Result<()> {
    let odd = root.join("odd");
    fs::create_dir_all(odd.join("empty directory"))?;
    fs::create_dir_all(odd.join("a/deep/path/with/many/parts/as/frameworks/have/them"))?;
    fs::write(odd.join("empty"), "")?;
    fs::write(odd.join("name with blanks and ünïcödé"), label)?;
    fs::write(odd.join("n".repeat(200)), "a long name")?;
    symlink("../RELEASE", odd.join("relative-link"))?;
    symlink("/etc/nowhere", odd.join("absolute-link"))?;
    symlink("gone", odd.join("dangling-link"))?;
    symlink("x".repeat(120), odd.join("long-link"))?;
    fs::hard_link(root.join(LABEL_FILE), odd.join("hard-link"))?;
    make_noise(&odd.join("three-megabytes"), label, 3 << 20);
    let mut holes = File::create(odd.join("holes"))?;
    holes.set_len(8 << 20)?;
    holes.write_all(b"data, then a hole of eight megabytes")?;
    fs::set_permissions(odd.join("empty directory"), fs::Permissions::from_mode(0o1777))
}

/// Gives everything below `root` a time in the past that depends on its place alone.
fn settle_times(root: &Path, nth: &mut u64) -> io::Result<()> {
    for path in sorted_entries(root)? {
        if path.symlink_metadata()?.is_dir() {
            settle_times(&path, nth)?;
        }
        *nth += 1;
        set_mtime(&path, 946_684_800 + i64::try_from(*nth).unwrap_or(0) * 3601)?;
    }
    set_mtime(root, 946_684_800)
}

fn set_mtime(path: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn sorted_entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Where each file of several names was copied to, by its inode.
type Linked = BTreeMap<u64, PathBuf>;

fn copy_directory(from: &Path, to: &Path, linked: &mut Linked) -> io::Result<()> {
    fs::create_dir(to)?;
    for path in sorted_entries(from)?.into_iter().rev() {
        let name = path.file_name().expect("an entry of a directory has a name");
        copy_entry(&path, &to.join(name), linked)?;
    }
    copy_facts(from, to)
}

fn copy_entry(from: &Path, to: &Path, linked: &mut Linked) -> io::Result<()> {
    let facts = from.symlink_metadata()?;
    let kind = facts.file_type();
    if kind.is_dir() {
        return copy_directory(from, to, linked);
    }
    if facts.nlink() > 1 {
        if let Some(first) = linked.get(&facts.ino()) {
            return fs::hard_link(first, to);
        }
        linked.insert(facts.ino(), to.to_path_buf());
    }
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::copy(from, to)?;
    }
    copy_facts(from, to)
}

fn copy_facts(from: &Path, to: &Path) -> io::Result<()> {
    let facts = from.symlink_metadata()?;
    let (uid, gid) = (Uid::from_raw(facts.uid()), Gid::from_raw(facts.gid()));
    if rustix::process::geteuid().is_root() {
        chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if facts.is_symlink() {
        return set_mtime(to, facts.mtime());
    }
    fs::set_permissions(to, facts.permissions())?;
    let time = UNIX_EPOCH
        + Duration::new(
            u64::try_from(facts.mtime()).unwrap_or(0),
            u32::try_from(facts.mtime_nsec()).unwrap_or(0),
        );
    File::open(to)?.set_times(FileTimes::new().set_modified(time).set_accessed(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Owners, Tree};

    #[test]
    fn a_tree_depends_on_its_label_alone() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, label: &str| {
            let root = dir.path().join(name);
            make_tree(&root, label, 40);
            Tree::read(&root)
        };
        let (first, again, other) = (read("1", "r1"), read("2", "r1"), read("3", "r2"));
        assert_eq!(first.differences(&again, Owners::Kept), Vec::<String>::new());
        assert!(!first.differences(&other, Owners::Kept).is_empty());
    }

    #[test]
    fn a_copy_in_another_order_is_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, copy) = (dir.path().join("tree"), dir.path().join("copy"));
        make_tree(&tree, "r1", 40);
        copy_in_another_order(&tree, &copy);
        let differences = Tree::read(&tree).differences(&Tree::read(&copy), Owners::Kept);
        assert_eq!(differences, Vec::<String>::new());
    }
}
