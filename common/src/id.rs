//! Identities: names chosen by people, and numbers that are not interchangeable.
//!
//! Not here: arithmetic on indices, which lives in `geometry` alone.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// A text that breaks the naming rule of apps, labels and hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a name: 1 to 63 characters of A-Z a-z 0-9 . _ -, and neither \".\" nor \"..\""
)]
pub struct NameError(pub String);

/// Whether `text` matches `[A-Za-z0-9._-]{1,63}` and is neither `.` nor `..`, so that it can be a
/// file's name.
pub fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=63).contains(&text.len()) && text.bytes().all(is_allowed) && text != "." && text != ".."
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(NameError(text.to_owned())) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        crate::serde_text::as_text!($name);
    };
}

name! {
    /// What a release is a release of; the store and the app root are kept per app.
    AppName
}
name! {
    /// What people call a release of an app: a tag, a date.
    Label
}
name! {
    /// A receiver's identity in the roster.
    HostName
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number! {
    /// One distribution of one release to one group; chosen at random by the sender.
    SessionId(u32), "{:08x}"
}
number! {
    /// Position of a block among a session's blocks, preamble blocks first.
    BlockIndex(u32), "{}"
}
number! {
    /// Which of a block's symbols: 0..k are source symbols, k..k+r repair symbols (RFC 5052's ESI).
    SymbolId(u16), "{}"
}
number! {
    /// Position of a frame in the plan.
    FrameIndex(u32), "{}"
}
number! {
    /// Position of a chunk in the image.
    ChunkIndex(u32), "{}"
}
number! {
    /// A host's place in the status sweep, given by JOIN-ACK.
    Slot(u32), "{}"
}
number! {
    /// Chosen at random when a host's process starts: tells a restarted host from its former self.
    BootNonce(u64), "{:016x}"
}

/// Identity of a release: the digest of its manifest's bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ReleaseId(pub Digest);

impl ReleaseId {
    /// Name of the release's directory: `<label>-<first 12 digits>`.
    pub fn directory_name(&self, label: &Label) -> String {
        format!("{label}-{}", self.0.short())
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseId({})", self.0)
    }
}

/// What an image is. The numbers are wire values (JOIN) and never reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ImageKind {
    /// ext2 filesystem, mounted through a loop device.
    Ext2 = 1,
    /// ext4 filesystem, mounted with `noload`.
    Ext4 = 2,
    /// erofs filesystem, mounted from the file where the kernel can.
    Erofs = 3,
    /// squashfs filesystem.
    Squashfs = 4,
    /// Uncompressed tar archive, unpacked.
    Tar = 5,
    /// Any other file, placed as it is.
    Raw = 6,
}

impl ImageKind {
    /// Every kind, in wire order.
    pub const ALL: [Self; 6] =
        [Self::Ext2, Self::Ext4, Self::Erofs, Self::Squashfs, Self::Tar, Self::Raw];

    /// The kind with this wire value.
    pub fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }

    /// Name in manifests, file names and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext4 => "ext4",
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
            Self::Tar => "tar",
            Self::Raw => "raw",
        }
    }

    /// Whether activating it means mounting it.
    pub const fn is_mounted(self) -> bool {
        matches!(self, Self::Ext2 | Self::Ext4 | Self::Erofs | Self::Squashfs)
    }
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(64)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?}");
        }
        for good in ["a", "...", "-", "shop_2.0-rc1", &"x".repeat(63)] {
            assert_eq!(good.parse::<AppName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn image_kinds_survive_their_wire_value_and_unknown_values_do_not() {
        for kind in ImageKind::ALL {
            assert_eq!(ImageKind::from_wire(kind as u8), Some(kind));
        }
        assert_eq!(ImageKind::from_wire(0), None);
        assert_eq!(ImageKind::from_wire(7), None);
    }
}
