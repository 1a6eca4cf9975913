//! Exit codes of `fanfare`: what scripts decide on.
//!
//! Invariant: a number keeps its meaning for ever. docs/OPERATIONS.md lists cause, code and
//! message.

use common::bundle::{BundleError, BundleFault};
use common::net::InterfaceError;
use rustix::io::Errno;

use crate::transfer::SendError;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Every expected host, or the quorum, is active (staged with `hold`); or the file was made.
    Done = 0,
    /// Our own fault.
    Internal = 1,
    /// The command line cannot be carried out as it stands.
    Usage = 2,
    /// Fewer hosts than expected, or the quorum, got there.
    NotReached = 3,
    /// Nobody joined.
    NobodyJoined = 4,
    /// Verification or a signature refused it.
    Refused = 5,
    /// Disk, memory, descriptors, permission or a missing tool.
    Resources = 6,
    /// Busy, or the network is not configured for it.
    Network = 7,
    /// The failure budget was spent and the release rolled back.
    RolledBack = 8,
    /// The configuration file is wrong.
    Configuration = 78,
    /// `--timeout` passed.
    Timeout = 124,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    /// For a bundle that cannot be used: a wrong path is a usage error, a damaged file refused.
    pub fn of_bundle(error: &BundleError) -> Self {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        match &error.fault {
            BundleFault::Open(error)
                if matches!(error.kind(), NotFound | NotADirectory | IsADirectory) =>
            {
                Self::Usage
            }
            fault if fault.is_refusal() => Self::Refused,
            _ => Self::Resources,
        }
    }

    /// For a socket that cannot be had or used: descriptors and memory are the machine's, the rest
    /// is the network's.
    fn of_socket(error: &std::io::Error) -> Self {
        let is_short = error.raw_os_error().is_some_and(|code| {
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
                .iter()
                .any(|short| short.raw_os_error() == code)
        });
        if is_short { Self::Resources } else { Self::Network }
    }
}

impl SendError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Bundle(error) => Exit::of_bundle(error),
            Self::Interface(InterfaceError::System(_)) | Self::Resources(_) => Exit::Resources,
            Self::Interface(_) | Self::Address { .. } => Exit::Network,
            Self::Network(error) => Exit::of_socket(error),
            Self::Geometry(_) => Exit::Usage,
            Self::Spent(_) => Exit::Network,
            Self::Expired(_) => Exit::Refused,
        }
    }
}
