//! Disks that are full, read-only, elsewhere; stores that somebody else has.

#![expect(clippy::disallowed_methods, reason = "tests read and write files")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::ImageKind;
use common::wire::Fault;

use super::fixture::{
    Place, Release, begin, content, in_private_mounts, mount_tmpfs, shop, stage_held,
};
use crate::store::limits::LOCK_WAIT;
use crate::store::{AppConfig, Store};

#[test]
fn a_second_daemon_is_told_which_process_has_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let began = Instant::now();
    let error = Store::open(&place.store, vec![]).unwrap_err();
    assert!(error.is_busy());
    assert!((LOCK_WAIT..LOCK_WAIT * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    let line = error.to_string();
    let start = format!(
        "the store {} is in use by process {} (/",
        place.store.canonicalize().unwrap().display(),
        std::process::id()
    );
    assert!(line.starts_with(&start) && line.contains(") since 20"), "{line}");
    assert!(line.ends_with("Z: stop it, or give --store another directory"), "{line}");
    drop(store);
    place.open();
}

#[test]
fn a_store_that_is_given_up_a_moment_later_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let owner = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(store);
    });
    let began = Instant::now();
    Store::open(&place.store, vec![]).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    owner.join().unwrap();
}

#[test]
fn an_app_may_be_called_like_anything_in_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let apps = ["lock", "root", "state.json", "..."].map(|name| {
        let root = place.root.join(name);
        AppConfig { app: name.parse().unwrap(), root, ..place.config() }
    });
    let store = Store::open(&place.store, apps.to_vec()).unwrap();
    assert_eq!(store.releases().unwrap(), []);
}

#[test]
fn a_full_disk_is_refused_up_front_with_bytes_needed_and_free() {
    in_private_mounts("a_full_disk_is_refused_up_front", |directory| {
        mount_tmpfs(directory, "size=8M");
        let place = Place::new(directory);
        let store = place.open();
        Release::raw(1).install(&store).unwrap();
        let big = Release::new(ImageKind::Raw, 2, content(2, 9 << 20));
        let error = store.reserve(&shop(), &big.offer()).unwrap_err();
        assert_eq!(error.fault(), Fault::DiskFull);
        let free = store.free_bytes(&shop());
        let line = format!(
            "shop: not enough space: 13631488 bytes (13.0 MiB) needed, {free} bytes ({}) free, \
             0 B of it promised to other transfers, pruning could give 0 B; in {}/shop: free some, \
             or keep fewer releases",
            common::units::ByteSize(free),
            place.store.display(),
        );
        assert_eq!(error.to_string(), line);
        // Whoever begins all the same meets the allocation, and nothing is left behind.
        let error = store.begin(&shop(), Arc::clone(&big.preamble)).unwrap_err();
        assert_eq!(error.fault(), Fault::DiskFull);
        assert!(error.to_string().ends_with("free space there and send again"), "{error}");
        assert_eq!(place.names("incoming"), [""; 0]);
        assert_eq!(fs::read(place.current().join("shop.raw")).unwrap(), Release::raw(1).image);
    });
}

#[test]
fn two_transfers_are_not_promised_the_same_bytes() {
    in_private_mounts("two_transfers_are_not_promised_the_same_bytes", |directory| {
        mount_tmpfs(directory, "size=20M");
        let place = Place::new(directory);
        let store = place.open();
        let large = |sequence| Release::new(ImageKind::Raw, sequence, content(sequence, 9 << 20));
        let (one, two) = (large(1), large(2));
        let first = store.reserve(&shop(), &one.offer()).unwrap();
        // Another session of the same image takes the former one's place.
        drop(store.reserve(&shop(), &one.offer()).unwrap());
        let line = store.reserve(&shop(), &two.offer()).unwrap_err().to_string();
        assert!(line.contains(" 9.00 MiB of it promised to other transfers"), "{line}");
        // What is allocated is no longer promised, and not counted twice.
        let partial = begin(&store, &one.preamble);
        let line = store.reserve(&shop(), &two.offer()).unwrap_err().to_string();
        assert!(line.contains(" 0 B of it promised to other transfers"), "{line}");
        one.fill(&partial).unwrap();
        store.stage(&shop(), &one.offer(), partial.finish().unwrap()).unwrap();
        drop(first);
        assert_eq!(store.reserve(&shop(), &two.offer()).unwrap_err().fault(), Fault::DiskFull);
    });
}

