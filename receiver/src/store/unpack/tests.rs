//! What unpacking keeps, leaves out, and waits for.

#![expect(clippy::disallowed_methods, reason = "tests read what was unpacked")]

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::archive::{Entry, GNU, OLD, archive, unpack};
use super::{Bounds, Unpacked};

const BOUNDS: Bounds = Bounds { entries: 1000, bytes: 1 << 20, depth: 16, name: 255 };

fn unpacked(entries: &[Entry]) -> (tempfile::TempDir, Unpacked) {
    let directory = tempfile::tempdir().unwrap();
    let done = unpack(&*archive(entries), &directory.path().join("tree"), BOUNDS).unwrap();
    (directory, done)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn contents_modes_times_and_links_are_kept() {
    let (directory, done) = unpacked(&[
        Entry { mode: 0o750, mtime: 1_500_000_000, ..Entry::directory("./") },
        Entry { mode: 0o555, mtime: 1_400_000_000, ..Entry::directory("lib/") },
        Entry { mode: 0o640, ..Entry::file("lib/a", b"hello") },
        Entry::file("lib/empty", b""),
        Entry { mtime: 1_300_000_000, ..Entry::symlink("lib/link", "../../outside") },
        Entry::hard_link("lib/same", "lib/a"),
        Entry::hard_link("lib/same-link", "./lib/link"),
        Entry::file("made/for/it", b"x"),
    ]);
    let tree = directory.path().join("tree");
    assert_eq!(done, Unpacked { entries: 8, bytes: 6, ..Unpacked::default() });
    assert_eq!(fs::read(tree.join("lib/a")).unwrap(), b"hello");
    assert_eq!((mode(&tree), mode(&tree.join("lib"))), (0o750, 0o555));
    assert_eq!(mode(&tree.join("lib/a")), 0o640);
    assert_eq!((mode(&tree.join("made")), mode(&tree.join("made/for"))), (0o755, 0o755));
    let facts = |name: &str| fs::symlink_metadata(tree.join(name)).unwrap();
    assert_eq!(facts("lib").mtime(), 1_400_000_000, "set after its files were made");
    assert_eq!((facts("lib/a").mtime(), facts("lib/link").mtime()), (1_600_000_000, 1_300_000_000));
    assert_eq!(facts("lib/a").ino(), facts("lib/same").ino());
    assert_eq!(
        fs::read_link(tree.join("lib/link")).unwrap().as_os_str().as_bytes(),
        b"../../outside"
    );
    assert!(facts("lib/same-link").is_symlink());
    // Without privileges, the directory that nobody may write to stands in the way of others.
    crate::store::trash::remove_tree(&tree, None).unwrap();
}

#[test]
fn owners_are_kept_for_root() {
    if !crate::store::tests::fixture::is_root("owners_are_kept_for_root") {
        return;
    }
    let (directory, _) = unpacked(&[
        Entry { owner: (1234, 4321), ..Entry::directory("d") },
        Entry { owner: (33, 33), ..Entry::file("d/f", b"") },
        Entry { owner: (7, 8), ..Entry::symlink("d/l", "f") },
        Entry { owner: (3_000_000, 3_000_001), ..Entry::file("d/high", b"") },
    ]);
    for (name, owner) in [
        ("d", (1234, 4321)),
        ("d/f", (33, 33)),
        ("d/l", (7, 8)),
        ("d/high", (3_000_000, 3_000_001)),
    ] {
        let facts = fs::symlink_metadata(directory.path().join("tree").join(name)).unwrap();
        assert_eq!((facts.uid(), facts.gid()), owner, "{name}");
    }
}

#[test]
fn setuid_bits_are_cleared_and_attributes_of_others_dropped_and_both_are_counted() {
    let (directory, done) = unpacked(&[
        Entry { mode: 0o4755, ..Entry::file("su", b"") },
        Entry { mode: 0o3777, ..Entry::directory("shared") },
        Entry::pax(&[
            ("SCHILY.xattr.security.capability", b"\x01"),
            ("SCHILY.acl.access", b"user::rwx"),
        ]),
        Entry::file("plain", b""),
    ]);
    let tree = directory.path().join("tree");
    assert_eq!((mode(&tree.join("su")), mode(&tree.join("shared"))), (0o755, 0o1777));
    assert_eq!((done.modes_cleared, done.attributes_dropped), (2, 2));
}

#[test]
fn long_names_come_from_gnu_and_from_extended_headers() {
    let long = "d/".repeat(7) + &"n".repeat(200);
    let longer = "e/".to_owned() + &"m".repeat(180);
    let (directory, _) = unpacked(&[
        Entry { magic: GNU, ..Entry::new(b'L', b"././@LongLink", format!("{long}\0").as_bytes()) },
        Entry { magic: GNU, ..Entry::file("short", b"gnu") },
        Entry::pax(&[("path", longer.as_bytes()), ("mtime", b"1500000000.25"), ("comment", b"x")]),
        Entry::file("short", b"pax"),
        Entry { magic: GNU, ..Entry::new(b'K', b"././@LongLink", &[b't'; 300]) },
        Entry { magic: GNU, ..Entry::symlink("s", "short") },
    ]);
    let tree = directory.path().join("tree");
    assert_eq!(fs::read(tree.join(&long)).unwrap(), b"gnu");
    assert_eq!(fs::read(tree.join(&longer)).unwrap(), b"pax");
    let facts = fs::metadata(tree.join(&longer)).unwrap();
    assert_eq!((facts.mtime(), facts.mtime_nsec()), (1_500_000_000, 250_000_000));
    assert_eq!(fs::read_link(tree.join("s")).unwrap().as_os_str().len(), 300);
}

#[test]
fn what_other_archivers_write_is_understood() {
    let (directory, _) = unpacked(&[
        Entry::new(b'g', b"pax_global_header", &super::archive::record("comment", b"0123abc")),
        Entry { magic: OLD, ..Entry::new(0, b"old/", b"") },
        Entry { magic: OLD, ..Entry::new(0, b"old/file", b"v7") },
        Entry::new(b'7', b"contiguous", b"c"),
        Entry::directory("old"),
        Entry::file("\u{e4}\n\\", b"any byte but NUL and /"),
    ]);
    let tree = directory.path().join("tree");
    assert_eq!(fs::read(tree.join("old/file")).unwrap(), b"v7");
    assert_eq!(fs::read(tree.join("contiguous")).unwrap(), b"c");
    assert!(tree.join("\u{e4}\n\\").is_file());
}

#[test]
fn an_archive_without_entries_or_without_an_end_mark_is_unpacked() {
    let (directory, done) = unpacked(&[]);
    assert_eq!(done, Unpacked::default());
    assert_eq!(mode(&directory.path().join("tree")), 0o755);
    let whole = archive(&[Entry::file("a", b"b")]);
    let done = unpack(&whole[..1024], &directory.path().join("other"), BOUNDS).unwrap();
    assert_eq!(done.entries, 1);
}

#[test]
fn a_failed_read_is_told_from_a_damaged_archive() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(5))
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let whole = archive(&[Entry::file("a", &[1; 3000])]);
    for cut in [0, 100, 600, 2000] {
        let tree = directory.path().join(cut.to_string());
        let error = unpack((&whole[..cut]).chain(Broken), &tree, BOUNDS).unwrap_err();
        assert!(matches!(error, crate::store::StepError::Io(_)), "cut at {cut}: {error}");
    }
}
