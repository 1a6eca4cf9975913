//! Unpacks a tar into a new tree, entry by entry, following the archive while it grows, in a
//! process of its own ([`parent`], [`child`]).
//!
//! Not here: the tar library's own unpacking, which is never called; file creation ([`tree`]); what
//! the extended headers may say ([`pax`]). Invariant: nothing outside the tree changes, whatever
//! the archive says, and what cannot be unpacked faithfully is refused, not skipped.
//!
//! What is kept: names, contents, permission bits, numeric owners (as root), mtimes to the
//! nanosecond where the archive has them, symbolic links with any target, hard links, attributes of
//! the user namespace; holes, and blocks of zeros become holes. What is not, and is counted: setuid
//! and setgid bits, other attributes (capabilities among them), and without root other owners.

mod child;
mod parent;
mod pax;
mod sparse;
mod tree;

#[cfg(test)]
pub(super) mod archive;
#[cfg(test)]
mod archivers;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufReader, Read};

use common::count::counted;
use serde::{Deserialize, Serialize};
use tar::{Archive, Entry, EntryType};

pub use self::child::{UNPACKER, serve};
pub(super) use self::parent::unpack_apart;
use self::pax::Extensions;
use self::sparse::{Map, MapError};
use self::tree::{Facts, Tree};
use super::error::StepError;
use super::limits::{ENTRY_HEADER_BYTES, NAME_BYTES, PATH_BYTES, READ_BYTES};
use super::step::Bounds;

/// Permission bits that a release keeps: setuid and setgid have no place in it.
const MODE_KEPT: u32 = 0o1777;

/// An entry that is not unpacked, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct Refusal {
    entry: Vec<u8>,
    reason: String,
}

impl Refusal {
    fn new(entry: &[u8], reason: impl Into<String>) -> Self {
        Self { entry: entry.to_vec(), reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entry.is_empty() {
            return write!(f, "the archive {}", self.reason);
        }
        // Names come from outside and may hold control characters; very long ones say nothing.
        let shown = &self.entry[..self.entry.len().min(NAME_BYTES)];
        write!(f, "entry \"{}\" {}", shown.escape_ascii(), self.reason)
    }
}

/// What was unpacked, and what was left out of it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Files and directories that lost a setuid or setgid bit.
    pub modes_cleared: u64,
    /// Extended attributes that were dropped.
    pub attributes_dropped: u64,
    /// Entries that belong to this process's user, for lack of the right to give them away.
    pub owners_dropped: u64,
}

/// Unpacks `archive` into the new `tree`.
///
/// # Errors
/// [`StepError::Refused`] with the entry and the reason; otherwise the kernel's answer. Either
/// way a half tree may be left behind, for the caller to remove.
fn unpack(archive: impl Read, tree: Tree, bounds: Bounds) -> Result<Unpacked, StepError> {
    let source = Source::default();
    let reader =
        Metered { inner: BufReader::with_capacity(READ_BYTES / 4, archive), source: &source };
    let mut archive = Archive::new(reader);
    let mut unpacker = Unpacker::new(tree, bounds);
    let mut entries = archive.entries()?;
    loop {
        source.budget.set(ENTRY_HEADER_BYTES);
        match entries.next() {
            None => break,
            Some(Ok(entry)) => unpacker.take(entry, &source)?,
            Some(Err(error)) => return Err(source.blame(&error)),
        }
    }
    source.budget.set(u64::MAX);
    expect_zeros(archive.into_inner())?;
    unpacker.finish()
}

/// Unpacks `archive` into the new directory `path` in this process, without the fences around
/// another: what remains is what this module itself keeps inside of the tree.
pub(super) fn unpack_here(
    archive: impl Read,
    path: &std::path::Path,
    bounds: Bounds,
) -> Result<Unpacked, StepError> {
    rustix::fs::mkdir(path, rustix::fs::Mode::RWXU)?;
    unpack(archive, Tree::at(path)?, bounds)
}

/// Behind the end mark only padding may follow: a second archive there would be lost silently.
fn expect_zeros(mut rest: impl Read) -> Result<(), StepError> {
    let mut buffer = [0; 8192];
    loop {
        let count = rest.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Err(Refusal::new(b"", "has data behind its end mark").into());
        }
    }
}

/// What the reader and the loop over entries share: how much may be read, and what went wrong.
#[derive(Default)]
struct Source {
    budget: Cell<u64>,
    failure: RefCell<Option<io::Error>>,
}

