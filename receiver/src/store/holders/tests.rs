//! Real processes that use real releases. All need root.

#![expect(clippy::disallowed_methods, reason = "tests open files and start processes")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use common::id::ImageKind;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};

use super::{Holder, How, holders, in_use};
use crate::store::tests::fixture::{
    Place, Release, image, in_private_mounts, mount_tmpfs, unmount_below,
};
use crate::store::{AppConfig, Policy};

/// A process that is ended with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn holders_of(path: &Path) -> Vec<Holder> {
    let census = holders(&[path]).unwrap();
    assert_eq!(census.unseen, 0);
    census.holders.into_iter().next().unwrap()
}

/// A release of this kind, installed; where it lies.
fn installed(kind: ImageKind, place: &Place, directory: &Path) -> PathBuf {
    let release = match kind {
        ImageKind::Tar => Release::tar(1),
        kind => Release::new(kind, 1, image(kind, 1, directory)),
    };
    release.install(&place.open()).unwrap();
    place.root.join("releases").join(release.directory_name())
}

fn ways(holder: &Holder) -> Vec<(How, usize)> {
    holder.holds.iter().map(|hold| (hold.how, hold.count)).collect()
}

#[test]
fn a_process_is_named_with_all_that_it_has_of_a_release() {
    in_private_mounts("a_process_is_named_with_all_that_it_has", |directory| {
        for kind in [ImageKind::Erofs, ImageKind::Squashfs, ImageKind::Tar] {
            let base = directory.join(kind.as_str());
            std::fs::create_dir(&base).unwrap();
            let path = installed(kind, &Place::new(&base), directory);
            assert_eq!(holders_of(&path), [], "{kind}");
            let files =
                [0, 1].map(|n| File::open(path.join(format!("directory/file{n}"))).unwrap());
            let [one, two] = files;
            let mut command = Command::new("sleep");
            command.arg("1000").current_dir(path.join("directory")).stdin(one).stdout(two);
            let sleeper = Sleeper::start(&mut command);
            drop(command);
            let held = holders_of(&path);
            assert_eq!(held.len(), 1, "{kind}: {held:?}");
            assert_eq!((held[0].pid, held[0].command.as_str()), (Some(sleeper.id()), "sleep 1000"));
            assert_eq!(ways(&held[0]), [(How::Cwd, 1), (How::File, 2)], "{kind}");
            assert_eq!(held[0].holds[0].path, path.join("directory"));
            assert!(held[0].age_seconds.unwrap() < 60);
            let line = in_use(&held).unwrap();
            let start = format!("in use by sleep 1000 (process {}", sleeper.id());
            assert!(
                line.starts_with(&start) && line.ends_with("current directory, 2 files)"),
                "{line}"
            );
            drop(sleeper);
            assert_eq!(in_use(&holders_of(&path)), None);
        }
    });
}

#[test]
fn a_private_mount_namespace_is_named_by_its_first_process_and_one_that_follows_is_not() {
    in_private_mounts("a_private_mount_namespace_is_named", |directory| {
        // Below a shared mount, as on a host under systemd.
        let shared = directory.join("shared");
        mount_tmpfs(&shared, "size=64M");
        mount_change(&shared, MountPropagationFlags::SHARED).unwrap();
        let path = installed(ImageKind::Erofs, &Place::new(&shared), directory);
        let unshare = |propagation: &str| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", propagation, "sleep", "1000"]);
            let sleeper = Sleeper::start(&mut command);
            wait_for_command(sleeper.id(), b"sleep\x001000\0");
            sleeper
        };
        let follower = unshare("slave");
        assert_eq!(holders_of(&path), [], "it is unmounted there as well");
        drop(follower);
        // A container whose root follows the host's, and that was given the release by itself.
        let script = format!("mount --bind {} $0 && exec sleep 1000", path.display());
        let elsewhere = shared.join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave", "sh", "-c", &script]).arg(&elsewhere);
        let container = Sleeper::start(&mut command);
        wait_for_command(container.id(), b"sleep\x001000\0");
        let held = holders_of(&path);
        assert_eq!((held.len(), held[0].pid), (1, Some(container.id())), "{held:?}");
        assert_eq!(held[0].holds[0].path, elsewhere);
        drop(container);
        let keeper = unshare("private");
        let held = holders_of(&path);
        assert_eq!(held.len(), 1, "{held:?}");
        assert_eq!(
            (held[0].pid, ways(&held[0])),
            (Some(keeper.id()), vec![(How::MountNamespace, 1)])
        );
        assert_eq!(held[0].holds[0].path, path);
        assert!(in_use(&held).unwrap().ends_with("mount namespace of 1 process)"));
        let place = Place::new(&shared);
        let policy = Policy { keep: 2, ..place.config().policy };
        let store = place.open_as(&AppConfig { policy, ..place.config() });
        for sequence in [2, 3] {
            let data = image(ImageKind::Erofs, sequence, directory);
            Release::new(ImageKind::Erofs, sequence, data).install(&store).unwrap();
        }
        let lines = store.plan_prune(&"shop".parse().unwrap()).unwrap().in_use();
        let line = format!("shop v1 is kept: in use by sleep 1000 (process {}", keeper.id());
        assert!(lines.len() == 1 && lines[0].starts_with(&line), "{lines:?}");
        assert!(path.join("version").is_file() && place.names("images").len() == 3);
        // Also when somebody unmounted it here: the image is still in use.
        unmount_below(&shared);
        let after = holders_of(&path);
        assert_eq!((after[0].pid, &after[0].holds), (held[0].pid, &held[0].holds));
    });
}

fn wait_for_command(process: u32, command: &[u8]) {
    let path = format!("/proc/{process}/cmdline");
    for _ in 0..500 {
        if std::fs::read(&path).unwrap() == command {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{path} never was {}", command.escape_ascii());
}

#[test]
fn a_file_on_a_mount_that_is_gone_still_counts_and_so_does_a_mount_elsewhere() {
    in_private_mounts("a_file_on_a_mount_that_is_gone", |directory| {
        for kind in [ImageKind::Erofs, ImageKind::Tar] {
            let base = directory.join(kind.as_str());
            std::fs::create_dir(&base).unwrap();
            let path = installed(kind, &Place::new(&base), directory);
            let elsewhere = base.join("elsewhere");
            std::fs::create_dir(&elsewhere).unwrap();
            mount_bind(&path, &elsewhere).unwrap();
            let held = holders_of(&path);
            assert_eq!((held.len(), held[0].pid), (1, None), "{kind}: {held:?}");
            let line = format!("mounted at {}", elsewhere.display());
            assert_eq!(in_use(&held), Some(line));
            let open = File::open(elsewhere.join("directory/file3")).unwrap();
            unmount(&elsewhere, UnmountFlags::DETACH).unwrap();
            let held = holders_of(&path);
            assert_eq!(held.len(), 1, "{kind}: {held:?}");
            assert_eq!(held[0].pid, Some(std::process::id()));
            assert_eq!(ways(&held[0]), [(How::File, 1)]);
            drop(open);
            assert_eq!(holders_of(&path), [], "{kind}");
        }
    });
}
