//! What the store holds, read without changing or locking anything.
//!
//! Not here: printing. A list made beside a running daemon may be a moment old, never half.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use common::digest::Digest;
use common::id::{AppName, ImageKind, Label, ReleaseId};

use super::app::{Known, all_known, is_whole, read_current, read_state};
use super::error::StoreError;
use super::layout::Layout;
use super::record::Record;
use super::state::AppState;
use super::table::{Mounted, mount_table};

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
}

/// What lies in the store at `root`; `root_of` says where services see an app whose state file,
/// which would say so, is not there.
pub(super) fn inspect(
    root: &Path,
    root_of: impl Fn(&Path, &AppName) -> PathBuf,
) -> Result<Inventory, StoreError> {
    let unreadable = |error: &io::Error| StoreError::of_read(root.display(), error);
    let root = root.canonicalize().map_err(|error| unreadable(&error))?;
    let entries = std::fs::read_dir(&root).map_err(|error| unreadable(&error))?;
    let mut apps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let name = entry.file_name();
        if !entry.path().is_dir() {
            continue;
        }
        apps.extend(name.to_str().and_then(|name| name.parse::<AppName>().ok()));
    }
    apps.sort();
    let mounted = mount_table();
    let mut inventory = Inventory::default();
    for app in apps {
        let root_of_app = root_of(&root, &app);
        let state = read_state(&Layout::new(&root, &app, &root_of_app))?;
        let layout = Layout::new(&root, &app, state.as_ref().map_or(&root_of_app, |it| &it.root));
        let held = releases(&layout, &app, &mounted)?;
        inventory.images.extend(spare_images(&layout, &app)?);
        inventory.releases.extend(held);
    }
    Ok(inventory)
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

/// Every release of one app, newest first.
pub(super) fn releases(
    layout: &Layout,
    app: &AppName,
    mounted: &io::Result<Vec<Mounted>>,
) -> Result<Vec<ReleaseFacts>, StoreError> {
    let mounted = mounted.as_ref();
    let mounted = mounted.map_err(|error| StoreError::of_read("the mount table", error))?;
    let state = read_state(layout)?;
    let link = read_current(layout).unwrap_or(None);
    let (all, _) = all_known(layout)?;
    let state = state.unwrap_or_else(|| AppState::new(layout.root().to_path_buf()));
    let whole = all.iter().filter(|known| is_whole(layout, known));
    let previous = state.previous_good(whole.map(|known| &known.id));
    let facts = all.iter().map(|known| ReleaseFacts {
        is_previous: previous == Some(known.id),
        record: state.record(&known.id),
        ..facts(layout, app, known, &link, mounted)
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
        path,
    }
}
