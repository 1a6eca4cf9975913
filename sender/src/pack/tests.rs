//! Whole bundles: the same bytes from the same tree, and the tree back out of every kind of image.
//!
//! Images are taken apart by the readers of their makers (debugfs, fsck.erofs, unsquashfs, tar), so
//! no root and no mount is needed. A missing tool is an error in CI and said aloud elsewhere.
#![expect(clippy::disallowed_methods, reason = "makes real trees and runs real tools")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::bundle::{BundleFile, FrameKind, decode_frame};
use common::id::FrameIndex;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::scan::{EntryKind, Tree};
use super::*;
use crate::exit::Exit;

const TREE_KINDS: [ImageKind; 5] =
    [ImageKind::Ext2, ImageKind::Ext4, ImageKind::Erofs, ImageKind::Squashfs, ImageKind::Tar];

/// Whether a tool is there; its absence is loud.
fn has_tool(name: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let is_there = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    assert!(is_there || std::env::var_os("CI").is_none(), "{name} is needed in CI");
    if !is_there {
        eprintln!("SKIPPED: needs {name}");
    }
    is_there
}

fn has_maker(kind: ImageKind) -> bool {
    match kind {
        ImageKind::Ext2 | ImageKind::Ext4 => has_tool("mke2fs") && has_tool("debugfs"),
        ImageKind::Erofs => has_tool("mkfs.erofs") && has_tool("fsck.erofs"),
        ImageKind::Squashfs => has_tool("mksquashfs") && has_tool("unsquashfs"),
        ImageKind::Tar => has_tool("tar"),
        ImageKind::Raw => true,
    }
}

/// A directory for one test: `source` to pack, `out` for bundles.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self, source: &str, kind: Option<ImageKind>) -> Request {
        Request {
            source: self.path(source),
            output: self.path("out/x.fan"),
            app: "shop".parse().unwrap(),
            label: "v1".parse().unwrap(),
            kind,
            created: 1_700_000_000,
            sequence: 7,
            epoch: 0,
            expires: None,
            owner: Owner::Root,
            excludes: Vec::new(),
            key: None,
            next_key: None,
            level: 3,
            threads: NonZeroUsize::MIN,
            temporary: None,
        }
    }

    fn pack(&self, request: &Request) -> Result<Packed, PackError> {
        let packed = pack(request, &Cancel::default(), &mut Progress::quiet());
        let left = fs::read_dir(self.path("out")).unwrap().count();
        assert_eq!(left, usize::from(request.output.exists()), "temporary files are left");
        packed
    }

    fn bytes(&self, request: &Request) -> Vec<u8> {
        self.pack(request).unwrap();
        fs::read(&request.output).unwrap()
    }

    /// Writes the image of the bundle that was packed last to a file.
    fn image(&self) -> PathBuf {
        let path = self.path("image");
        let bundle = BundleFile::open(&self.path("out/x.fan")).unwrap();
        let image = File::create(&path).unwrap();
        let preamble = bundle.preamble();
        image.set_len(preamble.manifest.image.bytes).unwrap();
        let (mut sent, mut raw) = (Vec::new(), Vec::new());
        for (index, frame) in (0..).map(FrameIndex).zip(preamble.plan.iter()) {
            bundle.read_frame(index, &mut sent).unwrap();
            decode_frame(frame, &sent, &preamble.chunks, &mut raw).unwrap();
            if frame.kind != FrameKind::Zero {
                image.write_all_at(&raw, preamble.chunks.offset(frame.first_chunk)).unwrap();
            }
        }
        path
    }
}

