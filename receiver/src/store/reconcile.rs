//! What a start finds after a crash, a power cut or a reboot, and how it is put right.
//!
//! Not here: the unfinished image itself, which is checked when somebody begins it again.
//! Invariant: whatever step was the last one done, after [`App::reconcile`] nothing half remains
//! under any name that services or a later session look at, and `current` resolves if it did.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use common::id::{AppName, ReleaseId};
use common::wire::Fault;

use super::app::{App, Known, is_whole, read_current, temporary};
use super::audit::remedy;
use super::error::StoreError;
use super::layout::{Layout, PREPARED_LINK};
use super::prune::Need;
use super::record::Verdict;
use super::state::{AppState, Health};
use super::step::Step;
use super::table::orphan_loops;

impl App {
    /// Makes the app's directories, removes what a crash left, mounts what a reboot unmounted;
    /// lines about what stays wrong.
    ///
    /// `is_inside`: services look for the app's root below the store.
    pub(super) fn reconcile(&self, is_inside: bool) -> Result<Vec<String>, StoreError> {
        self.make_directories(is_inside)?;
        self.return_unadopted()?;
        self.check_live()?;
        self.remove_half()?;
        let (all, damaged) = self.all_known()?;
        let mut lines: Vec<_> = damaged.iter().map(StoreError::to_string).collect();
        lines.extend(self.closed_directory().filter(|_| is_inside));
        let all = self.remove_orphans(all, damaged.is_empty())?;
        for device in orphan_loops(&self.layout.images()) {
            let detached = self.clear("a loop device without a mount", Step::Detach { device });
            lines.extend(detached.err().map(|error| error.to_string()));
        }
        let conditions = self.mount_all(&all, &mut lines)?;
        lines.extend(self.follow_link(&all, damaged.is_empty(), &conditions)?);
        lines.extend(self.restore_live());
        Ok(lines)
    }

    fn make_directories(&self, is_inside: bool) -> Result<(), StoreError> {
        // Where services look below the store, they must be able to pass through it, not list it.
        // The same for a user who receives images there.
        let mode = if is_inside || self.tenant.is_some() { 0o711 } else { 0o700 };
        self.apply(Step::MakeDirectory { path: self.layout.directory().to_path_buf(), mode })?;
        if self.tenant.is_some() {
            // One process made them, perhaps, and left nobody through.
            for path in [self.layout.directory().parent(), Some(self.layout.directory())] {
                self.let_through(path.expect("an app lies in a store"))?;
            }
        }
        let private = [self.layout.incoming(), self.layout.images(), self.layout.manifests()];
        let public = [self.layout.root().to_path_buf(), self.layout.releases()];
        for path in public {
            self.apply(Step::MakeDirectory { path, mode: 0o755 })?;
        }
        for path in private.into_iter().chain([self.layout.unpacking()]) {
            self.apply(Step::MakeDirectory { path, mode: 0o700 })?;
        }
        self.assign_incoming()
    }

    /// Has everybody pass through a directory, which nobody can list for that.
    fn let_through(&self, path: &Path) -> Result<(), StoreError> {
        let facts = path.metadata().map_err(|error| StoreError::of_read(path.display(), &error))?;
        let mode = facts.permissions().mode() & 0o7777;
        match mode & 0o011 {
            0o011 => Ok(()),
            _ => self.apply(Step::SetMode { path: path.to_path_buf(), mode: mode | 0o011 }),
        }
    }

    /// A directory made by somebody else, through which services cannot reach the app's root.
    fn closed_directory(&self) -> Option<String> {
        let directory = self.layout.directory();
        let closed = [directory.parent()?, directory].into_iter().find(|directory| {
            directory.metadata().is_ok_and(|facts| facts.permissions().mode() & 0o001 == 0)
        })?;
        let (path, app) = (closed.display(), &self.config.app);
        Some(format!(
            "services cannot reach {app} below {path}: chmod 711 {path}, or give {app} another root"
        ))
    }

