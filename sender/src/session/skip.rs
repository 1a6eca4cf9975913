//! What need not be sent because every host holds it: byte ranges of the payload (PROTOCOL 7.6).

use std::ops::Range;

use common::geometry::{Geometry, Space};
use common::id::{BlockIndex, FrameIndex};

use super::Session;
use super::host::Host;

/// Byte ranges of the payload, disjoint and in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRanges(Vec<Range<u64>>);

impl HeldRanges {
    /// The bytes of runs of frames, given every frame's offset and the payload's end.
    ///
    /// Runs from a peer may lie outside the plan or overlap; what makes no sense is left out.
    pub fn of_frames(runs: &[(FrameIndex, u32)], frame_offsets: &[u64]) -> Self {
        let bytes = |(first, count): &(FrameIndex, u32)| {
            let start = *frame_offsets.get(first.0 as usize)?;
            let end = *frame_offsets.get((first.0 as usize).checked_add(*count as usize)?)?;
            Some(start..end)
        };
        let mut ranges: Vec<_> = runs.iter().filter_map(bytes).filter(|r| !r.is_empty()).collect();
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// What both hold.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let range = a.start.max(b.start)..a.end.min(b.end);
            if a.end <= b.end {
                mine.next();
            } else {
                theirs.next();
            }
            if !range.is_empty() {
                both.push(range);
            }
        }
        Self(both)
    }

    /// Whether all bytes of a payload block are held.
    pub fn has_block(&self, geometry: &Geometry, block: BlockIndex) -> bool {
        let span = geometry.span(block);
        let end = span.offset + u64::from(span.bytes);
        let after = self.0.partition_point(|range| range.end < end);
        self.0.get(after).is_some_and(|range| range.start <= span.offset && end <= range.end)
    }
}

impl Session {
    /// Whether naming held frames may save a pass: every host that needs data holds some of it, and
    /// one has not said what.
    pub(super) fn is_waiting_for_have(&self) -> bool {
        let mut needy = self.needy_hosts().peekable();
        needy.peek().is_some()
            && self.needy_hosts().all(|host| host.holds_partial)
            && needy.any(|host| host.have().is_none())
    }

    fn needy_hosts(&self) -> impl Iterator<Item = &Host> {
        let is_needy = |host: &&Host| host.is_present() && !host.holds_image && !host.holds_release;
        self.roster.hosts().iter().filter(is_needy)
    }

    /// The bytes that no present host needs.
    pub(super) fn held_by_all(&self) -> HeldRanges {
        let everything = 0..self.geometry.space_bytes(Space::Payload);
        let everything = HeldRanges(vec![everything]);
        self.needy_hosts().fold(everything, |held, host| {
            let runs = host.have().unwrap_or_default();
            held.intersection(&HeldRanges::of_frames(runs, &self.config.frame_offsets))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_from_a_peer_are_merged_and_nonsense_is_left_out() {
        let offsets = [0, 10, 30, 60, 100];
        let run = |first, count| (FrameIndex(first), count);
        let runs = [run(3, 1), run(0, 1), run(1, 1), run(9, 1), run(2, u32::MAX), run(1, 0)];
        let held = HeldRanges::of_frames(&runs, &offsets);
        assert_eq!(held.0, [0..30, 60..100]);
    }

    #[test]
    fn a_block_is_skipped_only_when_all_its_bytes_are_held_by_all() {
        let geometry = Geometry::new(64, 1, 4, 2, 0, 64 * 5).unwrap();
        let one = HeldRanges(vec![0..200, 256..320]);
        let range = 64..320;
        let both = one.intersection(&HeldRanges(vec![range]));
        assert_eq!(both.0, [64..200, 256..320]);
        let skipped: Vec<bool> = (0..5).map(|b| both.has_block(&geometry, BlockIndex(b))).collect();
        assert_eq!(skipped, [false, true, true, false, true]);
    }
}
