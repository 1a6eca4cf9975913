//! Writing a bundle, frame by frame, into anything that takes bytes.
//!
//! Not here: cutting and compressing (`sender::pack`), or making the file durable.
//!
//! Invariant: what is written depends on the frames, the chunks and the manifest alone. BUNDLE 1.

use std::io::{self, Write};

use crate::digest::Digest;

use super::chunks::{ChunkTable, TableError};
use super::footer::{Footer, header};
use super::frames::{Frame, FrameTable};
use super::manifest::{Manifest, TableFacts};
use super::preamble::Preamble;

/// A bundle being written.
#[derive(Debug)]
pub struct BundleWriter<W> {
    out: W,
    frames: Vec<Frame>,
    payload_bytes: u64,
}

/// Why a bundle could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The bytes were not taken.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The image is beyond a limit of the format.
    #[error("the image does not fit the format: {0}")]
    Table(#[from] TableError),
}

impl<W: Write> BundleWriter<W> {
    /// Starts a bundle.
    ///
    /// # Errors
    /// When `out` does not take the header.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&header())?;
        Ok(Self { out, frames: Vec::new(), payload_bytes: 0 })
    }

    /// Appends one frame; frames come in the order of their chunks.
    ///
    /// # Errors
    /// When `out` does not take the bytes.
    ///
    /// # Panics
    /// When `sent` does not have the frame's length: the table would not describe the file.
    pub fn push_frame(&mut self, frame: Frame, sent: &[u8]) -> io::Result<()> {
        assert_eq!(sent.len(), frame.bytes as usize, "a frame is as long as its entry says");
        self.out.write_all(sent)?;
        self.payload_bytes += u64::from(frame.bytes);
        self.frames.push(frame);
        Ok(())
    }

    /// Ends the bundle with its tables, the manifest that `describe` makes of them (chunk table
    /// first) and the footer.
    ///
    /// # Errors
    /// When a limit of the format is exceeded or `out` does not take the bytes.
    pub fn finish(
        self,
        chunks: ChunkTable,
        describe: impl FnOnce(TableFacts, TableFacts) -> Manifest,
    ) -> Result<(W, Preamble), WriteError> {
        self.finish_signed(chunks, describe, |_, _| Vec::new())
    }

    /// As [`BundleWriter::finish`], with the signatures that `sign` makes of the manifest and its
    /// bytes.
    ///
    /// # Errors
    /// As [`BundleWriter::finish`].
    pub fn finish_signed(
        mut self,
        chunks: ChunkTable,
        describe: impl FnOnce(TableFacts, TableFacts) -> Manifest,
        sign: impl FnOnce(&Manifest, &[u8]) -> Vec<u8>,
    ) -> Result<(W, Preamble), WriteError> {
        let plan = FrameTable::from_frames(self.frames)?;
        plan.check_tiles(&chunks)?;
        let manifest =
            describe(facts(&chunks.emit(), chunks.len()), facts(&plan.emit(), plan.len()));
        let manifest_bytes = manifest.to_json();
        let signatures = sign(&manifest, &manifest_bytes);
        let preamble = Preamble { manifest, manifest_bytes, signatures, chunks, plan };
        self.out.write_all(&tail(&preamble))?;
        self.out.flush()?;
        Ok((self.out, preamble))
    }
}

/// Everything of a bundle behind its payload.
pub fn tail(preamble: &Preamble) -> Vec<u8> {
    let (frame_table, chunk_table) = (preamble.plan.emit(), preamble.chunks.emit());
    let parts = [&*frame_table, &*chunk_table, &*preamble.manifest_bytes, &*preamble.signatures];
    let footer = Footer::lay_out(preamble.plan.payload_bytes(), parts);
    let mut out = parts.concat();
    out.extend_from_slice(&footer.emit());
    out
}

fn facts(table: &[u8], count: u32) -> TableFacts {
    TableFacts { digest: Digest::of(table), bytes: table.len() as u64, count }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bundle::manifest::ImageFacts;
    use crate::bundle::{CODEC, Chunk, FORMAT_VERSION, FrameKind};
    use crate::id::{ChunkIndex, ImageKind};

    const DATA: &[u8] = b"some words that are stored";
    const GAP_BYTES: u32 = 1 << 20;

    /// A bundle of a stored frame, a gap and a compressed frame.
    pub(crate) fn small_bundle() -> (Vec<u8>, Preamble) {
        let text = DATA.repeat(100);
        let sent = zstd::bulk::compress(&text, 3).unwrap();
        let chunk = |raw: &[u8]| Chunk {
            bytes: u32::try_from(raw.len()).unwrap(),
            digest: Digest::of(raw),
        };
        let gap = Chunk { bytes: GAP_BYTES, digest: Chunk::ZERO_DIGEST };
        let chunks = ChunkTable::from_chunks(vec![chunk(DATA), gap, chunk(&text)]).unwrap();
        let frame = |kind, sent: &[u8], first| Frame {
            kind,
            bytes: u32::try_from(sent.len()).unwrap(),
            digest: Digest::of(sent),
            first_chunk: ChunkIndex(first),
            chunk_count: 1,
        };
        let mut writer = BundleWriter::new(Vec::new()).unwrap();
        writer.push_frame(frame(FrameKind::Stored, DATA, 0), DATA).unwrap();
        writer.push_frame(Frame::zero(ChunkIndex(1), 1), b"").unwrap();
        writer.push_frame(frame(FrameKind::Zstd, &sent, 2), &sent).unwrap();
        let image = [DATA, &vec![0; GAP_BYTES as usize], &text].concat();
        writer
            .finish(chunks, |chunk_table, frame_table| describe(&image, chunk_table, frame_table))
            .unwrap()
    }

    fn describe(image: &[u8], chunk_table: TableFacts, frame_table: TableFacts) -> Manifest {
        Manifest {
            format: FORMAT_VERSION,
            app: "shop".parse().unwrap(),
            label: "v1".parse().unwrap(),
            epoch: 0,
            sequence: 7,
            created: 1_700_000_000,
            expires: None,
            image: ImageFacts {
                kind: ImageKind::Raw,
                bytes: image.len() as u64,
                digest: Digest::of(image),
            },
            chunk_table,
            frame_table,
            codec: CODEC.into(),
            mount_options: Vec::new(),
            unpack: None,
            next_key: None,
            critical: Vec::new(),
        }
    }

    pub(crate) fn small_preamble() -> Preamble {
        Preamble { signatures: b"signature".to_vec(), ..small_bundle().1 }
    }

    #[test]
    fn the_payload_follows_the_header_and_the_rest_is_the_tail() {
        let (bytes, preamble) = small_bundle();
        assert_eq!(&bytes[16..16 + DATA.len()], DATA);
        assert!(bytes.ends_with(&tail(&preamble)));
        let payload_bytes = usize::try_from(preamble.plan.payload_bytes()).unwrap();
        assert_eq!(bytes.len(), 16 + payload_bytes + tail(&preamble).len());
    }

    #[test]
    fn frames_that_do_not_tile_the_chunks_are_refused() {
        let chunk = Chunk { bytes: 4, digest: Digest::of(b"data") };
        let chunks = ChunkTable::from_chunks(vec![chunk]).unwrap();
        let writer = BundleWriter::new(Vec::new()).unwrap();
        let error = writer.finish(chunks, |_, _| unreachable!("tables come first")).unwrap_err();
        assert!(matches!(error, WriteError::Table(TableError::Tiling(0))), "{error}");
    }
}
