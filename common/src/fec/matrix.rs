//! Small matrices over GF(2^16), in the representation of the code (PROTOCOL 3.7).

use reed_solomon_simd::engine::GF_MODULUS;
use reed_solomon_simd::engine::tables::get_exp_log;

/// A square matrix over the field, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matrix {
    size: usize,
    elements: Vec<u16>,
}

impl Matrix {
    /// `size` rows and columns of zeros.
    pub(super) fn zero(size: usize) -> Self {
        Self { size, elements: vec![0; size * size] }
    }

    /// Ones on the diagonal, else zeros.
    fn identity(size: usize) -> Self {
        let mut identity = Self::zero(size);
        (0..size).for_each(|at| identity.set(at, at, 1));
        identity
    }

    /// Sets an element.
    pub(super) fn set(&mut self, row: usize, column: usize, element: u16) {
        self.elements[row * self.size + column] = element;
    }

    /// The inverse, by Gauss–Jordan elimination.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn inverted(mut self) -> Self {
        let size = self.size;
        let mut inverse = Self::identity(size);
        for pivot in 0..size {
            let row = (pivot..size).find(|row| self.elements[row * size + pivot] != 0);
            let row = row.expect("any k symbols of an MDS code determine the block");
            self.swap_rows(row, pivot);
            inverse.swap_rows(row, pivot);
            let factor = inverse_of(self.elements[pivot * size + pivot]);
            self.scale_row(pivot, factor);
            inverse.scale_row(pivot, factor);
            for row in (0..size).filter(|row| *row != pivot) {
                let factor = self.elements[row * size + pivot];
                self.add_scaled_row(row, pivot, factor);
                inverse.add_scaled_row(row, pivot, factor);
            }
        }
        inverse
    }

    fn swap_rows(&mut self, row: usize, other: usize) {
        for column in 0..self.size {
            self.elements.swap(row * self.size + column, other * self.size + column);
        }
    }

    fn scale_row(&mut self, row: usize, factor: u16) {
        for element in &mut self.elements[row * self.size..][..self.size] {
            *element = product(*element, factor);
        }
    }

    fn add_scaled_row(&mut self, row: usize, other: usize, factor: u16) {
        for column in 0..self.size {
            let addend = product(self.elements[other * self.size + column], factor);
            self.elements[row * self.size + column] ^= addend;
        }
    }

    /// The logarithm of an element; zero has none.
    pub(super) fn log(&self, row: usize, column: usize) -> Option<u16> {
        let element = self.elements[row * self.size + column];
        (element != 0).then(|| get_exp_log().log[usize::from(element)])
    }
}

fn product(a: u16, b: u16) -> u16 {
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
            let terms = (0..size)
                .map(|at| product(a.elements[row * size + at], b.elements[at * size + column]));
            out.set(row, column, terms.fold(0, |sum, term| sum ^ term));
        }
        out
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity() {
        let mut rng = StdRng::seed_from_u64(1);
        for size in 1..12 {
            let mut matrix = Matrix::zero(size);
            matrix.elements.iter_mut().for_each(|element| *element = rng.random());
            assert_eq!(times(&matrix, &matrix.clone().inverted()), Matrix::identity(size));
        }
        let mut swapped = Matrix::zero(2);
        swapped.set(0, 1, 7);
        swapped.set(1, 0, 9);
        assert_eq!(times(&swapped, &swapped.clone().inverted()), Matrix::identity(2));
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
