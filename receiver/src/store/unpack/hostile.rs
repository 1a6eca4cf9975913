//! A corpus of hostile archives: each is refused with a reason, and nothing beside the tree
//! changes. Method: unpack into a directory that lies among sentinels, and compare those after.

#![expect(clippy::disallowed_methods, reason = "tests read what is beside the tree")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Bounds;
use super::archive::{Entry, GNU, USTAR, archive, record, unpack};
use crate::store::error::StepError;

const BOUNDS: Bounds = Bounds { entries: 10, bytes: 10_000, depth: 5, name: 200 };

struct Case {
    name: &'static str,
    archive: Vec<u8>,
    reason: &'static str,
}

fn case(name: &'static str, entries: &[Entry], reason: &'static str) -> Case {
    Case { name, archive: archive(entries), reason }
}

fn names() -> Vec<Case> {
    let long = "a".repeat(201);
    let deep_pax = Entry::pax(&[("path", &b"a/".repeat(3000))]);
    vec![
        case("dot-dot", &[Entry::file("../outside", b"x")], "has .. in its path"),
        case("dot-dot inside", &[Entry::file("a/../../outside", b"x")], "has .. in its path"),
        case("only dot-dot", &[Entry::directory("..")], "has .. in its path"),
        case("absolute", &[Entry::file("/tmp/outside", b"x")], "has an absolute path"),
        case("absolute directory", &[Entry::directory("/")], "has an absolute path"),
        case("no name", &[Entry::file("", b"x")], "has no name"),
        case("the tree itself", &[Entry::file(".", b"x")], "would replace the tree"),
        case(
            "dot-dot in an extended header",
            &[Entry::pax(&[("path", b"../outside")]), Entry::file("a", b"x")],
            "has .. in its path",
        ),
        case(
            "NUL in an extended header",
            &[Entry::pax(&[("path", b"a\0b")]), Entry::file("a", b"x")],
            "has a path with a NUL",
        ),
        case(
            "dot-dot in a GNU long name",
            &[
                Entry { magic: GNU, ..Entry::new(b'L', b"././@LongLink", b"../../outside\0") },
                Entry { magic: GNU, ..Entry::file("a", b"x") },
            ],
            "has .. in its path",
        ),
        case(
            "long component",
            &[Entry::pax(&[("path", long.as_bytes())]), Entry::file("a", b"x")],
            "more than 200 bytes",
        ),
        case("long path", &[deep_pax, Entry::file("a", b"x")], "more than 4095 bytes"),
        case("deep", &[Entry::file("1/2/3/4/5/6", b"x")], "deeper than the limit of 5"),
        case("file with a slash", &[Entry::file("a/", b"x")], "whose name ends in a slash"),
    ]
}

fn links() -> Vec<Case> {
    vec![
        case(
            "write through a link",
            &[Entry::symlink("l", "../sentinel"), Entry::file("l", b"x")],
            "occurs twice",
        ),
        case(
            "write behind a link",
            &[Entry::symlink("l", ".."), Entry::file("l/sentinel", b"x")],
            "leads through a symbolic link",
        ),
        case(
            "write behind an absolute link",
            &[Entry::symlink("l", "/tmp"), Entry::file("l/outside", b"x")],
            "leads through a symbolic link",
        ),
        case(
            "write behind a link inside the tree",
            &[Entry::directory("d"), Entry::symlink("l", "d"), Entry::file("l/a", b"x")],
            "leads through a symbolic link",
        ),
        case(
            "directory over a link",
            &[Entry::symlink("l", "../directory"), Entry { mode: 0o777, ..Entry::directory("l") }],
            "leads through a symbolic link",
        ),
        case(
            "directory behind a link",
            &[Entry::symlink("l", ".."), Entry::directory("l/made")],
            "leads through a symbolic link",
        ),
        case(
            "link behind a link",
            &[Entry::symlink("a", ".."), Entry::symlink("a/b", "x")],
            "leads through a symbolic link",
        ),
        case(
            "chain of links",
            &[Entry::symlink("a", "b"), Entry::symlink("b", ".."), Entry::file("a/outside", b"x")],
            "leads through a symbolic link",
        ),
    ]
}