/// A tree with what trees hold; `order` says which entries of a directory are made first.
fn make_tree(root: &Path, order: impl Fn(&mut Vec<u32>)) {
    let mut numbers: Vec<u32> = (0..40).collect();
    order(&mut numbers);
    fs::create_dir_all(root.join("d/empty")).unwrap();
    for number in numbers {
        let text = format!("file {number} ").repeat(number as usize * 97);
        fs::write(root.join(format!("d/file {number}")), text).unwrap();
    }
    fs::write(root.join("quote \" and\nline"), "odd name").unwrap();
    fs::write(root.join("private"), "x").unwrap();
    fs::set_permissions(root.join("private"), Permissions::from_mode(0o4640)).unwrap();
    fs::set_permissions(root.join("d/empty"), Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(root.join("private"), root.join("second name")).unwrap();
    symlink("d/file 1", root.join("link")).unwrap();
    symlink("t".repeat(90), root.join("long link")).unwrap();
    let hole = File::create(root.join("hole")).unwrap();
    hole.set_len(3 << 20).unwrap();
    hole.write_all_at(b"end", 1 << 20).unwrap();
    set_times(root);
}

/// Whole seconds, a different one for each name.
fn set_times(root: &Path) {
    let tree = Tree::scan(root, &[], &Cancel::default()).unwrap();
    for (nth, entry) in tree.entries.iter().enumerate().rev() {
        let time = Timespec { tv_sec: 1_500_000_000 + i64::try_from(nth).unwrap(), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, tree.full_path(entry), &times, AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
    }
}

/// What of an entry must come out of an image again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    mode: u32,
    mtime: i64,
    content: String,
    links: u64,
}

fn content(root: &Path) -> BTreeMap<PathBuf, Content> {
    let tree = Tree::scan(root, &[], &Cancel::default()).unwrap();
    let mut all = BTreeMap::new();
    for entry in &tree.entries {
        let content = match &entry.kind {
            EntryKind::Directory => "directory".to_owned(),
            EntryKind::Symlink(target) => format!("-> {}", target.display()),
            EntryKind::File => {
                common::digest::Digest::of(&fs::read(tree.full_path(entry)).unwrap()).to_string()
            }
        };
        let (mode, links) = match entry.kind {
            EntryKind::File => (entry.facts.mode, entry.facts.links),
            EntryKind::Directory => (entry.facts.mode, 0),
            EntryKind::Symlink(_) => (0, 0),
        };
        let content = Content { mode, mtime: entry.facts.mtime, content, links };
        all.insert(entry.path.clone(), content);
    }
    all
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Unpacks an image with its maker's reader.
fn unpack(kind: ImageKind, image: &Path, to: &Path) {
    match kind {
        ImageKind::Ext2 | ImageKind::Ext4 => {
            fs::create_dir(to).unwrap();
            run(Command::new("e2fsck").args(["-fn"]).arg(image));
            let script = format!("rdump / \"{}\"", to.display());
            run(Command::new("debugfs").args(["-R", &script]).arg(image));
        }
        ImageKind::Erofs => {
            let extract = format!("--extract={}", to.display());
            run(Command::new("fsck.erofs").args([&extract, "--preserve"]).arg(image));
        }
        ImageKind::Squashfs => {
            run(Command::new("unsquashfs").args(["-q", "-n", "-d"]).arg(to).arg(image));
        }
        _ => {
            fs::create_dir(to).unwrap();
            run(Command::new("tar").arg("-C").arg(to).arg("-xpf").arg(image));
        }
    }
}

#[test]
fn a_copied_tree_packs_to_the_same_bytes_whatever_its_order_and_the_threads() {
    let site = Site::new();
    make_tree(&site.path("one"), |_| ());
    // Later ctimes, other inode numbers, another order in the directory.
    fs::write(site.path("between"), "takes an inode").unwrap();
    make_tree(&site.path("two"), |numbers| numbers.reverse());
    for kind in TREE_KINDS.into_iter().filter(|kind| has_maker(*kind)) {
        let one = site.bytes(&site.request("one", Some(kind)));
        let threads = NonZeroUsize::new(5).unwrap();
        let two = site.bytes(&Request { threads, ..site.request("two", Some(kind)) });
        assert!(one == two, "{kind}");
    }
}

#[test]
fn the_tree_comes_out_of_every_kind_of_image() {
    let site = Site::new();
    make_tree(&site.path("tree"), |_| ());
    let expected = content(&site.path("tree"));
    for kind in TREE_KINDS.into_iter().filter(|kind| has_maker(*kind)) {
        site.bytes(&site.request("tree", Some(kind)));
        let to = site.path(&format!("out of {kind}"));
        unpack(kind, &site.image(), &to);
        let mut found = content(&to);
        let mut expected = expected.clone();
        for tree in [&mut found, &mut expected] {
            forget_what_its_reader_drops(kind, tree);
        }
        let differs = expected.iter().find(|(path, facts)| found.get(*path) != Some(facts));
        assert_eq!(
            differs.map(|(path, facts)| (path, Some(facts), found.get(path))),
            None,
            "{kind}"
        );
        assert_eq!(found.len(), expected.len(), "{kind}");
    }
}

/// debugfs and fsck.erofs make hard links two files, and drop set-id bits and the root's facts;
/// debugfs the times of links, too.
fn forget_what_its_reader_drops(kind: ImageKind, tree: &mut BTreeMap<PathBuf, Content>) {
    let is_ext = matches!(kind, ImageKind::Ext2 | ImageKind::Ext4);
    if !is_ext && kind != ImageKind::Erofs {
        return;
    }
    tree.remove(Path::new(""));
    for facts in tree.values_mut() {
        facts.links = 1;
        facts.mode &= 0o777;
        if is_ext && facts.content.starts_with("-> ") {
            facts.mtime = 0;
        }
    }
}

#[test]
fn the_longest_names_are_packed_or_refused_with_the_one_true_line() {
    let (directory, file) = ("d".repeat(255), "f".repeat(255));
    for kind in TREE_KINDS.into_iter().filter(|kind| has_maker(*kind)) {
        let site = Site::new();
        let place = site.path("source").join(&directory);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(&file), "text").unwrap();
        let request = site.request("source", Some(kind));
        match site.pack(&request) {
            Ok(_) => {
                let (image, copy) = (site.image(), site.path("copy"));
                unpack(kind, &image, &copy);
                assert_eq!(fs::read(copy.join(&directory).join(&file)).unwrap(), b"text", "{kind}");
            }
            // mkfs.erofs up to 1.5.
            Err(error) => {
                assert_eq!(kind, ImageKind::Erofs, "{error}");
                let line = format!(
                    "{}: its name has 255 bytes, and this mkfs.erofs takes 254: shorten the name, \
                     install a newer erofs-utils, or pack with --image ext2 or tar",
                    site.path("source").join(&directory).display()
                );
                assert_eq!((error.to_string(), error.exit()), (line, Exit::Refused));
                assert_eq!(fs::read_dir(site.path("out")).unwrap().count(), 0);
            }
        }
    }
}

#[test]
fn what_is_left_out_leaves_no_trace_in_the_image() {
    let site = Site::new();
    make_tree(&site.path("tree"), |_| ());
    make_tree(&site.path("more"), |_| ());
    fs::write(site.path("more/secret.key"), "secret").unwrap();
    fs::write(site.path("more/.fanignore"), "*.log\n").unwrap();
    fs::write(site.path("more/d/big.log"), "log").unwrap();
    let copied = fs::metadata(site.path("tree")).unwrap();
    let root = File::open(site.path("more")).unwrap();
    root.set_modified(copied.modified().unwrap()).unwrap();
    let copied = fs::metadata(site.path("tree/d")).unwrap();
    File::open(site.path("more/d")).unwrap().set_modified(copied.modified().unwrap()).unwrap();
    for kind in TREE_KINDS.into_iter().filter(|kind| has_maker(*kind)) {
        let plain = site.bytes(&site.request("tree", Some(kind)));
        let excludes = vec!["*.key".to_owned()];
        let filtered = site.bytes(&Request { excludes, ..site.request("more", Some(kind)) });
        assert!(plain == filtered, "{kind}");
    }
}

#[test]
fn a_link_to_the_source_packs_what_it_points_to() {
    let site = Site::new();
    make_tree(&site.path("tree"), |_| ());
    symlink("tree", site.path("link")).unwrap();
    for kind in TREE_KINDS.into_iter().filter(|kind| has_maker(*kind)) {
        let direct = site.bytes(&site.request("tree", Some(kind)));
        assert!(direct == site.bytes(&site.request("link", Some(kind))), "{kind}");
    }
}

#[test]
fn an_ext2_image_that_needs_more_inodes_than_blocks_is_made() {
    if !has_maker(ImageKind::Ext2) {
        return;
    }
    let site = Site::new();
    fs::create_dir(site.path("tree")).unwrap();
    for number in 0..3000 {
        symlink("target", site.path(&format!("tree/{number}"))).unwrap();
    }
    site.bytes(&site.request("tree", None));
    run(Command::new("e2fsck").args(["-fn"]).arg(site.image()));
}

#[test]
fn raw_files_around_two_and_four_gigabytes_keep_their_length_and_last_byte() {
    let site = Site::new();
    for length in [31, 32].map(|shift| 1_u64 << shift).into_iter().flat_map(|it| it - 1..=it + 1) {
        let file = File::create(site.path("raw")).unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(b"!", length - 1).unwrap();
        let packed = site.pack(&site.request("raw", None)).unwrap();
        assert_eq!(packed.preamble.manifest.image.bytes, length);
        assert_eq!(packed.preamble.chunks.image_bytes(), length);
        let last = packed.preamble.chunks.iter().last().unwrap();
        assert!(!last.is_zero(), "the last byte is lost at {length}");
        assert!(packed.file_bytes < 2000, "holes are packed: {}", packed.file_bytes);
    }
}

#[test]
fn a_compressed_tar_is_stored_as_the_tar_inside() {
    let site = Site::new();
    make_tree(&site.path("tree"), |_| ());
    let tar = site.bytes(&site.request("tree", Some(ImageKind::Tar)));
    let plain = fs::read(site.image()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&*plain, 1).unwrap();
    let packed = [("x.tar", plain), ("x.gz", gzip.finish().unwrap())];
    let more = [("x.xz", xz.finish().unwrap()), ("x.zst", zstd)];
    for (name, bytes) in packed.into_iter().chain(more) {
        fs::write(site.path(name), &bytes).unwrap();
        assert!(site.bytes(&site.request(name, None)) == tar, "{name}");
        fs::write(site.path(name), &bytes[..bytes.len() - 700]).unwrap();
        fs::remove_file(site.path("out/x.fan")).unwrap();
        let error = site.pack(&site.request(name, None)).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused, "{name}: {error}");
    }
}

