//! Turns a frame's worth of chunks into what is sent: digests and compression, on a worker thread.
//!
//! Invariant: the result depends on the raw bytes and the level alone.

use std::io;

use common::bundle::{Chunk, Frame, FrameKind};
use common::digest::Digest;
use common::id::ChunkIndex;

use super::cutter::RawFrame;

/// A frame is stored unless compression saves a sixty-fourth: decompressing it would cost every
/// host more than the bytes do.
const GAIN_SHIFT: usize = 6;

/// A frame that is ready to be written; its place among the chunks is not known yet.
#[derive(Debug)]
pub struct MadeFrame {
    kind: FrameKind,
    digest: Digest,
    /// The chunks inside.
    pub chunks: Vec<Chunk>,
    /// The image's bytes, empty for a gap.
    pub raw: Vec<u8>,
    compressed: Vec<u8>,
}

impl MadeFrame {
    /// What is sent.
    pub fn sent(&self) -> &[u8] {
        if self.kind == FrameKind::Stored { &self.raw } else { &self.compressed }
    }

    /// The table's entry, when its first chunk has this index.
    pub fn entry(&self, first_chunk: ChunkIndex) -> Frame {
        Frame {
            kind: self.kind,
            bytes: u32::try_from(self.sent().len()).expect("a frame is bounded"),
            digest: self.digest,
            first_chunk,
            chunk_count: u32::try_from(self.chunks.len()).expect("a frame is bounded"),
        }
    }

    /// Length of the image's part.
    pub fn image_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum()
    }

    /// Whether it is a gap.
    pub fn is_gap(&self) -> bool {
        self.kind == FrameKind::Zero
    }
}

/// What one worker keeps between frames.
pub struct FrameMaker {
    compressor: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for FrameMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameMaker")
    }
}

impl FrameMaker {
    /// A maker that compresses at `level`.
    ///
    /// # Errors
    /// When zstd cannot have its memory.
    pub fn new(level: i32) -> io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(level)? })
    }

    /// Digests and compresses one frame.
    ///
    /// # Errors
    /// When zstd fails, which is a lack of memory.
    pub fn make(&mut self, raw: RawFrame) -> io::Result<MadeFrame> {
        match raw {
            RawFrame::Gap { lengths } => Ok(gap(&lengths)),
            RawFrame::Data { raw, lengths } => self.data(raw, &lengths),
        }
    }

    fn data(&mut self, raw: Vec<u8>, lengths: &[u32]) -> io::Result<MadeFrame> {
        let chunks = digest_chunks(&raw, lengths);
        let compressed = self.compressor.compress(&raw)?;
        let is_worth_it = compressed.len() + (raw.len() >> GAIN_SHIFT) < raw.len();
        let (kind, compressed) = if is_worth_it {
            (FrameKind::Zstd, compressed)
        } else {
            (FrameKind::Stored, Vec::new())
        };
        let digest = Digest::of(if is_worth_it { &compressed } else { &raw });
        Ok(MadeFrame { kind, digest, chunks, raw, compressed })
    }
}

fn digest_chunks(raw: &[u8], lengths: &[u32]) -> Vec<Chunk> {
    let mut rest = raw;
    let digest = |&bytes: &u32| {
        let (chunk, behind) = rest.split_at(bytes as usize);
        rest = behind;
        Chunk { bytes, digest: Digest::of(chunk) }
    };
    lengths.iter().map(digest).collect()
}

fn gap(lengths: &[u32]) -> MadeFrame {
    let chunk = |&bytes: &u32| Chunk { bytes, digest: Chunk::ZERO_DIGEST };
    MadeFrame {
        kind: FrameKind::Zero,
        digest: Digest::of(b""),
        chunks: lengths.iter().map(chunk).collect(),
        raw: Vec::new(),
        compressed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::bundle::{ChunkTable, decode_frame};

    fn make(raw: Vec<u8>) -> MadeFrame {
        let lengths = vec![u32::try_from(raw.len()).unwrap()];
        FrameMaker::new(3).unwrap().make(RawFrame::Data { raw, lengths }).unwrap()
    }

    #[test]
    fn what_is_made_is_decoded_to_the_same_bytes() {
        for raw in [b"words ".repeat(10_000), vec![7], (0..=255).collect()] {
            let made = make(raw.clone());
            let table = ChunkTable::from_chunks(made.chunks.clone()).unwrap();
            let mut out = Vec::new();
            decode_frame(&made.entry(ChunkIndex(0)), made.sent(), &table, &mut out).unwrap();
            assert_eq!(out, raw);
        }
    }

    #[test]
    fn what_does_not_compress_is_stored() {
        let incompressible = blake3_stream(100_000);
        assert_eq!(make(incompressible).entry(ChunkIndex(0)).kind, FrameKind::Stored);
        assert_eq!(make(vec![b'a'; 100_000]).entry(ChunkIndex(0)).kind, FrameKind::Zstd);
    }

    fn blake3_stream(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_gap_is_sent_as_nothing() {
        let gap = RawFrame::Gap { lengths: vec![1 << 30, 5] };
        let made = FrameMaker::new(3).unwrap().make(gap).unwrap();
        assert!(made.is_gap() && made.sent().is_empty());
        assert_eq!(made.image_bytes(), (1 << 30) + 5);
        assert_eq!(made.entry(ChunkIndex(9)), Frame::zero(ChunkIndex(9), 2));
    }
}
