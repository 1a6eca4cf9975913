//! The verbs of the store: every effect on disk, mounts and links, as plain data.
//!
//! Not here: how a step is done ([`super::world`]) or when (`Store`, `Partial`). A step names
//! paths and numbers only, so that a trace of steps can be recorded, compared, made to fail at
//! any place, and one day sent to a privileged helper.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use common::id::ImageKind;
use serde::{Deserialize, Serialize};

/// What an unpacker may produce at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all regular files.
    pub bytes: u64,
    /// Components of a path.
    pub depth: u32,
    /// Bytes of a component.
    pub name: u32,
}

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub user: u32,
    /// The group's.
    pub group: u32,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a directory with exactly this mode; its parents too, 0755. Nothing when it exists.
    MakeDirectory {
        /// Where.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Create or open an image that is being received, set its length, allocate its data ranges.
    Allocate {
        /// The unfinished image.
        path: PathBuf,
        /// Its final length.
        bytes: u64,
        /// Where data will be written; everything else stays a hole.
        ranges: Vec<Range<u64>>,
    },
    /// Write verified bytes into an unfinished image.
    Write {
        /// The unfinished image.
        path: PathBuf,
        /// Position of the first byte.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Create the journal of an unfinished image, or cut it to whole records.
    OpenJournal {
        /// The journal.
        path: PathBuf,
        /// What a new journal starts with.
        header: Vec<u8>,
        /// Length that it is cut to, 0 for a new one; what lies behind is a torn record.
        bytes: u64,
    },
    /// Append a claim to the journal of an unfinished image.
    Claim {
        /// The journal.
        path: PathBuf,
        /// Position of the claimed range in the image.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// Write a small file whole and make it durable, under a temporary name.
    Save {
        /// The temporary name.
        path: PathBuf,
        /// Its content.
        content: Vec<u8>,
    },
    /// Make a file or a directory durable.
    Sync {
        /// Which.
        path: PathBuf,
    },
    /// Make everything on a tree's filesystem durable.
    SyncTree {
        /// The tree.
        path: PathBuf,
    },
    /// Set the permission bits of a file.
    SetMode {
        /// Which.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Give a file or a directory to another user, with these permission bits.
    Give {
        /// Which.
        path: PathBuf,
        /// To whom.
        owner: Owner,
        /// Permission bits.
        mode: u32,
    },
    /// Give a finished thing its final name.
    Rename {
        /// The temporary name.
        from: PathBuf,
        /// The final name.
        to: PathBuf,
    },
    /// Unpack a tar image into a new tree, in a process that can change nothing else.
    Unpack {
        /// The image, perhaps still growing.
        image: PathBuf,
        /// Its final length.
        bytes: u64,
        /// The new tree.
        tree: PathBuf,
        /// What it may produce at most.
        bounds: Bounds,
    },
    /// Place a raw image into a release's directory: as a hard link, a reflink, or a copy.
    Place {
        /// The image.
        image: PathBuf,
        /// The new name.
        path: PathBuf,
    },
    /// Mount an image read-only: the open file whose digest was checked.
    Mount {
        /// The image.
        image: PathBuf,
        /// Its kind, which its superblock must confirm.
        kind: ImageKind,
        /// What the manifest asks for beside what every mount has.
        options: Vec<String>,
        /// The mount point.
        target: PathBuf,
    },
    /// Mount a tree once more elsewhere, perhaps beneath what is mounted there.
    Bind {
        /// The tree.
        tree: PathBuf,
        /// Where.
        target: PathBuf,
        /// Whether it goes beneath the topmost mount at `target`, where nobody sees it yet.
        is_beneath: bool,
    },
    /// Take the topmost mount at a path away: what lies beneath is seen from this moment on.
    Uncover {
        /// The path.
        target: PathBuf,
    },
    /// Unmount a release.
    Unmount {
        /// The mount point.
        target: PathBuf,
    },
    /// Make a symbolic link.
    Link {
        /// What it says.
        to: PathBuf,
        /// Where it lies.
        path: PathBuf,
    },
    /// Rename a prepared link over `current`: the one moment at which services change releases.
    Switch {
        /// The prepared link.
        from: PathBuf,
        /// `current`.
        current: PathBuf,
    },
    /// Remove a file, a link or an empty directory. Nothing when it does not exist.
    Remove {
        /// Which.
        path: PathBuf,
    },
    /// Remove a tree. Nothing when it does not exist.
    RemoveTree {
        /// Which.
        path: PathBuf,
    },
    /// Detach a loop device that nothing is mounted from.
    Detach {
        /// The device.
        device: PathBuf,
    },
}

impl fmt::Display for Step {
    /// What the step does, as the object of "cannot".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { path, .. } => write!(f, "make directory {}", path.display()),
            Self::Allocate { path, bytes, .. } => {
                write!(f, "allocate {} ({bytes} bytes)", path.display())
            }
            Self::Write { path, .. } | Self::Claim { path, .. } | Self::Save { path, .. } => {
                write!(f, "write {}", path.display())
            }
            Self::OpenJournal { path, .. } => write!(f, "open journal {}", path.display()),
            Self::Sync { path } | Self::SyncTree { path } => {
                write!(f, "make {} durable", path.display())
            }
            Self::SetMode { path, mode } => write!(f, "set mode {mode:04o} of {}", path.display()),
            Self::Give { path, owner, .. } => {
                write!(f, "give {} to user {}", path.display(), owner.user)
            }
            Self::Rename { from, to } | Self::Switch { from, current: to } => {
                write!(f, "rename {} to {}", from.display(), to.display())
            }
            Self::Unpack { image, tree, .. } => {
                write!(f, "unpack {} into {}", image.display(), tree.display())
            }
            Self::Place { image, path } => {
                write!(f, "place {} at {}", image.display(), path.display())
            }
            Self::Mount { image, kind, target, .. } => {
                write!(f, "mount {} as {kind} at {}", image.display(), target.display())
            }
            Self::Bind { tree, target, is_beneath } => {
                let place = if *is_beneath { "beneath" } else { "at" };
                write!(f, "mount {} {place} {}", tree.display(), target.display())
            }
            Self::Uncover { target } => {
                write!(f, "take the topmost mount away from {}", target.display())
            }
            Self::Unmount { target } => write!(f, "unmount {}", target.display()),
            Self::Link { to, path } => write!(f, "link {} to {}", path.display(), to.display()),
            Self::Remove { path } | Self::RemoveTree { path } => {
                write!(f, "remove {}", path.display())
            }
            Self::Detach { device } => write!(f, "detach loop device {}", device.display()),
        }
    }
}
