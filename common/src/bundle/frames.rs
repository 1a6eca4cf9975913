//! The frame table: how the chunks travel. As a session's plan it lists what that session sends.
//!
//! Not here: compressing (`sender::pack`) and decoding ([`decode`](super::decode)) a frame.
//!
//! Invariant: a frame has no more raw bytes than a host accepts; its kind, its length and its
//! filling agree; gaps and data never share a frame. BUNDLE 3.
//!
//! ```text
//! +--------------+-----------+
//! | magic "FANF" | count u32 | then count times:
//! +--------------+-----------+-------+-----------------+-----------------+-------------+
//! | kind u8 | 0 u8 [3] | bytes u32   | first_chunk u32 | chunk_count u32 | digest [32] |
//! +---------+----------+-------------+-----------------+-----------------+-------------+
//! ```

use crate::digest::Digest;
use crate::id::{ChunkIndex, FrameIndex};
use crate::limits::{FRAME_RAW_BYTES_MAX, PAYLOAD_BYTES_MAX, PREAMBLE_BYTES_MAX};

use super::chunks::{Chunk, ChunkTable, TableError, field, table_entries, table_header};

const MAGIC: [u8; 4] = *b"FANF";
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 16 + Digest::BYTES;

/// How a frame's bytes become its chunks. The numbers are those of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// The raw bytes themselves.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
    /// Nothing is sent: the chunks are gaps.
    Zero = 2,
    /// One zstd frame with ranges of a base image as its prefix. Reserved, refused by this version.
    ZstdPrefix = 3,
}

impl FrameKind {
    /// The kind with this number.
    pub fn from_wire(value: u8) -> Option<Self> {
        [Self::Stored, Self::Zstd, Self::Zero, Self::ZstdPrefix]
            .into_iter()
            .find(|kind| *kind as u8 == value)
    }
}

/// One frame: the unit of compression and transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// How its bytes become its chunks.
    pub kind: FrameKind,
    /// Its length as sent.
    pub bytes: u32,
    /// Digest of its bytes as sent.
    pub digest: Digest,
    /// The first chunk inside.
    pub first_chunk: ChunkIndex,
    /// How many chunks are inside.
    pub chunk_count: u32,
}

impl Frame {
    /// A frame of gaps.
    pub fn zero(first_chunk: ChunkIndex, chunk_count: u32) -> Self {
        let digest = Digest::of(b"");
        Self { kind: FrameKind::Zero, bytes: 0, digest, first_chunk, chunk_count }
    }

    /// The chunk behind the last one of the frame.
    pub fn end_chunk(&self) -> ChunkIndex {
        ChunkIndex(self.first_chunk.0.saturating_add(self.chunk_count))
    }

    fn check(&self, index: u32) -> Result<(), TableError> {
        let is_possible = match self.kind {
            FrameKind::ZstdPrefix => return Err(TableError::Reserved(index)),
            FrameKind::Zero => self.bytes == 0 && self.digest == Digest::of(b""),
            FrameKind::Stored | FrameKind::Zstd => (1..=FRAME_RAW_BYTES_MAX).contains(&self.bytes),
        };
        let has_end = self.first_chunk.0.checked_add(self.chunk_count).is_some();
        let is_possible = is_possible && self.chunk_count > 0 && has_end;
        if is_possible { Ok(()) } else { Err(TableError::Entry(index)) }
    }

    /// Whether the frame's chunks are of its kind and its length is possible for them.
    fn fits(&self, chunks: &[Chunk]) -> bool {
        if self.kind == FrameKind::Zero {
            return chunks.iter().all(Chunk::is_zero);
        }
        let raw_bytes: u64 = chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        let length_is_possible = match self.kind {
            FrameKind::Stored => u64::from(self.bytes) == raw_bytes,
            _ => u64::from(self.bytes) < raw_bytes,
        };
        raw_bytes <= u64::from(FRAME_RAW_BYTES_MAX)
            && length_is_possible
            && !chunks.iter().any(Chunk::is_zero)
    }
}

/// The frames of a bundle or of a session's plan, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameTable {
    frames: Vec<Frame>,
    /// Where each frame begins in the payload; one more entry for the end.
    offsets: Vec<u64>,
}