#[test]
fn space_for_a_release_is_pruned_where_that_is_enough_and_nothing_goes_where_it_is_not() {
    in_private_mounts("space_for_a_release_is_pruned", |directory| {
        mount_tmpfs(directory, "size=24M");
        let place = Place::new(directory);
        let store = place.open();
        let sized = |sequence, mib: usize| {
            Release::new(ImageKind::Raw, sequence, content(sequence, mib << 20))
        };
        sized(1, 3).install(&store).unwrap();
        let failed = sized(2, 6);
        let image = failed.receive(&store).unwrap();
        store.stage(&shop(), &failed.offer(), image).unwrap();
        store.activate_on_trial(&shop(), failed.id()).unwrap();
        store.fall_back(&shop(), failed.id(), "slow").unwrap();
        let given_up = begin(&store, &sized(3, 4).preamble);
        // 3, 6 and 4 MiB are taken; 6 could go, and 4 once nobody has them open.
        let line = store.reserve(&shop(), &sized(4, 16).offer()).unwrap_err().to_string();
        assert!(line.contains(" pruning could give 6.00 MiB; in "), "{line}");
        drop(given_up);
        let line = store.reserve(&shop(), &sized(4, 30).offer()).unwrap_err().to_string();
        assert!(line.contains(" pruning could give 10.0 MiB; in "), "{line}");
        assert_eq!((place.names("images").len(), place.names("incoming").len()), (2, 2));
        assert_eq!(store.take_complaints(), [""; 0]);
        let next = sized(4, 15);
        let _reservation = store.reserve(&shop(), &next.offer()).unwrap();
        let lines = store.take_complaints();
        assert_eq!(lines[0], "shop v2: pruned, 6.00 MiB freed", "{lines:?}");
        assert_eq!((place.names("images").len(), place.names("incoming").len()), (1, 0));
        assert_eq!(fs::read(place.current().join("shop.raw")).unwrap(), sized(1, 3).image);
        next.install(&store).unwrap();
    });
}

#[test]
fn gaps_and_what_is_held_already_need_no_space() {
    in_private_mounts("gaps_and_what_is_held_already_need_no_space", |directory| {
        mount_tmpfs(directory, "size=12M");
        let place = Place::new(directory);
        let store = place.open();
        let mut image = content(1, 1 << 20);
        image.resize(64 << 20, 0);
        image.extend(content(2, 1 << 20));
        let release = Release::new(ImageKind::Raw, 1, image);
        release.install(&store).unwrap();
        let large = Release::new(ImageKind::Raw, 2, content(3, 5 << 20));
        let partial = store.begin(&shop(), Arc::clone(&large.preamble)).unwrap();
        drop(partial);
        // 5 MiB are allocated and about 5 are left: enough for what is missing, which is nothing.
        store.reserve(&shop(), &large.offer()).unwrap();
        large.install(&store).unwrap();
    });
}

#[test]
fn a_disk_that_fills_up_while_unpacking_is_no_fault_of_the_archive() {
    in_private_mounts("a_disk_that_fills_up_while_unpacking", |directory| {
        let place = Place::new(directory);
        // The app's root is small, the store is not.
        mount_tmpfs(&place.root, "size=64k");
        let store = place.open();
        let release = Release::tar(1);
        let error = store.reserve(&shop(), &release.offer()).unwrap_err();
        assert_eq!(error.fault(), Fault::DiskFull);
        let partial = store.begin(&shop(), Arc::clone(&release.preamble)).unwrap();
        release.fill(&partial).unwrap();
        let error = partial.finish().unwrap_err();
        assert_eq!(error.fault(), Fault::DiskFull, "{error}");
        assert_eq!(place.names("srv/.incoming"), [""; 0]);
        // The image is good: once there is space, the release is staged from it.
        remount(&place.root, "size=64M");
        stage_held(&store, &release.preamble).unwrap();
        store.activate(&shop(), release.id()).unwrap();
        assert_eq!(fs::read_to_string(place.current().join("version")).unwrap(), "1");
    });
}

fn remount(target: &Path, options: &str) {
    let data = std::ffi::CString::new(options).unwrap();
    let flags = if options.is_empty() {
        rustix::mount::MountFlags::RDONLY
    } else {
        rustix::mount::MountFlags::empty()
    };
    // A command that another test starts inherits our open files until it is executed.
    let attempt = || rustix::mount::mount_remount(target, flags, data.as_c_str());
    let mut result = attempt();
    for _ in 0..500 {
        if result != Err(rustix::io::Errno::BUSY) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        result = attempt();
    }
    result.unwrap();
}