fn links_that_are_wrong() -> Vec<Case> {
    vec![
        case("hard link out", &[Entry::hard_link("h", "../sentinel")], "target has .. in its path"),
        case(
            "absolute hard link",
            &[Entry::hard_link("h", "/etc/passwd")],
            "target has an absolute",
        ),
        case(
            "hard link behind a link",
            &[Entry::symlink("l", ".."), Entry::hard_link("h", "l/sentinel")],
            "leads through a symbolic link",
        ),
        case(
            "hard link to a directory",
            &[Entry::directory("d"), Entry::hard_link("h", "d")],
            "is a hard link to a directory",
        ),
        case("hard link to the tree", &[Entry::hard_link("h", ".")], "to the tree itself"),
        case("hard link to nothing", &[Entry::hard_link("h", "later")], "not unpacked before"),
        case(
            "hard link with data",
            &[Entry::file("f", b""), Entry { data: vec![1; 9], ..Entry::hard_link("h", "f") }],
            "carries data",
        ),
        case(
            "symbolic link with data",
            &[Entry { data: vec![1; 9], ..Entry::symlink("s", "f") }],
            "carries data",
        ),
        case("link to nothing", &[Entry::symlink("s", "")], "is a link to nothing"),
        case(
            "link by an extended header",
            &[Entry::pax(&[("linkpath", b"../sentinel")]), Entry::hard_link("h", "f")],
            "target has .. in its path",
        ),
    ]
}

fn kinds_and_doubles() -> Vec<Case> {
    vec![
        case("character device", &[Entry::new(b'3', b"null", b"")], "is a device"),
        case("block device", &[Entry::new(b'4', b"sda", b"")], "is a device"),
        case("named pipe", &[Entry::new(b'6', b"pipe", b"")], "is a named pipe"),
        case("unknown type", &[Entry::new(b'Z', b"z", b"")], "is of an unknown type"),
        case("file twice", &[Entry::file("a", b"1"), Entry::file("./a", b"2")], "occurs twice"),
        case(
            "file over a directory",
            &[Entry::directory("a"), Entry::file("a", b"2")],
            "occurs twice",
        ),
        case(
            "directory over a file",
            &[Entry::file("a", b"1"), Entry::directory("a")],
            "through a file",
        ),
        case(
            "file below a file",
            &[Entry::file("a", b"1"), Entry::file("a/b", b"2")],
            "through a file",
        ),
        case("link twice", &[Entry::symlink("a", "1"), Entry::symlink("a", "2")], "occurs twice"),
        case("directory with data", &[Entry::new(b'5', b"d", b"data")], "carries data"),
        case(
            "impossible owner",
            &[Entry { owner: (u64::from(u32::MAX), 0), ..Entry::file("a", b"") }],
            "impossible owner",
        ),
        case(
            "impossible time",
            &[Entry::pax(&[("mtime", b"soon")]), Entry::file("a", b"")],
            "no readable mtime",
        ),
    ]
}

fn old_holes() -> Vec<Case> {
    let sparse = |data: &[u8], runs: &[(u64, u64)], real| [Entry::sparse("s", data, runs, real)];
    vec![
        case(
            "holes out of order",
            &sparse(&[1; 1024], &[(4096, 512), (0, 512)], 8192),
            "is damaged: out of order",
        ),
        case(
            "holes that overlap",
            &sparse(&[1; 1024], &[(0, 512), (256, 512)], 8192),
            "is damaged: out of order",
        ),
        case("a hole at the end that is longer", &sparse(&[1; 512], &[(0, 512)], 900), "mismatch"),
        case(
            "more data than is stored",
            &sparse(&[1; 512], &[(0, 512), (512, 512)], 1024),
            "is damaged: sparse file consumed",
        ),
        case(
            "data at the end of all numbers",
            &sparse(&[1; 512], &[(u64::MAX - 100, 512)], 1024),
            "is damaged",
        ),
        case(
            "a hole of nearly all bytes there are",
            &sparse(&[], &[(u64::MAX - 1, 0)], u64::MAX - 1),
            "exceeds the limit of 10000 bytes",
        ),
        case(
            "a hole in a name that leaves",
            &[Entry::sparse("../outside", &[1; 512], &[(0, 512)], 512)],
            "has .. in its path",
        ),
    ]
}

