//! From what the operator names to an image that can be read.
//!
//! Not here: cutting and compressing it.
//!
//! Invariant: what was read is one state of the source; [`Opened::check_unchanged`] says so after
//! the last byte.
#![expect(clippy::disallowed_methods, reason = "reads the source")]

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use common::bundle::UnpackLimits;
use common::count::counted;
use common::id::ImageKind;

use super::cancel::Cancel;
use super::detect::{Compression, Content, HEAD_BYTES, content_of, filesystem_fault};
use super::error::PackError;
use super::ext_patch::Owner;
use super::image::{FileImage, ImageSource, PipeImage};
use super::progress::Progress;
use super::scan::Tree;
use super::stage::Staged;
use super::tool::nameless_file;
use super::{erofs, ext, squashfs, tarball};

/// Memory that decompressing an xz may take; `xz -9` needs 65 MiB.
const XZ_MEMORY_MAX: u64 = 256 << 20;

/// What to make an image of, and how.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// A directory or file.
    pub source: &'a Path,
    /// The kind that was asked for.
    pub kind: Option<ImageKind>,
    /// Who owns what is packed.
    pub owner: Owner,
    /// Patterns of what to leave out of a directory.
    pub excludes: &'a [String],
    /// Where temporary files go.
    pub temporary: &'a Path,
    /// Threads for tools that take a number.
    pub threads: NonZeroUsize,
}

/// An image ready to be read.
pub struct Opened {
    /// What it is.
    pub kind: ImageKind,
    /// Its bytes.
    pub image: Box<dyn ImageSource>,
    /// Its length or an estimate, for the progress bar.
    pub expected_bytes: Option<u64>,
    limits: Arc<OnceLock<UnpackLimits>>,
    guard: Guard,
}

