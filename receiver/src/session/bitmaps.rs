//! Which symbols of the open blocks have arrived: a row of bits for each, in one piece of memory.
//!
//! Every datagram marks a bit, so a mark takes no search and no allocation: the block knows its
//! row. Invariant: a row is all zero while nobody has it, and memory grows to the most rows that
//! were ever in use at a time.

use common::id::SymbolId;

/// A row of bits, taken from [`Bitmaps::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row(u32);

/// Rows of equal length.
#[derive(Debug)]
pub struct Bitmaps {
    words: Vec<u64>,
    row_words: usize,
    free: Vec<Row>,
}

impl Bitmaps {
    /// No rows yet; each will have a bit for each of `symbols` symbols.
    pub fn new(symbols: u32) -> Self {
        let row_words = symbols.div_ceil(64) as usize;
        Self { words: Vec::new(), row_words, free: Vec::new() }
    }

    /// A row without marks.
    pub fn take(&mut self) -> Row {
        self.free.pop().unwrap_or_else(|| {
            let row = Row((self.words.len() / self.row_words) as u32);
            self.words.resize(self.words.len() + self.row_words, 0);
            row
        })
    }

    /// Gives `row` back; its marks go.
    pub fn give_back(&mut self, row: Row) {
        let start = row.0 as usize * self.row_words;
        self.words[start..start + self.row_words].fill(0);
        self.free.push(row);
    }

    /// Whether `symbol` is marked in `row`.
    pub fn has(&self, row: Row, symbol: SymbolId) -> bool {
        self.words[self.word(row, symbol)] >> (symbol.0 % 64) & 1 == 1
    }

    /// Marks `symbol` in `row`; false when it was marked.
    pub fn insert(&mut self, row: Row, symbol: SymbolId) -> bool {
        let word = self.word(row, symbol);
        let bit = 1 << (symbol.0 % 64);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    fn word(&self, row: Row, symbol: SymbolId) -> usize {
        row.0 as usize * self.row_words + usize::from(symbol.0) / 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_given_back_is_blank_when_it_is_taken_again() {
        let mut bitmaps = Bitmaps::new(70);
        let (first, second) = (bitmaps.take(), bitmaps.take());
        for symbol in [0, 63, 64, 69].map(SymbolId) {
            assert!(bitmaps.insert(first, symbol) && !bitmaps.insert(first, symbol));
            assert!(bitmaps.has(first, symbol) && !bitmaps.has(second, symbol));
        }
        bitmaps.give_back(first);
        let again = bitmaps.take();
        assert_eq!(again, first, "memory is used again");
        assert!((0..70).all(|symbol| !bitmaps.has(again, SymbolId(symbol))));
    }
}
