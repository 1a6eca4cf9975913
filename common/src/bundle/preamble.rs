//! The preamble: manifest, signatures, chunk table and plan, which a host needs before any data.
//!
//! Not here: whether the signatures are right; they are carried as bytes.
//!
//! Invariant: the parts of a parsed preamble belong together: the manifest is the announced one,
//! both tables are those that it names, frames tile the chunks and chunks tile the image.
//! BUNDLE 5.

use crate::digest::Digest;
use crate::geometry::PreambleLengths;
use crate::id::ReleaseId;
use crate::limits::{MANIFEST_BYTES_MAX, PREAMBLE_BYTES_MAX, SIGNATURES_BYTES_MAX};

use super::chunks::{ChunkTable, TableError};
use super::frames::FrameTable;
use super::manifest::{Manifest, ManifestError, TableFacts, release_id};

/// Everything about a release but its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest as it was signed.
    pub manifest_bytes: Vec<u8>,
    /// Signatures over `manifest_bytes`; empty without.
    pub signatures: Vec<u8>,
    /// What the image must be.
    pub chunks: ChunkTable,
    /// The frames that are sent; in a full session the bundle's frame table.
    pub plan: FrameTable,
}

/// Bytes that are not the preamble of the expected release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// The lengths of the parts are beyond a limit or not those of the bytes.
    #[error("the preamble does not have the length that was announced")]
    Lengths,
    /// The manifest is not that of the expected release.
    #[error("the manifest is not that of the release")]
    Release,
    /// The manifest is the announced one and yet not valid.
    #[error("the manifest is refused: {0}")]
    Manifest(#[from] ManifestError),
    /// The chunk table is not the one that the manifest names.
    #[error("the chunk table does not match the manifest")]
    ChunkDigest,
    /// The frame table is not the one that the manifest names.
    #[error("the frame table does not match the manifest")]
    FrameDigest,
    /// The chunk table is the named one and yet not valid.
    #[error("the chunk table is refused: {0}")]
    Chunks(TableError),
    /// The frame table is the named one and yet not valid.
    #[error("the frame table is refused: {0}")]
    Frames(TableError),
    /// The chunks are longer or shorter than the image.
    #[error("the chunks do not add up to the image")]
    ImageBytes,
}

/// The signed part of a preamble that was not parsed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The manifest as it was signed.
    pub manifest: &'a [u8],
    /// Signatures over that; empty without.
    pub signatures: &'a [u8],
}

impl Preamble {
    /// What of a preamble is to be believed before [`Preamble::parse`] reads it.
    ///
    /// # Errors
    /// When the bytes have not those lengths, or the manifest is not that of `expect`.
    pub fn signed<'a>(
        bytes: &'a [u8],
        lengths: &PreambleLengths,
        expect: ReleaseId,
    ) -> Result<Signed<'a>, PreambleError> {
        let [manifest, signatures, ..] = split(bytes, lengths)?;
        if release_id(manifest) != expect {
            return Err(PreambleError::Release);
        }
        Ok(Signed { manifest, signatures })
    }

    /// Reads a preamble, of which the digest of the manifest is trusted.
    ///
    /// # Errors
    /// Names the part that does not belong to `expect`, does not fit the others or is not valid.
    pub fn parse(
        bytes: &[u8],
        lengths: &PreambleLengths,
        expect: ReleaseId,
    ) -> Result<Self, PreambleError> {
        let [manifest_bytes, signatures, chunk_table, plan] = split(bytes, lengths)?;
        if release_id(manifest_bytes) != expect {
            return Err(PreambleError::Release);
        }
        let manifest = Manifest::parse(manifest_bytes)?;
        if !is_named(chunk_table, &manifest.chunk_table) {
            return Err(PreambleError::ChunkDigest);
        }
        if !is_named(plan, &manifest.frame_table) {
            return Err(PreambleError::FrameDigest);
        }
        let preamble = Self {
            chunks: ChunkTable::parse(chunk_table).map_err(PreambleError::Chunks)?,
            plan: FrameTable::parse(plan).map_err(PreambleError::Frames)?,
            manifest,
            manifest_bytes: manifest_bytes.to_vec(),
            signatures: signatures.to_vec(),
        };
        preamble.check_sums()?;
        Ok(preamble)
    }

    /// The preamble's bytes, and the lengths of its parts.
    pub fn emit(&self) -> (Vec<u8>, PreambleLengths) {
        let (chunk_table, plan) = (self.chunks.emit(), self.plan.emit());
        let parts = [&*self.manifest_bytes, &*self.signatures, &*chunk_table, &*plan];
        let [manifest, signatures, chunk_table, plan] = parts
            .map(|part| u32::try_from(part.len()).expect("each part was bounded when it was made"));
        (parts.concat(), PreambleLengths { manifest, signatures, chunk_table, plan })
    }

    /// Identity of the release.
    pub fn release(&self) -> ReleaseId {
        release_id(&self.manifest_bytes)
    }

    fn check_sums(&self) -> Result<(), PreambleError> {
        let counts_agree = self.chunks.len() == self.manifest.chunk_table.count
            && self.plan.len() == self.manifest.frame_table.count;
        if !counts_agree || self.chunks.image_bytes() != self.manifest.image.bytes {
            return Err(PreambleError::ImageBytes);
        }
        self.plan.check_tiles(&self.chunks).map_err(PreambleError::Frames)
    }
}