#[test]
fn a_read_only_store_is_one_clear_line() {
    in_private_mounts("a_read_only_store_is_one_clear_line", |directory| {
        mount_tmpfs(directory, "size=8M");
        let place = Place::new(directory);
        let store = place.open();
        Release::raw(1).install(&store).unwrap();
        // The store's own lock is open for writing: the kernel would call the disk busy.
        drop(store);
        remount(directory, "");
        let error = Store::open(&place.store, vec![place.config()]).unwrap_err();
        assert_eq!(error.fault(), Fault::DiskReadOnly);
        let line = error.to_string();
        assert!(line.contains("@lock: Read-only file system (os error 30); remount it"), "{line}");
        let other = directory.join("other");
        let line = Store::open(&other, vec![]).unwrap_err().to_string();
        assert!(line.starts_with(&format!("cannot make directory {}", other.display())), "{line}");
        // Looking is still possible.
        assert!(place.list()[0].is_current);
    });
}

#[test]
fn an_app_root_on_another_filesystem_is_served_all_the_same() {
    in_private_mounts("an_app_root_on_another_filesystem", |directory| {
        let place = Place::new(directory);
        mount_tmpfs(&place.root, "size=64M");
        let store = place.open();
        Release::tar(1).install(&store).unwrap();
        assert_eq!(fs::read_to_string(place.current().join("version")).unwrap(), "1");
        let raw = Release::raw(2);
        raw.install(&store).unwrap();
        let file = place.current().join("shop.raw");
        assert_eq!(fs::read(&file).unwrap(), raw.image);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o444);
    });
}

#[test]
fn a_raw_release_on_the_same_filesystem_shares_its_bytes_with_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    Release::raw(1).install(&store).unwrap();
    assert_eq!(fs::metadata(place.current().join("shop.raw")).unwrap().nlink(), 2);
}

#[test]
fn a_root_inside_the_store_can_be_reached_but_the_store_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let root = crate::store::default_root(&place.store, &shop());
    let store = Store::open(&place.store, vec![AppConfig { root: root.clone(), ..place.config() }]);
    Release::tar(1).install(&store.unwrap()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&place.store), mode(&place.store.join("shop"))), (0o711, 0o711));
    assert_eq!(mode(&place.store.join("shop/images")), 0o700);
    assert_eq!((mode(&root), mode(&root.join("current/directory"))), (0o755, 0o755));
    fs::set_permissions(&place.store, fs::Permissions::from_mode(0o700)).unwrap();
    let store = place.open_as(&AppConfig { root, ..place.config() });
    let lines = store.take_complaints();
    assert!(lines[0].starts_with("services cannot reach shop below "), "{lines:?}");
    let elsewhere = Place::new(&directory.path().join("else"));
    elsewhere.open();
    assert_eq!(mode(&elsewhere.store), 0o700);
}

#[test]
fn a_host_without_privileges_installs_tar_and_raw() {
    in_private_mounts("a_host_without_privileges_installs_tar_and_raw", |directory| {
        use crate::store::unpack::archive::{Entry, archive};
        use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
        let (user, group) = (rustix::fs::Uid::from_raw(65534), rustix::fs::Gid::from_raw(65534));
        std::os::unix::fs::chown(directory, Some(65534), Some(65534)).unwrap();
        // Of this thread only, and of those that it starts.
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        let place = Place::new(directory);
        let store = place.open();
        assert_eq!(store.capabilities().complaints.len(), 1, "{:?}", store.capabilities());
        let tree = |sequence: u64| {
            let version = sequence.to_string();
            let entries = [
                Entry { mode: 0o555, owner: (0, 0), ..Entry::directory("./") },
                Entry { mode: 0o555, owner: (33, 33), ..Entry::directory("closed") },
                Entry { mode: 0o400, owner: (0, 0), ..Entry::file("closed/file", b"x") },
                Entry { mode: 0o444, ..Entry::file("version", version.as_bytes()) },
            ];
            Release::new(ImageKind::Tar, sequence, archive(&entries))
        };
        for sequence in 1..=5 {
            tree(sequence).install(&store).unwrap();
            assert_eq!(store.take_complaints(), [""; 0]);
            let version = fs::read_to_string(place.current().join("version")).unwrap();
            assert_eq!(version, sequence.to_string());
        }
        assert_eq!(place.names("srv/releases").len(), 3, "closed directories are pruned as well");
        Release::raw(6).install(&store).unwrap();
        place.assert_tidy(&store);
    });
}
