//! The fixed path on the real kernel. All need root and Linux 6.5.

#![expect(clippy::disallowed_methods, reason = "tests read files and start threads")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common::id::ImageKind;
use rustix::mount::{MountPropagationFlags, mount_change};

use super::fixture::{
    Place, Release, content, image, in_private_mounts, leave_mount_namespace, mount_tmpfs, shop,
    unmount_below,
};
use super::recorder::{Fate, Recorder};
use crate::store::table::mount_table;
use crate::store::{AppConfig, Store, SwitchMode, World};

fn config(place: &Place) -> AppConfig {
    AppConfig { switch: SwitchMode::Mount, ..place.config() }
}

fn version(directory: &Path) -> String {
    fs::read_to_string(directory.join("version")).unwrap()
}

fn mounts_at(path: &Path) -> usize {
    mount_table().unwrap().iter().filter(|mount| mount.target == path).count()
}

/// Two releases, of which the second is current.
fn two_releases(store: &Store, kinds: [ImageKind; 2], directory: &Path) -> [Release; 2] {
    let releases = [1, 2].map(|sequence| match kinds[sequence as usize - 1] {
        ImageKind::Tar => Release::tar(sequence),
        kind => Release::new(kind, sequence, image(kind, sequence, directory)),
    });
    releases.iter().for_each(|release| release.install(store).unwrap());
    releases
}

/// Reads one file through the fixed path until told to end; how often. Each time it is whole, and
/// that of one of the two releases.
fn read_until(is_over: &AtomicBool, live: &Path) -> usize {
    let expected = [1, 2].map(|sequence| content(sequence * 100 + 19, 9000));
    let file = live.join("directory/file19");
    let mut count = 0;
    let mut seen = [false; 2];
    while !is_over.load(Ordering::Relaxed) {
        let found = fs::read(&file).unwrap_or_else(|error| panic!("read {count}: {error}"));
        let release = expected.iter().position(|expected| *expected == found);
        seen[release.unwrap_or_else(|| panic!("read {count} is of no release"))] = true;
        count += 1;
    }
    assert_eq!(seen, [true; 2], "it saw both releases");
    count
}

/// Says that the test is over, also when it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_of_the_fixed_path_meet_no_gap_and_no_mixed_file_and_a_container_follows() {
    let switches = if std::env::var_os("FANFARE_TESTS_FULL").is_some() { 1000 } else { 60 };
    in_private_mounts("readers_of_the_fixed_path", |directory| {
        let shared = directory.join("shared");
        mount_tmpfs(&shared, "size=64M");
        mount_change(&shared, MountPropagationFlags::SHARED).unwrap();
        let place = Place::new(&shared);
        let store = place.open_as(&config(&place));
        let releases = two_releases(&store, [ImageKind::Squashfs, ImageKind::Tar], directory);
        let live = place.root.join("live");
        let mut kept = File::open(live.join("directory/file19")).unwrap();
        let (is_over, ready) = (AtomicBool::new(false), AtomicUsize::new(0));
        let counts = thread::scope(|scope| {
            let host = scope.spawn(|| {
                ready.fetch_add(1, Ordering::Relaxed);
                read_until(&is_over, &live)
            });
            // A container with rslave: its mounts follow, its own do not come back.
            let container = scope.spawn(|| {
                leave_mount_namespace(MountPropagationFlags::DOWNSTREAM);
                ready.fetch_add(1, Ordering::Relaxed);
                read_until(&is_over, &live)
            });
            let _over = Over(&is_over);
            while ready.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
            for switch in 0..switches {
                store.rollback(&shop(), Some(releases[switch % 2].id())).unwrap();
                assert_eq!(version(&live), (switch % 2 + 1).to_string());
                // Every reader has its turn.
                thread::yield_now();
            }
            thread::sleep(std::time::Duration::from_millis(20));
            drop(_over);
            [host.join().unwrap(), container.join().unwrap()]
        });
        assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
        assert_eq!(mounts_at(&live), 1);
        let mut data = Vec::new();
        kept.read_to_end(&mut data).unwrap();
        assert_eq!(data, content(219, 9000), "who had it open keeps it");
        assert_eq!(store.take_complaints(), [""; 0]);
    });
}

#[test]
fn the_fixed_path_shows_trees_as_well_comes_back_after_a_reboot_and_goes_with_the_setting() {
    in_private_mounts("the_fixed_path_shows_trees_as_well", |directory| {
        let place = Place::new(directory);
        let store = place.open_as(&config(&place));
        let live = place.root.join("live");
        assert!(!live.exists(), "nothing is current yet");
        let kinds = [ImageKind::Tar, ImageKind::Ext2];
        let releases = two_releases(&store, kinds, directory);
        assert_eq!((version(&live), mounts_at(&live)), ("2".into(), 1));
        store.rollback(&shop(), Some(releases[0].id())).unwrap();
        assert_eq!((version(&live), mounts_at(&live)), ("1".into(), 1));
        store.rollback(&shop(), Some(releases[1].id())).unwrap();
        drop(store);
        unmount_below(directory);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&live), 0, "without the mount nobody enters it");
        let store = place.open_as(&config(&place));
        assert_eq!((version(&live), mounts_at(&live)), ("2".into(), 1));
        assert_eq!(store.take_complaints(), [""; 0]);
        drop(store);
        // A start that finds it mounted leaves it.
        drop(place.open_as(&config(&place)));
        assert_eq!(mounts_at(&live), 1);
        let store = place.open();
        let line = format!("{} is removed: [app.shop] switch is \"link\" now", live.display());
        assert_eq!(store.take_complaints(), [line]);
        assert!(!live.exists() && version(&place.current()) == "2");
    });
}

