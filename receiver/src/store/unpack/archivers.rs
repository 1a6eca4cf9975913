//! Archives of ordinary archivers come out as GNU tar makes them.
//!
//! Method: a tree with everything that is kept is archived by GNU tar, bsdtar and Python's tarfile
//! in each of their formats, unpacked by GNU tar and by us, and the two trees are compared.

#![expect(clippy::disallowed_methods, reason = "tests read what was unpacked")]

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::archive::unpack;
use super::{Bounds, Unpacked};
use crate::store::tests::fixture::{content, is_root, run};

const BOUNDS: Bounds = Bounds { entries: 1000, bytes: 1 << 24, depth: 16, name: 255 };
const ATTRIBUTE: &str = "user.fanfare";

/// Everything of one entry that is compared; hard links are told by the first of their names.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    content: Vec<u8>,
    attribute: Option<Vec<u8>>,
    first_name: PathBuf,
}

fn make_tree(tree: &Path, has_attributes: bool) {
    let directory = tree.join("lib/deep");
    fs::create_dir_all(&directory).unwrap();
    let long = tree.join("l".repeat(120));
    fs::write(&long, "a long name").unwrap();
    fs::write(tree.join("lib/page.php"), content(1, 70_001)).unwrap();
    fs::write(tree.join("lib/empty"), "").unwrap();
    fs::write(tree.join("lib/\u{e4} b\\c"), "a name of many letters").unwrap();
    fs::hard_link(tree.join("lib/page.php"), directory.join("same.php")).unwrap();
    symlink("../page.php", directory.join("link")).unwrap();
    symlink("/nonexistent/target", tree.join("broken")).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    // More holes than a header has room for.
    for nth in 1..=30 {
        sparse.write_all_at(b"middle", nth << 17).unwrap();
    }
    sparse.set_len(5 << 20).unwrap();
    let ends = File::create(tree.join("ends")).unwrap();
    ends.write_all_at(b"in data, not at a block", 1 << 20).unwrap();
    File::create(tree.join("nothing")).unwrap().set_len(1 << 20).unwrap();
    for (name, mode, owner) in [
        ("lib/page.php", 0o640, (33, 34)),
        ("lib/empty", 0o444, (1000, 1000)),
        ("lib/deep", 0o2775 & 0o1777, (33, 33)),
        ("lib", 0o555, (0, 0)),
    ] {
        lchown(tree.join(name), Some(owner.0), Some(owner.1)).unwrap();
        fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).unwrap();
    }
    lchown(tree.join("broken"), Some(7), Some(8)).unwrap();
    if has_attributes {
        for name in ["lib/page.php", "lib/deep"] {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(tree.join(name), ATTRIBUTE, b"a\0\xFFz", flags).unwrap();
        }
    }
    // Last, and the deepest first: making an entry touches its directory.
    for (at, name) in ["lib/deep", "lib/page.php", "lib", "sparse"].iter().enumerate() {
        let time = UNIX_EPOCH + Duration::new(1_500_000_000 + at as u64, 123_456_700);
        let times = FileTimes::new().set_modified(time);
        File::open(tree.join(name)).unwrap().set_times(times).unwrap();
    }
}

fn see(tree: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut all, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut left = vec![tree.to_path_buf()];
    while let Some(path) = left.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            let mut below: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort();
            left.extend(below.into_iter().rev());
        }
        let name = path.strip_prefix(tree).unwrap().to_path_buf();
        let first_name = inodes.entry(facts.ino()).or_insert_with(|| name.clone()).clone();
        let content = match facts.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().into()
            }
            _ => Vec::new(),
        };
        let mut buffer = [0; 64];
        let attribute = rustix::fs::lgetxattr(&path, ATTRIBUTE, &mut buffer).ok();
        let seen = Seen {
            mode: facts.mode(),
            owner: (facts.uid(), facts.gid()),
            mtime: (facts.mtime(), facts.mtime_nsec()),
            content,
            attribute: attribute.map(|bytes| buffer[..bytes].to_vec()),
            first_name,
        };
        all.insert(name, seen);
    }
    all
}

