//! Small matrices over GF(2^16), in the representation of the code (PROTOCOL 3.7).

use reed_solomon_simd::engine::GF_MODULUS;
use reed_solomon_simd::engine::tables::get_exp_log;

use super::factor::{Adder, LANE_BYTES, LANE_ELEMENTS};

/// A square matrix over the field, row by row; a row lies in memory as a symbol does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Matrix {
    size: usize,
    row_bytes: usize,
    rows: Vec<u8>,
}

impl Matrix {
    /// `size` rows and columns of zeros.
    pub(super) fn zero(size: usize) -> Self {
        let row_bytes = size.div_ceil(LANE_ELEMENTS) * LANE_BYTES;
        Self { size, row_bytes, rows: vec![0; size * row_bytes] }
    }

    /// Where the low byte of an element lies; its high byte lies half a group behind it.
    fn position(&self, row: usize, column: usize) -> usize {
        let group = column / LANE_ELEMENTS;
        row * self.row_bytes + group * LANE_BYTES + column % LANE_ELEMENTS
    }

    /// An element.
    pub(super) fn get(&self, row: usize, column: usize) -> u16 {
        let low = self.position(row, column);
        u16::from_le_bytes([self.rows[low], self.rows[low + LANE_ELEMENTS]])
    }

    /// Sets an element.
    pub(super) fn set(&mut self, row: usize, column: usize, element: u16) {
        let low = self.position(row, column);
        let [low_byte, high_byte] = element.to_le_bytes();
        (self.rows[low], self.rows[low + LANE_ELEMENTS]) = (low_byte, high_byte);
    }

    /// The inverse, by Gauss–Jordan elimination.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn inverted(mut self, adder: &mut Adder) -> Self {
        let size = self.size;
        let mut inverse = Self::zero(size);
        (0..size).for_each(|at| inverse.set(at, at, 1));
        for pivot in 0..size {
            let row = (pivot..size).find(|row| self.get(*row, pivot) != 0);
            let row = row.expect("any k symbols of an MDS code determine the block");
            let factor = inverse_of(self.get(row, pivot));
            for matrix in [&mut self, &mut inverse] {
                matrix.swap_rows(row, pivot);
                matrix.scale_row(pivot, factor, adder);
            }
            let (own_pivot, inverse_pivot) = (self.row(pivot), inverse.row(pivot));
            for row in (0..size).filter(|row| *row != pivot) {
                let factor = self.get(row, pivot);
                adder.add_product(self.row_mut(row), &own_pivot, factor);
                adder.add_product(inverse.row_mut(row), &inverse_pivot, factor);
            }
        }
        inverse
    }

    fn row(&self, row: usize) -> Vec<u8> {
        self.rows[row * self.row_bytes..][..self.row_bytes].to_vec()
    }

    fn row_mut(&mut self, row: usize) -> &mut [u8] {
        &mut self.rows[row * self.row_bytes..][..self.row_bytes]
    }

    fn swap_rows(&mut self, row: usize, other: usize) {
        let (first, second) = (self.row(row), self.row(other));
        self.row_mut(row).copy_from_slice(&second);
        self.row_mut(other).copy_from_slice(&first);
    }

    fn scale_row(&mut self, row: usize, factor: u16, adder: &mut Adder) {
        let unscaled = self.row(row);
        self.row_mut(row).fill(0);
        adder.add_product(self.row_mut(row), &unscaled, factor);
    }
}

/// The logarithm of an element other than zero.
pub(super) fn log(element: u16) -> u16 {
    get_exp_log().log[usize::from(element)]
}

/// The product of two elements.
pub(super) fn product(a: u16, b: u16) -> u16 {
    if a == 0 || b == 0 {
        return 0;
    }
    let tables = get_exp_log();
    let log = u32::from(tables.log[usize::from(a)]) + u32::from(tables.log[usize::from(b)]);
    tables.exp[(log % u32::from(GF_MODULUS)) as usize]
}

fn inverse_of(element: u16) -> u16 {
    let tables = get_exp_log();
    let log = GF_MODULUS - tables.log[usize::from(element)];
    tables.exp[usize::from(log % GF_MODULUS)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn times(a: &Matrix, b: &Matrix) -> Matrix {
        let size = a.size;
        let mut out = Matrix::zero(size);
        for (row, column) in (0..size).flat_map(|row| (0..size).map(move |column| (row, column))) {
            let terms = (0..size).map(|at| product(a.get(row, at), b.get(at, column)));
            out.set(row, column, terms.fold(0, |sum, term| sum ^ term));
        }
        out
    }

    fn assert_is_inverted(matrix: &Matrix) {
        let mut identity = Matrix::zero(matrix.size);
        (0..matrix.size).for_each(|at| identity.set(at, at, 1));
        let inverse = matrix.clone().inverted(&mut Adder::default());
        assert_eq!(times(matrix, &inverse), identity, "size {}", matrix.size);
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity() {
        let mut rng = StdRng::seed_from_u64(1);
        for size in (1..12).chain([31, 32, 33, 70]) {
            let mut matrix = Matrix::zero(size);
            for (row, column) in (0..size).flat_map(|row| (0..size).map(move |at| (row, at))) {
                matrix.set(row, column, rng.random());
            }
            assert_is_inverted(&matrix);
        }
        let mut swapped = Matrix::zero(2);
        swapped.set(0, 1, 7);
        swapped.set(1, 0, 9);
        assert_is_inverted(&swapped);
    }

    #[test]
    fn products_keep_the_laws_of_a_field() {
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..1000 {
            let (a, b, c): (u16, u16, u16) = (rng.random(), rng.random(), rng.random());
            assert_eq!(product(a, b ^ c), product(a, b) ^ product(a, c));
            assert_eq!(product(product(a, b), c), product(a, product(b, c)));
            assert_eq!(product(a, 1), a);
            if a != 0 {
                assert_eq!(product(a, inverse_of(a)), 1);
            }
        }
    }
}
