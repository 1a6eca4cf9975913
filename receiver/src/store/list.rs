//! What the store holds, read without changing or locking anything.
//!
//! Not here: printing. A list made beside a running daemon may be a moment old, never half.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use common::clock::unix_seconds;
use common::digest::Digest;
use common::id::{AppName, ImageKind, Label, ReleaseId};

use super::app::{AppConfig, Known, all_known, is_whole, read_current, read_state};
use super::audit::{Audit, Condition, Hashed, audit as audit_one};
use super::error::StoreError;
use super::layout::Layout;
use super::prune::see;
use super::record::{Held, Record};
use super::retention::{Keep, reasons};
use super::state::AppState;
use super::table::{Mounted, mount_table};
use super::world::users;

/// What is known of one release on this host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReleaseFacts {
    /// What it is a release of.
    pub app: AppName,
    /// What people call it.
    pub label: Label,
    /// Its identity.
    pub id: ReleaseId,
    /// What its image is.
    pub kind: ImageKind,
    /// Length of its image.
    pub bytes: u64,
    /// Epoch of its sequence.
    pub epoch: u32,
    /// Its sequence.
    pub sequence: u64,
    /// When it was packed, in Unix seconds.
    pub created: u64,
    /// Where it lies when it is staged.
    pub path: PathBuf,
    /// Whether `current` points at it.
    pub is_current: bool,
    /// Whether it is the good release that was active last before the current one.
    pub is_previous: bool,
    /// Whether it could become current now.
    pub is_staged: bool,
    /// Whether it is mounted.
    pub is_mounted: bool,
    /// Whether its image is held.
    pub has_image: bool,
    /// What is remembered of it.
    #[serde(flatten)]
    pub record: Record,
    /// Why it is kept; without a reason it goes at the next prune.
    pub kept: Vec<Keep>,
}

/// A verified image that no manifest in the store names: it was finished just before a crash, or
/// its manifest is gone. A send of a release with this image needs no data.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SpareImage {
    /// The app that it was received for.
    pub app: AppName,
    /// Its digest.
    pub image: Digest,
    /// What it is.
    pub kind: ImageKind,
    /// Its length.
    pub bytes: u64,
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Inventory {
    /// Releases, newest first within an app.
    pub releases: Vec<ReleaseFacts>,
    /// Images of no release.
    pub images: Vec<SpareImage>,
    /// Apps that a local rollback holds.
    pub held: Vec<HeldApp>,
}

/// An app that stays where its administrator went back to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HeldApp {
    /// Which.
    pub app: AppName,
    /// Since when, and what from.
    #[serde(flatten)]
    pub hold: Held,
}

/// The store's real path and the apps that it holds something of; `config_of` says what holds for
/// an app. Where services see it is what the state file says, where there is one.
pub(super) fn apps(
    root: &Path,
    config_of: impl Fn(&Path, &AppName) -> AppConfig,
) -> Result<(PathBuf, Vec<AppConfig>), StoreError> {
    let unreadable = |error: &io::Error| StoreError::of_read(root.display(), error);
    let root = root.canonicalize().map_err(|error| unreadable(&error))?;
    let entries = std::fs::read_dir(&root).map_err(|error| unreadable(&error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&error))?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
        }
    }
    names.sort();
    let mut apps = Vec::new();
    for name in names {
        let config: AppConfig = config_of(&root, &name);
        let state = read_state(&Layout::new(&root, &name, &config.root))?;
        let seen_at = state.map(|state| state.root);
        apps.push(AppConfig { root: seen_at.unwrap_or_else(|| config.root.clone()), ..config });
    }
    Ok((root, apps))
}

/// What lies in the store at `root`.
pub(super) fn inspect(
    root: &Path,
    config_of: impl Fn(&Path, &AppName) -> AppConfig,
) -> Result<Inventory, StoreError> {
    let (root, apps) = apps(root, config_of)?;
    let mounted = mount_table();
    let mut inventory = Inventory::default();
    for config in apps {
        let app = &config.app;
        let layout = Layout::new(&root, app, &config.root);
        inventory.releases.extend(releases(&layout, &config, &mounted, Users::Asked)?);
        inventory.images.extend(spare_images(&layout, app)?);
        let hold = read_state(&layout)?.and_then(|state| state.held);
        inventory.held.extend(hold.map(|hold| HeldApp { app: app.clone(), hold }));
    }
    Ok(inventory)
}

/// Hashes what lies in the store at `root`, and shows what is found.
pub(super) fn audit(
    root: &Path,
    config_of: impl Fn(&Path, &AppName) -> AppConfig,
    app: Option<&AppName>,
    text: Option<&str>,
    show: &mut dyn FnMut(Audit),
) -> Result<(), StoreError> {
    let (root, apps) = apps(root, config_of)?;
    if let Some(app) = app.filter(|app| apps.iter().all(|config| config.app != **app)) {
        return Err(StoreError::asked(format!("no release of {app} lies in this store")));
    }
    let mut hashed = Hashed::default();
    let mounted = mount_table().map_err(|error| StoreError::of_read("the mount table", &error))?;
    for config in apps.iter().filter(|config| app.is_none_or(|app| config.app == *app)) {
        let layout = Layout::new(&root, &config.app, &config.root);
        let (mut all, _) = all_known(&layout)?;
        if let Some(text) = text {
            let (id, _) = find(&config.app, &all, text)?;
            all.retain(|known| known.id == id);
        }
        let state = read_state(&layout)?;
        for known in &all {
            let seen = Condition {
                is_staged: facts(&layout, &config.app, known, &None, &mounted).is_staged,
                was_damaged: state.as_ref().is_some_and(|state| state.record(&known.id).damaged),
            };
            show(audit_one(&config.app, &layout, known, seen, &mut hashed)?);
        }
    }
    Ok(())
}