impl Source {
    /// Tells a failed read from an archive that the library cannot parse.
    fn blame(&self, error: &io::Error) -> StepError {
        match self.failure.take() {
            Some(failure) => failure.into(),
            None => Refusal::new(b"", format!("is damaged: {error}")).into(),
        }
    }
}

/// Ends an archive whose headers would fill the memory, and keeps the kernel's own errors apart.
struct Metered<'a, R> {
    inner: R,
    source: &'a Source,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let budget = self.source.budget.get();
        if budget == 0 {
            return Err(io::Error::other("too many bytes of headers before one entry"));
        }
        let limit = usize::try_from(budget).unwrap_or(usize::MAX).min(into.len());
        match self.inner.read(&mut into[..limit]) {
            Ok(count) => {
                self.source.budget.set(budget - count as u64);
                Ok(count)
            }
            Err(error) => {
                let text = io::Error::new(error.kind(), error.to_string());
                self.source.failure.replace(Some(error));
                Err(text)
            }
        }
    }
}

struct Unpacker {
    tree: Tree,
    bounds: Bounds,
    done: Unpacked,
    buffer: Vec<u8>,
}

impl Unpacker {
    fn new(tree: Tree, bounds: Bounds) -> Self {
        Self { tree, bounds, done: Unpacked::default(), buffer: vec![0; READ_BYTES / 4] }
    }

    fn take<R: Read>(&mut self, mut entry: Entry<'_, R>, source: &Source) -> Result<(), StepError> {
        let stored_name = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        let extensions = Extensions::read(&mut entry);
        let mut extensions =
            extensions.map_err(|reason| StepError::from(Refusal::new(&stored_name, reason)))?;
        // A file that is stored without its holes has a made-up name and its own.
        let own_name = extensions.holes.as_mut().and_then(|holes| holes.name.take());
        let name = own_name.unwrap_or(stored_name);
        let refuse = |reason: &str| StepError::from(Refusal::new(&name, reason));
        if kind == EntryType::XGlobalHeader {
            return extensions.expect_no_override().map_err(|reason| refuse(&reason));
        }
        self.done.entries += 1;
        if self.done.entries > self.bounds.entries {
            let reason =
                format!("is beyond the limit of {}", counted(self.bounds.entries, "entry"));
            return Err(refuse(&reason));
        }
        self.done.attributes_dropped += extensions.attributes_dropped;
        extensions.expect_agreement(&entry).map_err(|reason| refuse(&reason))?;
        let path = self.components(&name).map_err(|reason| refuse(&reason))?;
        let facts = self.facts(&entry, &extensions).map_err(|reason| refuse(&reason))?;
        if is_file(&entry, &name) && name.ends_with(b"/") {
            return Err(refuse("is a file whose name ends in a slash"));
        }
        if extensions.holes.is_some() && !(is_file(&entry, &name) && kind != EntryType::GNUSparse) {
            return Err(refuse("has a map of holes that it cannot have"));
        }
        let is_placed = matches!(
            kind,
            EntryType::Regular | EntryType::Directory | EntryType::Symlink | EntryType::Link
        );
        if is_placed && !is_file(&entry, &name) && entry.size() != 0 {
            return Err(refuse("is no file and carries data"));
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
                if is_file(&entry, &name) =>
            {
                source.budget.set(u64::MAX);
                self.done.owners_dropped += u64::from(self.tree.drops_owner(&facts));
                self.file(&mut entry, &name, &path, &facts, extensions, source)
            }
            EntryType::Directory | EntryType::Regular => {
                self.done.owners_dropped += u64::from(self.tree.drops_owner(&facts));
                let set = self.tree.directory(&path, facts, &extensions.attributes);
                self.done.attributes_dropped += set.map_err(|fault| fault.of(&name))?;
                Ok(())
            }
            EntryType::Symlink => {
                let target = link_name(&entry).map_err(|reason| refuse(&reason))?;
                self.tree.symlink(&path, &target, &facts).map_err(|fault| fault.of(&name))
            }
            EntryType::Link => {
                let target = link_name(&entry).map_err(|reason| refuse(&reason))?;
                let target = self
                    .components(&target)
                    .map_err(|reason| refuse(&format!("is a hard link whose target {reason}")))?;
                self.tree.hard_link(&path, &target).map_err(|fault| fault.of(&name))
            }
            other => Err(refuse(unwanted(other))),
        }
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        name: &[u8],
        path: &[&[u8]],
        facts: &Facts,
        extensions: Extensions,
        source: &Source,
    ) -> Result<(), StepError> {
        let stored = entry.size();
        let map = match extensions.holes {
            // The tar library has filled the holes of the old format with zeros.
            None => Map::whole(stored),
            Some(mut holes) => {
                Map::read(&mut holes, &mut *entry, stored).map_err(|error| match error {
                    MapError::Refused(reason) => Refusal::new(name, reason).into(),
                    MapError::Read(error) => source.blame(&error),
                })?
            }
        };
        if map.bytes > self.bounds.bytes - self.done.bytes {
            let reason = format!("exceeds the limit of {} bytes in all", self.bounds.bytes);
            return Err(Refusal::new(name, reason).into());
        }
        let file = self.tree.file(path).map_err(|fault| fault.of(name))?;
        for run in &map.runs {
            let mut left = run.bytes;
            while left > 0 {
                let limit = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let count = entry.read(&mut self.buffer[..limit]);
                let count = count.map_err(|error| source.blame(&error))?;
                if count == 0 {
                    return Err(Refusal::new(name, "is cut short").into());
                }
                let at = run.offset + run.bytes - left;
                tree::write_at(&file, at, &self.buffer[..count])?;
                left -= count as u64;
            }
        }
        tree::set_length(&file, map.bytes)?;
        self.done.bytes += map.bytes;
        self.done.attributes_dropped +=
            self.tree.finish_file(&file, facts, &extensions.attributes)?;
        Ok(())
    }

