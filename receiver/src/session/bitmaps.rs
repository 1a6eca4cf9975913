//! Which symbols of the open blocks have arrived: a row of bits for each, in one piece of memory.
//!
//! Every datagram marks a bit, so a mark takes no search and no allocation: the block knows its
//! row. The blocks of a window are filled in step, so the words of sixteen rows that belong to the
//! same symbols lie side by side: a window marks two cache lines at a time, not sixteen. Invariant:
//! a row is all zero while nobody has it, and the lowest free row is the next to be taken.

use std::collections::BTreeSet;

use common::geometry::PartSet;
use common::id::SymbolId;
use common::limits::HASHES_DIGESTS_MAX;

/// Rows that lie side by side.
const GROUP_ROWS: usize = 16;

// A word has the symbols of one part.
const _: () = assert!(u64::BITS == HASHES_DIGESTS_MAX as u32);

/// A row of bits, taken from [`Bitmaps::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Row(u32);

/// Rows of equal length.
#[derive(Debug)]
pub struct Bitmaps {
    words: Vec<u64>,
    row_words: usize,
    free: BTreeSet<Row>,
}

impl Bitmaps {
    /// No rows yet; each will have a bit for each of `symbols` symbols.
    pub fn new(symbols: u32) -> Self {
        let row_words = symbols.div_ceil(64) as usize;
        Self { words: Vec::new(), row_words, free: BTreeSet::new() }
    }

    /// A row without marks.
    pub fn take(&mut self) -> Row {
        if self.free.is_empty() {
            let rows = (self.words.len() / self.row_words) as u32;
            self.words.resize(self.words.len() + self.row_words * GROUP_ROWS, 0);
            self.free.extend((rows..rows + GROUP_ROWS as u32).map(Row));
        }
        self.free.pop_first().expect("a group of rows was just added")
    }

    /// Gives `row` back; its marks go.
    pub fn give_back(&mut self, row: Row) {
        let start = self.start(row);
        self.words[start..]
            .iter_mut()
            .step_by(GROUP_ROWS)
            .take(self.row_words)
            .for_each(|w| *w = 0);
        self.free.insert(row);
    }

    /// Whether `symbol` is marked in `row`.
    pub fn has(&self, row: Row, symbol: SymbolId) -> bool {
        self.words[self.word(row, symbol)] >> (symbol.0 % 64) & 1 == 1
    }

    /// Marks `symbol` in `row`; false when it was marked.
    #[inline]
    pub fn insert(&mut self, row: Row, symbol: SymbolId) -> bool {
        let word = self.word(row, symbol);
        let bit = 1 << (symbol.0 % 64);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// Takes the mark of `symbol` away from `row`; false when there was none.
    pub fn remove(&mut self, row: Row, symbol: SymbolId) -> bool {
        let was_marked = self.has(row, symbol);
        let word = self.word(row, symbol);
        self.words[word] &= !(1 << (symbol.0 % 64));
        was_marked
    }

    /// The parts of a block's digests that symbols marked in `row` belong to: a word for each.
    pub fn parts(&self, row: Row) -> PartSet {
        let start = self.start(row);
        let words = self.words[start..].iter().step_by(GROUP_ROWS).take(self.row_words);
        let parts = words.zip(0..).filter(|(word, _)| **word != 0).map(|(_, part)| part);
        parts.fold(PartSet::default(), PartSet::with)
    }

    #[inline]
    fn word(&self, row: Row, symbol: SymbolId) -> usize {
        self.start(row) + usize::from(symbol.0) / 64 * GROUP_ROWS
    }

    /// The first word of `row`; the others follow at a distance of [`GROUP_ROWS`].
    #[inline]
    fn start(&self, row: Row) -> usize {
        let row = row.0 as usize;
        row / GROUP_ROWS * GROUP_ROWS * self.row_words + row % GROUP_ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_touch_each_other_and_come_back_blank() {
        let mut bitmaps = Bitmaps::new(70);
        let rows: Vec<Row> = (0..40).map(|_| bitmaps.take()).collect();
        let marks = |index: usize| [index as u16, 69 - index as u16 % 5].map(SymbolId);
        for (index, row) in rows.iter().enumerate() {
            assert!(marks(index).into_iter().all(|symbol| bitmaps.insert(*row, symbol)));
            assert!(!bitmaps.insert(*row, marks(index)[0]), "it is marked");
        }
        for (index, row) in rows.iter().enumerate() {
            let marked = (0..70).map(SymbolId).filter(|symbol| bitmaps.has(*row, *symbol)).count();
            assert_eq!(marked, 2, "row {index}");
        }
        assert_eq!(bitmaps.parts(rows[0]), PartSet(0b11), "symbols 0 and 69");
        assert!(bitmaps.remove(rows[0], SymbolId(69)) && !bitmaps.remove(rows[0], SymbolId(69)));
        assert_eq!(bitmaps.parts(rows[0]), PartSet(0b01));
        bitmaps.give_back(rows[20]);
        bitmaps.give_back(rows[3]);
        for expected in [rows[3], rows[20]] {
            let again = bitmaps.take();
            assert_eq!(again, expected, "memory is used again, from the beginning");
            assert!((0..70).all(|symbol| !bitmaps.has(again, SymbolId(symbol))));
        }
    }
}
