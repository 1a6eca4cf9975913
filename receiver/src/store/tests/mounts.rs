//! Filesystem images on the real kernel. All need root and the tools that make images.

#![expect(clippy::disallowed_methods, reason = "tests read files and the mount table")]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::id::ImageKind;
use common::wire::Fault;

use super::fixture::{
    Place, Release, comes_true, content, image, in_private_mounts, mount_tmpfs, run, shop,
    stage_held, unmount_below,
};
use crate::store::table::{Mounted, mount_table, orphan_loops};
use crate::store::{AppConfig, Keep, Policy, Store, Verdict};

const MOUNTED: [ImageKind; 4] =
    [ImageKind::Ext2, ImageKind::Ext4, ImageKind::Erofs, ImageKind::Squashfs];

fn below(directory: &Path) -> Vec<Mounted> {
    let mut all = mount_table().unwrap();
    all.retain(|mounted| mounted.target.starts_with(directory));
    all
}

/// Files of the store behind loop devices, of any namespace.
fn loops(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/block").unwrap();
    let files = entries.filter_map(|entry| {
        fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
    });
    files.map(PathBuf::from).filter(|file| file.starts_with(directory)).collect()
}

fn options_of(target: &Path) -> String {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(4) == target.to_str()).unwrap();
    line.split(' ').nth(5).unwrap().to_owned()
}

fn assert_version(release: &Path, sequence: u64) {
    assert_eq!(fs::read_to_string(release.join("version")).unwrap(), sequence.to_string());
    let data = content(sequence * 100 + 19, 9000);
    assert_eq!(fs::read(release.join("directory/file19")).unwrap(), data);
}

#[test]
fn every_kind_is_mounted_beside_the_one_before_and_again_after_a_reboot() {
    in_private_mounts("every_kind_is_mounted", |directory| {
        for kind in MOUNTED {
            let base = directory.join(kind.as_str());
            fs::create_dir(&base).unwrap();
            let place = Place::new(&base);
            let store = place.open();
            assert_eq!(store.capabilities().complaints, [""; 0]);
            let releases = [1, 2]
                .map(|sequence| Release::new(kind, sequence, image(kind, sequence, directory)));
            releases.iter().for_each(|release| release.install(&store).unwrap());
            let paths =
                [0, 1].map(|at| place.root.join("releases").join(releases[at].directory_name()));
            let check = |when: &str| {
                assert_version(&paths[0], 1);
                assert_version(&place.current(), 2);
                assert_eq!(options_of(&paths[0]), "ro,nosuid,nodev,noatime", "{kind} {when}");
                let error = fs::write(paths[1].join("new"), "").unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            };
            check("at first");
            let listed = place.list();
            assert!(listed.iter().all(|facts| facts.is_mounted && facts.is_staged), "{listed:?}");
            drop(store);
            unmount_below(&base);
            assert_eq!(below(&base), []);
            let mode = fs::metadata(&paths[1]).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0, "an empty mount point is entered by nobody");
            let store = place.open();
            assert_eq!(store.take_complaints(), [""; 0]);
            check("after a reboot");
            drop(store);
            unmount_below(&base);
            assert_eq!(loops(&base), [""; 0].map(PathBuf::from), "{kind}");
        }
    });
}

#[test]
fn an_erofs_image_needs_no_loop_device_where_the_kernel_can_do_without() {
    in_private_mounts("an_erofs_image_needs_no_loop_device", |directory| {
        let place = Place::new(directory);
        let store = place.open();
        let release = Release::new(ImageKind::Erofs, 1, image(ImageKind::Erofs, 1, directory));
        release.install(&store).unwrap();
        let mounted = below(&place.root);
        let version = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let is_new = (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 12);
        let is_loop = mounted[0].source.starts_with("/dev");
        assert_eq!(is_loop, !is_new, "{mounted:?} on {version}");
    });
}

