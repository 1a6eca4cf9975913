//! Exit codes of `fanfare`: what scripts decide on.
//!
//! Invariant: a number keeps its meaning for ever. docs/OPERATIONS.md lists cause, code and message.

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
