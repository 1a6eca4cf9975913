//! An image that is being received: verified chunks go to their place, a journal remembers them.
//!
//! Not here: decoding (chunks come verified and decompressed) and what happens to the finished
//! image. Invariant: a chunk counts as held only after its bytes were written, or were found on
//! disk and hashed again, and the image gets its final name only when all its chunks are held and
//! fsync succeeded. Its bytes are not read back for that: the chunk table says what the image must
//! be, and reading would find the page cache, not the disk. After a failed fsync the file is
//! discarded: the kernel may have dropped the dirty pages and would report success the next time.

#![expect(clippy::disallowed_methods, reason = "opens the unfinished image to read it")]

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use common::bundle::{Chunk, ChunkTable, Frame, FrameKind, Manifest, Preamble, UnpackLimits};
use common::digest::Digest;
use common::id::{ChunkIndex, FrameIndex, ImageKind};
use common::wire::Fault;
use rustix::fs::{FlockOperation, OFlags, SeekFrom};
use rustix::io::Errno;

use super::error::{StepError, StoreError};
use super::journal::{self, Claims};
use super::layout::Layout;
use super::limits::{DEPTH_DEFAULT, ENTRIES_DEFAULT, NAME_DEFAULT, READ_BYTES};
use super::mount::descriptor;
use super::prefix::Prefix;
use super::step::{Bounds, Step};
use super::world::{With, World, bytes_behind, windows_passed};

/// A finished image under its final name: every chunk verified, durable.
#[derive(Debug)]
pub struct VerifiedImage {
    /// Its digest.
    pub digest: Digest,
    /// Its kind.
    pub kind: ImageKind,
    /// Its final name.
    pub path: PathBuf,
    /// The file whose content was verified, open for reading: what is mounted is this, whatever
    /// lies under the name by then.
    pub file: File,
    /// The tree unpacked from it, complete but not durable yet; only for a tar.
    pub tree: Option<PathBuf>,
}

/// An image that is being received.
#[derive(Debug)]
pub struct Partial {
    world: Arc<dyn World>,
    layout: Layout,
    preamble: Arc<Preamble>,
    file: File,
    journal: File,
    held: Mutex<Held>,
    prefix: Arc<Prefix>,
    unpacker: Option<JoinHandle<Result<(), StepError>>>,
}

/// Which chunks are held.
#[derive(Debug)]
struct Held {
    chunks: Vec<bool>,
    missing: usize,
    /// The first chunk that is missing: everything before it is the verified prefix.
    next: usize,
}

impl Partial {
    /// Opens or creates the unfinished image of `preamble`, hashes again what an earlier attempt
    /// claims, allocates the rest, and where it `unpacks` a tar starts with what is there.
    pub(super) fn begin(
        world: Arc<dyn World>,
        layout: Layout,
        preamble: Arc<Preamble>,
        unpacks: bool,
    ) -> Result<Self, StoreError> {
        let image = &preamble.manifest.image;
        let (part, path) = (layout.part(&image.digest), layout.journal(&image.digest));
        let do_step = |step: &Step| {
            world.apply(step, With::Nothing).map_err(|error| StoreError::of_step(step, error))
        };
        if part.metadata().is_ok_and(|facts| facts.permissions().readonly()) {
            // It was complete, and its name was all that was missing when the process ended.
            do_step(&Step::SetMode { path: part.clone(), mode: 0o600 })?;
        }
        let is_new = !is_resumable(&preamble, &part)?;
        if is_new {
            do_step(&Step::Remove { path: path.clone() })?;
            do_step(&Step::Remove { path: part.clone() })?;
        }
        let allocate =
            Step::Allocate { path: part.clone(), bytes: image.bytes, ranges: ranges(&preamble) };
        if let Err(error) = do_step(&allocate) {
            // What was begun before may still be finished once there is space; an empty file not.
            if is_new {
                clean(&*world, &Step::Remove { path: part });
            }
            return Err(error);
        }
        let file = open_alone(&part)?;
        let (journal, claims) = open_journal(&preamble, &path, &do_step)?;
        let held = Held::check(&preamble, &file, &claims)
            .map_err(|error| StoreError::of_read(part.display(), &error))?;
        let mut partial = Self {
            world,
            layout,
            file,
            journal,
            held: Mutex::new(held),
            prefix: Arc::new(Prefix::default()),
            unpacker: None,
            preamble,
        };
        partial.prefix.advance(partial.lock().verified_bytes(&partial.preamble.chunks));
        if unpacks && partial.preamble.manifest.image.kind == ImageKind::Tar {
            partial.start_unpacker()?;
        }
        Ok(partial)
    }

