//! `fanfare pack`: makes one bundle of a directory or a file.
//!
//! Not here: the format of the bundle (`common::bundle`), keys, sending.
//!
//! Invariant: image, frames and tables depend on the source alone; the whole file too once creation
//! time and sequence are given. The bundle appears under its name complete or not at all, and
//! nothing temporary stays behind. Memory is bounded whatever the image: a frame is made from what
//! was read last, and no more than two per thread are under way.
#![expect(clippy::disallowed_methods, reason = "syncs the directory that the bundle lies in")]

pub mod args;
pub mod cancel;
pub mod cutter;
pub mod detect;
pub mod erofs;
pub mod error;
pub mod ext;
pub mod ext_patch;
pub mod frames;
pub mod image;
pub mod progress;
pub mod scan;
pub mod source;
pub mod squashfs;
pub mod stage;
pub mod tarball;
pub mod tool;

#[cfg(test)]
mod tests;

use std::fs::{File, Permissions};
use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::bundle::ordered::map_in_order;
use common::bundle::{
    BundleWriter, CODEC, Chunk, ChunkTable, FORMAT_VERSION, ImageDigest, ImageFacts, Manifest,
    Preamble,
};
use common::id::{AppName, ChunkIndex, ImageKind, Label};
use common::keys::{PublicKey, SecretKey};

use cancel::Cancel;
use error::PackError;
use ext_patch::Owner;
use frames::{FrameMaker, MadeFrame};
use image::Frames;
use progress::Progress;
use source::{Opened, Wanted};

use crate::keys::sign;

/// Everything that decides what the bundle will be.
#[derive(Debug, Clone)]
pub struct Request {
    /// A directory or file.
    pub source: PathBuf,
    /// The bundle to make.
    pub output: PathBuf,
    /// What it is a release of.
    pub app: AppName,
    /// What people call the release.
    pub label: Label,
    /// The kind of image, or the default for the source.
    pub kind: Option<ImageKind>,
    /// Creation time in Unix seconds.
    pub created: u64,
    /// Sequence; hosts refuse a lower one than they hold.
    pub sequence: u64,
    /// Epoch of the sequence.
    pub epoch: u32,
    /// From when on hosts refuse it, in Unix seconds.
    pub expires: Option<u64>,
    /// Who owns what is packed.
    pub owner: Owner,
    /// Patterns of what to leave out of a directory.
    pub excludes: Vec<String>,
    /// The release key that signs it, if any does yet.
    pub key: Option<Arc<SecretKey>>,
    /// A key that hosts trust from this release on, too.
    pub next_key: Option<PublicKey>,
    /// Level of zstd.
    pub level: i32,
    /// Threads that compress.
    pub threads: NonZeroUsize,
    /// Where temporary files go instead of beside the output.
    pub temporary: Option<PathBuf>,
}

/// A bundle that was made.
#[derive(Debug)]
pub struct Packed {
    /// Everything in it but its frames.
    pub preamble: Preamble,
    /// Length of the file.
    pub file_bytes: u64,
}