#[test]
fn an_image_of_another_kind_is_refused_before_it_is_mounted() {
    in_private_mounts("an_image_of_another_kind_is_refused", |directory| {
        let place = Place::new(directory);
        let store = place.open();
        Release::raw(1).install(&store).unwrap();
        let mut sequence = 1;
        for kind in MOUNTED {
            let images = [
                image(ImageKind::Ext4, 1, directory),
                image(ImageKind::Erofs, 1, directory),
                image(ImageKind::Squashfs, 1, directory),
                content(1, 9000),
                vec![7; 100],
            ];
            for image in images {
                sequence += 1;
                if crate::store::mount::kind_of(&image) == Some(kind) {
                    continue;
                }
                let release = Release::new(kind, sequence, image);
                let error = release.install(&store).unwrap_err();
                assert_eq!(error.fault(), Fault::VerifyFailed, "{error}");
                let line = error.to_string();
                assert!(
                    line.contains(&format!("the manifest says {kind}, the image is ")),
                    "{line}"
                );
                assert!(!line.contains('\n'), "{line}");
                assert!(!store.holds_image(&shop(), &release.preamble.manifest.image.digest));
            }
        }
        assert_eq!(place.names("srv/releases").len(), 1);
        assert_eq!(place.names("manifests").len(), 2, "one, and its signatures");
    });
}

#[test]
fn an_image_that_the_kernel_refuses_leaves_no_name_and_can_be_tried_again() {
    in_private_mounts("an_image_that_the_kernel_refuses", |directory| {
        let place = Place::new(directory);
        let store = place.open();
        let mut bad = image(ImageKind::Squashfs, 1, directory);
        // The version, 4.0, behind the magic and seven other fields.
        bad[28..30].copy_from_slice(&[9, 0]);
        let release = Release::new(ImageKind::Squashfs, 1, bad);
        let error = release.install(&store).unwrap_err();
        assert_eq!(error.fault(), Fault::MountFailed, "{error}");
        assert!(error.to_string().contains("the kernel log says more"), "{error}");
        assert_eq!(place.names("srv/releases"), [""; 0]);
        assert!(store.holds_image(&shop(), &release.preamble.manifest.image.digest));
        assert!(!store.holds_release(&shop(), &release.id()));
        assert_eq!(stage_held(&store, &release.preamble).unwrap_err().fault(), Fault::MountFailed);
        assert_eq!(loops(directory), [""; 0].map(PathBuf::from));
    });
}

#[test]
fn an_ext4_image_with_an_unreplayed_journal_is_mounted_as_it_was_verified() {
    in_private_mounts("an_ext4_image_with_an_unreplayed_journal", |directory| {
        let place = Place::new(directory);
        let store = place.open();
        image(ImageKind::Ext4, 1, directory);
        let path = directory.join("image");
        run("debugfs", &["-w", "-R", "feature needs_recovery", path.to_str().unwrap()]);
        let release = Release::new(ImageKind::Ext4, 1, fs::read(path).unwrap());
        release.install(&store).unwrap();
        assert_version(&place.current(), 1);
    });
}

#[test]
fn mount_options_of_the_manifest_are_taken_from_a_short_list() {
    in_private_mounts("mount_options_of_the_manifest", |directory| {
        let place = Place::new(directory);
        let store = place.open();
        let data = image(ImageKind::Ext2, 1, directory);
        let with = |sequence, options: &[&str]| {
            Release::changed(ImageKind::Ext2, sequence, data.clone(), |manifest| {
                manifest.mount_options = options.iter().map(|word| (*word).to_owned()).collect();
            })
        };
        let release = with(1, &["noexec", "ro"]);
        release.install(&store).unwrap();
        let path = place.root.join("releases").join(release.directory_name());
        assert_eq!(options_of(&path), "ro,nosuid,nodev,noexec,noatime");
        for evil in ["suid", "dev", "rw", "exec", "loop", "errors=panic"] {
            let error = with(2, &[evil]).install(&store).unwrap_err();
            assert_eq!(error.fault(), Fault::MountFailed);
            assert!(error.to_string().contains(&format!("mount option {evil:?}")), "{error}");
        }
    });
}

