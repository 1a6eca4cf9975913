//! What `pack` makes of a tree, twice; and what it refuses.
#![expect(clippy::disallowed_methods, reason = "it makes and changes real files")]

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::bundle::BundleFile;
use tests::fixture;
use tests::outcome::{exit, one_line};
use tests::product::{Bundle, Image, Pack};

use crate::site::Site;

const TREE_IMAGES: [Image; 5] =
    [Image::Ext2, Image::Ext4, Image::Erofs, Image::Squashfs, Image::Tar];

/// Digests of the image, of the chunk table and of the frame table.
fn digests(bundle: &Bundle) -> [String; 3] {
    let file = BundleFile::open(&bundle.path).expect("pack made it");
    let manifest = &file.preamble().manifest;
    [manifest.image.digest, manifest.chunk_table.digest, manifest.frame_table.digest]
        .map(|digest| digest.to_string())
}

#[test]
fn a_copied_tree_packs_to_the_same_image_frames_and_tables() {
    let site = Site::new();
    let tree = site.tree("r1");
    let copy = site.path().join("copy");
    // Times have passed: ctimes, inode numbers and directory order differ from the first tree's.
    thread::sleep(Duration::from_millis(1100));
    fixture::copy_in_another_order(&tree, &copy);
    for image in TREE_IMAGES {
        let first = Pack::of(&tree, "first", image).run(site.path());
        let second = Pack::of(&copy, "second", image).run(site.path());
        assert_eq!(digests(&first), digests(&second), "{image:?}");
    }
}

#[test]
fn with_created_and_sequence_given_the_whole_file_is_the_same() {
    let site = Site::new();
    let tree = site.tree("r1");
    let copy = site.path().join("copy");
    fixture::copy_in_another_order(&tree, &copy);
    for image in TREE_IMAGES {
        let pack = |source| {
            let pack = Pack::of(source, "r1", image).arg("--created=1700000000");
            let bundle = pack.arg("--sequence=7").run(site.path());
            fs::read(bundle.path).expect("pack made it")
        };
        assert!(pack(&tree) == pack(&copy), "{image:?}");
    }
}

#[test]
fn an_existing_image_is_taken_as_it_is_and_its_kind_is_checked() {
    let site = Site::new();
    let image = site.path().join("image.ext2");
    let made = std::process::Command::new("mke2fs")
        .args(["-q", "-t", "ext2", "-d"])
        .arg(site.tree("r1"))
        .arg(&image)
        .arg("16M")
        .status();
    assert!(made.is_ok_and(|status| status.success()), "mke2fs comes with e2fsprogs");
    let bundle = Pack::of(&image, "r1", Image::Ext2).run(site.path());
    let digest = tests::tree::digest_of_file(&image).expect("it was made").to_string();
    assert_eq!(digests(&bundle)[0], digest);

    let (wrong, ending) = Pack::of(&image, "r2", Image::Erofs).attempt(site.path());
    assert_eq!(ending.code, Some(exit::REFUSED), "{}", ending.stderr);
    let line = one_line(&ending.stderr);
    assert!(line.contains("image.ext2") && line.contains("erofs"), "{line}");
    assert!(!wrong.path.exists());
}

#[test]
fn a_tree_that_changes_while_it_is_packed_is_refused() {
    // Method: a file of 40 MB grows by a byte each millisecond from before the scan to the end.
    let site = Site::new();
    let tree = site.tree("r1");
    let growing = tree.join("growing.log");
    fixture::make_noise(&growing, "growing", 40 << 20);
    let done = AtomicBool::new(false);
    let (bundle, ending) = thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&growing).expect("it was made");
            while !done.load(Ordering::Relaxed) {
                file.write_all(b"x").expect("the directory is ours");
                thread::sleep(Duration::from_millis(1));
            }
        });
        let packed = Pack::of(&tree, "r1", Image::Tar).attempt(site.path());
        done.store(true, Ordering::Relaxed);
        packed
    });
    assert_eq!(ending.code, Some(exit::REFUSED), "{}", ending.stderr);
    assert!(one_line(&ending.stderr).contains("growing.log"), "{}", ending.stderr);
    assert!(!bundle.path.exists(), "nothing under a final name");
}

#[test]
fn inspect_shows_what_a_bundle_is() {
    let site = Site::new();
    let bundle = site.bundle("r1", Image::Tar);
    let ending = site.fanfare(&["inspect", &bundle.path.to_string_lossy()]);
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    for word in ["shop", "r1", "tar", &digests(&bundle)[0][..12]] {
        assert!(ending.stdout.contains(word), "{word} in {}", ending.stdout);
    }
}