    /// The frames all of whose chunks are held already; gaps are held from the start.
    pub fn held(&self) -> Vec<FrameIndex> {
        let held = self.lock();
        let frames = (0..).map(FrameIndex).zip(self.preamble.plan.iter());
        let held = frames.filter(|(_, frame)| held.has(frame));
        held.map(|(index, _)| index).collect()
    }

    /// Whether all of the image is held.
    pub fn is_complete(&self) -> bool {
        self.lock().missing == 0
    }

    /// Puts `count` verified chunks from `first` on, whose bytes are `raw`, in their place. Several
    /// threads may call it at once, also for the same chunks.
    ///
    /// # Errors
    /// When the disk refuses; the chunks are then not held and may be written again.
    ///
    /// # Panics
    /// When the image has no such chunks or `raw` is not of their length.
    pub fn write(&self, first: ChunkIndex, count: u32, raw: &[u8]) -> Result<(), StoreError> {
        let chunks = &self.preamble.chunks;
        let range = chunks.offset(first)..chunks.offset(ChunkIndex(first.0 + count));
        assert_eq!(raw.len() as u64, range.end - range.start, "verified chunks have their length");
        self.write_range(&range, raw)?;
        let mut held = self.lock();
        held.hold(first.0 as usize..(first.0 + count) as usize);
        self.prefix.advance(held.verified_bytes(chunks));
        Ok(())
    }

    fn write_range(&self, range: &Range<u64>, raw: &[u8]) -> Result<(), StoreError> {
        let digest = &self.preamble.manifest.image.digest;
        let (offset, bytes) = (range.start, range.end - range.start);
        let write = Step::Write { path: self.layout.part(digest), offset, bytes };
        self.apply(&write, With::Bytes(&self.file, raw))?;
        let claim = Step::Claim { path: self.layout.journal(digest), offset, bytes };
        self.apply(&claim, With::Bytes(&self.journal, &journal::record(offset, bytes)))?;
        // An archive is dropped behind its unpacker, which reads it.
        if let (None, Some(windows)) = (&self.unpacker, windows_passed(range.start, range.end)) {
            self.world.uncache(&self.file, bytes_behind(windows));
        }
        Ok(())
    }

    /// Makes the image durable and gives it its final name; for a tar, also waits until it is
    /// unpacked.
    ///
    /// # Errors
    /// When chunks are missing, the disk refuses, or the archive holds something that is never
    /// unpacked.
    pub fn finish(mut self) -> Result<VerifiedImage, StoreError> {
        self.expect_complete()?;
        let path = self.settle()?;
        let tree = self.join_unpacker(&path)?;
        let image = &self.preamble.manifest.image;
        // What services have in the page cache is worth more than an image that nobody reads yet.
        self.world.uncache(&self.file, image.bytes);
        // The same file without the right to write to it.
        let file = File::open(descriptor(&self.file));
        let file = file.map_err(|error| StoreError::of_read(path.display(), &error))?;
        Ok(VerifiedImage { digest: image.digest, kind: image.kind, path, file, tree })
    }

    /// Makes the image durable and lets go of it, for [`Store::adopt`](super::Store::adopt).
    ///
    /// # Errors
    /// When chunks are missing, or the disk refuses.
    pub fn hand_over(self) -> Result<(), StoreError> {
        self.expect_complete()?;
        self.make_durable()
    }

    fn expect_complete(&self) -> Result<(), StoreError> {
        match self.lock().missing {
            0 => Ok(()),
            missing => {
                let line = format!("the image was finished with {missing} chunks missing");
                Err(StoreError::new(Fault::Internal, line))
            }
        }
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        let sync = Step::Sync { path: self.layout.part(&self.preamble.manifest.image.digest) };
        // After a failure it is not tried again: the kernel would say that all is well.
        self.apply(&sync, With::File(&self.file)).inspect_err(|_| self.discard())
    }

