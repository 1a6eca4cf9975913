//! Whole installs: the steps they are made of, and what is left when any of them fails or is the
//! last one.

#![expect(clippy::disallowed_methods, reason = "tests read files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::id::ImageKind;
use common::wire::Fault;

use super::fixture::{Place, Release, image, in_private_mounts, shop, unmount_below};
use super::recorder::{Fate, Recorder, words};
use crate::store::{Step, Store, World};

/// Hundreds of installs: on a disk, most of the time would go into its flushes.
pub(super) fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn traced(base: &Path, release: &Release) -> (Vec<Step>, Vec<String>) {
    let directory = tempfile::tempdir_in(base).unwrap();
    let place = Place::new(directory.path());
    let recorder = Arc::new(Recorder::default());
    let store = place.open_in(Arc::clone(&recorder) as Arc<dyn World>).unwrap();
    Release::raw(1).install(&store).unwrap();
    recorder.start(None);
    release.install(&store).unwrap();
    let trace = recorder.trace();
    let digests = [
        (release.preamble.manifest.image.digest.to_string(), "IMAGE"),
        (release.directory_name(), "NAME"),
        (release.id().to_string(), "ID"),
    ];
    let real = place.store.canonicalize().unwrap();
    let words = words(&trace, &[(&real.join("shop"), "STORE"), (&place.root, "ROOT")], &digests);
    (trace, words)
}

#[test]
fn a_raw_install_is_these_steps_in_this_order() {
    let (_, words) = traced(&memory(), &Release::raw(2));
    let expected = "\
remove STORE/incoming/IMAGE.journal
remove STORE/incoming/IMAGE.part
allocate STORE/incoming/IMAGE.part (311301 bytes)
open journal STORE/incoming/IMAGE.journal
write STORE/incoming/IMAGE.part
write STORE/incoming/IMAGE.journal
write STORE/incoming/IMAGE.part
write STORE/incoming/IMAGE.journal
write STORE/incoming/IMAGE.part
write STORE/incoming/IMAGE.journal
write STORE/incoming/IMAGE.part
write STORE/incoming/IMAGE.journal
set mode 0400 of STORE/incoming/IMAGE.part
make STORE/incoming/IMAGE.part durable
rename STORE/incoming/IMAGE.part to STORE/images/IMAGE.raw
make STORE/images durable
remove STORE/incoming/IMAGE.journal
write STORE/manifests/ID.minisig.new
rename STORE/manifests/ID.minisig.new to STORE/manifests/ID.minisig
make STORE/manifests durable
write STORE/manifests/ID.json.new
rename STORE/manifests/ID.json.new to STORE/manifests/ID.json
make STORE/manifests durable
remove ROOT/.incoming/ID.tree
make directory ROOT/.incoming/ID.tree
place STORE/images/IMAGE.raw at ROOT/.incoming/ID.tree/shop.raw
set mode 0444 of ROOT/.incoming/ID.tree/shop.raw
make ROOT/.incoming/ID.tree/shop.raw durable
make ROOT/.incoming/ID.tree durable
rename ROOT/.incoming/ID.tree to ROOT/releases/NAME
make ROOT/releases durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable
remove ROOT/.current-ID
link ROOT/.current-ID to releases/NAME
rename ROOT/.current-ID to ROOT/current
make ROOT durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable";
    assert_eq!(words, expected.lines().collect::<Vec<_>>(), "{words:#?}");
}

#[test]
fn a_tar_install_is_these_steps_in_this_order() {
    let (_, words) = traced(&memory(), &Release::tar(2));
    let expected = "\
remove STORE/incoming/IMAGE.journal
remove STORE/incoming/IMAGE.part
allocate STORE/incoming/IMAGE.part (197632 bytes)
open journal STORE/incoming/IMAGE.journal
remove ROOT/.incoming/ID.tree
unpack STORE/incoming/IMAGE.part into ROOT/.incoming/ID.tree
write STORE/incoming/IMAGE.part
write STORE/incoming/IMAGE.journal
write STORE/incoming/IMAGE.part
write STORE/incoming/IMAGE.journal
write STORE/incoming/IMAGE.part
write STORE/incoming/IMAGE.journal
set mode 0400 of STORE/incoming/IMAGE.part
make STORE/incoming/IMAGE.part durable
rename STORE/incoming/IMAGE.part to STORE/images/IMAGE.tar
make STORE/images durable
remove STORE/incoming/IMAGE.journal
write STORE/manifests/ID.minisig.new
rename STORE/manifests/ID.minisig.new to STORE/manifests/ID.minisig
make STORE/manifests durable
write STORE/manifests/ID.json.new
rename STORE/manifests/ID.json.new to STORE/manifests/ID.json
make STORE/manifests durable
make ROOT/.incoming/ID.tree durable
rename ROOT/.incoming/ID.tree to ROOT/releases/NAME
make ROOT/releases durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable
remove ROOT/.current-ID
link ROOT/.current-ID to releases/NAME
rename ROOT/.current-ID to ROOT/current
make ROOT durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable
remove STORE/images/IMAGE.tar";
    assert_eq!(words, expected.lines().collect::<Vec<_>>(), "{words:#?}");
}