/// A file in the format 1.0, whose map stands before its data.
fn mapped(map: &str, data: usize, real: &[u8]) -> [Entry; 2] {
    let mut stored = map.as_bytes().to_vec();
    stored.resize(stored.len().next_multiple_of(512) + data, 0);
    let words: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", real),
    ];
    [Entry::pax(&words), Entry::file("GNUSparseFile.0/s", &stored)]
}

fn mapped_holes() -> Vec<Case> {
    let first = [Entry::file("s", &[])];
    vec![
        case("map out of order", &mapped("2\n600\n512\n0\n512\n", 1024, b"9000"), "out of order"),
        case("map that overlaps", &mapped("2\n0\n512\n9\n512\n", 1024, b"9000"), "overlaps"),
        case("map beyond the end", &mapped("1\n600\n512\n", 512, b"1000"), "beyond its end"),
        case(
            "map that overflows",
            &mapped("1\n18446744073709551615\n512\n", 512, b"1000"),
            "beyond its end",
        ),
        case("map of other data", &mapped("1\n0\n1024\n", 512, b"9000"), "stores other data"),
        case("data beside the map", &mapped("1\n0\n512\n", 1024, b"9000"), "stores other data"),
        case(
            "data within a block",
            &mapped("2\n0\n100\n4096\n412\n", 512, b"9000"),
            "begins within a block",
        ),
        case("map without end", &mapped("2\n0\n512\n", 0, b"9000"), "unreadable map"),
        case("map that is cut", &mapped("99\n", 0, b"9000"), "unreadable map"),
        case("map in words", &mapped("one\n0\n512\n", 512, b"9000"), "unreadable map"),
        case("map of a long line", &mapped(&"1".repeat(40), 512, b"9000"), "unreadable map"),
        case("map of signs", &mapped("1\n-5\n512\n", 512, b"9000"), "unreadable map"),
        case("map of too many", &mapped("1048577\n", 0, b"9000"), "more than 1048576 holes"),
        case(
            "a file too large",
            &mapped("1\n0\n512\n", 512, b"18446744073709551615"),
            "exceeds the limit of 10000 bytes",
        ),
        case("no length", &mapped("1\n0\n512\n", 512, b""), "no readable GNU.sparse.realsize"),
        case(
            "a name twice",
            &[&first[..], &mapped("1\n0\n512\n", 512, b"9000")].concat(),
            "occurs twice",
        ),
    ]
}