/// The release that a person means by its label, its id, or the beginning of that.
pub(super) fn find(
    app: &AppName,
    all: &[Known],
    text: &str,
) -> Result<(ReleaseId, Label), StoreError> {
    let is_meant = |known: &&Known| {
        known.manifest.label.as_str() == text || known.id.to_string().starts_with(text)
    };
    let name = |known: &Known| format!("{} ({})", known.manifest.label, known.id.0.short());
    let names = |all: Vec<&Known>| all.into_iter().map(name).collect::<Vec<_>>().join(", ");
    match all.iter().filter(is_meant).collect::<Vec<_>>()[..] {
        [known] => Ok((known.id, known.manifest.label.clone())),
        [] => {
            let there = match all.is_empty() {
                true => "there are none".to_owned(),
                false => format!("there are: {}", names(all.iter().collect())),
            };
            Err(StoreError::asked(format!("{app} has no release {text} ({there})")))
        }
        ref several => {
            let several = names(several.to_vec());
            Err(StoreError::asked(format!("{app} {text} may be any of: {several}")))
        }
    }
}

/// Images that no manifest names. What else lies beside them is not the store's.
fn spare_images(layout: &Layout, app: &AppName) -> Result<Vec<SpareImage>, StoreError> {
    let (all, _) = all_known(layout)?;
    let named: BTreeSet<Digest> = all.iter().map(|known| known.manifest.image.digest).collect();
    let directory = layout.images();
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::of_read(directory.display(), &error)),
    };
    let images = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name();
        let (digest, kind) = name.to_str()?.split_once('.')?;
        let image = digest.parse().ok().filter(|image| !named.contains(image))?;
        let kind = ImageKind::ALL.into_iter().find(|it| it.as_str() == kind)?;
        Some(SpareImage { app: app.clone(), image, kind, bytes: entry.metadata().ok()?.len() })
    });
    let mut images: Vec<SpareImage> = images.collect();
    images.sort_by_key(|image| image.image);
    Ok(images)
}

/// Whether it is asked who uses releases, which takes a look at every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// It is.
    Asked,
    /// It is not: no use is a reason to keep one.
    Unasked,
}

/// Every release of one app, newest first.
pub(super) fn releases(
    layout: &Layout,
    config: &AppConfig,
    mounted: &io::Result<Vec<Mounted>>,
    asked: Users,
) -> Result<Vec<ReleaseFacts>, StoreError> {
    let mounted = mounted.as_ref();
    let mounted = mounted.map_err(|error| StoreError::of_read("the mount table", error))?;
    let state = read_state(layout)?;
    let link = read_current(layout).unwrap_or(None);
    let (all, _) = all_known(layout)?;
    let state = state.unwrap_or_else(|| AppState::new(layout.root().to_path_buf()));
    let whole = all.iter().filter(|known| is_whole(layout, known));
    let previous = state.previous_good(whole.map(|known| &known.id));
    let place = |known: &Known| layout.release(&known.id, &known.manifest.label);
    let places: Vec<PathBuf> = all.iter().map(place).collect();
    let users = match asked {
        Users::Asked => users(&places).map_err(|error| StoreError::of_read("/proc", &error))?,
        Users::Unasked => vec![None; places.len()],
    };
    let kept = reasons(&see(layout, &all, users), &state, config.policy, unix_seconds());
    let facts = all.iter().zip(kept).map(|(known, kept)| ReleaseFacts {
        is_previous: previous == Some(known.id),
        record: state.record(&known.id),
        kept,
        ..facts(layout, &config.app, known, &link, mounted)
    });
    Ok(facts.collect())
}

fn facts(
    layout: &Layout,
    app: &AppName,
    known: &Known,
    link: &Option<PathBuf>,
    mounted: &[Mounted],
) -> ReleaseFacts {
    let Known { id, manifest } = known;
    let path = layout.release(id, &manifest.label);
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
    let is_mounted = mounted.iter().any(|mount| mount.target == real);
    let image = &manifest.image;
    ReleaseFacts {
        app: app.clone(),
        label: manifest.label.clone(),
        id: *id,
        kind: image.kind,
        bytes: image.bytes,
        epoch: manifest.epoch,
        sequence: manifest.sequence,
        created: manifest.created,
        is_current: link.as_ref() == Some(&Layout::link_text(id, &manifest.label)),
        is_previous: false,
        is_staged: if image.kind.is_mounted() { is_mounted } else { path.is_dir() },
        is_mounted,
        has_image: layout.image(&image.digest, image.kind).is_file(),
        record: Record::default(),
        kept: Vec::new(),
        path,
    }
}
