//! What can go wrong in the store: a fault that travels to the sender, and one line for a person.
//!
//! Not here: faults of peers. Whatever reaches the store has passed its digests; what is wrong
//! now is this machine, its administrator's choice, or the content of a release.

use std::fmt;
use std::io;

use common::wire::Fault;

use super::step::Step;
use super::unpack::Refusal;

/// A failure of the store, in one line that names the path and what to do.
#[derive(Debug)]
pub struct StoreError {
    fault: Fault,
    line: String,
    cause: Cause,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// This machine's, or the release's: the fault says.
    Fault,
    /// Whoever has what is needed.
    Busy,
    /// Whoever asked, for something that is not or that cannot be as it stands.
    Asked,
    /// Nobody's: there is nothing to go back to.
    Lacking,
    /// The disk's, or whoever wrote to it: an image is not what was verified, or is gone.
    Damage,
    /// The configuration's, or the kernel's; starting again does not help.
    Configuration,
}

impl StoreError {
    /// A failure of kind `fault` that `line` explains.
    pub fn new(fault: Fault, line: impl Into<String>) -> Self {
        Self { fault, line: line.into(), cause: Cause::Fault }
    }

    /// Somebody else has what is needed.
    pub(crate) fn busy(line: String) -> Self {
        Self { fault: Fault::Internal, line, cause: Cause::Busy }
    }

    /// Somebody asked for what is not, or cannot be as it stands.
    pub fn asked(line: impl Into<String>) -> Self {
        Self { fault: Fault::SwitchFailed, line: line.into(), cause: Cause::Asked }
    }

    /// There is no release that would do.
    pub(super) fn lacking(line: String) -> Self {
        Self { fault: Fault::SwitchFailed, line, cause: Cause::Lacking }
    }

    /// An image that was verified is something else now, or is gone.
    pub(super) fn damage(line: String) -> Self {
        Self { fault: Fault::VerifyFailed, line, cause: Cause::Damage }
    }

    /// Whether an image that was verified is something else now, or is gone.
    pub(super) fn is_damage(&self) -> bool {
        self.cause == Cause::Damage
    }

    /// Whether somebody asked for what is not, or cannot be as it stands.
    pub fn is_asked(&self) -> bool {
        self.cause == Cause::Asked
    }

    /// Whether there is no release that would do.
    pub fn is_lacking(&self) -> bool {
        self.cause == Cause::Lacking
    }

    /// Whether somebody else has what is needed: another daemon the store, another session the
    /// image, a process the mount.
    pub fn is_busy(&self) -> bool {
        self.cause == Cause::Busy
    }

    /// The configuration asks for what this host cannot do.
    pub(super) fn configuration(fault: Fault, line: String) -> Self {
        Self { fault, line, cause: Cause::Configuration }
    }

    /// Whether only another configuration, or another kernel, helps.
    pub fn is_configuration(&self) -> bool {
        self.cause == Cause::Configuration
    }

    /// What the sender is told.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The failure of `step`.
    pub(super) fn of_step(step: &Step, error: StepError) -> Self {
        match error {
            StepError::Io(error) => {
                let fault = fault_of(&error, step);
                let is_used = error.kind() == io::ErrorKind::ResourceBusy
                    && matches!(step, Step::Unmount { .. });
                let cause = if is_used { Cause::Busy } else { Cause::Fault };
                let line = format!("cannot {step}: {}", explain(&error, fault));
                Self { fault, line, cause }
            }
            StepError::Refused(refusal) => {
                // The cause comes first: paths are long, and STATUS carries 200 bytes.
                Self::new(Fault::UnpackRefused, format!("{refusal}; refused to {step}"))
            }
            StepError::Mount(reason) => {
                Self::new(Fault::MountFailed, format!("cannot {step}: {reason}"))
            }
            StepError::Kind(reason) => {
                Self::new(Fault::VerifyFailed, format!("refused to {step}: {reason}"))
            }
        }
    }

    /// The failure of reading `what`, which is no step because it changes nothing.
    pub(super) fn of_read(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(Fault::DiskFailed, format!("cannot read {what}: {error}"))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for StoreError {}

/// Why one step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The kernel said no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The archive holds something that is never unpacked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The image cannot be mounted, for this reason.
    #[error("{0}")]
    Mount(String),
    /// The image is not of the kind that its manifest states.
    #[error("{0}")]
    Kind(String),
}

impl From<rustix::io::Errno> for StepError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

fn fault_of(error: &io::Error, step: &Step) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::DiskFull,
        io::ErrorKind::ReadOnlyFilesystem => Fault::DiskReadOnly,
        _ => match step {
            Step::Mount { .. } | Step::Unmount { .. } => Fault::MountFailed,
            Step::Bind { .. } | Step::Uncover { .. } => Fault::SwitchFailed,
            Step::Link { .. } | Step::Switch { .. } => Fault::SwitchFailed,
            _ => Fault::DiskFailed,
        },
    }
}

/// The kernel's reason with what to do about it.
fn explain(error: &io::Error, fault: Fault) -> String {
    let advice = match (fault, error.kind()) {
        (Fault::DiskFull, _) => "; free space there and send again",
        (Fault::DiskReadOnly, _) => "; remount it writable",
        (_, io::ErrorKind::PermissionDenied) => "; fanhost must own the store and the app root",
        (_, io::ErrorKind::ResourceBusy) => "; a process still uses it, it goes at a later prune",
        (_, io::ErrorKind::CrossesDevices) => "; both must lie on one filesystem",
        _ => "",
    };
    format!("{error}{advice}")
}