impl FrameTable {
    /// The table of these frames.
    ///
    /// # Errors
    /// Names the first frame that cannot be.
    pub fn from_frames(frames: Vec<Frame>) -> Result<Self, TableError> {
        if frames.len() > (PREAMBLE_BYTES_MAX as usize - HEADER_BYTES) / ENTRY_BYTES {
            return Err(TableError::TooLong);
        }
        let mut offsets = Vec::with_capacity(frames.len() + 1);
        let mut end = 0_u64;
        offsets.push(end);
        for (index, frame) in (0..).zip(&frames) {
            frame.check(index)?;
            end += u64::from(frame.bytes);
            offsets.push(end);
        }
        if end > PAYLOAD_BYTES_MAX {
            return Err(TableError::Total);
        }
        Ok(Self { frames, offsets })
    }

    /// Reads a table.
    ///
    /// # Errors
    /// When the bytes are not exactly one table of possible frames.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let entries = table_entries::<ENTRY_BYTES>(bytes, MAGIC)?;
        let frames = (0..).zip(entries).map(|(index, entry)| parse_entry(index, entry));
        Self::from_frames(frames.collect::<Result<_, _>>()?)
    }

    /// The table's bytes.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = table_header(MAGIC, self.frames.len(), ENTRY_BYTES);
        for frame in &self.frames {
            out.extend_from_slice(&[frame.kind as u8, 0, 0, 0]);
            out.extend_from_slice(&frame.bytes.to_be_bytes());
            out.extend_from_slice(&frame.first_chunk.0.to_be_bytes());
            out.extend_from_slice(&frame.chunk_count.to_be_bytes());
            out.extend_from_slice(frame.digest.as_bytes());
        }
        out
    }

    /// Whether the frames tile the chunks from first to last, as a full session's plan must.
    ///
    /// # Errors
    /// Names the first frame that does not fit, or the number of frames when chunks are left over.
    pub fn check_tiles(&self, chunks: &ChunkTable) -> Result<(), TableError> {
        let mut next = ChunkIndex(0);
        for (index, frame) in (0..).zip(&self.frames) {
            let inside = chunks.range(frame.first_chunk, frame.chunk_count);
            if frame.first_chunk != next || !inside.is_some_and(|inside| frame.fits(inside)) {
                return Err(TableError::Tiling(index));
            }
            next = frame.end_chunk();
        }
        if next.0 == chunks.len() { Ok(()) } else { Err(TableError::Tiling(self.len())) }
    }

    /// Number of frames.
    pub fn len(&self) -> u32 {
        u32::try_from(self.frames.len()).expect("bounded when the table was made")
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frame with this index.
    pub fn frame(&self, index: FrameIndex) -> Option<&Frame> {
        self.frames.get(index.0 as usize)
    }

    /// Where `frame` begins in the payload; for the index behind the last, the payload's end.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn payload_offset(&self, frame: FrameIndex) -> u64 {
        self.offsets[frame.0 as usize]
    }

    /// Length of the payload: all frames as sent, end to end.
    pub fn payload_bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// All frames in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.frames.iter()
    }

    /// The frame that byte `offset` of the payload belongs to.
    pub fn frame_at(&self, offset: u64) -> Option<FrameIndex> {
        if offset >= self.payload_bytes() {
            return None;
        }
        // Gaps share their offset with the frame behind them; the last that begins here has bytes.
        let behind = self.offsets.partition_point(|begin| *begin <= offset);
        Some(FrameIndex(u32::try_from(behind - 1).expect("bounded when the table was made")))
    }
}

