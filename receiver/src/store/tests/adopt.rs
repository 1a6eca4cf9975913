//! An image that another user received, and what he may have put in its place.

#![expect(clippy::disallowed_methods, reason = "tests read and damage files")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::wire::Fault;

use super::fixture::{Place, Release, TENANT, is_root, shop};
use crate::store::{Store, SystemWorld};

/// A helper's store below `directory`, and a release whose image lies in its incoming directory.
fn received(directory: &Path) -> (Place, Store, Release, PathBuf) {
    let place = Place::new(directory);
    let store = place.open_for_tenant(Arc::new(SystemWorld)).unwrap();
    let release = Release::raw(1);
    release.receive_for(&place.incoming()).unwrap();
    let digest = release.preamble.manifest.image.digest;
    let part = place.store.join(format!("shop/incoming/{digest}.part"));
    (place, store, release, part)
}

fn with_received(name: &str, test: impl FnOnce(&Place, &Store, &Release, &Path)) {
    if !is_root(name) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (place, store, release, part) = received(directory.path());
    test(&place, &store, &release, &part);
    assert_eq!(place.names("checking"), [""; 0], "nothing is left half way");
}

#[test]
fn a_received_image_is_taken_out_of_its_owners_hands() {
    with_received("a_received_image_is_taken", |place, store, release, part| {
        let mode = place.store.join("shop/incoming").metadata().unwrap();
        assert_eq!((mode.uid(), mode.permissions().mode() & 0o777), (TENANT.user, 0o700));
        assert_eq!(part.metadata().unwrap().uid(), TENANT.user);
        let image = store.adopt(&shop(), &release.offer()).unwrap();
        let facts = image.path.metadata().unwrap();
        assert_eq!((facts.uid(), facts.permissions().mode() & 0o777, facts.nlink()), (0, 0o400, 1));
        assert_eq!(fs::read(&image.path).unwrap(), release.image);
        assert_eq!(place.names("incoming"), [""; 0], "neither image nor journal");
        // The answer was lost: the same again changes nothing.
        assert_eq!(store.adopt(&shop(), &release.offer()).unwrap().path, image.path);
        store.stage(&shop(), &release.offer(), image).unwrap();
        store.activate(&shop(), release.id()).unwrap();
    });
}

#[test]
fn an_image_with_another_digest_or_length_is_refused_and_goes() {
    for change in [|path: &Path| flip(path, 1000), |path: &Path| lengthen(path)] {
        with_received("an_image_with_another_digest", |place, store, release, part| {
            change(part);
            let error = store.adopt(&shop(), &release.offer()).unwrap_err();
            assert_eq!(error.fault(), Fault::VerifyFailed);
            assert!(error.to_string().ends_with("does not have the digest of the manifest"));
            assert_eq!(place.names("images"), [""; 0]);
            assert!(!part.exists());
        });
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn lengthen(path: &Path) {
    let file = OpenOptions::new().append(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() + 1).unwrap();
}

#[test]
fn an_image_that_somebody_can_still_write_to_is_given_back() {
    with_received("an_image_that_somebody_can_still_write_to", |place, store, release, part| {
        let writer = OpenOptions::new().write(true).open(part).unwrap();
        let error = store.adopt(&shop(), &release.offer()).unwrap_err();
        assert!(error.is_busy() && error.to_string().contains("open for writing"), "{error}");
        let facts = part.metadata().unwrap();
        assert_eq!((facts.uid(), facts.permissions().mode() & 0o777), (TENANT.user, 0o600));
        assert_eq!(place.names("images"), [""; 0]);
        drop(writer);
        let image = store.adopt(&shop(), &release.offer()).unwrap();
        assert_eq!(fs::read(image.path).unwrap(), release.image);
    });
}

#[test]
fn nothing_but_a_plain_file_of_the_tenants_own_is_taken() {
    let name = "nothing_but_a_plain_file";
    let outside = tempfile::tempdir().unwrap();
    let treasure = outside.path().join("treasure");
    let bytes = Release::raw(1).image;
    fs::write(&treasure, &bytes).unwrap();
    let before = treasure.metadata().unwrap();
    let refused = |make: &dyn Fn(&Path), why: &str| {
        with_received(name, |place, store, release, part| {
            fs::remove_file(part).unwrap();
            make(part);
            let error = store.adopt(&shop(), &release.offer()).unwrap_err();
            assert_eq!(error.fault(), Fault::VerifyFailed, "{why}: {error}");
            assert!(error.to_string().contains(why), "{why}: {error}");
            assert_eq!(place.names("images"), [""; 0], "{why}");
        });
    };
    // Its content would even be right.
    refused(&|part| symlink(&treasure, part).unwrap(), "is no file");
    refused(&|part| fs::hard_link(&treasure, part).unwrap(), "belongs to another user");
    refused(
        &|part| {
            let pipe = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, part, pipe, mode, 0).unwrap();
        },
        "is no file",
    );
    refused(
        &|part| {
            fs::create_dir(part).unwrap();
            symlink(outside.path(), part.join("link")).unwrap();
        },
        "is no file",
    );
    refused(
        &|part| {
            fs::write(part, &bytes).unwrap();
            std::os::unix::fs::chown(part, Some(TENANT.user), None).unwrap();
            fs::hard_link(part, part.with_extension("second")).unwrap();
        },
        "has another name elsewhere",
    );
    let after = treasure.metadata().unwrap();
    assert_eq!(fs::read(&treasure).unwrap(), bytes);
    assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()), "and not touched");
}