#[test]
fn a_release_in_use_is_left_mounted_and_said_and_goes_later() {
    in_private_mounts("a_release_in_use_is_left_mounted", |directory| {
        let place = Place::new(directory);
        let policy = Policy { keep: 2, ..place.config().policy };
        let config = AppConfig { policy, ..place.config() };
        let store = Store::open(&place.store, vec![config]).unwrap();
        let release = |sequence| {
            Release::new(
                ImageKind::Squashfs,
                sequence,
                image(ImageKind::Squashfs, sequence, directory),
            )
        };
        release(1).install(&store).unwrap();
        let open = File::open(place.current().join("version")).unwrap();
        release(2).install(&store).unwrap();
        release(3).install(&store).unwrap();
        assert_eq!(store.take_complaints(), [""; 0]);
        let plan = store.plan_prune(&shop()).unwrap();
        let [Keep::InUse { how }] = &plan.releases[2].kept[..] else { panic!("{plan:?}") };
        let by = format!("(process {}", std::process::id());
        assert!(how.starts_with("in use by ") && how.contains(&by), "{how}");
        assert!(how.ends_with(": 1 file)"), "{how}");
        assert_eq!(below(&place.root).len(), 3);
        drop(open);
        assert_eq!(store.plan_prune(&shop()).unwrap().gone().count(), 1);
        store.prune(&shop()).unwrap();
        assert_eq!(store.take_complaints(), [""; 0]);
        assert_eq!(below(&place.root).len(), 2);
        assert_eq!((place.names("srv/releases").len(), place.names("images").len()), (2, 2));
    });
}

#[test]
fn the_same_image_under_two_releases_is_held_once_and_mounted_twice() {
    in_private_mounts("the_same_image_under_two_releases", |directory| {
        let place = Place::new(directory);
        let store = place.open();
        for kind in [ImageKind::Ext2, ImageKind::Erofs] {
            let data = image(kind, 1, directory);
            let base = kind as u64 * 10;
            Release::new(kind, base, data.clone()).install(&store).unwrap();
            let again = Release::new(kind, base + 1, data);
            store.check(&shop(), &again.offer()).unwrap();
            stage_held(&store, &again.preamble).unwrap();
            store.activate(&shop(), again.id()).unwrap();
            assert_version(&place.current(), 1);
            store.choose(&shop(), again.id(), false).unwrap();
        }
        assert_eq!(place.names("images").len(), 2);
    });
}

#[test]
fn an_orphan_loop_device_on_our_image_is_detached_at_start() {
    in_private_mounts("an_orphan_loop_device", |directory| {
        let place = Place::new(directory);
        let store = place.open();
        let release =
            Release::new(ImageKind::Squashfs, 1, image(ImageKind::Squashfs, 1, directory));
        let held = release.receive(&store).unwrap();
        drop(store);
        run("losetup", &["--find", "--read-only", held.path.to_str().unwrap()]);
        let images = place.store.join("shop/images");
        assert_eq!(orphan_loops(&images).len(), 1);
        assert_eq!(place.open().take_complaints(), [""; 0]);
        assert_eq!(loops(directory), [""; 0].map(PathBuf::from));
    });
}

#[test]
fn a_host_that_may_not_mount_says_so_once_and_still_takes_tar_and_raw() {
    in_private_mounts("a_host_that_may_not_mount", |directory| {
        use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
        // Of this thread only.
        let sets = capabilities(None).unwrap();
        let effective = sets.effective - CapabilitySet::SYS_ADMIN;
        set_capabilities(None, CapabilitySets { effective, ..sets }).unwrap();
        let place = Place::new(directory);
        let store = place.open();
        let capabilities = store.capabilities();
        assert_eq!(capabilities.kinds, [ImageKind::Tar, ImageKind::Raw]);
        let line = "cannot mount ext2, ext4, erofs, squashfs: Operation not permitted \
            (os error 1); run fanhost as root, or send a tar or raw release; \
            tar and raw releases still work";
        assert_eq!(capabilities.complaints, [line]);
        Release::raw(1).install(&store).unwrap();
        Release::tar(2).install(&store).unwrap();
        let erofs = Release::new(ImageKind::Erofs, 3, content(1, 5000));
        let error = store.check(&shop(), &erofs.offer()).unwrap_err();
        assert_eq!(error.fault(), Fault::KindUnsupported);
        assert!(error.to_string().starts_with("shop: no erofs releases here: cannot mount"));
    });
}

