//! The fixed path: a mount of the current release at a path that never changes, `<app root>/live`.
//!
//! For services and containers that cannot follow a link. A switch mounts the new release beneath
//! the old one, where nobody sees it, and takes the old one away: a path is looked up in the one or
//! in the other, never in neither. Whoever has a file of the old one open keeps it.
//!
//! Not here: which release is current. `current` says so, also in this mode, and is switched first;
//! it is what a start goes by after a crash or a reboot. Invariant: once [`App::show_live`] has
//! returned, `live` shows the release that `current` names and nothing lies beneath it.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::wire::Fault;

use super::app::{App, SwitchMode, read_current};
use super::error::{StepError, StoreError};
use super::partial::clean;
use super::probe::mounted_below;
use super::step::Step;

/// The first Linux that mounts beneath a mount.
const LINUX_MIN: (u32, u32) = (6, 5);
/// Name of the directory in which it is tried.
const TRIAL: &str = "@live";

impl App {
    /// Whether this kernel can switch mounts where this app lies, if it is to.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) fn check_live(&self) -> Result<(), StoreError> {
        let directory = self.real_root()?.join(self.layout.unpacking_name()).join(TRIAL);
        // Of a start that was killed here.
        for target in mounted_below(&*self.world, &directory)? {
            self.apply(Step::Uncover { target })?;
        }
        if self.config.switch == SwitchMode::Link {
            return Ok(());
        }
        // The one upon itself the kernel refuses, where mounts are shared.
        let [tree, target] = ["tree", "target"].map(|name| directory.join(name));
        for path in [&tree, &target] {
            self.apply(Step::MakeDirectory { path: path.clone(), mode: 0o700 })?;
        }
        let bind = |is_beneath| {
            let (tree, target) = (tree.clone(), target.clone());
            self.world.apply(&Step::Bind { tree, target, is_beneath }, super::With::Nothing)
        };
        let tried = bind(false).and_then(|()| bind(true));
        for target in mounted_below(&*self.world, &directory)? {
            self.apply(Step::Uncover { target })?;
        }
        clean(&*self.world, &Step::RemoveTree { path: directory });
        tried.map_err(|error| {
            let kernel = rustix::system::uname();
            let reason = unable(&error, &kernel.release().to_string_lossy(), self.layout.root());
            let app = &self.config.app;
            let line = format!(
                "[app.{app}] switch = \"mount\" {reason}; mend that, or set switch = \"link\""
            );
            StoreError::configuration(Fault::SwitchFailed, line)
        })
    }

    /// Has the fixed path show what `current` names, if there is to be such a path.
    pub(super) fn show_live(&self) -> Result<(), StoreError> {
        let link = read_current(&self.layout)?;
        let (Some(link), SwitchMode::Mount) = (link, self.config.switch) else { return Ok(()) };
        let (live, tree) = (self.layout.live(), self.layout.root().join(link));
        if !self.is_shown(&live)? {
            // Without the mount, nobody may take the empty directory for a release.
            self.apply(Step::MakeDirectory { path: live.clone(), mode: 0 })?;
        }
        // A crash between the two steps below left the release that was to be seen beneath.
        let mut mounts = self.mounts_at(&live)?;
        while mounts > 1 {
            self.apply(Step::Uncover { target: live.clone() })?;
            mounts -= 1;
        }
        if mounts == 1 && is_one_tree(&live, &tree)? {
            return Ok(());
        }
        let is_beneath = mounts == 1;
        self.apply(Step::Bind { tree, target: live.clone(), is_beneath })?;
        if is_beneath {
            self.apply(Step::Uncover { target: live })?;
        }
        Ok(())
    }

    /// After a crash, a reboot, or another configuration: the fixed path as it is to be; lines
    /// about what is wrong with it.
    pub(super) fn restore_live(&self) -> Vec<String> {
        let done = match self.config.switch {
            SwitchMode::Mount => self.restore_shown(),
            SwitchMode::Link => self.remove_live(),
        };
        done.unwrap_or_else(|error| Some(error.to_string())).into_iter().collect()
    }

    fn restore_shown(&self) -> Result<Option<String>, StoreError> {
        let Some(link) = read_current(&self.layout)? else { return Ok(None) };
        let (live, tree) = (self.layout.live(), self.layout.root().join(&link));
        if !self.is_complete(&tree)? {
            let shown =
                if self.is_shown(&live)? { "still shows a former one" } else { "is closed" };
            let (live, tree) = (live.display(), tree.display());
            return Ok(Some(format!("{live} {shown}: the current release is not at {tree}")));
        }
        self.show_live().map(|()| None)
    }

    /// Whether a tree can be shown: a mounted release, or one that was unpacked. A mount point
    /// without its mount is closed to everybody.
    fn is_complete(&self, tree: &Path) -> Result<bool, StoreError> {
        let is_open = tree.metadata().is_ok_and(|facts| facts.permissions().mode() & 0o777 != 0);
        Ok(self.is_mounted(tree)? || is_open)
    }

    fn remove_live(&self) -> Result<Option<String>, StoreError> {
        let live = self.layout.live();
        let mounts = self.mounts_at(&live)?;
        let is_closed = |facts: Metadata| facts.is_dir() && facts.permissions().mode() & 0o777 == 0;
        if mounts == 0 && !live.symlink_metadata().is_ok_and(is_closed) {
            return Ok(None);
        }
        for _ in 0..mounts {
            self.apply(Step::Uncover { target: live.clone() })?;
        }
        self.apply(Step::Remove { path: live.clone() })?;
        let app = &self.config.app;
        Ok(Some(format!("{} is removed: [app.{app}] switch is \"link\" now", live.display())))
    }

    fn is_shown(&self, live: &Path) -> Result<bool, StoreError> {
        Ok(self.mounts_at(live)? > 0)
    }

    fn mounts_at(&self, live: &Path) -> Result<usize, StoreError> {
        let real = self.real_root()?.join(live.file_name().unwrap_or_default());
        let at = mounted_below(&*self.world, &real)?;
        Ok(at.iter().filter(|target| **target == real).count())
    }

    /// The app's root as mount tables name it.
    fn real_root(&self) -> Result<PathBuf, StoreError> {
        let root = self.layout.root();
        root.canonicalize().map_err(|error| StoreError::of_read(root.display(), &error))
    }
}