fn stated_holes() -> Vec<Case> {
    let stated = |words: &[(&str, &[u8])], entry: Entry| [Entry::pax(words), entry];
    let file = || Entry::file("a", &[0; 512]);
    let size: (&str, &[u8]) = ("GNU.sparse.size", b"4096");
    let map: (&str, &[u8]) = ("GNU.sparse.map", b"0,512");
    let leaves: (&str, &[u8]) = ("GNU.sparse.name", b"../outside");
    let version = |major| [("GNU.sparse.major", major), ("GNU.sparse.minor", &b"0"[..]), size];
    let global = [&record(size.0, size.1)[..], &record(map.0, map.1)].concat();
    vec![
        case("holes of no map", &stated(&[size], file()), "has holes and no map"),
        case("a map of no length", &stated(&[map], file()), "does not say its length"),
        case("a length twice", &stated(&[size, size, map], file()), "sets GNU.sparse.size twice"),
        case("an odd map", &stated(&[size, ("GNU.sparse.map", b"0,512,9")], file()), "readable"),
        case("a map and a name", &stated(&[size, map, leaves], file()), "has .. in its path"),
        case("version 2", &stated(&version(&b"2"[..]), file()), "of an unknown version"),
        case(
            "version 1 with a map in its header",
            &stated(&[&version(&b"1"[..])[..], &[map]].concat(), file()),
            "of an unknown version",
        ),
        case(
            "other runs than counted",
            &stated(&[size, ("GNU.sparse.numblocks", b"2"), map], file()),
            "more or fewer holes",
        ),
        case(
            "an offset of nothing",
            &stated(&[size, ("GNU.sparse.offset", b"0")], file()),
            "cut short",
        ),
        case(
            "bytes of nowhere",
            &stated(&[size, ("GNU.sparse.numbytes", b"512")], file()),
            "has a GNU.sparse.numbytes of nothing",
        ),
        case("a new word", &stated(&[size, ("GNU.sparse.x", b"")], file()), "unknown GNU.sparse.x"),
        case("a directory with holes", &stated(&[size, map], Entry::directory("d")), "cannot have"),
        case("a link with holes", &stated(&[size, map], Entry::symlink("l", "x")), "cannot have"),
        case(
            "two maps",
            &stated(&[size, map], Entry::sparse("s", &[0; 512], &[(0, 512)], 512)),
            "cannot have",
        ),
        case("holes for all", &[Entry::new(b'g', b"pax", &global), file()], "is a global header"),
    ]
}

fn lies() -> Vec<Case> {
    let mut flipped = archive(&[Entry::file("a", b"x")]);
    flipped[0] ^= 1;
    let mut second = archive(&[Entry::file("a", b"x")]);
    second.extend(archive(&[Entry::file("b", b"hidden")]));
    let cut = archive(&[Entry::file("a", &[1; 5000])])[..3000].to_vec();
    let malformed = Entry::new(b'x', b"pax", b"99 path=../outside\n");
    let global = Entry::new(b'g', b"pax", &record("path", b"../outside"));
    vec![
        case(
            "two sizes",
            &[Entry::pax(&[("size", b"1024")]), Entry::file("a", &[0; 512])],
            "states two different sizes",
        ),
        case(
            "two names",
            &[
                Entry::pax(&[("path", b"b")]),
                Entry { magic: GNU, ..Entry::new(b'L', b"././@LongLink", b"c\0") },
                Entry::file("a", b"x"),
            ],
            "states two different names",
        ),
        case(
            "one key twice",
            &[Entry::pax(&[("path", b"b"), ("path", b"c")]), Entry::file("a", b"x")],
            "sets path twice",
        ),
        case(
            "malformed extended header",
            &[malformed, Entry::file("a", b"x")],
            "malformed extended",
        ),
        case(
            "unreadable owner",
            &[Entry::pax(&[("uid", b"-1")]), Entry::file("a", b"x")],
            "has no readable uid",
        ),
        case("global header with a name", &[global, Entry::file("a", b"x")], "is a global header"),
        case("extended header for nothing", &[Entry::pax(&[("path", b"a")])], "is damaged"),
        case(
            "two long names",
            &[
                Entry { magic: GNU, ..Entry::new(b'L', b"l", b"b\0") },
                Entry { magic: GNU, ..Entry::new(b'L', b"l", b"c\0") },
                Entry::file("a", b"x"),
            ],
            "is damaged",
        ),
        Case { name: "wrong checksum", archive: flipped, reason: "is damaged" },
        Case { name: "cut in a file", archive: cut, reason: "is cut short" },
        Case {
            name: "second archive behind the end",
            archive: second,
            reason: "data behind its end",
        },
        Case { name: "no archive", archive: vec![0xFF; 4096], reason: "is damaged" },
    ]
}

