//! A damaged bundle is refused, wherever the damage is.
#![expect(clippy::disallowed_methods, reason = "it damages files")]

use std::fs;
use std::path::Path;

use tests::outcome::{exit, one_line};
use tests::product::Image;

use crate::site::Site;

/// Places spread evenly over a file of `bytes`, the first and the last byte among them.
fn places(bytes: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |nth| (bytes - 1) * nth / (count - 1))
}

#[test]
fn one_flipped_byte_at_any_of_two_hundred_places_is_refused() {
    let site = Site::new();
    let bundle = site.bundle("r1", Image::Tar);
    let whole = fs::read(&bundle.path).expect("it was packed");
    let ending = site.fanfare(&["verify", &bundle.path.to_string_lossy()]);
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    for place in places(whole.len(), 200) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        expect_refused(&site, &damaged, &format!("byte {place} of {}", whole.len()));
    }
}

#[test]
fn a_truncated_bundle_is_refused() {
    let site = Site::new();
    let whole = fs::read(&site.bundle("r1", Image::Tar).path).expect("it was packed");
    for end in places(whole.len(), 30) {
        expect_refused(&site, &whole[..end], &format!("{end} bytes of {}", whole.len()));
    }
    let mut longer = whole;
    longer.push(0);
    expect_refused(&site, &longer, "one byte more");
}

#[track_caller]
fn expect_refused(site: &Site, content: &[u8], what: &str) {
    let path = site.path().join("damaged.fan");
    fs::write(&path, content).expect("the directory is ours");
    let ending = site.fanfare(&["verify", &path.to_string_lossy()]);
    assert_eq!(ending.code, Some(exit::REFUSED), "{what}: {}", ending.stderr);
    assert!(one_line(&ending.stderr).contains("damaged.fan"), "{what}: {}", ending.stderr);
}

#[test]
fn a_damaged_bundle_is_not_sent_and_leaves_nothing_on_the_host() {
    // Method: damage in the first frame, in the middle, in the tables and in the footer. What the
    // sender cannot see before it sends, it must see while it sends.
    let mut site = Site::new();
    site.start("a");
    let bundle = site.bundle("r1", Image::Tar);
    let whole = fs::read(&bundle.path).expect("it was packed");
    let ends = [100, whole.len() / 2, whole.len() - 3000, whole.len() - 9];
    for place in ends {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(&bundle.path, damaged).expect("the directory is ours");
        let outcome = site.run(&site.send(&bundle).expect(1)).expect_exit(exit::REFUSED);
        let last = outcome.ending.stderr.lines().last().unwrap_or_default().to_owned();
        assert!(last.contains(".fan"), "byte {place}: {last}");
        for directory in ["shop/images", "shop/root/releases"] {
            let left = entries(&site.store("a").join(directory));
            assert_eq!(left, Vec::<String>::new(), "byte {place}");
        }
        assert!(fs::symlink_metadata(site.current("a")).is_err(), "byte {place}");
    }
    fs::write(&bundle.path, &whole).expect("the directory is ours");
    site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