    /// The components of a name: below the tree, none of them `..`, each a possible file name.
    fn components<'a>(&self, name: &'a [u8]) -> Result<Vec<&'a [u8]>, String> {
        if name.is_empty() {
            return Err("has no name".into());
        }
        if name.starts_with(b"/") {
            return Err("has an absolute path".into());
        }
        if name.contains(&0) || name.len() > PATH_BYTES {
            return Err(format!("has a path with a NUL or of more than {PATH_BYTES} bytes"));
        }
        let parts = name.split(|byte| *byte == b'/');
        let parts: Vec<_> = parts.filter(|part| !part.is_empty() && *part != b".").collect();
        if parts.contains(&&b".."[..]) {
            return Err("has .. in its path".into());
        }
        let limit = NAME_BYTES.min(self.bounds.name as usize);
        if parts.iter().any(|part| part.len() > limit) {
            return Err(format!("has a name of more than {limit} bytes in its path"));
        }
        if parts.len() > self.bounds.depth as usize {
            return Err(format!("lies deeper than the limit of {} levels", self.bounds.depth));
        }
        Ok(parts)
    }

    fn facts<R: Read>(
        &mut self,
        entry: &Entry<'_, R>,
        extensions: &Extensions,
    ) -> Result<Facts, String> {
        let header = entry.header();
        let number = |value: io::Result<u64>, what: &str| {
            let value = value.map_err(|_| format!("has no readable {what}"))?;
            // The kernel takes the highest value for "leave it".
            u32::try_from(value)
                .ok()
                .filter(|value| *value != u32::MAX)
                .ok_or_else(|| format!("has the impossible {what} {value}"))
        };
        let mode = header.mode().map_err(|_| "has no readable mode")?;
        if mode & 0o6000 != 0 && !header.entry_type().is_symlink() {
            self.done.modes_cleared += 1;
        }
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => pax::seconds(header.mtime().map_err(|_| "has no readable mtime")?)?,
        };
        Ok(Facts {
            mode: mode & MODE_KEPT,
            uid: number(header.uid(), "owner")?,
            gid: number(header.gid(), "group")?,
            mtime,
        })
    }

    fn finish(self) -> Result<Unpacked, StepError> {
        self.tree.finish()?;
        Ok(self.done)
    }
}

/// Whether an entry is a regular file. In the oldest format a directory is a file whose name
/// ends in a slash.
fn is_file<R: Read>(entry: &Entry<'_, R>, name: &[u8]) -> bool {
    let header = entry.header();
    let is_old = header.as_ustar().is_none() && header.as_gnu().is_none();
    let is_regular = matches!(
        header.entry_type(),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
    );
    is_regular && !(is_old && name.ends_with(b"/"))
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> Result<Vec<u8>, String> {
    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
    match target.len() {
        0 => Err("is a link to nothing".into()),
        1..=PATH_BYTES if !target.contains(&0) => Ok(target),
        _ => Err(format!("is a link whose target has a NUL or more than {PATH_BYTES} bytes")),
    }
}

fn unwanted(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "is a device",
        EntryType::Fifo => "is a named pipe",
        _ => "is of an unknown type",
    }
}