    /// The image under its final name.
    fn settle(&self) -> Result<PathBuf, StoreError> {
        let image = &self.preamble.manifest.image;
        let part = self.layout.part(&image.digest);
        let path = self.layout.image(&image.digest, image.kind);
        self.apply(&Step::SetMode { path: part.clone(), mode: 0o400 }, With::Nothing)?;
        self.make_durable()?;
        self.apply(&Step::Rename { from: part, to: path.clone() }, With::Nothing)?;
        self.apply(&Step::Sync { path: self.layout.images() }, With::Nothing)?;
        let journal = self.layout.journal(&image.digest);
        self.apply(&Step::Remove { path: journal }, With::Nothing)?;
        Ok(path)
    }

    fn discard(&self) {
        let digest = &self.preamble.manifest.image.digest;
        clean(&*self.world, &Step::Remove { path: self.layout.journal(digest) });
        clean(&*self.world, &Step::Remove { path: self.layout.part(digest) });
    }

    fn start_unpacker(&mut self) -> Result<(), StoreError> {
        let image = &self.preamble.manifest.image;
        let tree = self.layout.tree(&self.preamble.release());
        self.apply(&Step::RemoveTree { path: tree.clone() }, With::Nothing)?;
        let step = unpack_step(&self.preamble.manifest, self.layout.part(&image.digest), tree);
        let (world, prefix) = (Arc::clone(&self.world), Arc::clone(&self.prefix));
        let file = self.file.try_clone();
        let file = file.map_err(|error| StoreError::of_read(image.digest, &error))?;
        let unpacker = Builder::new().name("unpack".into());
        let unpacker = unpacker.spawn(move || world.apply(&step, With::Growing(&file, &prefix)));
        self.unpacker = Some(unpacker.map_err(|error| {
            StoreError::new(Fault::Internal, format!("cannot start a thread: {error}"))
        })?);
        Ok(())
    }

