//! Few erasures of a block, solved for as what they are: as many linear equations.
//!
//! Encoding the symbols that are there, with zeros for the others, and taking that from the repair
//! symbols leaves what the missing ones contribute. Their coefficients are found by the encoder
//! itself, so that this knows nothing of the code but that it is linear over the field. Not here:
//! when this is worth it.

use super::factor::{Adder, LANE_BYTES, LANE_ELEMENTS, xor};
use super::matrix::Matrix;
use super::{Encoder, FecError};

/// A damaged block, but for its source symbols.
pub(super) struct Block<'a> {
    /// Bytes of a symbol.
    pub(super) symbol_bytes: usize,
    /// Repair symbols of the code.
    pub(super) repair_symbols: usize,
    /// Indices of the source symbols that are not there.
    pub(super) missing: &'a [usize],
    /// Index and bytes of the repair symbols that are.
    pub(super) repair: &'a [(usize, &'a [u8])],
}

impl Block<'_> {
    /// Whether there is enough, in sizes and indices that can be; what is not is for the transform
    /// to refuse.
    pub(super) fn is_sound(&self) -> bool {
        let is_possible = |(index, symbol): &(usize, &[u8])| {
            *index < self.repair_symbols && symbol.len() == self.symbol_bytes
        };
        let is_whole = self.symbol_bytes.is_multiple_of(LANE_BYTES);
        let enough = self.missing.len() <= self.repair.len();
        is_whole && enough && self.repair.iter().all(is_possible)
    }
}

/// Solves for few erasures, reusing its working memory.
#[derive(Default)]
pub(super) struct Direct {
    adder: Adder,
    encoder: Encoder,
    /// Repair symbols as they would be if the missing ones were zero.
    encoded: Vec<u8>,
    /// How the last block was solved. The blocks of a window mostly lose the same symbols, since a
    /// train has one of each, and the equations are then the same.
    solution: Solution,
}

/// What a set of missing symbols is of a set of repair symbols.
#[derive(Default)]
struct Solution {
    k: usize,
    repair_symbols: usize,
    missing: Vec<usize>,
    rows: Vec<usize>,
    /// The inverse of the coefficients.
    inverse: Matrix,
}

impl Solution {
    fn is_of(&self, k: usize, block: &Block<'_>, rows: &[usize]) -> bool {
        let sizes = (self.k, self.repair_symbols) == (k, block.repair_symbols);
        sizes && self.missing == block.missing && self.rows == rows
    }
}

impl Direct {
    /// With e missing symbols x and as many repair symbols s: s − (what the present symbols
    /// contribute) = C·x, where C has the code's coefficients of the missing symbols in those
    /// repair symbols. Every such C can be inverted, for any k symbols determine the block.
    pub(super) fn decode(&mut self, source: &mut [u8], block: &Block<'_>) -> Result<(), FecError> {
        let (bytes, missing) = (block.symbol_bytes, block.missing);
        for index in missing {
            source[index * bytes..][..bytes].fill(0);
        }
        self.encoded.resize(block.repair_symbols * bytes, 0);
        self.encoder.encode(source, bytes, &mut self.encoded)?;
        let repair = &block.repair[..missing.len()];
        for (index, symbol) in repair {
            xor(&mut self.encoded[index * bytes..][..bytes], symbol);
        }
        let k = source.len() / bytes;
        let rows: Vec<usize> = repair.iter().map(|(index, _)| *index).collect();
        if !self.solution.is_of(k, block, &rows) {
            let coefficients = coefficients(k, block.repair_symbols, missing, &rows)?;
            let (missing, inverse) = (missing.to_vec(), coefficients.inverted(&mut self.adder));
            let repair_symbols = block.repair_symbols;
            self.solution = Solution { k, repair_symbols, missing, rows, inverse };
        }
        for (row, index) in missing.iter().enumerate() {
            let restored = &mut source[index * bytes..][..bytes];
            for (column, (repair, _)) in repair.iter().enumerate() {
                let encoded = &self.encoded[repair * bytes..][..bytes];
                self.adder.add_product(restored, encoded, self.solution.inverse.get(row, column));
            }
        }
        Ok(())
    }
}

/// What the source symbols `columns` contribute to the repair symbols `rows`: found by encoding
/// groups of 64 bytes in which only element p of source symbol `columns[p]` is one.
fn coefficients(
    k: usize,
    repair_symbols: usize,
    columns: &[usize],
    rows: &[usize],
) -> Result<Matrix, FecError> {
    let mut matrix = Matrix::zero(columns.len());
    let mut encoder = Encoder::default();
    let mut repair = vec![0; repair_symbols * LANE_BYTES];
    for (part, symbols) in columns.chunks(LANE_ELEMENTS).enumerate() {
        let mut source = vec![0; k * LANE_BYTES];
        for (element, symbol) in symbols.iter().enumerate() {
            source[symbol * LANE_BYTES + element] = 1;
        }
        encoder.encode(&source, LANE_BYTES, &mut repair)?;
        for (row, index) in rows.iter().enumerate() {
            let lane = &repair[index * LANE_BYTES..][..LANE_BYTES];
            for element in 0..symbols.len() {
                let value = [lane[element], lane[LANE_ELEMENTS + element]];
                let column = part * LANE_ELEMENTS + element;
                matrix.set(row, column, u16::from_le_bytes(value));
            }
        }
    }
    Ok(matrix)
}
