//! From a frame's bytes as sent to its chunks.
//!
//! Invariant: the digest of what was sent is right before it is decompressed, the output never
//! grows beyond the frame's raw length, and every chunk's digest is right before `Ok`. BUNDLE 3.

use crate::digest::Digest;
use crate::id::ChunkIndex;

use super::chunks::{Chunk, ChunkTable};
use super::frames::{Frame, FrameKind};

/// Bytes that are not the frame, or a frame that is not its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes do not have the frame's length or digest.
    #[error("its bytes do not match their digest")]
    Digest,
    /// The frame names chunks that the table does not have.
    #[error("it names chunks that do not exist")]
    Chunks,
    /// The bytes do not decompress to the frame's raw length.
    #[error("it does not decompress to its length")]
    Codec,
    /// A chunk is not what the table says.
    #[error("chunk {0} does not match its digest")]
    Chunk(ChunkIndex),
    /// A frame that needs a base image.
    #[error("it needs a base image")]
    Reserved,
}

/// Checks and decodes one frame into `out`, instead of what was there; a frame of gaps leaves it
/// empty.
///
/// # Errors
/// Says what was wrong; `out` then holds nothing of use.
pub fn decode_frame(
    frame: &Frame,
    sent: &[u8],
    chunks: &ChunkTable,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    if sent.len() != frame.bytes as usize || Digest::of(sent) != frame.digest {
        return Err(FrameError::Digest);
    }
    let inside = chunks.range(frame.first_chunk, frame.chunk_count).ok_or(FrameError::Chunks)?;
    match frame.kind {
        FrameKind::Zero if inside.iter().all(Chunk::is_zero) => {
            out.clear();
            return Ok(());
        }
        FrameKind::Zero => return Err(FrameError::Chunks),
        FrameKind::Stored => {
            out.clear();
            out.extend_from_slice(sent);
        }
        FrameKind::Zstd => decompress(sent, raw_bytes(inside)?, out)?,
        FrameKind::ZstdPrefix => return Err(FrameError::Reserved),
    }
    check_chunks(frame.first_chunk, inside, out)
}

/// Checks that `raw` is the `count` chunks from `first` on.
///
/// The bytes of a stored frame all lie in its chunks: with these its own digest would say the same
/// once more.
///
/// # Errors
/// When the table has no such chunks, or the bytes are not theirs.
pub fn verify_chunks(
    chunks: &ChunkTable,
    first: ChunkIndex,
    count: u32,
    raw: &[u8],
) -> Result<(), FrameError> {
    check_chunks(first, chunks.range(first, count).ok_or(FrameError::Chunks)?, raw)
}

/// Raw length of the chunks, which a table that tiles keeps within the limit of a frame.
fn raw_bytes(inside: &[Chunk]) -> Result<usize, FrameError> {
    let raw_bytes: u64 = inside.iter().map(|chunk| u64::from(chunk.bytes)).sum();
    let is_within = raw_bytes <= u64::from(crate::limits::FRAME_RAW_BYTES_MAX);
    usize::try_from(raw_bytes).ok().filter(|_| is_within).ok_or(FrameError::Chunks)
}

fn decompress(sent: &[u8], raw_bytes: usize, out: &mut Vec<u8>) -> Result<(), FrameError> {
    // Zeroes what it grows by, not the whole: `out` holds the last frame, of about the same length.
    out.resize(raw_bytes, 0);
    match zstd::bulk::decompress_to_buffer(sent, out.as_mut_slice()) {
        Ok(written) if written == raw_bytes => Ok(()),
        _ => Err(FrameError::Codec),
    }
}

