//! erofs images, made by `mkfs.erofs`.
//!
//! Invariant: the image depends on the tree alone. Names are sorted by the tool, as the format
//! asks.
#![expect(clippy::disallowed_methods, reason = "gives the tool a file to try")]

use std::fs::File;
use std::path::Path;

use common::id::ImageKind;

use super::cancel::Cancel;
use super::error::PackError;
use super::ext_patch::Owner;
use super::scan::Tree;
use super::tool::{IMAGE_PATH, Tool, nameless_file};

const MKFS: Tool = Tool { name: "mkfs.erofs", package: "erofs-utils", kind: ImageKind::Erofs };
const UUID: &str = "66616e66-6172-4565-8f66-73696d616765";

/// Linux's NAME_MAX, and what the format takes.
const NAME_BYTES_MAX: usize = 255;

/// Makes the image of `directory`, which holds exactly what `tree` lists, in `image`.
///
/// # Errors
/// When mkfs.erofs is missing or fails, a name is too long for it, or the operator interrupts.
pub fn build(
    tree: &Tree,
    directory: &Path,
    owner: Owner,
    image: &File,
    temporary: &Path,
    cancel: &Cancel,
) -> Result<(), PackError> {
    let mut command = MKFS.command(image)?;
    command
        // File data in blocks of its own: a next release then shares its chunks (1 KB instead of
        // 0.4 MB for a hotfix of five files), for 37 % more image that compresses away.
        .args(["-U", UUID, "-x-1", "-Enoinline_data"])
        .env("SOURCE_DATE_EPOCH", build_time(tree).to_string());
    if owner == Owner::Root {
        command.arg("--all-root");
    }
    command.arg(IMAGE_PATH).arg(directory);
    let Err(said) = MKFS.run(&mut command, cancel)? else { return Ok(()) };
    match longest_name(tree) {
        Some(path) if !takes_longest_names(temporary, cancel)? => Err(PackError::refused(
            &tree.root.join(path),
            "its name has 255 bytes, and this mkfs.erofs takes 254: shorten the name, install a \
             newer erofs-utils, or pack with --image ext2 or tar",
        )),
        _ => Err(MKFS.failed(said)),
    }
}

/// An entry whose name is as long as names can be.
fn longest_name(tree: &Tree) -> Option<&Path> {
    let is_longest = |path: &&Path| path.file_name().is_some_and(|it| it.len() == NAME_BYTES_MAX);
    tree.entries.iter().map(|entry| entry.path.as_path()).find(is_longest)
}

/// Whether the tool takes the longest names, seen by giving it one. Up to version 1.5 it cuts them
/// by a byte, and says of the rest that there is no such file, naming none.
fn takes_longest_names(temporary: &Path, cancel: &Cancel) -> Result<bool, PackError> {
    let unwritable = |error| PackError::output(temporary, error);
    let probe = tempfile::Builder::new().prefix(".fanfare-").tempdir_in(temporary);
    let probe = probe.map_err(unwritable)?;
    File::create(probe.path().join("n".repeat(NAME_BYTES_MAX))).map_err(unwritable)?;
    let image = nameless_file(temporary)?;
    let mut command = MKFS.command(&image)?;
    Ok(MKFS.run(command.arg(IMAGE_PATH).arg(probe.path()), cancel)?.is_ok())
}

/// mkfs.erofs keeps times before this one, and cuts later ones down to it; inodes that have exactly
/// this time are the shorter ones.
fn build_time(tree: &Tree) -> i64 {
    let newest =
        tree.entries.iter().map(|entry| (entry.facts.mtime, entry.facts.mtime_nanos)).max();
    let (seconds, nanos) = newest.unwrap_or_default();
    (seconds + i64::from(nanos > 0)).max(0)
}
