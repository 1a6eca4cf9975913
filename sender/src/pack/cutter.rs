//! Cuts an image into chunks and frames while it streams by.
//!
//! Not here: reading the image ([`image`](super::image)), compressing ([`frames`](super::frames)).
//!
//! Invariant: chunks and frames depend on the image's bytes alone, not on the sizes in which they
//! arrive nor on whether zeros were read or known as a hole. Runs of zeros of at least
//! [`ZERO_RUN_BYTES_MIN`], in whole pages, are gaps; what lies between two gaps is cut by FastCDC
//! on its own, so that a change does not reach beyond the next gap.

use std::collections::VecDeque;

use common::limits::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MEAN, CHUNK_BYTES_MIN, FRAME_RAW_BYTES_TARGET,
    ZERO_CHUNK_BYTES_MAX, ZERO_RUN_BYTES_MIN,
};
use fastcdc::v2020::{Normalization, cut, select_masks};

/// Zeros are looked for page by page, as filesystems lay files out.
const PAGE_BYTES: usize = 4096;
const ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
/// Data gathered before it is cut: what is left over is moved once per this many bytes.
const GATHER_BYTES: usize = 1 << 20;

/// One frame's worth of consecutive chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawFrame {
    /// Chunks with bytes.
    Data {
        /// Their bytes, end to end.
        raw: Vec<u8>,
        /// Their lengths.
        lengths: Vec<u32>,
    },
    /// Chunks of zeros.
    Gap {
        /// Their lengths.
        lengths: Vec<u32>,
    },
}

/// The state between two reads.
#[derive(Debug)]
pub struct Cutter {
    masks: (u64, u64),
    /// The start of a page whose end has not come yet.
    partial: Vec<u8>,
    /// Zeros that are behind `region`; gap or data is decided when they end.
    zeros: u64,
    /// Data that is not cut yet.
    region: Vec<u8>,
    frame: Vec<u8>,
    lengths: Vec<u32>,
    ready: VecDeque<RawFrame>,
}

impl Default for Cutter {
    fn default() -> Self {
        Self {
            masks: select_masks(CHUNK_BYTES_MEAN as usize, Normalization::Level1),
            partial: Vec::with_capacity(PAGE_BYTES),
            zeros: 0,
            region: Vec::new(),
            frame: Vec::new(),
            lengths: Vec::new(),
            ready: VecDeque::new(),
        }
    }
}

impl Cutter {
    /// The next bytes of the image.
    pub fn handle_data(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if !self.partial.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(PAGE_BYTES - self.partial.len()));
            self.partial.extend_from_slice(head);
            self.take_full_partial();
            rest = tail;
        }
        let (pages, tail) = rest.as_chunks::<PAGE_BYTES>();
        for page in pages {
            self.on_page(page);
        }
        self.partial.extend_from_slice(tail);
    }

    /// The next `count` bytes of the image are zeros.
    pub fn handle_gap(&mut self, count: u64) {
        let mut left = count;
        if !self.partial.is_empty() {
            let room = PAGE_BYTES - self.partial.len();
            let fill = room.min(usize::try_from(left).unwrap_or(room));
            self.partial.extend_from_slice(&ZERO_PAGE[..fill]);
            self.take_full_partial();
            left -= fill as u64;
        }
        let behind_last_page = left % PAGE_BYTES as u64;
        self.zeros += left - behind_last_page;
        let behind = usize::try_from(behind_last_page).expect("less than a page");
        self.partial.extend_from_slice(&ZERO_PAGE[..behind]);
    }

    /// The image ends here.
    pub fn handle_end(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        if !partial.is_empty() {
            self.on_page(&partial);
        }
        self.place_zeros();
        self.cut_region(true);
        self.close_frame();
    }

    /// The next frame that is complete.
    pub fn poll_frame(&mut self) -> Option<RawFrame> {
        self.ready.pop_front()
    }

    fn take_full_partial(&mut self) {
        if self.partial.len() == PAGE_BYTES {
            let mut partial = std::mem::take(&mut self.partial);
            self.on_page(&partial);
            partial.clear();
            self.partial = partial;
        }
    }

    fn on_page(&mut self, page: &[u8]) {
        if page == &ZERO_PAGE[..page.len()] {
            self.zeros += page.len() as u64;
            return;
        }
        self.place_zeros();
        self.region.extend_from_slice(page);
        if self.region.len() >= GATHER_BYTES {
            self.cut_region(false);
        }
    }

    /// Zeros have ended: long ones become a gap, short ones belong to the data around them.
    fn place_zeros(&mut self) {
        let zeros = std::mem::take(&mut self.zeros);
        if zeros < u64::from(ZERO_RUN_BYTES_MIN) {
            let zeros = usize::try_from(zeros).expect("shorter than a gap");
            self.region.resize(self.region.len() + zeros, 0);
            return;
        }
        self.cut_region(true);
        self.close_frame();
        self.ready.push_back(RawFrame::Gap { lengths: gap_lengths(zeros) });
    }

    /// Cuts what is gathered; unless the region is `complete`, a chunk needs its full lookahead.
    fn cut_region(&mut self, complete: bool) {
        let region = std::mem::take(&mut self.region);
        let lookahead = if complete { 1 } else { CHUNK_BYTES_MAX as usize };
        let mut rest = region.as_slice();
        while rest.len() >= lookahead {
            let (chunk, behind) = rest.split_at(self.cut_point(rest));
            self.push_chunk(chunk);
            rest = behind;
        }
        let done = region.len() - rest.len();
        self.region = region;
        self.region.drain(..done);
    }

    fn cut_point(&self, rest: &[u8]) -> usize {
        let (mask_s, mask_l) = self.masks;
        let [min, mean, max] =
            [CHUNK_BYTES_MIN, CHUNK_BYTES_MEAN, CHUNK_BYTES_MAX].map(|bytes| bytes as usize);
        cut(rest, min, mean, max, mask_s, mask_l, mask_s << 1, mask_l << 1).1
    }

    fn push_chunk(&mut self, chunk: &[u8]) {
        if self.frame.len() + chunk.len() > FRAME_RAW_BYTES_TARGET as usize {
            self.close_frame();
        }
        self.frame.extend_from_slice(chunk);
        self.lengths.push(u32::try_from(chunk.len()).expect("a chunk is bounded"));
    }

    fn close_frame(&mut self) {
        if self.lengths.is_empty() {
            return;
        }
        let raw =
            std::mem::replace(&mut self.frame, Vec::with_capacity(FRAME_RAW_BYTES_TARGET as usize));
        self.ready.push_back(RawFrame::Data { raw, lengths: std::mem::take(&mut self.lengths) });
    }
}