    fn join_unpacker(&mut self, image: &Path) -> Result<Option<PathBuf>, StoreError> {
        let Some(unpacker) = self.unpacker.take() else { return Ok(None) };
        let tree = self.layout.tree(&self.preamble.release());
        let result = unpacker.join().expect("the unpacker reports its failures");
        let Err(error) = result else { return Ok(Some(tree)) };
        clean(&*self.world, &Step::RemoveTree { path: tree.clone() });
        if matches!(error, StepError::Refused(_)) {
            // It will be refused again; an image that is kept would be taken for a good one.
            clean(&*self.world, &Step::Remove { path: image.to_path_buf() });
        }
        let step = unpack_step(&self.preamble.manifest, image.to_path_buf(), tree);
        Err(StoreError::of_step(&step, error))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StoreError> {
        self.world.apply(step, with).map_err(|error| StoreError::of_step(step, error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.prefix.abandon();
        if let Some(unpacker) = self.unpacker.take() {
            let _ = unpacker.join();
            let tree = self.layout.tree(&self.preamble.release());
            clean(&*self.world, &Step::RemoveTree { path: tree });
        }
    }
}

impl Held {
    /// Nothing held of `count` chunks.
    fn none(count: u32) -> Self {
        Self { chunks: vec![false; count as usize], missing: count as usize, next: 0 }
    }

    fn hold(&mut self, chunks: Range<usize>) {
        for chunk in &mut self.chunks[chunks] {
            self.missing -= usize::from(!std::mem::replace(chunk, true));
        }
        while self.chunks.get(self.next) == Some(&true) {
            self.next += 1;
        }
    }

    fn has(&self, frame: &Frame) -> bool {
        let chunks = frame.first_chunk.0 as usize..frame.end_chunk().0 as usize;
        self.chunks[chunks].iter().all(|is_held| *is_held)
    }

    /// Bytes before the first chunk that is missing.
    fn verified_bytes(&self, chunks: &ChunkTable) -> u64 {
        let next = u32::try_from(self.next).expect("chunks are counted in 32 bits");
        chunks.offset(ChunkIndex(next))
    }

    /// The chunks whose bytes are on disk, by their digests and not by their claims.
    fn check(preamble: &Preamble, file: &File, claims: &Claims) -> io::Result<Self> {
        let mut held = Self::none(preamble.chunks.len());
        let mut buffer = Vec::new();
        let mut end = 0;
        for (index, chunk) in preamble.chunks.iter().enumerate() {
            let range = end..end + u64::from(chunk.bytes);
            end = range.end;
            let is_held = chunk.is_zero()
                || claims.covers(&range) && has_chunk(file, range.start, chunk, &mut buffer)?;
            if is_held {
                held.hold(index..index + 1);
            }
        }
        Ok(held)
    }
}

/// The bytes of the image that a frame holds.
fn range_of(preamble: &Preamble, frame: &Frame) -> Range<u64> {
    preamble.chunks.offset(frame.first_chunk)..preamble.chunks.offset(frame.end_chunk())
}

/// Where an image has data; between them lie gaps, which stay holes.
pub(super) fn ranges(preamble: &Preamble) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    for frame in preamble.plan.iter().filter(|frame| frame.kind != FrameKind::Zero) {
        let range = range_of(preamble, frame);
        match out.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => out.push(range),
        }
    }
    out
}

/// How to unpack the image of `manifest`, lying at `image`, into `tree`.
pub(super) fn unpack_step(manifest: &Manifest, image: PathBuf, tree: PathBuf) -> Step {
    let facts = &manifest.image;
    let bounds = match &manifest.unpack {
        Some(UnpackLimits { entries, bytes, depth, name }) => {
            Bounds { entries: *entries, bytes: *bytes, depth: *depth, name: *name }
        }
        None => Bounds {
            entries: ENTRIES_DEFAULT,
            bytes: facts.bytes,
            depth: DEPTH_DEFAULT,
            name: NAME_DEFAULT,
        },
    };
    Step::Unpack { image, bytes: facts.bytes, tree, bounds }
}

/// Does a step that cleans up after a failure; when it fails too, the first failure counts and
/// the next start cleans up.
pub(super) fn clean(world: &dyn World, step: &Step) {
    if let Err(error) = world.apply(step, With::Nothing) {
        tracing::warn!("cannot {step}: {error}");
    }
}

/// Whether `part` is there and can be what is left of this image: it has the image's length and
/// holds nothing where the image has gaps.
fn is_resumable(preamble: &Preamble, part: &Path) -> Result<bool, StoreError> {
    if !part.exists() {
        return Ok(false);
    }
    let file = open_alone(part)?;
    let check = || {
        let mut buffer = vec![0; READ_BYTES];
        let mut is_good = file.metadata()?.len() == preamble.manifest.image.bytes;
        for frame in preamble.plan.iter().filter(|frame| frame.kind == FrameKind::Zero) {
            is_good = is_good && is_zero(&file, range_of(preamble, frame), &mut buffer)?;
        }
        Ok(is_good)
    };
    check().map_err(|error| StoreError::of_read(part.display(), &error))
}

/// Opens the journal at `path` to append to it, and what it claims so far.
fn open_journal(
    preamble: &Preamble,
    path: &Path,
    do_step: &impl Fn(&Step) -> Result<(), StoreError>,
) -> Result<(File, Claims), StoreError> {
    let image = &preamble.manifest.image;
    let written = std::fs::read(path).unwrap_or_default();
    let claims = Claims::parse(&written, &image.digest, image.bytes);
    let header = journal::header(&image.digest, image.bytes);
    let bytes = claims.whole_bytes;
    do_step(&Step::OpenJournal { path: path.to_path_buf(), header, bytes })?;
    let journal = OpenOptions::new().append(true).open(path);
    let journal = journal.map_err(|error| StoreError::of_read(path.display(), &error))?;
    Ok((journal, claims))
}

/// Opens an unfinished image that nobody else in any process is receiving.
pub(super) fn open_alone(part: &Path) -> Result<File, StoreError> {
    // Where another user may make names, one could be a link or a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(part);
    let file = file.map_err(|error| StoreError::of_read(part.display(), &error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            let line = format!("{} is being received already", part.display());
            Err(StoreError::busy(line))
        }
        Err(errno) => Err(StoreError::of_read(part.display(), &errno.into())),
    }
}

/// Whether the bytes from `offset` on are this chunk.
fn has_chunk(file: &File, offset: u64, chunk: &Chunk, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.resize(chunk.bytes as usize, 0);
    file.read_exact_at(buffer, offset)?;
    Ok(Digest::of(buffer) == chunk.digest)
}

/// Whether a range reads as zeros. Holes are skipped without being read.
fn is_zero(file: &File, range: Range<u64>, buffer: &mut [u8]) -> io::Result<bool> {
    let mut at = range.start;
    while at < range.end {
        at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        if at >= range.end {
            break;
        }
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let bytes = &mut buffer[..left.min(READ_BYTES)];
        file.read_exact_at(bytes, at)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(true)
}
