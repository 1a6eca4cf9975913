//! What can stop packing, inspecting or verifying, as one line with what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use common::bundle::writer::WriteError;
use common::bundle::{BundleError, BundleFault};
use common::id::ImageKind;

use crate::complaint::Complaint;
use crate::exit::Exit;

/// Why there is no bundle, or none that is right.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// The source cannot be read.
    #[error("cannot read {}: {error}", shown(path))]
    Source {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The source is read and not what it should be.
    #[error("{}: {reason}", shown(path))]
    Refused {
        /// The source, or the place in it.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The source was written to meanwhile.
    #[error("{} changed while it was packed: pack again when nothing writes there", shown(.0))]
    Changed(PathBuf),
    /// The bundle or a temporary file cannot be written.
    #[error("cannot write {}: {error}", shown(path))]
    Output {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A program that makes images is not installed.
    #[error(
        "{tool} was not found, which makes {kind} images: install the Debian package {package}, \
         or pack with --image tar"
    )]
    ToolMissing {
        /// The program.
        tool: &'static str,
        /// The package that has it.
        package: &'static str,
        /// What it makes.
        kind: ImageKind,
    },
    /// A program that makes images failed.
    #[error("{tool} failed: {said}")]
    ToolFailed {
        /// The program.
        tool: &'static str,
        /// Its last words.
        said: String,
    },
    /// The image is beyond a limit of the bundle format.
    #[error("the image does not fit a bundle: {0}")]
    Format(common::bundle::TableError),
    /// Threads or buffers could not be had.
    #[error("out of resources: {0}")]
    Machine(io::Error),
    /// A bundle is wrong or cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A signal came.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl PackError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Source { error, .. } | Self::Output { error, .. } => exit_of_io(error),
            Self::Bundle(BundleError { fault: BundleFault::Open(error), .. }) => exit_of_io(error),
            Self::Bundle(BundleError { fault: BundleFault::Read(_), .. }) => Exit::Resources,
            Self::Refused { .. } | Self::Changed(_) | Self::Bundle(_) => Exit::Refused,
            Self::ToolMissing { .. } | Self::ToolFailed { .. } => Exit::Resources,
            Self::Format(_) | Self::Machine(_) => Exit::Resources,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    pub(super) fn source(path: &Path, error: io::Error) -> Self {
        Self::Source { path: path.to_owned(), error }
    }

    pub(super) fn output(path: &Path, error: io::Error) -> Self {
        Self::Output { path: path.to_owned(), error }
    }

    pub(super) fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused { path: path.to_owned(), reason: reason.into() }
    }

    pub(super) fn written(path: &Path, error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => Self::output(path, error),
            WriteError::Table(error) => Self::Format(error),
        }
    }
}

impl From<PackError> for Complaint {
    fn from(error: PackError) -> Self {
        Self::new(error.exit(), error)
    }
}

/// A path that is not there, or is not of the asked kind, is a mistyped argument.
fn exit_of_io(error: &io::Error) -> Exit {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    match error.kind() {
        NotFound | NotADirectory | IsADirectory => Exit::Usage,
        _ => Exit::Resources,
    }
}

/// A path as text on one line: control characters, and what is no UTF-8, are escaped.
pub fn shown(path: &Path) -> Shown<'_> {
    Shown(path)
}

/// See [`shown`].
#[derive(Debug)]
pub struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        if text.chars().any(char::is_control) { write!(f, "{text:?}") } else { f.write_str(&text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_end_stays_on_one_line() {
        let error = PackError::Changed("/srv/a\nb\x1b[2J".into()).to_string();
        assert_eq!(error.lines().count(), 1);
        assert!(!error.contains('\x1b'), "{error}");
    }

    #[test]
    fn a_mistyped_path_is_a_usage_error_and_a_full_disk_is_not() {
        let source = |kind: io::ErrorKind| PackError::source(Path::new("x"), kind.into()).exit();
        assert_eq!(source(io::ErrorKind::NotFound), Exit::Usage);
        assert_eq!(source(io::ErrorKind::PermissionDenied), Exit::Resources);
        let full = PackError::output(Path::new("x"), io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit(), Exit::Resources);
    }
}