/// What must not have changed when the image was read to its end.
enum Guard {
    /// Checked already, when the tool had read the tree.
    Nothing,
    /// The tree that is archived while the image is read.
    Tree(Arc<Tree>, Vec<String>),
    /// The file, with length, times and identity.
    File(PathBuf, [i64; 6]),
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Opened {
    /// Makes or opens the image of what is wanted.
    ///
    /// # Errors
    /// When the source cannot be read, is not of the wanted kind, changes meanwhile, or its tool is
    /// missing or fails.
    pub fn open(
        wanted: &Wanted<'_>,
        cancel: &Cancel,
        progress: &mut Progress,
    ) -> Result<Self, PackError> {
        let source = wanted.source;
        let metadata = fs::metadata(source).map_err(|error| PackError::source(source, error))?;
        if metadata.is_dir() {
            open_directory(wanted, cancel, progress)
        } else if metadata.is_file() {
            open_file(wanted, cancel)
        } else {
            Err(PackError::Usage(format!("{} is no file or directory", source.display())))
        }
    }

    /// What unpacking the image costs; known once it was read to its end.
    pub fn limits(&self) -> Option<UnpackLimits> {
        self.limits.get().copied()
    }

    /// Whether the source is still what was packed.
    ///
    /// # Errors
    /// Names the first path that is not.
    pub fn check_unchanged(&self, cancel: &Cancel) -> Result<(), PackError> {
        match &self.guard {
            Guard::Nothing => Ok(()),
            Guard::Tree(tree, excludes) => check_tree(tree, excludes, cancel),
            Guard::File(path, before) => {
                let now = fs::metadata(path).map(|metadata| state_of(&metadata));
                let is_same = now.is_ok_and(|now| now == *before);
                if is_same { Ok(()) } else { Err(PackError::Changed(path.clone())) }
            }
        }
    }
}

fn check_tree(tree: &Tree, excludes: &[String], cancel: &Cancel) -> Result<(), PackError> {
    let later = Tree::scan(&tree.root, excludes, cancel)?;
    match tree.difference(&later) {
        Some(path) => Err(PackError::Changed(tree.root.join(path))),
        None => Ok(()),
    }
}

fn state_of(metadata: &fs::Metadata) -> [i64; 6] {
    [
        metadata.size().cast_signed(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.ino().cast_signed(),
    ]
}

fn open_directory(
    wanted: &Wanted<'_>,
    cancel: &Cancel,
    progress: &mut Progress,
) -> Result<Opened, PackError> {
    let kind = wanted.kind.unwrap_or(ImageKind::Ext2);
    if kind == ImageKind::Raw {
        let line = format!(
            "{} is a directory: pack it as a filesystem or tar, or name a file",
            wanted.source.display()
        );
        return Err(PackError::Usage(line));
    }
    progress.begin(format!("reading {}", wanted.source.display()), None);
    // A link to the directory is followed here, once: tools would pack the link.
    let root = wanted.source.canonicalize();
    let root = root.map_err(|error| PackError::source(wanted.source, error))?;
    let tree = Tree::scan(&root, wanted.excludes, cancel)?;
    tree.warnings.iter().for_each(|warning| progress.warn(warning));
    if kind == ImageKind::Tar {
        return open_tree_as_tar(tree, wanted, cancel);
    }
    progress.begin(
        format!("making the {kind} image of {}", counted(tree.entries.len(), "entry")),
        None,
    );
    let image = build(kind, &tree, wanted, cancel)?;
    check_tree(&tree, wanted.excludes, cancel)?;
    let image = FileImage::new(image, wanted.temporary)?;
    Ok(Opened {
        kind,
        expected_bytes: Some(image.bytes()),
        image: Box::new(image),
        limits: Arc::default(),
        guard: Guard::Nothing,
    })
}

fn build(
    kind: ImageKind,
    tree: &Tree,
    wanted: &Wanted<'_>,
    cancel: &Cancel,
) -> Result<File, PackError> {
    let image = nameless_file(wanted.temporary)?;
    let keep_owner = wanted.owner == Owner::Keep;
    let staged = tree
        .is_filtered
        .then(|| Staged::new(tree, wanted.temporary, keep_owner, cancel))
        .transpose()?;
    let directory = staged.as_ref().map_or(tree.root.as_path(), Staged::root);
    match kind {
        ImageKind::Erofs => {
            erofs::build(tree, directory, wanted.owner, &image, wanted.temporary, cancel)?
        }
        ImageKind::Squashfs => {
            squashfs::build(directory, wanted.owner, wanted.threads, &image, cancel)?;
        }
        _ => ext::build(kind, tree, directory, wanted.owner, &image, cancel)?,
    }
    Ok(image)
}

fn open_tree_as_tar(tree: Tree, wanted: &Wanted<'_>, cancel: &Cancel) -> Result<Opened, PackError> {
    let tree = Arc::new(tree);
    let (archived, owner, cancel) = (tree.clone(), wanted.owner, cancel.clone());
    let image = PipeImage::new(move |out| {
        tarball::write(&archived, owner, out, &cancel)?;
        Ok(Some(tarball::limits_of(&archived)))
    })?;
    Ok(Opened {
        kind: ImageKind::Tar,
        expected_bytes: Some(tarball::estimate_bytes(&tree)),
        limits: image.limits(),
        image: Box::new(image),
        guard: Guard::Tree(tree, wanted.excludes.to_vec()),
    })
}

fn open_file(wanted: &Wanted<'_>, cancel: &Cancel) -> Result<Opened, PackError> {
    let source = wanted.source;
    let unreadable = |error| PackError::source(source, error);
    if !wanted.excludes.is_empty() {
        let line = format!("--exclude is for directories, and {} is a file", source.display());
        return Err(PackError::Usage(line));
    }
    let mut file = File::open(source).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() == 0 {
        return Err(PackError::refused(source, "it is empty"));
    }
    let head = read_head(&mut file).map_err(unreadable)?;
    let guard = Guard::File(source.to_owned(), state_of(&metadata));
    match (content_of(&head), wanted.kind) {
        (Content::Bundle, None) => Err(PackError::refused(source, "it is a bundle already")),
        (Content::Compressed(compression), None | Some(ImageKind::Tar)) => {
            open_compressed(file, compression, wanted, guard, cancel)
        }
        (content, asked) => {
            let kind = kind_of(content, asked, source)?;
            if let Some(fault) = filesystem_fault(kind, &head, metadata.len()) {
                return Err(PackError::refused(source, fault));
            }
            open_plain(file, kind, source, guard)
        }
    }
}

/// The kind that was asked for must be the one that is there; any file can be packed as raw.
fn kind_of(
    content: Content,
    asked: Option<ImageKind>,
    source: &Path,
) -> Result<ImageKind, PackError> {
    let found = match content {
        Content::Image(kind) => kind,
        _ => ImageKind::Raw,
    };
    match asked {
        None | Some(ImageKind::Raw) => Ok(asked.unwrap_or(found)),
        Some(asked) if asked == found => Ok(found),
        Some(asked) => {
            let is = if found == ImageKind::Raw { "no known image" } else { found.as_str() };
            let reason = format!("it holds {is}, not {asked} as --image says");
            Err(PackError::refused(source, reason))
        }
    }
}

fn open_plain(
    mut file: File,
    kind: ImageKind,
    source: &Path,
    guard: Guard,
) -> Result<Opened, PackError> {
    let limits = Arc::new(OnceLock::new());
    if kind == ImageKind::Tar {
        let _ = limits.set(tarball::check_file(&mut file, source)?);
    }
    let image = FileImage::new(file, source)?;
    let expected_bytes = Some(image.bytes());
    Ok(Opened { kind, image: Box::new(image), expected_bytes, limits, guard })
}

/// A compressed tar is stored as plain tar, so that its chunks are those of the last release.
fn open_compressed(
    mut file: File,
    compression: Compression,
    wanted: &Wanted<'_>,
    guard: Guard,
    cancel: &Cancel,
) -> Result<Opened, PackError> {
    let source = wanted.source.to_owned();
    let unreadable = |error| PackError::source(&source, error);
    let mut inside = Vec::new();
    let probe = decoder(file.try_clone().map_err(unreadable)?, compression).map_err(unreadable)?;
    let is_readable = probe.take(HEAD_BYTES as u64).read_to_end(&mut inside).is_ok();
    file.rewind().map_err(unreadable)?;
    if !is_readable && wanted.kind.is_none() {
        let line =
            "what is compressed in it is damaged or cut short; --image raw takes it as it is";
        return Err(unreadable(io::Error::other(line)));
    }
    if !is_readable || content_of(&inside) != Content::Image(ImageKind::Tar) {
        let kind = kind_of(Content::Other, wanted.kind, &source)?;
        return open_plain(file, kind, &source, guard);
    }
    let archive = decoder(file, compression).map_err(unreadable)?;
    let cancel = cancel.clone();
    let image =
        PipeImage::new(move |out| tarball::check_stream(archive, &source, out, &cancel).map(Some))?;
    Ok(Opened {
        kind: ImageKind::Tar,
        expected_bytes: None,
        limits: image.limits(),
        image: Box::new(image),
        guard,
    })
}

fn decoder(file: File, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
        Compression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, flags)?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
    })
}

fn read_head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head)
}
