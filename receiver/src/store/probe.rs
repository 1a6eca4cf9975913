//! What this host can mount, found by mounting.
//!
//! Not here: tar and raw, which need nothing. /proc/filesystems would be a guess: it lists neither
//! modules that the kernel loads on demand nor the permission to mount. So a tiny image of each
//! kind is written into the store and mounted, through the same steps as a release.
//!
//! The images hold one file, `fanfare`, and are 60 KiB together before compression; made by
//! `mke2fs -q -t ext2|ext4 -b 1024 -N 16 -m 0 -d TREE`, `mkfs.erofs`, `mksquashfs`.

#![expect(clippy::disallowed_methods, reason = "opens the images that it mounts")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use common::id::{AppName, ImageKind};
use common::wire::KindSet;

use super::error::{StepError, StoreError};
use super::partial::clean;
use super::step::Step;
use super::world::{With, World};

/// Bytes of the largest of the images, unpacked.
const IMAGE_BYTES_MAX: usize = 1 << 20;

/// A tiny image of each kind that is mounted, compressed.
const IMAGES: [(ImageKind, &[u8]); 4] = [
    (ImageKind::Ext2, include_bytes!("probe/ext2.img.zst")),
    (ImageKind::Ext4, include_bytes!("probe/ext4.img.zst")),
    (ImageKind::Erofs, include_bytes!("probe/erofs.img.zst")),
    (ImageKind::Squashfs, include_bytes!("probe/squashfs.img.zst")),
];

/// What a host can make of images.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// The kinds that it can stage.
    pub kinds: Vec<ImageKind>,
    /// One line for each reason why it cannot stage the others.
    pub complaints: Vec<String>,
    /// The kinds that the configuration allows each app.
    pub allowed: BTreeMap<AppName, KindSet>,
}

impl Capabilities {
    /// The kinds of which releases of an app can be staged.
    pub fn kinds_of(&self, app: &AppName) -> KindSet {
        self.kinds.iter().copied().filter(|kind| self.check(app, *kind).is_ok()).collect()
    }

    /// Whether a release of an app may be of a kind.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn check(&self, app: &AppName, kind: ImageKind) -> Result<(), String> {
        let allowed = self.allowed.get(app).copied().unwrap_or_default();
        if !allowed.contains(kind) {
            return Err(left_out(app, allowed, kind));
        }
        if self.kinds.contains(&kind) {
            return Ok(());
        }
        Err(format!("{app}: no {kind} releases here: {}", self.complaints.join("; ")))
    }
}

/// The line about a kind that an app's configuration leaves out.
pub(super) fn left_out(app: &AppName, allowed: KindSet, kind: ImageKind) -> String {
    let allowed: Vec<_> = allowed.iter().map(ImageKind::as_str).collect();
    let allowed = allowed.join(", ");
    format!("{app}: no {kind} releases here: kinds of [app.{app}] allows {allowed}")
}

/// Tries those kinds that are mounted and allowed to some app, in `directory`, which is made and
/// removed. No driver is given anything of a kind that the configuration leaves out.
pub(super) fn probe(
    world: &dyn World,
    directory: &Path,
    allowed: BTreeMap<AppName, KindSet>,
) -> Result<Capabilities, StoreError> {
    let any: KindSet = allowed.values().flat_map(|kinds| kinds.iter()).collect();
    let mut kinds = Vec::new();
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let apply = |step: Step| {
        world.apply(&step, With::Nothing).map_err(|error| StoreError::of_step(&step, error))
    };
    let target = directory.join("mounted");
    // A start that was killed here.
    for left in mounted_below(world, directory)? {
        apply(Step::Unmount { target: left })?;
    }
    apply(Step::MakeDirectory { path: target.clone(), mode: 0o700 })?;
    for (kind, compressed) in IMAGES.into_iter().filter(|(kind, _)| any.contains(*kind)) {
        let content = zstd::bulk::decompress(compressed, IMAGE_BYTES_MAX)
            .expect("the image was compressed when this program was built");
        let image = directory.join(kind.as_str());
        apply(Step::Save { path: image.clone(), content })?;
        match try_mount(world, kind, &image, &target) {
            Ok(()) => kinds.push(kind),
            Err(error) => reasons.entry(error.to_string()).or_default().push(kind.as_str()),
        }
    }
    clean(world, &Step::RemoveTree { path: directory.to_path_buf() });
    let placed = [ImageKind::Tar, ImageKind::Raw];
    kinds.extend(placed.into_iter().filter(|kind| any.contains(*kind)));
    let complain = |(reason, kinds): (String, Vec<&str>)| {
        let kinds = kinds.join(", ");
        format!("cannot mount {kinds}: {reason}; tar and raw releases still work")
    };
    let complaints = reasons.into_iter().map(complain).collect();
    Ok(Capabilities { kinds, complaints, allowed })
}

fn try_mount(
    world: &dyn World,
    kind: ImageKind,
    image: &Path,
    target: &Path,
) -> Result<(), StepError> {
    let file = File::open(image)?;
    let (image, target) = (image.to_path_buf(), target.to_path_buf());
    let mount = Step::Mount { image, kind, options: Vec::new(), target: target.clone() };
    world.apply(&mount, With::File(&file))?;
    let shows = target.join("fanfare").is_file();
    world.apply(&Step::Unmount { target }, With::Nothing)?;
    if shows { Ok(()) } else { Err(StepError::Mount("the mounted image is empty".into())) }
}

/// What is mounted below a directory, the last mounted first.
pub(super) fn mounted_below(
    world: &dyn World,
    directory: &Path,
) -> Result<Vec<PathBuf>, StoreError> {
    let mounted = world.mounted();
    let mounted = mounted.map_err(|error| StoreError::of_read("the mount table", &error))?;
    let below = mounted.into_iter().rev().map(|mount| mount.target);
    Ok(below.filter(|target| target.starts_with(directory)).collect())
}