/// Changes a byte of a file in a release's image: no driver would notice. Where it lies.
fn damage(place: &Place, release: &Release) -> PathBuf {
    let image = &release.preamble.manifest.image;
    let path = place.store.join(format!("shop/images/{}.{}", image.digest, image.kind));
    let path = path.canonicalize().unwrap();
    let mut data = fs::read(&path).unwrap();
    *data.last_mut().unwrap() ^= 1;
    fs::write(&path, data).unwrap();
    path
}

/// A store with two releases, the second one current.
fn two_installed(directory: &Path) -> (Place, Store, [Release; 2]) {
    let place = Place::new(directory);
    let store = place.open();
    let releases = [1, 2].map(|sequence| {
        let data = image(ImageKind::Erofs, sequence, directory);
        Release::new(ImageKind::Erofs, sequence, data)
    });
    releases.iter().for_each(|release| release.install(&store).unwrap());
    (place, store, releases)
}

#[test]
fn an_image_that_was_changed_is_not_mounted_again_and_is_received_anew() {
    in_private_mounts("an_image_that_was_changed", |directory| {
        let (place, store, releases) = two_installed(directory);
        drop(store);
        unmount_below(directory);
        let path = damage(&place, &releases[1]);
        let store = place.open();
        let line = format!(
            "shop v2 is not mounted: {} was changed since it was verified: send the same release \
             again, or fanhost rollback shop; and check this disk and who may write to it",
            path.display()
        );
        assert_eq!(store.take_complaints(), [line]);
        assert!(!place.current().join("version").exists(), "no service starts on it");
        assert_version(&place.root.join("releases").join(releases[0].directory_name()), 1);
        assert_eq!(store.audit_current(&shop()).unwrap(), None, "it was read, and said");
        let error = store.activate(&shop(), releases[1].id()).unwrap_err();
        assert_eq!(error.fault(), Fault::VerifyFailed);
        // It is damaged and not bad: another session brings it, and nobody need force it.
        let record = || store.record(&shop(), &releases[1].id()).unwrap();
        assert_eq!((record().damaged, record().verdict), (true, Verdict::Good));
        let digest = &releases[1].preamble.manifest.image.digest;
        let held = store.holdings(&shop(), &releases[1].id(), digest);
        assert!(held.is_current && !held.is_bad && !held.release, "{held:?}");
        assert!(store.verify_held(&shop(), &releases[1].offer()).unwrap().is_none());
        assert_eq!(store.take_complaints().len(), 1);
        releases[1].install(&store).unwrap();
        assert_version(&place.current(), 2);
        assert_eq!((record().damaged, record().verdict), (false, Verdict::Good));
    });
}

#[test]
fn a_damaged_image_that_services_are_on_is_replaced_by_the_same_release() {
    in_private_mounts("a_damaged_image_that_services_are_on", |directory| {
        let (place, store, releases) = two_installed(directory);
        let former = below(&place.root);
        damage(&place, &releases[1]);
        let audit = store.audit_current(&shop()).unwrap().unwrap();
        let line = audit.complaint().unwrap();
        let end = "was changed since it was verified; services are on it: send the same release \
                   again, or fanhost rollback shop; and check this disk and who may write to it";
        assert!(line.ends_with(end), "{line}");
        let record = || store.record(&shop(), &releases[1].id()).unwrap();
        assert!(record().damaged);
        // What came again is what services find, in the place of the other.
        assert!(store.verify_held(&shop(), &releases[1].offer()).unwrap().is_none());
        releases[1].install(&store).unwrap();
        assert!(!record().damaged);
        assert_version(&place.current(), 2);
        let now = below(&place.root);
        assert_eq!(now.len(), former.len(), "{now:?}");
        assert_ne!(now, former, "another mount");
        let found = store.audit_current(&shop()).unwrap().unwrap();
        assert_eq!(found.is_damaged(), Some(false), "{found:?}");
    });
}

