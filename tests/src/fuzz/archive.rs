//! Archives that are unpacked.
#![expect(clippy::disallowed_methods, reason = "unpacking is to the disk")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use receiver::store::{Bounds, doors};
use tempfile::TempDir;

const BOUNDS: Bounds = Bounds { entries: 64, bytes: 1 << 20, depth: 8, name: 64 };

/// Where trees are made; `TMPDIR` says on which disk.
static PLACE: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Nothing outside the tree changes, and what is in it was counted, is within the bounds, and is
/// nothing that runs as somebody else or is a device.
pub fn archive(data: &[u8]) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let place = PLACE.path().join(number.to_string());
    fs::create_dir(&place).expect("a directory");
    let tree = place.join("tree");
    fs::write(place.join("canary"), "alive").expect("a file");
    let unpacked = doors::unpack(data, &tree, BOUNDS);
    assert_eq!(fs::read(place.join("canary")).expect("still there"), b"alive");
    let canary = fs::symlink_metadata(place.join("canary")).expect("still there");
    assert_eq!((canary.nlink(), canary.mode() & 0o111), (1, 0), "the file beside it is untouched");
    let beside = fs::read_dir(&place).expect("still there").count();
    assert_eq!(beside, 2, "nothing was made beside the tree");
    let found = Found::of(&tree);
    assert!(found.bytes <= BOUNDS.bytes, "{} bytes", found.bytes);
    if let Ok(unpacked) = unpacked {
        // Directories without an entry of their own come on top.
        assert!(unpacked.entries <= BOUNDS.entries && unpacked.bytes <= BOUNDS.bytes);
        assert!(found.files <= unpacked.entries, "{} files", found.files);
        assert_eq!(found.bytes, unpacked.bytes);
    }
    fs::remove_dir_all(&place).expect("what was unpacked can be removed");
}

/// What lies in a tree.
#[derive(Default)]
struct Found {
    /// Names of files and links.
    files: u64,
    /// Bytes of files, each counted once.
    bytes: u64,
}

impl Found {
    fn of(tree: &Path) -> Self {
        let mut found = Self::default();
        let (mut left, mut seen) = (vec![tree.to_owned()], std::collections::BTreeSet::new());
        while let Some(path) = left.pop() {
            let facts = fs::symlink_metadata(&path).expect("still there");
            let kind = facts.file_type();
            assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "{path:?} is special");
            assert!(
                kind.is_symlink() || facts.mode() & 0o6000 == 0,
                "{path:?} changes who runs it"
            );
            if kind.is_dir() {
                let names = fs::read_dir(&path).expect("root reads everything");
                left.extend(names.map(|entry| entry.expect("still there").path()));
            } else {
                found.files += 1;
                found.bytes +=
                    if kind.is_file() && seen.insert(facts.ino()) { facts.len() } else { 0 };
            }
        }
        found
    }
}
