//! How far an image is verified from its start, for those who follow it while it grows.
//!
//! Not here: who advances it (`Partial`), and who follows it from another process
//! ([`super::unpack`]). Invariant: a follower never reads a byte before the digest of its chunk was
//! checked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
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

    /// Tells how far it is, each time it is further, until all `bytes` are verified, nobody
    /// advances it any more, or `is_over` and somebody [wakes](Self::wake) it.
    ///
    /// # Errors
    /// Those of `tell`.
    pub(super) fn follow(
        &self,
        bytes: u64,
        is_over: &AtomicBool,
        mut tell: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut told = 0;
        while told < bytes {
            let Some(verified) = self.wait_beyond(told, is_over) else { break };
            tell(verified)?;
            told = verified;
        }
        Ok(())
    }

    /// Has those who follow it look whether that is over.
    pub(super) fn wake(&self) {
        let _progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
    }

    /// Waits until a byte beyond `at` is verified; how far it is then.
    fn wait_beyond(&self, at: u64, is_over: &AtomicBool) -> Option<u64> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if progress.verified > at {
                return Some(progress.verified);
            }
            if progress.is_abandoned || is_over.load(Ordering::Relaxed) {
                return None;
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Says how far an image is verified.
pub(super) trait Verified {
    /// Waits until a byte beyond `at` is verified; how far it is then.
    ///
    /// # Errors
    /// When no more will be.
    fn wait_beyond(&mut self, at: u64) -> io::Result<u64>;
}

/// Reads an image from its start, never beyond what is verified.
#[derive(Debug)]
pub(super) struct Follower<'a, V> {
    file: &'a File,
    verified: V,
    at: u64,
    bytes: u64,
}

impl<'a, V> Follower<'a, V> {
    /// A reader of `file`, which will have `bytes` when it is complete.
    pub(super) fn new(file: &'a File, verified: V, bytes: u64) -> Self {
        Self { file, verified, at: 0, bytes }
    }
}

impl<V: Verified> Read for Follower<'_, V> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.bytes || into.is_empty() {
            return Ok(0);
        }
        let verified = self.verified.wait_beyond(self.at)?.min(self.bytes);
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