#[test]
fn a_damaged_release_that_is_not_current_is_said_once_and_ends_with_its_bytes_back() {
    in_private_mounts("a_damaged_release_that_is_not_current", |directory| {
        let (place, store, releases) = two_installed(directory);
        drop(store);
        unmount_below(directory);
        let path = damage(&place, &releases[0]);
        let store = place.open();
        let line = format!(
            "shop v1 is not mounted: {} was changed since it was verified: nobody goes back to \
             it, and it goes at a later prune; check this disk and who may write to it",
            path.display()
        );
        assert_eq!(store.take_complaints(), [line]);
        assert_eq!(store.previous_good(&shop()).unwrap(), None);
        drop(store);
        let store = place.open();
        assert_eq!(store.take_complaints(), [""; 0], "said before");
        drop(store);
        damage(&place, &releases[0]);
        let store = place.open();
        assert_eq!(store.take_complaints(), [""; 0]);
        assert_eq!(store.previous_good(&shop()).unwrap(), Some(releases[0].id()), "as it came");
    });
}

#[test]
fn what_is_mounted_is_the_file_that_was_verified_whatever_its_name_leads_to_by_then() {
    in_private_mounts("what_is_mounted_is_the_file_that_was_verified", |directory| {
        for kind in MOUNTED {
            let place = Place::new(&directory.join(kind.as_str()));
            fs::create_dir(directory.join(kind.as_str())).unwrap();
            let store = place.open();
            let release = Release::new(kind, 1, image(kind, 1, directory));
            for attempt in ["received", "held"] {
                let verified = match attempt {
                    "received" => release.receive(&store).unwrap(),
                    _ => store.verify_held(&shop(), &release.offer()).unwrap().unwrap(),
                };
                let kept = verified.path.with_extension("kept");
                fs::rename(&verified.path, &kept).unwrap();
                fs::write(&verified.path, image(kind, 2, directory)).unwrap();
                let path = verified.path.clone();
                let staged = store.stage(&shop(), &release.offer(), verified).unwrap();
                assert_version(&staged.path, 1);
                rustix::mount::unmount(&staged.path, rustix::mount::UnmountFlags::empty()).unwrap();
                fs::rename(&kept, &path).unwrap();
            }
        }
    });
}

#[test]
fn only_kinds_that_the_configuration_names_are_probed_taken_and_mounted() {
    in_private_mounts("only_kinds_that_the_configuration_names", |directory| {
        let place = Place::new(directory);
        Release::new(ImageKind::Ext2, 1, image(ImageKind::Ext2, 1, directory))
            .install(&place.open())
            .unwrap();
        let kinds = [ImageKind::Erofs, ImageKind::Raw];
        let config = AppConfig { kinds: kinds.into_iter().collect(), ..place.config() };
        let store = place.open_as(&config);
        assert_eq!(store.capabilities().kinds, kinds);
        assert_eq!(store.capabilities().kinds_of(&shop()), config.kinds);
        let line = "shop: no ext2 releases here: kinds of [app.shop] allows erofs, raw";
        let notice = format!("{line}, and v1 is one: once unmounted, it is not mounted again");
        assert_eq!(store.take_complaints(), [notice]);
        let ext2 = Release::new(ImageKind::Ext2, 2, image(ImageKind::Ext2, 2, directory));
        let error = store.check(&shop(), &ext2.offer()).unwrap_err();
        assert_eq!((error.fault(), error.to_string().as_str()), (Fault::KindUnsupported, line));
        drop(store);
        unmount_below(directory);
        let store = place.open_as(&config);
        assert_eq!(store.take_complaints(), [line]);
        assert_eq!(below(directory), []);
        Release::new(ImageKind::Erofs, 3, image(ImageKind::Erofs, 3, directory))
            .install(&store)
            .unwrap();
    });
}

#[test]
fn an_ext3_image_is_mounted_as_ext4_without_its_journal() {
    in_private_mounts("an_ext3_image_is_mounted_as_ext4", |directory| {
        image(ImageKind::Ext2, 1, directory);
        let (tree, out) = (directory.join("tree"), directory.join("ext3"));
        let (tree, out) = (tree.to_str().unwrap(), out.to_str().unwrap());
        run("mke2fs", &["-q", "-t", "ext3", "-d", tree, out, "8M"]);
        let place = Place::new(directory);
        let release = Release::new(ImageKind::Ext4, 1, fs::read(out).unwrap());
        release.install(&place.open()).unwrap();
        assert_version(&place.current(), 1);
        let digest = release.preamble.manifest.image.digest;
        let held = place.store.join(format!("shop/images/{digest}.ext4"));
        assert_eq!(fs::read(held).unwrap(), release.image, "mounting changed no byte");
    });
}