#[test]
fn a_compressed_file_that_is_no_tar_is_raw() {
    let site = Site::new();
    let zstd = zstd::encode_all(&b"just text"[..], 1).unwrap();
    fs::write(site.path("text.zst"), &zstd).unwrap();
    let packed = site.pack(&site.request("text.zst", None)).unwrap();
    assert_eq!(packed.preamble.manifest.image.kind, ImageKind::Raw);
    assert_eq!(packed.preamble.manifest.image.bytes, zstd.len() as u64);
    let error = site.pack(&site.request("text.zst", Some(ImageKind::Tar))).unwrap_err();
    assert!(error.to_string().contains("not tar as --image says"), "{error}");
}

#[test]
fn an_existing_image_is_taken_as_it_is_and_must_be_what_it_is_said_to_be() {
    if !has_maker(ImageKind::Ext2) {
        return;
    }
    let site = Site::new();
    make_tree(&site.path("tree"), |_| ());
    site.bytes(&site.request("tree", None));
    let image = fs::read(site.image()).unwrap();
    let packed = site.pack(&site.request("image", None)).unwrap();
    assert_eq!(packed.preamble.manifest.image.kind, ImageKind::Ext2);
    assert_eq!(packed.preamble.manifest.image.digest, common::digest::Digest::of(&image));
    let error = site.pack(&site.request("image", Some(ImageKind::Erofs))).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    let line =
        format!("{}: it holds ext2, not erofs as --image says", site.path("image").display());
    assert_eq!(error.to_string(), line);
    fs::write(site.path("image"), &image[..image.len() - 4096]).unwrap();
    let error = site.pack(&site.request("image", None)).unwrap_err();
    assert!(error.to_string().contains("it is cut short"), "{error}");
}

