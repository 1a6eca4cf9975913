//! Exit codes of `fanhost`: what service managers and scripts decide on.
//!
//! Invariant: a number keeps its meaning for ever, and means what it means for `fanfare`.
//! docs/OPERATIONS.md lists cause, code and message.

use common::complaint::ExitCodes;
use common::net::InterfaceError;
use rustix::io::Errno;

use crate::daemon::DaemonError;
use crate::helper::HelperError;
use crate::store::StoreError;
use crate::verbs::Cause;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Ended as asked, by a signal or after `--once`.
    Done = 0,
    /// Our own fault.
    Internal = 1,
    /// The command line cannot be carried out as it stands.
    Usage = 2,
    /// There is no release that would do, or an app has none that is whole.
    NotReached = 3,
    /// What is on disk is not what was verified.
    Damaged = 5,
    /// Disk, memory, descriptors or permission.
    Resources = 6,
    /// The store is in use, or the network is not configured for it.
    Network = 7,
    /// The configuration is wrong; starting again does not help (sysexits: EX_CONFIG).
    Configuration = 78,
    /// A second signal came before the first had taken effect.
    Interrupted = 130,
}

/// One line on standard error and the code that `fanhost` ends with.
pub type Complaint = common::complaint::Complaint<Exit>;

impl ExitCodes for Exit {
    const USAGE: Self = Self::Usage;
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// For a store that cannot be opened or read.
    pub fn of_store(error: &StoreError) -> Self {
        match error {
            error if error.is_busy() => Self::Network,
            error if error.is_configuration() => Self::Configuration,
            error if error.is_asked() => Self::Usage,
            error if error.is_lacking() => Self::NotReached,
            _ => Self::Resources,
        }
    }

    /// For a request that was not carried out.
    pub const fn of_cause(cause: Cause) -> Self {
        match cause {
            Cause::Asked => Self::Usage,
            Cause::Lacking => Self::NotReached,
            Cause::Busy => Self::Network,
            Cause::Machine => Self::Resources,
        }
    }

    /// For a helper that could not start.
    pub fn of_helper(error: &HelperError) -> Self {
        match error {
            HelperError::Store(error) => Self::of_store(error),
            HelperError::NotRoot | HelperError::TenantIsRoot | HelperError::Configuration(_) => {
                Self::Configuration
            }
            HelperError::Socket { .. } | HelperError::System(..) => Self::Resources,
        }
    }

    /// For a daemon that could not start or go on: descriptors and memory are the machine's, what
    /// else is wrong with a socket is the network's.
    pub fn of_daemon(error: &DaemonError) -> Self {
        match error {
            DaemonError::Store(error) => Self::of_store(error),
            DaemonError::Interface(InterfaceError::System(_)) | DaemonError::Resources(_) => {
                Self::Resources
            }
            DaemonError::Network(error) if is_shortage(error) => Self::Resources,
            DaemonError::Interface(_) | DaemonError::Address { .. } | DaemonError::Network(_) => {
                Self::Network
            }
        }
    }
}

fn is_shortage(error: &std::io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|it| Some(it.raw_os_error()) == code)
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_no_fault_of_the_network() {
        let of = |errno: Errno| Exit::of_daemon(&DaemonError::Network(errno.into()));
        assert_eq!(of(Errno::MFILE), Exit::Resources);
        assert_eq!(of(Errno::NETUNREACH), Exit::Network);
    }
}
