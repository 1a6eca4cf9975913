//! The check of every byte of a bundle.
//!
//! Invariant: after `Ok` of [`BundleFile::verify_all`] a host that receives the frames unchanged
//! ends with the image that the manifest names; after `Ok` of [`BundleFile::verify_payload`] the
//! frames are as they were packed.

use std::num::NonZeroUsize;

use crate::digest::Digest;
use crate::id::FrameIndex;

use super::chunks::Chunk;
use super::decode::{FrameError, decode_frame};
use super::file::{BundleError, BundleFault, BundleFile};
use super::frames::{Frame, FrameKind};
use super::ordered::map_in_order;

/// Zeros to hash gaps with.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Frames read.
    pub frames: u32,
    /// Their bytes as sent.
    pub payload_bytes: u64,
    /// Bytes of the image that they make.
    pub image_bytes: u64,
}

/// Digest of an image, fed with its data and gaps in order.
#[derive(Debug, Clone, Default)]
pub struct ImageDigest {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl ImageDigest {
    /// The next bytes of the image.
    pub fn data(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// A gap of `count` zeros.
    pub fn zeros(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            let step = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.hasher.update(&ZEROS[..step]);
            left -= step as u64;
        }
        self.bytes += count;
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of everything so far.
    pub fn finish(&self) -> Digest {
        self.hasher.finalize().into()
    }
}

impl BundleFile {
    /// Checks the digest of every frame as sent, without decompressing; `progress` is given the
    /// bytes of each.
    ///
    /// # Errors
    /// Names the first damaged frame.
    pub fn verify_payload(
        &self,
        threads: NonZeroUsize,
        mut progress: impl FnMut(u64),
    ) -> Result<(), BundleError> {
        let worker = || {
            let mut sent = Vec::new();
            move |index| {
                let frame = self.load(index, &mut sent)?;
                if Digest::of(&sent) == frame.digest {
                    return Ok(frame.bytes);
                }
                Err(self.wrong(BundleFault::Frame(index, FrameError::Digest)))
            }
        };
        map_in_order(threads, self.frame_indices(), worker, |bytes| {
            progress(u64::from(bytes));
            Ok(())
        })
    }

    /// Checks every byte: frames as sent, the chunks that they decompress to, and the image;
    /// `progress` is given the bytes of the image as they become known.
    ///
    /// # Errors
    /// Names the first damaged frame, or the image when only its digest is wrong.
    pub fn verify_all(
        &self,
        threads: NonZeroUsize,
        mut progress: impl FnMut(u64),
    ) -> Result<Verified, BundleError> {
        let preamble = self.preamble();
        let worker = || {
            let mut sent = Vec::new();
            move |index| {
                let frame = *self.load(index, &mut sent)?;
                let mut raw = Vec::new();
                decode_frame(&frame, &sent, &preamble.chunks, &mut raw)
                    .map_err(|error| self.wrong(BundleFault::Frame(index, error)))?;
                Ok((frame, raw))
            }
        };
        let mut image = ImageDigest::default();
        map_in_order(threads, self.frame_indices(), worker, |(frame, raw): (Frame, Vec<u8>)| {
            let before = image.bytes();
            match frame.kind {
                FrameKind::Zero => image.zeros(self.gap_bytes(&frame)),
                _ => image.data(&raw),
            }
            progress(image.bytes() - before);
            Ok(())
        })?;
        if image.finish() != preamble.manifest.image.digest {
            return Err(self.wrong(BundleFault::Image));
        }
        Ok(Verified {
            frames: preamble.plan.len(),
            payload_bytes: self.payload_bytes(),
            image_bytes: image.bytes(),
        })
    }

    fn frame_indices(&self) -> impl Iterator<Item = Result<FrameIndex, BundleError>> + Send {
        (0..self.preamble().plan.len()).map(|index| Ok(FrameIndex(index)))
    }

    fn load(&self, index: FrameIndex, sent: &mut Vec<u8>) -> Result<&Frame, BundleError> {
        self.read_frame(index, sent)?;
        Ok(self.preamble().plan.frame(index).expect("indices come from the plan"))
    }

    fn gap_bytes(&self, frame: &Frame) -> u64 {
        let gaps = self.preamble().chunks.range(frame.first_chunk, frame.chunk_count);
        let gaps: &[Chunk] = gaps.expect("the frames of an open bundle tile its chunks");
        gaps.iter().map(|gap| u64::from(gap.bytes)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::writer::tests::small_bundle;
    use std::io::Write;

    const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    fn open(bytes: &[u8]) -> Result<BundleFile, BundleError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        BundleFile::open(file.path())
    }

    #[test]
    fn a_whole_bundle_is_verified_with_its_gaps() {
        let (bytes, preamble) = small_bundle();
        let bundle = open(&bytes).unwrap();
        let mut seen = 0;
        let verified = bundle.verify_all(THREADS, |bytes| seen += bytes).unwrap();
        assert_eq!(verified.image_bytes, preamble.manifest.image.bytes);
        assert_eq!(seen, verified.image_bytes);
        assert_eq!(verified.frames, 3);
        let mut seen = 0;
        bundle.verify_payload(THREADS, |bytes| seen += bytes).unwrap();
        assert_eq!(seen, bundle.payload_bytes());
    }

    #[test]
    fn every_flipped_byte_of_the_file_is_found() {
        let (bytes, _) = small_bundle();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let Ok(bundle) = open(&bytes) else { continue };
            let all = bundle.verify_all(THREADS, |_| ()).unwrap_err();
            assert!(matches!(all.fault, BundleFault::Frame(_, FrameError::Digest)), "{at}: {all}");
            assert!(bundle.verify_payload(THREADS, |_| ()).is_err(), "{at}");
        }
    }

    #[test]
    fn gaps_and_zeros_have_the_same_digest() {
        let mut image = ImageDigest::default();
        image.data(b"a");
        image.zeros(200_000);
        let plain = [b"a".as_slice(), &[0; 200_000]].concat();
        assert_eq!(image.finish(), Digest::of(&plain));
        assert_eq!(image.bytes(), 200_001);
    }
}