fn is_named(table: &[u8], facts: &TableFacts) -> bool {
    table.len() as u64 == facts.bytes && Digest::of(table) == facts.digest
}

fn split<'a>(bytes: &'a [u8], lengths: &PreambleLengths) -> Result<[&'a [u8]; 4], PreambleError> {
    let is_within = lengths.manifest <= MANIFEST_BYTES_MAX
        && lengths.signatures <= SIGNATURES_BYTES_MAX
        && lengths.total() <= u64::from(PREAMBLE_BYTES_MAX);
    if !is_within || lengths.total() != bytes.len() as u64 {
        return Err(PreambleError::Lengths);
    }
    let (manifest, rest) = bytes.split_at(lengths.manifest as usize);
    let (signatures, rest) = rest.split_at(lengths.signatures as usize);
    let (chunk_table, plan) = rest.split_at(lengths.chunk_table as usize);
    Ok([manifest, signatures, chunk_table, plan])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::writer::tests::small_preamble;

    #[test]
    fn a_preamble_is_read_back_from_its_bytes() {
        let preamble = small_preamble();
        let (bytes, lengths) = preamble.emit();
        assert_eq!(lengths.total(), bytes.len() as u64);
        assert_eq!(Preamble::parse(&bytes, &lengths, preamble.release()), Ok(preamble));
    }

    #[test]
    fn a_preamble_of_another_release_is_refused() {
        let (bytes, lengths) = small_preamble().emit();
        let other = ReleaseId(Digest::of(b"another"));
        assert_eq!(Preamble::parse(&bytes, &lengths, other), Err(PreambleError::Release));
    }

    #[test]
    fn every_flipped_byte_outside_the_signatures_is_found() {
        let preamble = small_preamble();
        let (bytes, lengths) = preamble.emit();
        let signed = lengths.manifest as usize..(lengths.manifest + lengths.signatures) as usize;
        for at in (0..bytes.len()).filter(|at| !signed.contains(at)) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(Preamble::parse(&bytes, &lengths, preamble.release()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn lengths_that_are_not_those_of_the_bytes_are_refused() {
        let preamble = small_preamble();
        let (bytes, lengths) = preamble.emit();
        let refused = |lengths, bytes: &[u8]| {
            Preamble::parse(bytes, &lengths, preamble.release()).unwrap_err()
        };
        for end in 0..bytes.len() {
            assert_eq!(refused(lengths, &bytes[..end]), PreambleError::Lengths);
        }
        let huge = PreambleLengths { plan: u32::MAX, ..lengths };
        assert_eq!(refused(huge, &bytes), PreambleError::Lengths);
        let shifted = PreambleLengths {
            manifest: lengths.manifest - 1,
            signatures: lengths.signatures + 1,
            ..lengths
        };
        assert_eq!(refused(shifted, &bytes), PreambleError::Release);
    }

    #[test]
    fn a_plan_that_the_manifest_does_not_name_is_refused() {
        let mut preamble = small_preamble();
        preamble.plan = FrameTable::default();
        let (bytes, lengths) = preamble.emit();
        let result = Preamble::parse(&bytes, &lengths, preamble.release());
        assert_eq!(result, Err(PreambleError::FrameDigest));
    }

    #[test]
    fn chunks_that_do_not_add_up_to_the_image_are_refused() {
        let mut preamble = small_preamble();
        preamble.manifest.image.bytes += 1;
        preamble.manifest_bytes = preamble.manifest.to_json();
        let (bytes, lengths) = preamble.emit();
        let result = Preamble::parse(&bytes, &lengths, preamble.release());
        assert_eq!(result, Err(PreambleError::ImageBytes));
    }
}
