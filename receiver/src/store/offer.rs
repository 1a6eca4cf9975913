//! A release as its manifest describes it: all that staging needs to know.
//!
//! Not here: the tables, which only the way of the image's bytes needs. Invariant: the manifest is
//! the one that the release's id names.

use common::bundle::{FrameKind, Manifest, Preamble, release_id};
use common::id::{AppName, ReleaseId};
use common::wire::Fault;

use super::error::StoreError;

/// What is offered to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its identity.
    pub release: ReleaseId,
    /// What it is.
    pub manifest: Manifest,
    /// The manifest as it was signed.
    pub manifest_bytes: Vec<u8>,
    /// Signatures over that; empty without.
    pub signatures: Vec<u8>,
    /// Bytes of the image that are not gaps: what it takes of a disk.
    pub data_bytes: u64,
}

impl Offer {
    /// What a session received.
    pub fn of(preamble: &Preamble) -> Self {
        let frames = preamble.plan.iter().filter(|frame| frame.kind != FrameKind::Zero);
        let bytes = frames.map(|frame| {
            preamble.chunks.offset(frame.end_chunk()) - preamble.chunks.offset(frame.first_chunk)
        });
        Self {
            release: preamble.release(),
            manifest: preamble.manifest.clone(),
            manifest_bytes: preamble.manifest_bytes.clone(),
            signatures: preamble.signatures.clone(),
            data_bytes: bytes.sum(),
        }
    }

    /// What somebody says that he received, and that was vouched for.
    ///
    /// # Errors
    /// When the manifest is not valid, or is not that of `release` of `app`.
    pub fn read(
        app: &AppName,
        release: ReleaseId,
        manifest_bytes: Vec<u8>,
        signatures: Vec<u8>,
        data_bytes: u64,
    ) -> Result<Self, StoreError> {
        let refused = |line: String| StoreError::new(Fault::VerifyFailed, line);
        if release_id(&manifest_bytes) != release {
            return Err(refused("the manifest is not that of the release".into()));
        }
        let manifest = Manifest::parse(&manifest_bytes)
            .map_err(|error| refused(format!("the manifest is refused: {error}")))?;
        if manifest.app != *app {
            let line = format!("a release of {} is no release of {app}", manifest.app);
            return Err(StoreError::new(Fault::OtherApp, line));
        }
        // Gaps only make it less.
        let data_bytes = data_bytes.min(manifest.image.bytes);
        Ok(Self { release, manifest, manifest_bytes, signatures, data_bytes })
    }
}
