//! Where a socket of the store is bound and met.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the kernel takes as a socket's path, less its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A socket's path, or where that is too long for the kernel a way to it through an open directory.
#[derive(Debug)]
pub struct Place {
    /// What the kernel is given.
    pub path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl Place {
    /// The place of the socket called `name` in `store`.
    ///
    /// # Errors
    /// When the store is not there.
    pub fn of(store: &Path, name: &str) -> io::Result<Self> {
        let path = store.join(name);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path, _directory: None });
        }
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(store, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into();
        Ok(Self { path, _directory: Some(directory) })
    }
}

/// Whether nobody listens at a place that could not be connected to.
pub fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | NotADirectory)
}
