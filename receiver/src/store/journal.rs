//! The journal beside an unfinished image: which ranges of it were verified when written.
//!
//! Not here: trust. A claim only says where it is worth looking; every claim is hashed again
//! before it is offered. So nothing is made durable for the journal's sake: after kill -9 the
//! page cache still has data and claims, after a power cut a claim whose data never reached the
//! disk fails its digest and is received again. Ordering the two by fdatasync would buy nothing
//! and cost a disk flush every second.
//!
//! Claims are ranges of the image, not numbers of frames: they stay true when the same image
//! comes again cut into other frames.
//!
//! ```text
//! header: "fanjrnl\0" | version u32 = 1 | image digest, 32 B | image bytes u64 | crc32 u32
//! record: offset u64 | bytes u64 | crc32 u32                        all numbers big-endian
//! ```

use std::ops::Range;

use common::digest::Digest;

const MAGIC: &[u8; 8] = b"fanjrnl\0";
const VERSION: u32 = 1;

/// Length of the header.
pub(super) const HEADER_BYTES: usize = 8 + 4 + Digest::BYTES + 8 + 4;

/// Length of a record.
pub(super) const RECORD_BYTES: usize = 8 + 8 + 4;

/// The header of the journal for this image.
pub(super) fn header(image: &Digest, bytes: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(image.as_bytes());
    out.extend_from_slice(&bytes.to_be_bytes());
    close(out)
}

/// The record that claims `bytes` at `offset`.
pub(super) fn record(offset: u64, bytes: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD_BYTES);
    out.extend_from_slice(&offset.to_be_bytes());
    out.extend_from_slice(&bytes.to_be_bytes());
    close(out)
}

fn close(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
    bytes
}

/// What a journal claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// Claimed ranges of the image, merged and in order.
    pub(super) ranges: Vec<Range<u64>>,
    /// Length of the journal's whole records, header included; 0 when it must start anew.
    pub(super) whole_bytes: u64,
}

impl Claims {
    /// Reads `journal`, as far as it belongs to this image. A torn tail is left out, a record
    /// with a wrong checksum is passed over.
    pub(super) fn parse(journal: &[u8], image: &Digest, bytes: u64) -> Self {
        let expected = header(image, bytes);
        let Some(records) = journal.strip_prefix(expected.as_slice()) else {
            return Self::default();
        };
        let records = records.chunks_exact(RECORD_BYTES);
        let whole = journal.len() - records.remainder().len();
        let ranges = records.filter_map(|record| claim(record, bytes)).collect();
        Self { ranges: merged(ranges), whole_bytes: whole as u64 }
    }

    /// Whether all of `range` is claimed.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        let at = self.ranges.partition_point(|claimed| claimed.end < range.end);
        self.ranges.get(at).is_some_and(|claimed| claimed.start <= range.start)
    }
}

fn claim(record: &[u8], image_bytes: u64) -> Option<Range<u64>> {
    let (numbers, sum) = record.split_at(16);
    if crc32fast::hash(numbers).to_be_bytes() != sum {
        return None;
    }
    let number =
        |at: usize| numbers[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let end = number(0).checked_add(number(8))?;
    (end <= image_bytes).then(|| number(0)..end)
}

fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 1_000_000;

    fn journal(records: &[(u64, u64)]) -> Vec<u8> {
        let mut out = header(&Digest::of(b"image"), BYTES);
        out.extend(records.iter().flat_map(|(offset, bytes)| record(*offset, *bytes)));
        out
    }

    fn parse(journal: &[u8]) -> Claims {
        Claims::parse(journal, &Digest::of(b"image"), BYTES)
    }

    #[test]
    fn claims_come_back_merged_and_in_order() {
        let claims = parse(&journal(&[(500, 100), (0, 100), (100, 50), (550, 100)]));
        assert_eq!(claims.ranges, [0..150, 500..650]);
        assert_eq!(claims.whole_bytes, 56 + 4 * 20);
        assert!(claims.covers(&(0..150)) && claims.covers(&(510..640)));
        assert!(!claims.covers(&(149..151)) && !claims.covers(&(650..651)));
    }

    #[test]
    fn a_torn_tail_is_left_out_at_every_length() {
        let whole = journal(&[(0, 100), (200, 100)]);
        for cut in 0..whole.len() {
            let claims = parse(&whole[..cut]);
            let records = cut.checked_sub(HEADER_BYTES).map(|bytes| bytes / RECORD_BYTES);
            assert_eq!(claims.ranges.len(), records.unwrap_or(0), "cut at {cut}");
            let bytes = records.map_or(0, |count| HEADER_BYTES + count * RECORD_BYTES);
            assert_eq!(claims.whole_bytes, bytes as u64);
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_record_or_the_whole_journal_and_never_lies() {
        let whole = journal(&[(0, 100), (200, 100)]);
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            let left = parse(&bad).ranges;
            let starts: Vec<u64> = left.iter().map(|range| range.start).collect();
            let expected: &[u64] = match at {
                0..HEADER_BYTES => &[],
                _ if at < HEADER_BYTES + RECORD_BYTES => &[200],
                _ => &[0],
            };
            assert_eq!(starts, expected, "flipped at {at}");
        }
    }

    #[test]
    fn a_journal_of_another_image_or_length_claims_nothing() {
        let whole = journal(&[(0, 100)]);
        assert_eq!(Claims::parse(&whole, &Digest::of(b"other"), BYTES), Claims::default());
        assert_eq!(Claims::parse(&whole, &Digest::of(b"image"), BYTES + 1), Claims::default());
        assert_eq!(parse(&journal(&[(BYTES, 1), (u64::MAX, 2)])).ranges, []);
    }
}
