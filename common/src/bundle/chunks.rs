//! The chunk table: length and digest of every chunk, which is what the image must be.
//!
//! Not here: how an image is cut into chunks, or how chunks travel ([`frames`](super::frames)).
//!
//! Invariant: chunks tile the image; one with bytes is at most [`CHUNK_BYTES_MAX`] long, a gap of
//! zeros at most [`ZERO_CHUNK_BYTES_MAX`]. BUNDLE 2.
//!
//! ```text
//! +--------------+-----------+   +-----------+------------+
//! | magic "FANC" | count u32 | then count times: | bytes u32 | digest [32] |
//! +--------------+-----------+   +-----------+------------+
//! ```

use crate::digest::Digest;
use crate::id::ChunkIndex;
use crate::limits::{CHUNK_BYTES_MAX, IMAGE_BYTES_MAX, PREAMBLE_BYTES_MAX, ZERO_CHUNK_BYTES_MAX};

const MAGIC: [u8; 4] = *b"FANC";
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 4 + Digest::BYTES;

/// One chunk of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its length.
    pub bytes: u32,
    /// Digest of its bytes, or [`Chunk::ZERO_DIGEST`] for a gap.
    pub digest: Digest,
}

impl Chunk {
    /// Stands for "this many zero bytes": a gap is known without being hashed or sent.
    pub const ZERO_DIGEST: Digest = Digest::from_bytes([0; Digest::BYTES]);

    /// Whether the chunk is a gap of zeros.
    pub fn is_zero(&self) -> bool {
        self.digest == Self::ZERO_DIGEST
    }

    fn is_valid(&self) -> bool {
        let longest = if self.is_zero() { ZERO_CHUNK_BYTES_MAX } else { CHUNK_BYTES_MAX };
        (1..=longest).contains(&self.bytes)
    }
}

/// Bytes that are no table, or a table that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It does not start like one.
    #[error("it does not start like a table of this format")]
    Magic,
    /// Its length is not that of the entries that it counts.
    #[error("its length does not fit the number of its entries")]
    Length,
    /// More entries than a preamble may carry.
    #[error("it is longer than {PREAMBLE_BYTES_MAX} bytes")]
    TooLong,
    /// An entry with a length, kind or filling that cannot be.
    #[error("its entry {0} is not possible")]
    Entry(u32),
    /// A frame of a kind that this version does not decode.
    #[error("its entry {0} is a frame that needs a base image: update the program")]
    Reserved(u32),
    /// Together the entries are longer than an image or a payload may be.
    #[error("its entries are too long together")]
    Total,
    /// A frame does not continue where the one before ended, or mixes gaps with data.
    #[error("frame {0} does not fit the chunks")]
    Tiling(u32),
}

/// All chunks of an image, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkTable {
    chunks: Vec<Chunk>,
    /// Where each chunk begins in the image; one more entry for the end.
    offsets: Vec<u64>,
}

impl ChunkTable {
    /// The table of these chunks.
    ///
    /// # Errors
    /// Names the first chunk that cannot be.
    pub fn from_chunks(chunks: Vec<Chunk>) -> Result<Self, TableError> {
        if chunks.len() > (PREAMBLE_BYTES_MAX as usize - HEADER_BYTES) / ENTRY_BYTES {
            return Err(TableError::TooLong);
        }
        let mut offsets = Vec::with_capacity(chunks.len() + 1);
        let mut end = 0_u64;
        offsets.push(end);
        for (index, chunk) in (0..).zip(&chunks) {
            if !chunk.is_valid() {
                return Err(TableError::Entry(index));
            }
            end += u64::from(chunk.bytes);
            offsets.push(end);
        }
        if end > IMAGE_BYTES_MAX {
            return Err(TableError::Total);
        }
        Ok(Self { chunks, offsets })
    }

    /// Reads a table.
    ///
    /// # Errors
    /// When the bytes are not exactly one table of possible chunks.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let entries = table_entries::<ENTRY_BYTES>(bytes, MAGIC)?;
        let chunk = |entry: &[u8; ENTRY_BYTES]| Chunk {
            bytes: u32::from_be_bytes(field(entry, 0)),
            digest: Digest::from_bytes(field(entry, 4)),
        };
        Self::from_chunks(entries.iter().map(chunk).collect())
    }

    /// The table's bytes.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = table_header(MAGIC, self.chunks.len(), ENTRY_BYTES);
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.bytes.to_be_bytes());
            out.extend_from_slice(chunk.digest.as_bytes());
        }
        out
    }

    /// Number of chunks.
    pub fn len(&self) -> u32 {
        u32::try_from(self.chunks.len()).expect("bounded when the table was made")
    }

    /// Whether there are no chunks.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Length of the image.
    pub fn image_bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Where `chunk` begins in the image; for the index behind the last chunk, the image's end.
    ///
    /// # Panics
    /// When there is no such chunk.
    pub fn offset(&self, chunk: ChunkIndex) -> u64 {
        self.offsets[chunk.0 as usize]
    }

    /// The chunk with this index.
    pub fn chunk(&self, chunk: ChunkIndex) -> Option<&Chunk> {
        self.chunks.get(chunk.0 as usize)
    }

    /// `count` chunks from `first` on, or nothing when the table ends before.
    pub fn range(&self, first: ChunkIndex, count: u32) -> Option<&[Chunk]> {
        let first = first.0 as usize;
        self.chunks.get(first..first.checked_add(count as usize)?)
    }

    /// All chunks in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Chunk> {
        self.chunks.iter()
    }
}