#[test]
fn what_was_being_checked_when_the_helper_died_goes_on_from_where_it_was() {
    with_received("what_was_being_checked", |place, _, release, part| {
        let taken = place.store.join("shop/checking").join(part.file_name().unwrap());
        fs::rename(part, &taken).unwrap();
        std::os::unix::fs::chown(&taken, Some(0), Some(0)).unwrap();
        fs::set_permissions(&taken, fs::Permissions::from_mode(0o400)).unwrap();
        fs::create_dir(place.store.join("shop/checking/odd.part")).unwrap();
        let other = Place { store: place.store.clone(), root: place.root.clone() };
        let reopened = reopen(&other);
        assert_eq!(part.metadata().unwrap().uid(), TENANT.user);
        let partial = place.incoming().begin(&shop(), Arc::clone(&release.preamble)).unwrap();
        assert!(partial.is_complete(), "every claim is still right");
        drop(partial);
        reopened.adopt(&shop(), &release.offer()).unwrap();
    });
}

/// Another process of the same store: the first one's lock is on another file by then.
fn reopen(place: &Place) -> Store {
    fs::remove_file(place.store.join("@lock")).unwrap();
    place.open_for_tenant(Arc::new(SystemWorld)).unwrap()
}

#[test]
fn a_store_goes_from_one_process_to_two_and_back() {
    if !is_root("a_store_goes_from_one_process_to_two_and_back") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let release = Release::raw(1);
    let begin = |store: &Store| {
        let partial = super::fixture::begin(store, &release.preamble);
        let frame = release.frames().next().unwrap();
        release.write(&partial, frame).unwrap();
    };
    let store = place.open();
    begin(&store);
    drop(store);
    let owners = || {
        let names = place.names("incoming");
        let of = |name: &String| place.store.join("shop/incoming").join(name);
        let owner = |name| fs::metadata(of(name)).unwrap().uid();
        names.iter().map(owner).collect::<Vec<_>>()
    };
    assert_eq!(owners(), [0, 0]);
    drop(place.open_for_tenant(Arc::new(SystemWorld)).unwrap());
    assert_eq!(owners(), [TENANT.user; 2]);
    for path in [place.store.clone(), place.store.join("shop")] {
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o711, "he passes through {}", path.display());
    }
    let partial = place.incoming().begin(&shop(), Arc::clone(&release.preamble)).unwrap();
    assert!(partial.held().len() > 1, "the first frame and the gaps");
    drop(partial);
    let store = place.open();
    assert_eq!(owners(), [0, 0]);
    release.install(&store).unwrap();
}