/// Why mounts cannot be switched below `root`, on a kernel of this release.
fn unable(error: &StepError, release: &str, root: &Path) -> String {
    match error {
        StepError::Io(error) if error.kind() == ErrorKind::PermissionDenied => "needs root".into(),
        _ if version(release) < LINUX_MIN => {
            let (major, minor) = LINUX_MIN;
            format!("needs Linux {major}.{minor}, this is {release}")
        }
        error => format!("cannot be done in {}: {error}", root.display()),
    }
}

/// Whether two paths show one directory.
fn is_one_tree(one: &Path, other: &Path) -> Result<bool, StoreError> {
    let file = |path: &Path| {
        let facts = path.metadata();
        let facts = facts.map_err(|error| StoreError::of_read(path.display(), &error))?;
        Ok((facts.dev(), facts.ino()))
    };
    Ok(file(one)? == file(other)?)
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> (u32, u32) {
    let digits = |part: &str| {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().unwrap_or(0)
    };
    let mut parts = release.split('.').map(digits);
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_by_their_first_two_numbers() {
        for (release, expected) in
            [("6.5.0", (6, 5)), ("6.18.44-fc", (6, 18)), ("5.15", (5, 15)), ("7-rc1", (7, 0))]
        {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("6.1.0-28-amd64") < LINUX_MIN && version("6.10.1") >= LINUX_MIN);
    }

    #[test]
    fn an_older_kernel_a_lack_of_rights_and_any_other_reason_are_told_apart() {
        let told = |errno: i32, release| {
            let error = StepError::Io(std::io::Error::from_raw_os_error(errno));
            unable(&error, release, Path::new("/srv/shop"))
        };
        assert_eq!(told(22, "6.1.0-28"), "needs Linux 6.5, this is 6.1.0-28");
        assert_eq!(told(1, "6.1.0-28"), "needs root");
        let line = "cannot be done in /srv/shop: Invalid argument (os error 22)";
        assert_eq!(told(22, "6.18.0"), line);
    }
}