#[test]
fn an_image_behind_a_loop_device_is_read_directly_where_the_disk_can() {
    in_private_mounts("an_image_behind_a_loop_device_is_read_directly", |directory| {
        let place = Place::new(directory);
        let release =
            Release::new(ImageKind::Squashfs, 1, image(ImageKind::Squashfs, 1, directory));
        release.install(&place.open()).unwrap();
        let digest = release.preamble.manifest.image.digest;
        let file = place.store.join(format!("shop/images/{digest}.squashfs"));
        let flags = rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::RDONLY;
        let can = rustix::fs::open(file, flags, rustix::fs::Mode::empty()).is_ok();
        let device = below(&place.root)[0].source.file_name().unwrap().to_owned();
        let is = Path::new("/sys/block").join(device).join("loop/dio");
        assert_eq!(fs::read_to_string(is).unwrap(), if can { "1\n" } else { "0\n" });
    });
}

#[test]
fn what_a_start_that_was_killed_left_of_its_probe_is_cleared() {
    in_private_mounts("what_a_start_that_was_killed_left", |directory| {
        let place = Place::new(directory);
        drop(place.open());
        let left = place.store.join("@probe/mounted");
        mount_tmpfs(&left, "size=1M");
        mount_tmpfs(&left, "size=1M");
        let store = place.open();
        assert_eq!(store.capabilities().complaints, [""; 0]);
        assert_eq!((below(&place.store), left.exists()), (vec![], false));
    });
}

/// Inodes in use on the filesystem of a directory.
fn inodes(directory: &Path) -> u64 {
    let facts = rustix::fs::statvfs(directory).unwrap();
    facts.f_files - facts.f_ffree
}

/// What this process has open below a directory.
fn open_below(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    links.filter(|link| link.starts_with(directory)).collect()
}

#[test]
fn activations_leave_no_loop_device_mount_descriptor_or_inode_behind() {
    // Method: two images of each kind, activated in turn as ever new releases; what is in use
    // after the first rounds is what is in use at the end.
    let rounds = if std::env::var_os("FANFARE_TESTS_FULL").is_some() { 500 } else { 40 };
    in_private_mounts("activations_leave_no_loop_device", |directory| {
        let base = directory.join("base");
        mount_tmpfs(&base, "size=256M");
        let place = Place::new(&base);
        let store = place.open_as(&AppConfig {
            policy: Policy { keep: 2, drain_after: Duration::ZERO },
            ..place.config()
        });
        let kinds = [ImageKind::Ext2, ImageKind::Erofs, ImageKind::Squashfs, ImageKind::Tar];
        let images = [1, 2].map(|sequence| {
            kinds.map(|kind| match kind {
                ImageKind::Tar => Release::tar(sequence).image,
                kind => image(kind, sequence, directory),
            })
        });
        let mut after_two_rounds = None;
        for round in 0..rounds {
            let (at, content) = (round % kinds.len(), round / kinds.len() % 2);
            let release = Release::new(kinds[at], round as u64 + 1, images[content][at].clone());
            release.install(&store).unwrap();
            assert_version_of(&place.current(), content);
            if round % 8 == 7 {
                let first = after_two_rounds.get_or_insert_with(|| in_use(&base));
                let is_no_more =
                    || in_use(&base).iter().zip(first.iter()).all(|(now, it)| now <= it);
                let what = || format!("after {}: {:?}, {first:?}", round + 1, in_use(&base));
                assert!(comes_true(is_no_more), "{}", what());
            }
        }
        assert_eq!(store.take_complaints(), [""; 0]);
        drop(store);
        assert_eq!(open_below(&base), [""; 0].map(PathBuf::from));
        unmount_below(&base);
        assert_eq!(loops(&base), [""; 0].map(PathBuf::from));
    });
}

/// Mounts, loop devices, inodes and descriptors below a directory.
fn in_use(base: &Path) -> [u64; 4] {
    let [mounts, loops, open] = [below(base).len(), loops(base).len(), open_below(base).len()];
    [mounts as u64, loops as u64, inodes(base), open as u64]
}

fn assert_version_of(release: &Path, content: usize) {
    assert_eq!(fs::read_to_string(release.join("version")).unwrap(), (content + 1).to_string());
}