#[test]
fn a_release_that_cannot_be_mounted_after_a_reboot_leaves_the_fixed_path_closed() {
    in_private_mounts("a_release_that_cannot_be_mounted", |directory| {
        let place = Place::new(directory);
        let store = place.open_as(&config(&place));
        let releases = two_releases(&store, [ImageKind::Erofs; 2], directory);
        drop(store);
        unmount_below(directory);
        let digest = releases[1].preamble.manifest.image.digest;
        fs::remove_file(place.store.join(format!("shop/images/{digest}.erofs"))).unwrap();
        let store = place.open_as(&config(&place));
        let lines = store.take_complaints();
        let live = place.root.join("live");
        let gone = "shop v2 is not mounted: its image is gone: send the same release again, or ";
        assert!(lines[0].starts_with(gone), "{lines:?}");
        let end = format!("releases/{}", releases[1].directory_name());
        assert!(lines[1].starts_with(&format!("{} is closed: ", live.display())), "{lines:?}");
        assert!(lines[1].ends_with(&end), "{lines:?}");
        assert_eq!(mounts_at(&live), 0);
        // What is said helps, on the fixed path as well.
        releases[1].install(&store).unwrap();
        assert_eq!(mounts_at(&live), 1);
        assert!(live.join("version").exists());
    });
}

#[test]
fn whatever_step_of_a_switch_fails_or_is_the_last_the_fixed_path_is_that_of_current() {
    in_private_mounts("whatever_step_of_a_switch_fails", |directory| {
        let place = Place::new(directory);
        let recorder = Arc::new(Recorder::default());
        let open = || {
            let world = Arc::clone(&recorder) as Arc<dyn World>;
            Store::open_in(world, &place.store, vec![config(&place)]).unwrap()
        };
        let mut store = open();
        let releases = two_releases(&store, [ImageKind::Erofs, ImageKind::Tar], directory);
        let live = place.root.join("live");
        // The first one is remembered as a hold, in a step more.
        for release in [&releases[0], &releases[1], &releases[0], &releases[1]] {
            recorder.start(None);
            store.rollback(&shop(), Some(release.id())).unwrap();
        }
        let steps = recorder.trace().len();
        assert!(steps >= 8, "{:?}", recorder.trace());
        for fate in [Fate::Fails, Fate::DiesBefore, Fate::DiesAfter] {
            for at in 0..steps {
                recorder.start(None);
                store.rollback(&shop(), Some(releases[0].id())).unwrap();
                recorder.start(Some((Some(at), fate)));
                let done = store.rollback(&shop(), Some(releases[1].id()));
                assert!(recorder.has_fired(), "{fate:?} at {at}");
                let shown = version(&live);
                let current = version(&place.current());
                if fate == Fate::Fails {
                    let expected = if done.is_ok() { "2" } else { "1" };
                    assert_eq!((shown.as_str(), current.as_str()), (expected, expected), "at {at}");
                }
                recorder.start(None);
                drop(store);
                store = open();
                assert_eq!((version(&live), mounts_at(&live)), (version(&place.current()), 1));
            }
        }
    });
}

#[test]
fn a_host_without_rights_is_told_at_its_start() {
    in_private_mounts("a_host_without_rights_is_told", |directory| {
        use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
        let place = Place::new(directory);
        // Of this thread only.
        let sets = capabilities(None).unwrap();
        let effective = sets.effective - CapabilitySet::SYS_ADMIN;
        set_capabilities(None, CapabilitySets { effective, ..sets }).unwrap();
        let error = Store::open(&place.store, vec![config(&place)]).unwrap_err();
        assert!(error.is_configuration());
        let line = "[app.shop] switch = \"mount\" needs root; mend that, or set switch = \"link\"";
        assert_eq!(error.to_string(), line);
        assert_eq!(place.names("srv/.incoming"), [""; 0]);
        place.open();
    });
}

#[test]
fn a_trial_that_was_killed_is_cleared_whatever_the_setting_is_now() {
    in_private_mounts("a_trial_that_was_killed", |directory| {
        let place = Place::new(directory);
        for config in [config(&place), place.config()] {
            drop(place.open_as(&config));
            let left = place.root.join(".incoming/@live/target");
            mount_tmpfs(&left, "size=1M");
            mount_tmpfs(&left, "size=1M");
            assert_eq!(place.open_as(&config).take_complaints(), [""; 0]);
            let below: Vec<PathBuf> =
                mount_table().unwrap().into_iter().map(|mount| mount.target).collect();
            assert!(!below.contains(&left) && !left.exists());
        }
    });
}