    /// Half trees, prepared links, files under temporary names.
    fn remove_half(&self) -> Result<(), StoreError> {
        let all = list(&self.layout.unpacking())?;
        let (trash, half): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| Layout::is_trash(it));
        for path in trash {
            let (app, path) = (&self.config.app, path.display());
            self.say(format!("{app}: found {path} of an interrupted run: it is removed by and by"));
        }
        for from in half {
            // Services that wait for their release do not wait until it is gone.
            let to = self.unused_trash(&from);
            self.clear("a half tree", Step::Rename { from, to })?;
        }
        for path in list(self.layout.root())? {
            if file_name(&path).starts_with(PREPARED_LINK) {
                self.clear("a link that was not switched to", Step::Remove { path })?;
            }
        }
        let mut temporaries = list(&self.layout.manifests())?;
        temporaries.retain(|path| file_name(path).ends_with(".new"));
        temporaries.push(temporary(&self.layout.state()));
        for path in temporaries.into_iter().filter(|path| path.exists()) {
            self.clear("a half file", Step::Remove { path })?;
        }
        Ok(())
    }

    /// Does a step that puts something right, and remembers to say so.
    pub(super) fn clear(&self, found: &str, step: Step) -> Result<(), StoreError> {
        let line = format!("{}: found {found} of an interrupted run: {step}", self.config.app);
        self.apply(step)?;
        self.say(line);
        Ok(())
    }

    fn say(&self, line: String) {
        self.cleaned.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// What belongs to nothing any more; the releases that are left.
    fn remove_orphans(&self, all: Vec<Known>, is_all: bool) -> Result<Vec<Known>, StoreError> {
        for path in list(&self.layout.incoming())? {
            let is_lonely = path.extension().is_some_and(|extension| extension == "journal")
                && !path.with_extension("part").exists();
            if is_lonely {
                self.clear("a journal without its image", Step::Remove { path })?;
            }
        }
        let (all, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|known| {
            let image = &known.manifest.image;
            self.layout.release(&known.id, &known.manifest.label).exists()
                || self.layout.image(&image.digest, image.kind).exists()
        });
        for known in gone {
            self.apply(Step::Remove { path: self.layout.signatures(&known.id) })?;
            let path = self.layout.manifest(&known.id);
            self.clear("a manifest without its image and its tree", Step::Remove { path })?;
        }
        for path in self.abandoned(&all, is_all, Need::Tidiness)? {
            self.apply(Step::Remove { path })?;
        }
        Ok(all)
    }

    /// Mounts every staged release that a reboot unmounted, the current one first; those whose
    /// images were read for that, and whether they are damaged.
    fn mount_all(
        &self,
        all: &[Known],
        lines: &mut Vec<String>,
    ) -> Result<Vec<(ReleaseId, bool)>, StoreError> {
        let state = self.lock().clone();
        let mut conditions = Vec::new();
        let mut order: Vec<&Known> = all.iter().collect();
        order.sort_by_key(|known| Some(known.id) != state.current);
        for known in order {
            let target = self.layout.release(&known.id, &known.manifest.label);
            let is_due = known.manifest.image.kind.is_mounted() && target.is_dir();
            if !is_due {
                continue;
            }
            if !self.is_mounted(&target)? {
                match self.mount(known) {
                    Ok(()) => conditions.push((known.id, false)),
                    Err(error) => {
                        conditions.extend(error.is_damage().then_some((known.id, true)));
                        lines.extend(self.why_unmounted(&state, known, &error));
                    }
                }
            } else if let Err(error) = self.allow(known.manifest.image.kind) {
                lines.push(format!(
                    "{error}, and {} is one: once unmounted, it is not mounted again",
                    known.manifest.label
                ));
            }
        }
        Ok(conditions)
    }

    /// What to say of a release that could not be mounted: of damage, what to do; once, where
    /// services do without it.
    fn why_unmounted(&self, state: &AppState, known: &Known, error: &StoreError) -> Option<String> {
        if !error.is_damage() {
            return Some(error.to_string());
        }
        let is_current = state.current == Some(known.id);
        let is_news = is_current || !state.record(&known.id).damaged;
        is_news.then(|| format!("{error}: {}", remedy(&self.config.app, is_current)))
    }

    /// After a crash between the switch and the state file, the link is right.
    ///
    /// `is_all`: no manifest is unreadable, so no other release can be here. `conditions`: which
    /// releases were found damaged, or not.
    fn follow_link(
        &self,
        all: &[Known],
        is_all: bool,
        conditions: &[(ReleaseId, bool)],
    ) -> Result<Vec<String>, StoreError> {
        let mut state = self.lock();
        let link = match read_current(&self.layout) {
            Ok(link) => link,
            // Said at every start; refused when somebody wants to switch.
            Err(error) if error.fault() == Fault::SwitchFailed => {
                return Ok(vec![error.to_string()]);
            }
            Err(error) => return Err(error),
        };
        let mut next = state.clone();
        next.root.clone_from(&self.config.root);
        let mut lines = Vec::new();
        if let Some(link) = link {
            let is_target =
                |known: &&Known| Layout::link_text(&known.id, &known.manifest.label) == link;
            match all.iter().find(is_target) {
                Some(known) => self.follow(&mut next, known),
                None => lines.push(foreign_link(&self.config.app, &self.layout, &link)),
            }
        } else {
            next.current = None;
        }
        self.take_over(&mut next, all);
        for (id, damaged) in conditions {
            next.note_condition(*id, *damaged);
        }
        if is_all {
            let held = all.iter().map(|known| known.id).collect();
            next.mend(&held, self.world.unix_seconds());
        }
        if next != *state || !self.layout.state().exists() {
            self.save_state(&next)?;
            *state = next;
        }
        Ok(lines)
    }
}

impl App {
    /// `current` points at `known`; where the state file says otherwise, a crash came between.
    fn follow(&self, next: &mut AppState, known: &Known) {
        if next.held.as_ref().is_some_and(|hold| hold.from == known.id) {
            // The crash came before the switch back.
            next.held = None;
        }
        if next.current == Some(known.id) {
            // The state file is right.
        } else if next.held.as_ref().is_some_and(|hold| hold.stands_against(known.rank())) {
            next.switch_back(known.id, self.world.unix_seconds());
        } else {
            next.held = None;
            let health = match next.trial == Some(known.id) {
                true => Health::Asked,
                false => Health::Assumed,
            };
            next.switch_to(known.id, health, self.world.unix_seconds());
        }
        next.trial = next.trial.filter(|trial| *trial == known.id);
    }

    /// Releases that nothing is remembered of, from a former version or because the state file was
    /// lost: those that are not newer than the current one may be gone back to.
    fn take_over(&self, next: &mut AppState, all: &[Known]) {
        let current = all.iter().find(|known| Some(known.id) == next.current).map(Known::rank);
        for known in all.iter().filter(|known| is_whole(&self.layout, known)) {
            if !next.releases.contains_key(&known.id)
                && current.is_some_and(|current| known.rank() <= current)
            {
                next.judge(known.id, Verdict::Good);
            }
        }
    }
}

fn foreign_link(app: &AppName, layout: &Layout, link: &Path) -> String {
    format!(
        "{app}: {} points at {}, which is no release of this store",
        layout.current().display(),
        link.display()
    )
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// The entries of a directory in a fixed order.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect();
    let entries: std::io::Result<Vec<PathBuf>> = read();
    let mut entries = entries.map_err(|error| StoreError::of_read(directory.display(), &error))?;
    entries.sort();
    Ok(entries)
}