/// The entries of a table: its magic, count and length are right.
pub(super) fn table_entries<const N: usize>(
    bytes: &[u8],
    magic: [u8; 4],
) -> Result<&[[u8; N]], TableError> {
    if bytes.len() > PREAMBLE_BYTES_MAX as usize {
        return Err(TableError::TooLong);
    }
    let rest = bytes.strip_prefix(&magic).ok_or(TableError::Magic)?;
    let (count, rest) = rest.split_first_chunk().ok_or(TableError::Length)?;
    let (entries, left) = rest.as_chunks::<N>();
    if !left.is_empty() || entries.len() as u64 != u64::from(u32::from_be_bytes(*count)) {
        return Err(TableError::Length);
    }
    Ok(entries)
}

/// A table's first bytes, with room for its entries behind.
pub(super) fn table_header(magic: [u8; 4], count: usize, entry_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + count * entry_bytes);
    out.extend_from_slice(&magic);
    let count = u32::try_from(count).expect("bounded when the table was made");
    out.extend_from_slice(&count.to_be_bytes());
    out
}

/// `N` bytes of an entry from `at` on.
pub(super) fn field<const N: usize>(entry: &[u8], at: usize) -> [u8; N] {
    entry[at..at + N].try_into().expect("fields lie inside their entry")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ChunkTable {
        let data = Chunk { bytes: 5, digest: Digest::of(b"hello") };
        let gap = Chunk { bytes: ZERO_CHUNK_BYTES_MAX, digest: Chunk::ZERO_DIGEST };
        ChunkTable::from_chunks(vec![data, gap, gap, data]).unwrap()
    }

    #[test]
    fn a_table_of_one_chunk_has_these_bytes() {
        let chunk = Chunk { bytes: 5, digest: Digest::of(b"hello") };
        let bytes = ChunkTable::from_chunks(vec![chunk]).unwrap().emit();
        let mut expected = b"FANC\0\0\0\x01\0\0\0\x05".to_vec();
        expected.extend_from_slice(Digest::of(b"hello").as_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn offsets_count_across_gaps_beyond_four_gigabytes() {
        let table = table();
        assert_eq!(ChunkTable::parse(&table.emit()), Ok(table.clone()));
        assert_eq!(table.offset(ChunkIndex(0)), 0);
        assert_eq!(table.offset(ChunkIndex(3)), 5 + (2 << 30));
        assert_eq!(table.offset(ChunkIndex(4)), 10 + (2 << 30));
        assert_eq!(table.image_bytes(), 10 + (2 << 30));
        assert_eq!(table.range(ChunkIndex(2), 2).unwrap().len(), 2);
        assert_eq!(table.range(ChunkIndex(2), 3), None);
        assert_eq!(table.range(ChunkIndex(u32::MAX), u32::MAX), None);
    }

    #[test]
    fn chunks_of_impossible_length_are_refused() {
        let data = |bytes| Chunk { bytes, digest: Digest::of(b"x") };
        let gap = |bytes| Chunk { bytes, digest: Chunk::ZERO_DIGEST };
        for bad in [data(0), data(CHUNK_BYTES_MAX + 1), gap(0), gap(ZERO_CHUNK_BYTES_MAX + 1)] {
            let table = ChunkTable::from_chunks(vec![data(1), bad]);
            assert_eq!(table, Err(TableError::Entry(1)), "{bad:?}");
        }
        assert!(ChunkTable::from_chunks(vec![data(CHUNK_BYTES_MAX)]).is_ok());
    }

    #[test]
    fn no_prefix_and_no_extension_of_a_table_is_a_table() {
        let mut bytes = table().emit();
        for end in 0..bytes.len() {
            assert!(ChunkTable::parse(&bytes[..end]).is_err(), "{end}");
        }
        bytes.push(0);
        assert_eq!(ChunkTable::parse(&bytes), Err(TableError::Length));
        assert_eq!(ChunkTable::parse(b"FANX\0\0\0\0"), Err(TableError::Magic));
    }

    #[test]
    fn more_gaps_than_an_image_may_have_are_refused() {
        let gap = Chunk { bytes: ZERO_CHUNK_BYTES_MAX, digest: Chunk::ZERO_DIGEST };
        let most = usize::try_from(IMAGE_BYTES_MAX / u64::from(ZERO_CHUNK_BYTES_MAX)).unwrap();
        assert!(ChunkTable::from_chunks(vec![gap; most]).is_ok());
        assert_eq!(ChunkTable::from_chunks(vec![gap; most + 1]), Err(TableError::Total));
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_bytes_a_parsed_table_emits_them_again(
            tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let mut bytes = b"FANC\0\0\0".to_vec();
            bytes.extend(tail);
            if let Ok(table) = ChunkTable::parse(&bytes) {
                proptest::prop_assert_eq!(table.emit(), bytes);
            }
        }
    }
}
