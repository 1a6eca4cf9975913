//! The bundle: the one file that holds a release, and the preamble that a session sends of it.
//!
//! Not here: how images are made and cut (`sender::pack`), where they go (`receiver::store`).
//!
//! Invariant: every byte of a bundle lies under a digest that is reached from its footer, and
//! nothing is decompressed before the digest of its compressed bytes was right. Parsing neither
//! panics nor allocates more than a bound in [`limits`](crate::limits), whatever the bytes are.
//! The format is `docs/BUNDLE.md`; what travels of it is PROTOCOL 4.
//!
//! Everything here is pure but [`mod@file`] and [`ordered`].

pub mod chunks;
pub mod decode;
pub mod file;
pub mod footer;
pub mod frames;
pub mod manifest;
pub mod ordered;
pub mod preamble;
pub mod verify;
pub mod writer;

pub use chunks::{Chunk, ChunkTable, TableError};
pub use decode::{FrameError, decode_frame, verify_chunks};
pub use file::{BundleError, BundleFault, BundleFile};
pub use frames::{Frame, FrameKind, FrameTable};
pub use manifest::{ImageFacts, Manifest, ManifestError, TableFacts, UnpackLimits, release_id};
pub use preamble::{Preamble, PreambleError, Signed};
pub use verify::{ImageDigest, Verified};
pub use writer::BundleWriter;

pub use crate::geometry::PreambleLengths;

/// Bundles, manifests and tables of this version are read and written; no other is.
pub const FORMAT_VERSION: u32 = 1;

/// The only codec of frames so far.
pub const CODEC: &str = "zstd";
