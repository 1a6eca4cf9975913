//! What of a payload can be verified by itself: a chunk of a stored frame, a compressed frame.
//!
//! A stored frame's bytes are its chunks', so that a block which ends inside the frame needs only
//! the chunk on its edge from its neighbour.

use std::ops::Range;

use common::bundle::{ChunkTable, FrameKind, FrameTable};
use common::id::{ChunkIndex, FrameIndex};

/// The least that can be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The frame that it is, or is part of.
    pub frame: FrameIndex,
    /// Whether its bytes are sent as they are.
    pub is_stored: bool,
    /// Its chunks.
    pub first: ChunkIndex,
    /// How many.
    pub count: u32,
    /// Where it lies in the payload.
    pub payload: Range<u64>,
}

/// The units that have bytes in `range` of the payload, in order.
pub fn units(
    plan: &FrameTable,
    chunks: &ChunkTable,
    range: Range<u64>,
) -> impl Iterator<Item = Unit> {
    let first = plan.frame_at(range.start).map_or(plan.len(), |frame| frame.0);
    (first..plan.len())
        .map(FrameIndex)
        .take_while(move |frame| plan.payload_offset(*frame) < range.end)
        .flat_map(move |frame| units_of(plan, chunks, frame))
        .filter(move |unit| {
            let (start, end) = (unit.payload.start, unit.payload.end);
            // A gap has no bytes in the payload and is held from the start.
            start < end && start < range.end && end > range.start
        })
}

fn units_of(
    plan: &FrameTable,
    chunks: &ChunkTable,
    index: FrameIndex,
) -> impl Iterator<Item = Unit> {
    let frame = *plan.frame(index).expect("an index below the plan's length");
    let start = plan.payload_offset(index);
    let base = chunks.offset(frame.first_chunk);
    let stored_at = move |chunk| start + (chunks.offset(chunk) - base);
    let is_stored = frame.kind == FrameKind::Stored;
    let step = if is_stored { 1 } else { frame.chunk_count };
    (0..frame.chunk_count).step_by(step.max(1) as usize).map(move |at| {
        let first = ChunkIndex(frame.first_chunk.0 + at);
        let payload = match is_stored {
            true => stored_at(first)..stored_at(ChunkIndex(first.0 + step)),
            false => start..start + u64::from(frame.bytes),
        };
        Unit { frame: index, is_stored, first, count: step, payload }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::bundle::{Chunk, Frame};
    use common::digest::Digest;

    /// Frames: three stored chunks of 10, 20 and 30 bytes; a gap; two chunks in 15 compressed
    /// bytes; one stored chunk of 40 bytes.
    fn tables() -> (FrameTable, ChunkTable) {
        let data = |bytes| Chunk { bytes, digest: Digest::of(b"data") };
        let gap = Chunk { bytes: 1 << 20, digest: Chunk::ZERO_DIGEST };
        let chunks = vec![data(10), data(20), data(30), gap, data(50), data(50), data(40)];
        let frame = |kind, bytes, first, chunk_count| Frame {
            kind,
            bytes,
            digest: Digest::of(b"sent"),
            first_chunk: ChunkIndex(first),
            chunk_count,
        };
        let frames = vec![
            frame(FrameKind::Stored, 60, 0, 3),
            Frame::zero(ChunkIndex(3), 1),
            frame(FrameKind::Zstd, 15, 4, 2),
            frame(FrameKind::Stored, 40, 6, 1),
        ];
        let (plan, chunks) =
            (FrameTable::from_frames(frames).unwrap(), ChunkTable::from_chunks(chunks).unwrap());
        plan.check_tiles(&chunks).unwrap();
        (plan, chunks)
    }

    fn chunks_of(range: Range<u64>) -> Vec<(u32, u32, Range<u64>)> {
        let (plan, chunks) = tables();
        units(&plan, &chunks, range).map(|unit| (unit.first.0, unit.count, unit.payload)).collect()
    }

    #[test]
    fn stored_frames_fall_into_chunks_compressed_ones_stay_whole_and_gaps_have_no_bytes() {
        let expected =
            [(0, 1, 0..10), (1, 1, 10..30), (2, 1, 30..60), (4, 2, 60..75), (6, 1, 75..115)];
        assert_eq!(chunks_of(0..115), expected);
    }

    #[test]
    fn a_range_has_the_units_that_it_touches() {
        assert_eq!(chunks_of(10..30), [(1, 1, 10..30)]);
        assert_eq!(chunks_of(29..31), [(1, 1, 10..30), (2, 1, 30..60)]);
        assert_eq!(chunks_of(74..76), [(4, 2, 60..75), (6, 1, 75..115)]);
        assert_eq!(chunks_of(0..1), [(0, 1, 0..10)]);
        assert_eq!(chunks_of(115..200), []);
    }
}