fn check_chunks(first: ChunkIndex, inside: &[Chunk], raw: &[u8]) -> Result<(), FrameError> {
    let mut rest = raw;
    for (index, chunk) in (first.0..).zip(inside) {
        let (bytes, behind) =
            rest.split_at_checked(chunk.bytes as usize).ok_or(FrameError::Codec)?;
        if Digest::of(bytes) != chunk.digest {
            return Err(FrameError::Chunk(ChunkIndex(index)));
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(FrameError::Codec) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(parts: &[&[u8]]) -> ChunkTable {
        let chunk = |part: &&[u8]| Chunk {
            bytes: u32::try_from(part.len()).unwrap(),
            digest: Digest::of(part),
        };
        ChunkTable::from_chunks(parts.iter().map(chunk).collect()).unwrap()
    }

    fn frame(kind: FrameKind, sent: &[u8], chunk_count: u32) -> Frame {
        let bytes = u32::try_from(sent.len()).unwrap();
        Frame { kind, bytes, digest: Digest::of(sent), first_chunk: ChunkIndex(0), chunk_count }
    }

    #[test]
    fn the_bytes_of_a_stored_frame_are_verified_chunk_by_chunk() {
        let table = chunks(&[b"one", b"two", b"six"]);
        assert_eq!(verify_chunks(&table, ChunkIndex(0), 2, b"onetwo"), Ok(()));
        assert_eq!(verify_chunks(&table, ChunkIndex(2), 1, b"six"), Ok(()));
        for wrong in [&b"oneTwo"[..], b"onetw", b"onetwoo", b""] {
            assert!(verify_chunks(&table, ChunkIndex(0), 2, wrong).is_err(), "{wrong:?}");
        }
        let beyond = verify_chunks(&table, ChunkIndex(2), 2, b"sixsix");
        assert_eq!(beyond, Err(FrameError::Chunks));
    }

    #[test]
    fn stored_and_compressed_frames_become_their_chunks() {
        let raw = [b'a'; 3000];
        let table = chunks(&[&raw[..1000], &raw[1000..]]);
        let sent = zstd::bulk::compress(&raw, 3).unwrap();
        let mut out = b"left over".to_vec();
        decode_frame(&frame(FrameKind::Zstd, &sent, 2), &sent, &table, &mut out).unwrap();
        assert_eq!(out, raw);
        decode_frame(&frame(FrameKind::Stored, &raw, 2), &raw, &table, &mut out).unwrap();
        assert_eq!(out, raw);
    }

    #[test]
    fn a_frame_of_gaps_leaves_nothing_to_write() {
        let gap = Chunk { bytes: 1 << 30, digest: Chunk::ZERO_DIGEST };
        let table = ChunkTable::from_chunks(vec![gap]).unwrap();
        let mut out = b"left over".to_vec();
        decode_frame(&Frame::zero(ChunkIndex(0), 1), b"", &table, &mut out).unwrap();
        assert_eq!(out, b"");
        let mut claim = Frame::zero(ChunkIndex(0), 1);
        claim.chunk_count = 2;
        assert_eq!(decode_frame(&claim, b"", &table, &mut out), Err(FrameError::Chunks));
        let data = chunks(&[b"data"]);
        let zero = Frame::zero(ChunkIndex(0), 1);
        assert_eq!(decode_frame(&zero, b"", &data, &mut out), Err(FrameError::Chunks));
    }

    #[test]
    fn nothing_is_decompressed_unless_its_digest_is_right() {
        let table = chunks(&[b"data"]);
        let good = frame(FrameKind::Zstd, b"not zstd at all", 1);
        let mut out = Vec::new();
        let result = decode_frame(&good, b"not zstd At all", &table, &mut out);
        assert_eq!(result, Err(FrameError::Digest));
        let result = decode_frame(&good, b"not zstd at al", &table, &mut out);
        assert_eq!(result, Err(FrameError::Digest));
        let result = decode_frame(&good, b"not zstd at all", &table, &mut out);
        assert_eq!(result, Err(FrameError::Codec));
    }

    #[test]
    fn output_is_capped_at_the_raw_length_and_must_reach_it() {
        let bomb = zstd::bulk::compress(&vec![0; 10 << 20], 3).unwrap();
        let mut out = Vec::new();
        for raw in [vec![0; 1000], vec![0; 200 << 10]] {
            let table = chunks(&[&raw]);
            let claim = frame(FrameKind::Zstd, &bomb, 1);
            assert_eq!(decode_frame(&claim, &bomb, &table, &mut out), Err(FrameError::Codec));
            assert!(out.capacity() <= 256 << 10, "{}", out.capacity());
        }
        let short = zstd::bulk::compress(b"short", 3).unwrap();
        let table = chunks(&[b"longer than short"]);
        let claim = frame(FrameKind::Zstd, &short, 1);
        assert_eq!(decode_frame(&claim, &short, &table, &mut out), Err(FrameError::Codec));
    }

    #[test]
    fn the_chunk_that_is_not_what_the_table_says_is_named() {
        let table = chunks(&[b"one", b"two"]);
        let claim = frame(FrameKind::Stored, b"oneTWO", 2);
        let result = decode_frame(&claim, b"oneTWO", &table, &mut Vec::new());
        assert_eq!(result, Err(FrameError::Chunk(ChunkIndex(1))));
        let long = frame(FrameKind::Stored, b"onetwo!", 2);
        let result = decode_frame(&long, b"onetwo!", &table, &mut Vec::new());
        assert_eq!(result, Err(FrameError::Codec));
    }
}
