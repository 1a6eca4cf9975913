//! How far an image is verified from its start, for those who follow it while it grows.
//!
//! Not here: who advances it (`Partial`). Invariant: a follower never reads a byte before the
//! digest of its chunk was checked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, PoisonError};

use super::world::{bytes_behind, drop_cache, windows_passed};

#[derive(Debug, Default)]
struct Progress {
    verified: u64,
    is_abandoned: bool,
}

/// The verified prefix of an image that is being received.
#[derive(Debug, Default)]
pub struct Prefix {
    progress: Mutex<Progress>,
    changed: Condvar,
}

impl Prefix {
    /// The prefix of an image that is verified already.
    pub fn complete(bytes: u64) -> Self {
        let prefix = Self::default();
        prefix.advance(bytes);
        prefix
    }

    /// Everything before `to` is verified now.
    pub(super) fn advance(&self, to: u64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.verified = progress.verified.max(to);
        self.changed.notify_all();
    }

    /// Nobody advances it any more; followers that wait end with an error.
    pub(super) fn abandon(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.is_abandoned = true;
        self.changed.notify_all();
    }

    /// Waits until a byte beyond `at` is verified; how far it is then.
    fn wait_beyond(&self, at: u64) -> io::Result<u64> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if progress.verified > at {
                return Ok(progress.verified);
            }
            if progress.is_abandoned {
                return Err(io::Error::other("the image was not received completely"));
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads an image from its start, never beyond what is verified.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    file: &'a File,
    prefix: &'a Prefix,
    at: u64,
    bytes: u64,
}

impl<'a> Follower<'a> {
    /// A reader of `file`, which will have `bytes` when it is complete.
    pub(super) fn new(file: &'a File, prefix: &'a Prefix, bytes: u64) -> Self {
        Self { file, prefix, at: 0, bytes }
    }
}

impl Read for Follower<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.bytes || into.is_empty() {
            return Ok(0);
        }
        let verified = self.prefix.wait_beyond(self.at)?.min(self.bytes);
        let limit = usize::try_from(verified - self.at).unwrap_or(usize::MAX).min(into.len());
        let count = self.file.read_at(&mut into[..limit], self.at)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the image was cut short"));
        }
        let begin = self.at;
        self.at += count as u64;
        if let Some(windows) = windows_passed(begin, self.at) {
            // Nobody reads an archive twice.
            drop_cache(self.file, bytes_behind(windows));
        }
        Ok(count)
    }
}
