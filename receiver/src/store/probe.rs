//! What this host can mount, found by mounting.
//!
//! Not here: tar and raw, which need nothing. /proc/filesystems would be a guess: it lists neither
//! modules that the kernel loads on demand nor the permission to mount. So a tiny image of each
//! kind is written into the store and mounted, through the same steps as a release.
//!
//! The images hold one file, `fanfare`, and are 60 KiB together before compression; made by
//! `mke2fs -q -t ext2|ext4 -b 1024 -N 16 -m 0 -d TREE`, `mkfs.erofs`, `mksquashfs`.

use std::collections::BTreeMap;
use std::path::Path;

use common::id::ImageKind;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The kinds that it can stage.
    pub kinds: Vec<ImageKind>,
    /// One line for each reason why it cannot stage the others.
    pub complaints: Vec<String>,
}

/// Tries every kind in `directory`, which is made and removed.
pub(super) fn probe(world: &dyn World, directory: &Path) -> Result<Capabilities, StoreError> {
    let mut kinds = Vec::new();
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let apply = |step: Step| {
        world.apply(&step, With::Nothing).map_err(|error| StoreError::of_step(&step, error))
    };
    let target = directory.join("mounted");
    apply(Step::MakeDirectory { path: target.clone(), mode: 0o700 })?;
    for (kind, compressed) in IMAGES {
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
    kinds.extend([ImageKind::Tar, ImageKind::Raw]);
    let complain = |(reason, kinds): (String, Vec<&str>)| {
        let kinds = kinds.join(", ");
        format!("cannot mount {kinds}: {reason}; tar and raw releases still work")
    };
    Ok(Capabilities { kinds, complaints: reasons.into_iter().map(complain).collect() })
}

fn try_mount(
    world: &dyn World,
    kind: ImageKind,
    image: &Path,
    target: &Path,
) -> Result<(), StepError> {
    let (image, target) = (image.to_path_buf(), target.to_path_buf());
    let mount = Step::Mount { image, kind, options: Vec::new(), target: target.clone() };
    world.apply(&mount, With::Nothing)?;
    let shows = target.join("fanfare").is_file();
    world.apply(&Step::Unmount { target }, With::Nothing)?;
    if shows { Ok(()) } else { Err(StepError::Mount("the mounted image is empty".into())) }
}