fn gap_lengths(zeros: u64) -> Vec<u32> {
    let longest = u64::from(ZERO_CHUNK_BYTES_MAX);
    let full = usize::try_from(zeros / longest).expect("an image has fewer gaps than memory bytes");
    let mut lengths = vec![ZERO_CHUNK_BYTES_MAX; full];
    let rest = u32::try_from(zeros % longest).expect("less than the longest gap");
    if rest > 0 {
        lengths.push(rest);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without repetition, from a generator that the test owns.
    fn noise(count: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            u8::try_from(state >> 56).unwrap()
        };
        (0..count).map(|_| next()).collect()
    }

    fn frames_of(pieces: &[(&[u8], u64)]) -> Vec<RawFrame> {
        let mut cutter = Cutter::default();
        for (data, gap) in pieces {
            cutter.handle_data(data);
            cutter.handle_gap(*gap);
        }
        cutter.handle_end();
        std::iter::from_fn(|| cutter.poll_frame()).collect()
    }

    fn image_of(frames: &[RawFrame]) -> Vec<u8> {
        let mut image = Vec::new();
        for frame in frames {
            match frame {
                RawFrame::Data { raw, .. } => image.extend_from_slice(raw),
                RawFrame::Gap { lengths } => {
                    let zeros: u32 = lengths.iter().sum();
                    image.resize(image.len() + zeros as usize, 0);
                }
            }
        }
        image
    }

    #[test]
    fn frames_put_together_are_the_image() {
        let data = noise(5_000_000, 1);
        let frames = frames_of(&[(&data, 0)]);
        assert_eq!(image_of(&frames), data);
        for frame in &frames {
            let RawFrame::Data { raw, lengths } = frame else { panic!("a gap in noise") };
            assert!(raw.len() <= FRAME_RAW_BYTES_TARGET as usize);
            assert_eq!(lengths.iter().sum::<u32>() as usize, raw.len());
            assert!(lengths.iter().all(|length| *length <= CHUNK_BYTES_MAX));
        }
    }

    #[test]
    fn how_the_bytes_arrive_makes_no_difference() {
        let mut image = noise(3_000_000, 2);
        image[1_000_000..1_100_000].fill(0);
        image[2_000_000..2_000_500].fill(0);
        let whole = frames_of(&[(&image, 0)]);
        for step in [1_000, 4_096, 65_537, 1_048_576] {
            let pieces: Vec<_> = image.chunks(step).map(|piece| (piece, 0)).collect();
            assert_eq!(frames_of(&pieces), whole, "in pieces of {step}");
        }
        let hole: [(&[u8], u64); 2] = [(&image[..1_000_000], 100_000), (&image[1_100_000..], 0)];
        assert_eq!(frames_of(&hole), whole, "as a hole");
    }

    #[test]
    fn zeros_are_a_gap_from_sixteen_whole_pages_on() {
        let lengths = |zeros: usize| {
            let image = [vec![1; 4096], vec![0; zeros], vec![1; 4096]].concat();
            let mut lengths = Vec::new();
            for frame in frames_of(&[(&image, 0)]) {
                match frame {
                    RawFrame::Gap { lengths: gap } => lengths.extend(gap),
                    RawFrame::Data { .. } => lengths.push(0),
                }
            }
            lengths
        };
        assert_eq!(lengths(65_535), [0]);
        assert_eq!(lengths(65_536), [0, 65_536, 0]);
        assert_eq!(lengths(65_537), [0, 65_536, 0]);
    }

    #[test]
    fn gaps_beyond_four_gigabytes_are_chunks_of_one() {
        let gap = |bytes| frames_of(&[(&[], bytes)]);
        let one = ZERO_CHUNK_BYTES_MAX;
        assert_eq!(gap(1 << 30), [RawFrame::Gap { lengths: vec![one] }]);
        assert_eq!(gap((4 << 30) + 1), [RawFrame::Gap { lengths: vec![one, one, one, one, 1] }]);
        assert_eq!(gap(0), []);
    }

    #[test]
    fn a_change_leaves_distant_chunks_as_they_are() {
        let image = noise(4_000_000, 3);
        let mut longer = image.clone();
        longer.splice(100..100, [1, 2, 3]);
        let lengths = |image: &[u8]| {
            let mut all = Vec::new();
            for frame in frames_of(&[(image, 0)]) {
                let RawFrame::Data { lengths, .. } = frame else { panic!("a gap in noise") };
                all.extend(lengths);
            }
            all
        };
        let (before, after) = (lengths(&image), lengths(&longer));
        assert_eq!(before.last_chunk::<20>(), after.last_chunk::<20>());
    }
}