/// How an archive is made: program, arguments before the archive's name and those behind it, and
/// whether attributes are in it.
fn archivers() -> Vec<(&'static str, Vec<&'static str>, bool)> {
    let python = "import sys, tarfile; \
        tarfile.open(sys.argv[3], 'w', format=getattr(tarfile, sys.argv[1])).add(sys.argv[2], '.')";
    vec![
        ("tar", vec!["--format=gnu"], false),
        ("tar", vec!["--format=oldgnu"], false),
        ("tar", vec!["--format=posix"], false),
        ("tar", vec!["--format=posix", "--xattrs"], true),
        ("tar", vec!["--sparse", "--format=gnu"], false),
        ("tar", vec!["--sparse", "--format=oldgnu"], false),
        ("tar", vec!["--sparse", "--format=posix", "--sparse-version=0.0"], false),
        ("tar", vec!["--sparse", "--format=posix", "--sparse-version=0.1"], false),
        ("tar", vec!["--sparse", "--format=posix", "--sparse-version=1.0"], false),
        ("bsdtar", vec!["--format=pax", "--read-sparse"], true),
        ("bsdtar", vec!["--format=pax", "--no-read-sparse"], true),
        ("bsdtar", vec!["--format=gnutar", "--no-read-sparse"], false),
        ("python3", vec!["-c", python, "PAX_FORMAT"], false),
        ("python3", vec!["-c", python, "GNU_FORMAT"], false),
    ]
}

#[test]
fn archives_of_ordinary_archivers_come_out_as_gnu_tar_makes_them() {
    if !is_root("archives_of_ordinary_archivers") {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    for (at, (program, mut arguments, has_attributes)) in archivers().into_iter().enumerate() {
        let name = format!("{program} {}", arguments.last().unwrap());
        let [tree, archive, theirs, ours] =
            ["tree", "tar", "theirs", "ours"].map(|name| base.path().join(format!("{name}{at}")));
        make_tree(&tree, has_attributes);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (tree, archive, theirs) = (text(&tree), text(&archive), text(&theirs));
        match program {
            "python3" => arguments.extend([tree.as_str(), archive.as_str()]),
            _ => arguments.extend(["-C", &tree, "-cf", &archive, "."]),
        }
        run(program, &arguments);
        fs::create_dir(&theirs).unwrap();
        // bsdtar comes back to a directory that GNU tar takes for done, and loses the time of.
        let flags = ["--delay-directory-restore", "-p", "--numeric-owner", "--xattrs"];
        let rest = ["--xattrs-include=user.*", "-C", &theirs, "-xf", &archive];
        run("tar", &[&flags[..], &rest[..]].concat());
        let done = unpack(File::open(&archive).unwrap(), &ours, BOUNDS).unwrap();
        assert_eq!(
            done,
            Unpacked { entries: 13, bytes: done.bytes, ..Unpacked::default() },
            "{name}"
        );
        let (theirs, ours_seen) = (see(Path::new(&theirs)), see(&ours));
        assert_eq!(theirs.len(), 13, "{name}");
        for (path, seen) in &theirs {
            let ours = &ours_seen[path];
            // Not the content of megabytes in the message.
            assert!(seen.content == ours.content, "{name}: content of {}", path.display());
            assert_eq!(seen, ours, "{name}: {}", path.display());
        }
        assert_eq!(ours_seen.len(), theirs.len(), "{name}");
        let page = &ours_seen[Path::new("lib/page.php")];
        assert_eq!(page.attribute.is_some(), has_attributes, "{name}");
        for file in ["sparse", "ends", "nothing"] {
            let blocks = fs::metadata(ours.join(file)).unwrap().blocks();
            assert!(blocks * 512 <= 256 << 10, "{name}: {blocks} blocks of a file of holes");
        }
        if arguments.contains(&"--sparse") || arguments.contains(&"--read-sparse") {
            let bytes = fs::metadata(&archive).unwrap().len();
            assert!(bytes < 1 << 20, "{name}: {bytes} bytes, its holes among them");
        }
    }
}
