//! Adding a multiple of one symbol to another: the inner loop of solving for few erasures.
//!
//! To multiply by a constant of GF(2^16) is linear in single bits: a matrix of 16 × 16, or four of
//! 8 × 8 over the low and the high bytes of the elements. GFNI applies one of those to 32 bytes at
//! once (Intel SDM, GF2P8AFFINEQB); elsewhere the engine of the code multiplies.

use std::sync::LazyLock;

use reed_solomon_simd::engine::{DefaultEngine, Engine};

use super::matrix::{log, product};
use crate::sys::gfni::{self, Quarters};

/// Symbols are coded in groups of so many bytes: the low bytes of 32 elements, then their high
/// bytes (PROTOCOL 3.7).
pub(super) const LANE_BYTES: usize = 64;
/// Elements of a group.
pub(super) const LANE_ELEMENTS: usize = 32;

/// Matrices of the elements that have only a low byte, and of those that have only a high one: that
/// of a sum is the sum of the matrices.
static MATRICES: LazyLock<[[Quarters; 256]; 2]> = LazyLock::new(|| {
    [0, 8].map(|shift| std::array::from_fn(|byte| quarters_of((byte as u16) << shift)))
});

fn quarters_of(element: u16) -> Quarters {
    let columns: [u16; 16] = std::array::from_fn(|bit| product(1 << bit, element));
    let quarter = |from: usize, shift: u32| {
        let bytes: [u8; 8] = std::array::from_fn(|bit| (columns[from + bit] >> shift) as u8);
        transposed(u64::from_le_bytes(bytes)).swap_bytes()
    };
    [quarter(0, 0), quarter(8, 0), quarter(0, 8), quarter(8, 8)]
}

/// The transpose of a matrix of 8 × 8 bits, row by row in bytes (Warren, Hacker's Delight, 7-3).
fn transposed(mut bits: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swapped = (bits ^ (bits >> shift)) & mask;
        bits ^= swapped ^ (swapped << shift);
    }
    bits
}

/// Adds multiples of symbols, by the best way that this machine has. Tables are made when the first
/// is to be added: a host that loses nothing needs none, and those of the engine are 8 MB.
pub(super) struct Adder {
    has_gfni: bool,
    engine: Option<DefaultEngine>,
    product: Vec<u8>,
}

impl Default for Adder {
    fn default() -> Self {
        Self { has_gfni: gfni::is_here(), engine: None, product: Vec::new() }
    }
}

impl Adder {
    /// Adds `factor` times `source` to `target`, both whole groups of [`LANE_BYTES`].
    pub(super) fn add_product(&mut self, target: &mut [u8], source: &[u8], factor: u16) {
        if factor == 0 {
            return;
        }
        if self.has_gfni {
            let [low, high] = &*MATRICES;
            let [low_byte, high_byte] = factor.to_le_bytes().map(usize::from);
            let quarters = std::array::from_fn(|at| low[low_byte][at] ^ high[high_byte][at]);
            let (target, source) = (target.as_chunks_mut().0, source.as_chunks().0);
            return gfni::add_product(target, source, quarters);
        }
        self.product.clear();
        self.product.extend_from_slice(source);
        let engine = self.engine.get_or_insert_default();
        engine.mul(self.product.as_chunks_mut().0, log(factor));
        xor(target, &self.product);
    }
}

/// Adds `other` to `target`: addition in the field.
pub(super) fn xor(target: &mut [u8], other: &[u8]) {
    target.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// One element at a time, as it lies in the groups.
    fn by_elements(target: &mut [u8], source: &[u8], element: u16) {
        let groups = target.as_chunks_mut::<LANE_BYTES>().0.iter_mut();
        for (target, source) in groups.zip(source.as_chunks::<LANE_BYTES>().0) {
            for (low, high) in (0..LANE_ELEMENTS).zip(LANE_ELEMENTS..) {
                let value = product(u16::from_le_bytes([source[low], source[high]]), element);
                let [low_byte, high_byte] = value.to_le_bytes();
                target[low] ^= low_byte;
                target[high] ^= high_byte;
            }
        }
    }

    #[test]
    fn every_way_adds_what_the_elements_one_by_one_would() {
        let mut rng = StdRng::seed_from_u64(3);
        let engine = Adder { has_gfni: false, ..Adder::default() };
        for mut adder in [Adder::default(), engine] {
            for element in [0, 1, 2, 0x100, 0x8000, 0xffff, rng.random(), rng.random()] {
                let source: Vec<u8> = (0..3 * LANE_BYTES).map(|_| rng.random()).collect();
                let before: Vec<u8> = (0..3 * LANE_BYTES).map(|_| rng.random()).collect();
                let (mut expected, mut target) = (before.clone(), before);
                by_elements(&mut expected, &source, element);
                adder.add_product(&mut target, &source, element);
                assert_eq!(target, expected, "{element:#x}, GFNI: {}", adder.has_gfni);
            }
        }
    }

    #[test]
    fn a_transposed_matrix_has_rows_for_columns() {
        assert_eq!(transposed(0x01), 0x01);
        assert_eq!(transposed(0xff), 0x0101_0101_0101_0101);
        assert_eq!(transposed(1 << 63), 1 << 63);
        assert_eq!(transposed(0x02), 0x0100);
    }
}