fn bombs() -> Vec<Case> {
    let many: Vec<_> = (0..11).map(|n| Entry::file(&format!("f{n}"), b"")).collect();
    let long_name = Entry { magic: GNU, ..Entry::new(b'L', b"l", &vec![b'a'; 1 << 20]) };
    let long_pax = Entry::pax(&[("comment", &vec![b'a'; 1 << 20])]);
    let claim = Entry { size: Some(u64::MAX - 1000), ..Entry::file("a", b"x") };
    let name_claim = Entry { magic: GNU, size: Some(1 << 40), ..Entry::new(b'L', b"l", b"a") };
    vec![
        case("too many entries", &many, "is beyond the limit of 10 entries"),
        case(
            "too many bytes",
            &[Entry::file("a", &[0; 6000]), Entry::file("b", &[0; 6000])],
            "exceeds the limit of 10000 bytes",
        ),
        case("a file of nearly all bytes there are", &[claim], "size overflow"),
        case("a long name of a mebibyte", &[long_name, Entry::file("a", b"")], "bytes of headers"),
        case("a comment of a mebibyte", &[long_pax, Entry::file("a", b"")], "bytes of headers"),
        case("a long name of a tebibyte", &[name_claim, Entry::file("a", b"")], "is damaged"),
    ]
}

/// Everything about a directory that an archive could change.
fn picture(directory: &Path) -> BTreeMap<PathBuf, (u32, u32, i64, u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let facts = fs::symlink_metadata(&path).unwrap();
        let content = if facts.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let mode = facts.permissions().mode();
        all.insert(path, (mode, facts.uid(), facts.mtime(), facts.nlink(), content));
    }
    all
}

#[test]
fn every_hostile_archive_is_refused_and_changes_nothing_outside() {
    let plain = [names(), links(), links_that_are_wrong(), kinds_and_doubles(), lies(), bombs()];
    let sparse = [old_holes(), mapped_holes(), stated_holes()];
    let corpus: Vec<_> = plain.into_iter().chain(sparse).flatten().collect();
    assert!(corpus.len() >= 95, "{} archives", corpus.len());
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("sentinel"), "untouched").unwrap();
    fs::create_dir(base.path().join("directory")).unwrap();
    let outside = Path::new("/tmp/outside");
    assert!(!outside.exists(), "{} is in the way of this test", outside.display());
    for Case { name, archive, reason } in corpus {
        let before = picture(base.path());
        let tree = base.path().join("tree");
        let error = unpack(&*archive, &tree, BOUNDS).unwrap_err();
        assert!(matches!(error, StepError::Refused(_)), "{name}: {error}");
        let line = error.to_string();
        assert!(line.contains(reason) && !line.contains('\n'), "{name}: {line}");
        crate::store::trash::remove_tree(&tree, None).unwrap();
        assert_eq!(picture(base.path()), before, "{name}");
        assert!(!outside.exists(), "{name}");
    }
}

#[test]
fn no_byte_of_an_archive_can_be_flipped_to_reach_outside() {
    // Method: a plain archive, each byte of a header's fields flipped in turn; refused or
    // unpacked, whatever happens stays below the tree.
    let whole = archive(&[
        Entry::directory("d"),
        Entry::symlink("d/l", ".."),
        Entry { magic: USTAR, ..Entry::file("d/f", b"x") },
        Entry::hard_link("d/h", "d/f"),
    ]);
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("sentinel"), "untouched").unwrap();
    let before = picture(base.path());
    for at in (0..whole.len()).filter(|at| at % 512 < 265) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x2F;
        // The checksum is no protection against an author: make it right again.
        let header = at / 512 * 512;
        if flipped[header + 257] == b'u' && !(148..156).contains(&(at % 512)) {
            let block = &mut flipped[header..header + 512];
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let tree = base.path().join("tree");
        let _ = unpack(&*flipped, &tree, BOUNDS);
        crate::store::trash::remove_tree(&tree, None).unwrap();
        assert_eq!(picture(base.path()), before, "flipped at {at}");
    }
}