fn parse_entry(index: u32, entry: &[u8; ENTRY_BYTES]) -> Result<Frame, TableError> {
    let [kind, filling @ ..] = field::<4>(entry, 0);
    let kind = FrameKind::from_wire(kind).ok_or(TableError::Entry(index))?;
    if filling != [0; 3] {
        return Err(TableError::Entry(index));
    }
    Ok(Frame {
        kind,
        bytes: u32::from_be_bytes(field(entry, 4)),
        first_chunk: ChunkIndex(u32::from_be_bytes(field(entry, 8))),
        chunk_count: u32::from_be_bytes(field(entry, 12)),
        digest: Digest::from_bytes(field(entry, 16)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks() -> ChunkTable {
        let data = Chunk { bytes: 100, digest: Digest::of(b"data") };
        let gap = Chunk { bytes: 1 << 20, digest: Chunk::ZERO_DIGEST };
        ChunkTable::from_chunks(vec![data, data, gap, data]).unwrap()
    }

    fn frame(kind: FrameKind, bytes: u32, first_chunk: u32, chunk_count: u32) -> Frame {
        let first_chunk = ChunkIndex(first_chunk);
        Frame { kind, bytes, digest: Digest::of(b"sent"), first_chunk, chunk_count }
    }

    fn frames() -> Vec<Frame> {
        vec![
            frame(FrameKind::Zstd, 30, 0, 2),
            Frame::zero(ChunkIndex(2), 1),
            frame(FrameKind::Stored, 100, 3, 1),
        ]
    }

    #[test]
    fn a_table_of_one_frame_has_these_bytes() {
        let table = FrameTable::from_frames(vec![frame(FrameKind::Zstd, 30, 7, 2)]).unwrap();
        let mut expected = b"FANF\0\0\0\x01\x01\0\0\0\0\0\0\x1e\0\0\0\x07\0\0\0\x02".to_vec();
        expected.extend_from_slice(Digest::of(b"sent").as_bytes());
        assert_eq!(table.emit(), expected);
    }

    #[test]
    fn frames_are_found_by_their_place_in_the_payload() {
        let table = FrameTable::from_frames(frames()).unwrap();
        assert_eq!(FrameTable::parse(&table.emit()), Ok(table.clone()));
        assert_eq!(table.payload_bytes(), 130);
        assert_eq!(table.payload_offset(FrameIndex(2)), 30);
        assert_eq!(table.frame_at(0), Some(FrameIndex(0)));
        assert_eq!(table.frame_at(29), Some(FrameIndex(0)));
        assert_eq!(table.frame_at(30), Some(FrameIndex(2)));
        assert_eq!(table.frame_at(130), None);
    }

    #[test]
    fn frames_must_tile_the_chunks_and_keep_gaps_apart() {
        let check = |frames| FrameTable::from_frames(frames).unwrap().check_tiles(&chunks());
        assert_eq!(check(frames()), Ok(()));
        assert_eq!(check(frames()[..2].to_vec()), Err(TableError::Tiling(2)));
        assert_eq!(check(frames()[1..].to_vec()), Err(TableError::Tiling(0)));
        let zstd = |bytes, first, count| frame(FrameKind::Zstd, bytes, first, count);
        assert_eq!(check(vec![zstd(30, 0, 4)]), Err(TableError::Tiling(0)), "a gap among data");
        assert_eq!(check(vec![Frame::zero(ChunkIndex(0), 1)]), Err(TableError::Tiling(0)));
        assert_eq!(check(vec![zstd(200, 0, 2)]), Err(TableError::Tiling(0)), "no gain");
        let stored = frame(FrameKind::Stored, 199, 0, 2);
        assert_eq!(check(vec![stored]), Err(TableError::Tiling(0)), "stored, yet shorter");
    }

    #[test]
    fn impossible_and_reserved_frames_are_refused() {
        let refused = |frame| FrameTable::from_frames(vec![frame]).unwrap_err();
        let entry = TableError::Entry(0);
        assert_eq!(refused(frame(FrameKind::ZstdPrefix, 1, 0, 1)), TableError::Reserved(0));
        assert_eq!(refused(frame(FrameKind::Zstd, 0, 0, 1)), entry);
        assert_eq!(refused(frame(FrameKind::Zstd, 1, 0, 0)), entry);
        assert_eq!(refused(frame(FrameKind::Zstd, 1, u32::MAX, 1)), entry);
        assert_eq!(refused(frame(FrameKind::Stored, FRAME_RAW_BYTES_MAX + 1, 0, 9)), entry);
        assert_eq!(refused(frame(FrameKind::Zero, 0, 0, 1)), entry, "digest of no bytes");
        let mut bytes = FrameTable::from_frames(frames()).unwrap().emit();
        for (at, value) in [(8, 4), (9, 1), (11, 1)] {
            let before = std::mem::replace(&mut bytes[at], value);
            assert_eq!(FrameTable::parse(&bytes), Err(entry), "byte {at}");
            bytes[at] = before;
        }
    }

    #[test]
    fn no_prefix_and_no_extension_of_a_table_is_a_table() {
        let mut bytes = FrameTable::from_frames(frames()).unwrap().emit();
        for end in 0..bytes.len() {
            assert!(FrameTable::parse(&bytes[..end]).is_err(), "{end}");
        }
        bytes.push(0);
        assert_eq!(FrameTable::parse(&bytes), Err(TableError::Length));
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_bytes_a_parsed_table_emits_them_again(
            tail in proptest::collection::vec(0_u8..4, 0..200),
        ) {
            let mut bytes = b"FANF\0\0\0".to_vec();
            bytes.extend(tail);
            if let Ok(table) = FrameTable::parse(&bytes) {
                proptest::prop_assert_eq!(table.emit(), bytes);
            }
        }
    }
}