#[test]
fn an_erofs_install_is_these_steps_in_this_order_once_it_is_received() {
    in_private_mounts("an_erofs_install_is_these_steps", |directory| {
        let image = image(ImageKind::Erofs, 2, directory);
        let (_, words) = traced(directory, &Release::new(ImageKind::Erofs, 2, image));
        let from = words.iter().position(|line| line.contains("manifests")).unwrap();
        let expected = "\
write STORE/manifests/ID.minisig.new
rename STORE/manifests/ID.minisig.new to STORE/manifests/ID.minisig
make STORE/manifests durable
write STORE/manifests/ID.json.new
rename STORE/manifests/ID.json.new to STORE/manifests/ID.json
make STORE/manifests durable
make directory ROOT/releases/NAME
make ROOT/releases durable
mount STORE/images/IMAGE.erofs as erofs at ROOT/releases/NAME
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable
remove ROOT/.current-ID
link ROOT/.current-ID to releases/NAME
rename ROOT/.current-ID to ROOT/current
make ROOT durable
write STORE/state.json.new
rename STORE/state.json.new to STORE/state.json
make STORE durable";
        assert_eq!(words[from..], expected.lines().collect::<Vec<_>>(), "{words:#?}");
    });
}

/// What services read through `current`.
pub(super) fn version(place: &Place) -> Option<u64> {
    let current = place.current();
    if let Ok(text) = fs::read_to_string(current.join("version")) {
        let all = (0..20).all(|number| current.join(format!("directory/file{number}")).is_file());
        return all.then(|| text.parse().unwrap());
    }
    let raw = fs::read(current.join("shop.raw")).ok()?;
    (1..10).find(|sequence| Release::raw(*sequence).image == raw)
}

/// Installs release 2 over release 1 with every fate at every step of the clean trace.
fn every_fate(base: &Path, make: impl Fn(u64) -> Release) {
    let (trace, _) = traced(base, &make(2));
    let is_switch = |step: &Step| matches!(step, Step::Switch { .. });
    let has_unpack = trace.iter().any(|step| matches!(step, Step::Unpack { .. }));
    let alone: Vec<_> =
        trace.iter().filter(|step| !matches!(step, Step::Unpack { .. })).cloned().collect();
    let switch = alone.iter().position(is_switch).unwrap();
    let places = (0..alone.len()).map(Some).chain(has_unpack.then_some(None));
    for place_in_trace in places {
        for fate in [Fate::Fails, Fate::DiesBefore, Fate::DiesAfter] {
            let what = format!("{fate:?} at {place_in_trace:?} of {} steps", alone.len());
            let directory = tempfile::tempdir_in(base).unwrap();
            let place = Place::new(directory.path());
            let recorder = Arc::new(Recorder::default());
            let store = place.open_in(Arc::clone(&recorder) as Arc<dyn World>).unwrap();
            make(1).install(&store).unwrap();
            recorder.start(Some((place_in_trace, fate)));
            let result = make(2).install(&store);
            assert!(recorder.has_fired(), "{what}: never fired");
            let has_switched = place_in_trace.is_some_and(|at| match fate {
                Fate::DiesAfter => at >= switch,
                _ => at > switch,
            });
            let expected = if has_switched { 2 } else { 1 };
            assert_eq!(version(&place), Some(expected), "{what}: {result:?}");
            // Whatever fails after the switch is a complaint, and success is never claimed before.
            assert_eq!(result.is_ok(), has_switched, "{what}: {result:?}");
            drop(store);
            // Every second restart is a reboot.
            if place_in_trace.is_some_and(|at| at % 2 == 0) {
                unmount_below(&directory.path().canonicalize().unwrap());
            }
            after_restart(&place, expected, &make(2), &what);
            unmount_below(&directory.path().canonicalize().unwrap());
        }
    }
}

/// A restart finds nothing half, and the release can be installed.
fn after_restart(place: &Place, expected: u64, release: &Release, what: &str) {
    let store = place.open();
    assert_eq!(store.take_complaints(), [""; 0], "{what}");
    place.assert_tidy(&store);
    assert_eq!(version(place), Some(expected), "{what}: after the restart");
    let current: Vec<_> = current_of(&store);
    assert_eq!(current, [format!("v{expected}")], "{what}");
    if store.holds_release(&shop(), &release.id()) {
        store.activate(&shop(), release.id()).unwrap();
    } else {
        release.install(&store).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    assert_eq!(version(place), Some(2), "{what}: installed again");
    assert_eq!(place.names("incoming"), [""; 0], "{what}");
    place.assert_tidy(&store);
}

pub(super) fn current_of(store: &Store) -> Vec<String> {
    let all = store.releases().unwrap();
    all.into_iter().filter(|facts| facts.is_current).map(|facts| facts.label.to_string()).collect()
}

#[test]
fn after_a_failed_fsync_the_file_is_discarded_and_never_synced_again() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let recorder = Arc::new(Recorder::default());
    let store = place.open_in(Arc::clone(&recorder) as Arc<dyn World>).unwrap();
    let release = Release::raw(1);
    let is_sync = |step: &Step| {
        let Step::Sync { path } = step else { return false };
        path.extension().is_some_and(|end| end == "part")
    };
    recorder.start(None);
    release.receive(&store).unwrap();
    let at = recorder.trace().iter().position(is_sync).unwrap();
    fs::remove_dir_all(place.store.join("shop/images")).unwrap();
    fs::create_dir(place.store.join("shop/images")).unwrap();
    recorder.start(Some((Some(at), Fate::Fails)));
    let error = release.receive(&store).unwrap_err();
    assert_eq!(error.fault(), Fault::DiskFailed, "{error}");
    assert_eq!(recorder.trace().iter().filter(|step| is_sync(step)).count(), 1);
    assert_eq!((place.names("incoming").len(), place.names("images").len()), (0, 0));
}

#[test]
fn a_raw_install_survives_every_fate_at_every_step() {
    every_fate(&memory(), Release::raw);
}

#[test]
fn a_tar_install_survives_every_fate_at_every_step() {
    every_fate(&memory(), Release::tar);
}