/// Packs.
///
/// # Errors
/// One line of what failed, on which path, and what to do.
pub fn pack(
    request: &Request,
    cancel: &Cancel,
    progress: &mut Progress,
) -> Result<Packed, PackError> {
    let output = real_output(&request.output)?;
    let directory = output_directory(&output)?;
    let temporary = request.temporary.as_deref().unwrap_or(directory);
    check_places(request, directory, temporary)?;
    let wanted = Wanted {
        source: &request.source,
        kind: request.kind,
        owner: request.owner,
        excludes: &request.excludes,
        temporary,
        threads: request.threads,
    };
    // Beside the output, whatever TMPDIR says: it is renamed, not copied.
    let file = tempfile::Builder::new()
        .prefix(".fanfare-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|error| PackError::output(directory, error))?;
    let mut opened = Opened::open(&wanted, cancel, progress)?;
    progress.begin(format!("packing {}", request.output.display()), opened.expected_bytes);
    let preamble = write_bundle(request, &mut opened, file.as_file(), cancel, progress)?;
    progress.end();
    let unwritable = |error| PackError::output(&request.output, error);
    file.as_file().sync_all().map_err(unwritable)?;
    let file_bytes = file.as_file().metadata().map_err(unwritable)?.len();
    cancel.check()?;
    file.persist(&output).map_err(|error| unwritable(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(unwritable)?;
    Ok(Packed { preamble, file_bytes })
}

fn write_bundle(
    request: &Request,
    opened: &mut Opened,
    file: &File,
    cancel: &Cancel,
    progress: &mut Progress,
) -> Result<Preamble, PackError> {
    let unwritable = |error| PackError::output(&request.output, error);
    let mut writer =
        BundleWriter::new(BufWriter::with_capacity(1 << 20, file)).map_err(unwritable)?;
    let mut digest = ImageDigest::default();
    let mut chunks: Vec<Chunk> = Vec::new();
    map_in_order(
        request.threads,
        Frames::new(&mut *opened.image, cancel),
        || worker(request.level),
        |made: MadeFrame| {
            let image_bytes = made.image_bytes();
            if made.is_gap() {
                digest.zeros(image_bytes)
            } else {
                digest.data(&made.raw)
            }
            let first = ChunkIndex(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
            writer.push_frame(made.entry(first), made.sent()).map_err(unwritable)?;
            chunks.extend_from_slice(&made.chunks);
            progress.advance(image_bytes);
            Ok(())
        },
    )?;
    opened.check_unchanged(cancel)?;
    let image = ImageFacts { kind: opened.kind, bytes: digest.bytes(), digest: digest.finish() };
    let chunks = ChunkTable::from_chunks(chunks).map_err(PackError::Format)?;
    let describe = |chunk_table, frame_table| Manifest {
        format: FORMAT_VERSION,
        app: request.app.clone(),
        label: request.label.clone(),
        epoch: request.epoch,
        sequence: request.sequence,
        created: request.created,
        expires: request.expires,
        image,
        chunk_table,
        frame_table,
        codec: CODEC.into(),
        mount_options: Vec::new(),
        unpack: opened.limits(),
        next_key: request.next_key,
        critical: Vec::new(),
    };
    let sign = |manifest: &Manifest, bytes: &[u8]| {
        let signature = |key: &Arc<SecretKey>| sign::signature(key, manifest, bytes);
        request.key.as_ref().map(signature).unwrap_or_default()
    };
    let finished = writer.finish_signed(chunks, describe, sign);
    let (_, preamble) = finished.map_err(|error| PackError::written(&request.output, error))?;
    Ok(preamble)
}

/// Each thread keeps its compressor; one that cannot be had fails the first frame.
fn worker(level: i32) -> impl FnMut(cutter::RawFrame) -> Result<MadeFrame, PackError> {
    let mut maker = FrameMaker::new(level);
    move |raw| {
        let maker = maker.as_mut().map_err(|error| {
            PackError::Machine(std::io::Error::new(error.kind(), error.to_string()))
        })?;
        maker.make(raw).map_err(PackError::Machine)
    }
}

fn output_directory(output: &Path) -> Result<&Path, PackError> {
    if output.is_dir() || output.file_name().is_none() {
        let line = format!("-o {} is a directory: name the file to make", output.display());
        return Err(PackError::Usage(line));
    }
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(parent.unwrap_or_else(|| Path::new(".")))
}

/// What is written must not lie in what is read: it would be packed, and change the source.
/// Where the bundle goes: what a link leads to. A device or a pipe would be replaced by a file.
fn real_output(output: &Path) -> Result<PathBuf, PackError> {
    match output.canonicalize() {
        Ok(real) if real.is_file() => Ok(real),
        Ok(_) => {
            let line = format!("-o {} is no regular file: name one", output.display());
            Err(PackError::Usage(line))
        }
        Err(_) => Ok(output.to_owned()),
    }
}

fn check_places(request: &Request, output: &Path, temporary: &Path) -> Result<(), PackError> {
    let real = |path: &Path| {
        path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PackError::output(path, error),
            _ => PackError::source(path, error),
        })
    };
    let source =
        request.source.canonicalize().map_err(|error| PackError::source(&request.source, error))?;
    for (what, place) in [("the output", output), ("TMPDIR", temporary)] {
        if source.is_dir() && real(place)?.starts_with(&source) {
            let line = format!(
                "{what} lies inside the source {}: write it somewhere else",
                request.source.display()
            );
            return Err(PackError::Usage(line));
        }
    }
    if source == request.output.canonicalize().unwrap_or_default() {
        let line = format!("-o {} is the source itself", request.output.display());
        return Err(PackError::Usage(line));
    }
    match request.expires {
        Some(expires) if expires <= request.created => {
            Err(PackError::Usage("--expires is not after --created".into()))
        }
        _ => Ok(()),
    }
}