#[test]
fn what_cannot_be_packed_is_one_line_and_leaves_no_file() {
    let site = Site::new();
    make_tree(&site.path("tree"), |_| ());
    fs::write(site.path("empty"), "").unwrap();
    let inside = Request { output: site.path("tree/d/x.fan"), ..site.request("tree", None) };
    let expired = Request { expires: Some(1), ..site.request("tree", None) };
    let cases = [
        (site.request("missing", None), Exit::Usage, "cannot read"),
        (site.request("empty", None), Exit::Refused, "it is empty"),
        (site.request("tree", Some(ImageKind::Raw)), Exit::Usage, "is a directory"),
        (inside, Exit::Usage, "lies inside the source"),
        (expired, Exit::Usage, "--expires is not after --created"),
    ];
    for (request, exit, words) in cases {
        let error = site.pack(&request).unwrap_err();
        assert_eq!(error.exit(), exit, "{error}");
        let line = error.to_string();
        assert!(line.contains(words) && line.lines().count() == 1, "{line}");
        assert!(!request.output.exists());
    }
    let cancel = Cancel::default();
    cancel.cancel();
    let request = site.request("tree", Some(ImageKind::Tar));
    let error = pack(&request, &cancel, &mut Progress::quiet()).unwrap_err();
    assert_eq!(error.exit(), Exit::Interrupted);
    assert_eq!(fs::read_dir(site.path("out")).unwrap().count(), 0);
}

#[test]
fn a_flipped_byte_at_any_of_two_hundred_places_and_every_cut_is_refused() {
    let site = Site::new();
    make_tree(&site.path("tree"), |_| ());
    let whole = site.bytes(&site.request("tree", Some(ImageKind::Tar)));
    let path = site.path("damaged.fan");
    let verify = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let bundle = BundleFile::open(&path)?;
        bundle.verify_all(NonZeroUsize::MIN, |_| ()).map_err(PackError::from)
    };
    verify(&whole).unwrap();
    for nth in 0..200 {
        let mut damaged = whole.clone();
        damaged[(whole.len() - 1) * nth / 199] ^= 1 << (nth % 8);
        let error = verify(&damaged).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused, "place {nth}: {error}");
        assert_eq!(error.to_string().lines().count(), 1);
        let cut = verify(&whole[..(whole.len() - 1) * nth / 199]).unwrap_err();
        assert_eq!(cut.exit(), Exit::Refused, "cut {nth}: {cut}");
    }
}
