//! Units that reach over the edge of a block, kept until the neighbour arrives.
//!
//! Bounded: beyond the bound the fragments of the lowest unit are thrown away and the blocks that
//! they came from are needed again.

use std::collections::BTreeMap;

use common::id::{BlockIndex, ChunkIndex};

/// Bytes of fragments that a session holds. With blocks arriving in windows of sixteen, one or two
/// units of at most about a megabyte are open at a time.
pub const FRAGMENT_BYTES_MAX: usize = 24 << 20;

#[derive(Debug)]
struct Fragment {
    bytes: Vec<u8>,
    missing: usize,
    pieces: Vec<Piece>,
}

/// What one block gave to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The block.
    pub block: BlockIndex,
    /// Where in the unit.
    offset: usize,
    bytes: usize,
}

/// The incomplete units of a session, by their first chunk.
#[derive(Debug, Default)]
pub struct Fragments {
    units: BTreeMap<u32, Fragment>,
    held_bytes: usize,
    /// Memory of a joined unit, for the next one: its bytes are overwritten, not zeroed.
    spare: Vec<Vec<u8>>,
}

/// Spare buffers kept.
const SPARE_MAX: usize = 2;

/// What adding a piece led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// The unit is complete; these pieces made it.
    Complete(Vec<u8>, Vec<Piece>),
    /// More is missing. These blocks lost what they had given, because memory ran out.
    Waiting(Vec<BlockIndex>),
}

impl Fragments {
    /// Adds the bytes that `block` has of the unit of `unit_bytes` that begins with chunk `first`,
    /// from `offset` within it on.
    pub fn add(
        &mut self,
        first: ChunkIndex,
        unit_bytes: usize,
        block: BlockIndex,
        offset: usize,
        bytes: &[u8],
    ) -> Joined {
        let fragment = self.units.entry(first.0).or_insert_with(|| {
            self.held_bytes += unit_bytes;
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.resize(unit_bytes, 0);
            Fragment { bytes, missing: unit_bytes, pieces: Vec::new() }
        });
        // A block that was thrown away as a whole brings the same piece again.
        let piece = Piece { block, offset, bytes: bytes.len() };
        if !fragment.pieces.contains(&piece) {
            fragment.pieces.push(piece);
            fragment.missing -= bytes.len();
        }
        fragment.bytes[offset..][..bytes.len()].copy_from_slice(bytes);
        if fragment.missing == 0 {
            let whole = self.remove(first.0).expect("it was just added to");
            return Joined::Complete(whole.bytes, whole.pieces);
        }
        Joined::Waiting(self.shrink(first.0))
    }

    /// A joined unit was wrong: all but the pieces of `blamed` waits for those to come again.
    pub fn put_back(
        &mut self,
        first: ChunkIndex,
        bytes: Vec<u8>,
        mut pieces: Vec<Piece>,
        blamed: &[BlockIndex],
    ) {
        pieces.retain(|piece| !blamed.contains(&piece.block));
        if pieces.is_empty() {
            return self.recycle(bytes);
        }
        self.held_bytes += bytes.len();
        let missing = bytes.len() - pieces.iter().map(|piece| piece.bytes).sum::<usize>();
        self.units.insert(first.0, Fragment { bytes, missing, pieces });
    }

    /// Forgets what `block` gave: its bytes were wrong.
    pub fn withdraw(&mut self, block: BlockIndex) {
        for fragment in self.units.values_mut() {
            let of_block = fragment.pieces.iter().filter(|piece| piece.block == block);
            fragment.missing += of_block.map(|piece| piece.bytes).sum::<usize>();
            fragment.pieces.retain(|piece| piece.block != block);
        }
    }

    /// Takes a joined unit's memory back.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(bytes);
        }
    }

    fn remove(&mut self, first: u32) -> Option<Fragment> {
        let fragment = self.units.remove(&first)?;
        self.held_bytes -= fragment.bytes.len();
        Some(fragment)
    }

    fn shrink(&mut self, newest: u32) -> Vec<BlockIndex> {
        let mut lost = Vec::new();
        while self.held_bytes > FRAGMENT_BYTES_MAX {
            let Some(oldest) = self.units.keys().copied().find(|first| *first != newest) else {
                break;
            };
            let fragment = self.remove(oldest).expect("its key was just seen");
            lost.extend(fragment.pieces.into_iter().map(|piece| piece.block));
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: ChunkIndex = ChunkIndex(3);

    #[test]
    fn a_unit_over_three_blocks_is_joined_in_any_order_and_repeats_do_not_count() {
        let mut fragments = Fragments::default();
        let waiting = Joined::Waiting(Vec::new());
        assert_eq!(fragments.add(UNIT, 6, BlockIndex(2), 4, b"ef"), waiting);
        assert_eq!(fragments.add(UNIT, 6, BlockIndex(2), 4, b"ef"), waiting);
        assert_eq!(fragments.add(UNIT, 6, BlockIndex(0), 0, b"ab"), waiting);
        let complete = fragments.add(UNIT, 6, BlockIndex(1), 2, b"cd");
        assert_eq!(said(complete), (b"abcdef".to_vec(), vec![2, 0, 1]));
        assert_eq!(fragments.held_bytes, 0);
    }

    fn said(joined: Joined) -> (Vec<u8>, Vec<u32>) {
        let Joined::Complete(bytes, pieces) = joined else { panic!("more is missing") };
        (bytes, pieces.into_iter().map(|piece| piece.block.0).collect())
    }

    #[test]
    fn a_unit_that_was_wrong_waits_for_the_blamed_pieces_alone() {
        let mut fragments = Fragments::default();
        fragments.add(UNIT, 6, BlockIndex(0), 0, b"ab");
        fragments.add(UNIT, 6, BlockIndex(1), 2, b"xx");
        let Joined::Complete(bytes, pieces) = fragments.add(UNIT, 6, BlockIndex(2), 4, b"ef")
        else {
            panic!("all of it is there")
        };
        fragments.put_back(UNIT, bytes, pieces, &[BlockIndex(1)]);
        assert_eq!(fragments.held_bytes, 6);
        fragments.withdraw(BlockIndex(2));
        let waiting = Joined::Waiting(Vec::new());
        assert_eq!(fragments.add(UNIT, 6, BlockIndex(1), 2, b"cd"), waiting);
        let complete = fragments.add(UNIT, 6, BlockIndex(2), 4, b"EF");
        assert_eq!(said(complete), (b"abcdEF".to_vec(), vec![0, 1, 2]));
        assert_eq!(fragments.held_bytes, 0);
    }

    #[test]
    fn beyond_the_bound_the_lowest_unit_goes_and_its_blocks_are_named() {
        let mut fragments = Fragments::default();
        let mega = 1 << 20;
        let mut lost = Vec::new();
        for index in 0..40 {
            let first = ChunkIndex(index);
            match fragments.add(first, mega, BlockIndex(index), 0, &[1; 10]) {
                Joined::Waiting(blocks) => lost.extend(blocks),
                Joined::Complete(..) => panic!("nothing is complete"),
            }
            assert!(fragments.held_bytes <= FRAGMENT_BYTES_MAX);
        }
        assert_eq!(lost, (0..16).map(BlockIndex).collect::<Vec<_>>());
    }
}
