//! Adding a multiple of one symbol to another: the inner loop of solving for few erasures.
//!
//! To multiply by a constant of GF(2^16) is linear in single bits: a matrix of 16 × 16, or four of
//! 8 × 8 over the low and the high bytes of the elements. GFNI applies one of those to 32 bytes at
//! once (Intel SDM, GF2P8AFFINEQB); elsewhere the engine of the code multiplies.

use std::sync::LazyLock;

use reed_solomon_simd::engine::{DefaultEngine, Engine};

use super::matrix::{log, product};

/// Symbols are coded in groups of so many bytes: the low bytes of 32 elements, then their high
/// bytes (PROTOCOL 3.7).
pub(super) const LANE_BYTES: usize = 64;
/// Elements of a group.
pub(super) const LANE_ELEMENTS: usize = 32;

/// A matrix of 16 × 16 bits: what low bytes contribute to low bytes, high to low, low to high, high
/// to high; as GFNI wants each: the byte 7 − i has the input bits that make output bit i.
type Quarters = [u64; 4];

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

/// Adds multiples of symbols, by the best way that this machine has.
pub(super) struct Adder {
    /// The matrices, where there are instructions for them.
    matrices: Option<&'static [[Quarters; 256]; 2]>,
    engine: DefaultEngine,
    product: Vec<u8>,
}

impl Default for Adder {
    fn default() -> Self {
        let (engine, product) = (DefaultEngine::default(), Vec::new());
        let matrices = gfni::is_here().then(|| &*MATRICES);
        Self { matrices, engine, product }
    }
}

impl Adder {
    /// Adds `factor` times `source` to `target`, both whole groups of [`LANE_BYTES`].
    pub(super) fn add_product(&mut self, target: &mut [u8], source: &[u8], factor: u16) {
        if factor == 0 {
            return;
        }
        if let Some([low, high]) = self.matrices {
            let [low_byte, high_byte] = factor.to_le_bytes().map(usize::from);
            let quarters = std::array::from_fn(|at| low[low_byte][at] ^ high[high_byte][at]);
            return gfni::add_product(target, source, quarters);
        }
        self.product.clear();
        self.product.extend_from_slice(source);
        self.engine.mul(self.product.as_chunks_mut().0, log(factor));
        xor(target, &self.product);
    }
}

/// Adds `other` to `target`: addition in the field.
pub(super) fn xor(target: &mut [u8], other: &[u8]) {
    target.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "instructions that not every processor has")]
mod gfni {
    use std::arch::x86_64::{
        __m256i, _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_set1_epi64x,
        _mm256_storeu_si256, _mm256_xor_si256,
    };

    use super::{LANE_BYTES, LANE_ELEMENTS, Quarters};

    /// Whether this processor has the instructions.
    pub(super) fn is_here() -> bool {
        is_x86_feature_detected!("gfni") && is_x86_feature_detected!("avx2")
    }

    /// As [`super::Adder::add_product`].
    ///
    /// # Panics
    /// When the instructions are not here.
    pub(super) fn add_product(target: &mut [u8], source: &[u8], quarters: Quarters) {
        assert!(is_here(), "asked before");
        // SAFETY: the line above.
        unsafe { add(target, source, quarters) }
    }

    #[target_feature(enable = "gfni,avx2")]
    fn add(target: &mut [u8], source: &[u8], quarters: Quarters) {
        let matrices = quarters.map(|matrix| _mm256_set1_epi64x(matrix.cast_signed()));
        let [low_low, high_low, low_high, high_high] = matrices;
        let targets = target.as_chunks_mut::<LANE_BYTES>().0.iter_mut();
        for (target, source) in targets.zip(source.as_chunks::<LANE_BYTES>().0) {
            let [low, high] = load(source);
            let [target_low, target_high] = load(target);
            let low_sum = sum(target_low, times(low, low_low), times(high, high_low));
            let high_sum = sum(target_high, times(low, low_high), times(high, high_high));
            store(target, low_sum, high_sum);
        }
    }

    #[target_feature(enable = "gfni,avx2")]
    fn times(bytes: __m256i, matrix: __m256i) -> __m256i {
        _mm256_gf2p8affine_epi64_epi8::<0>(bytes, matrix)
    }

    #[target_feature(enable = "avx2")]
    fn sum(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        _mm256_xor_si256(a, _mm256_xor_si256(b, c))
    }

    #[target_feature(enable = "avx2")]
    fn load(group: &[u8; LANE_BYTES]) -> [__m256i; 2] {
        let halves = group.as_chunks::<LANE_ELEMENTS>().0;
        // SAFETY: each half has the 32 bytes that are read, which need no alignment.
        unsafe {
            [
                _mm256_loadu_si256(halves[0].as_ptr().cast()),
                _mm256_loadu_si256(halves[1].as_ptr().cast()),
            ]
        }
    }

    #[target_feature(enable = "avx2")]
    fn store(group: &mut [u8; LANE_BYTES], low: __m256i, high: __m256i) {
        let halves = group.as_chunks_mut::<LANE_ELEMENTS>().0;
        // SAFETY: each half has the 32 bytes that are written, which need no alignment.
        unsafe {
            _mm256_storeu_si256(halves[0].as_mut_ptr().cast(), low);
            _mm256_storeu_si256(halves[1].as_mut_ptr().cast(), high);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod gfni {
    /// Other processors have no such instructions.
    pub(super) fn is_here() -> bool {
        false
    }

    /// Never called.
    pub(super) fn add_product(_: &mut [u8], _: &[u8], _: super::Quarters) {
        unreachable!("asked before")
    }
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
        let engine = Adder { matrices: None, ..Adder::default() };
        for mut adder in [Adder::default(), engine] {
            for element in [0, 1, 2, 0x100, 0x8000, 0xffff, rng.random(), rng.random()] {
                let source: Vec<u8> = (0..3 * LANE_BYTES).map(|_| rng.random()).collect();
                let before: Vec<u8> = (0..3 * LANE_BYTES).map(|_| rng.random()).collect();
                let (mut expected, mut target) = (before.clone(), before);
                by_elements(&mut expected, &source, element);
                adder.add_product(&mut target, &source, element);
                let has_gfni = adder.matrices.is_some();
                assert_eq!(target, expected, "{element:#x}, GFNI: {has_gfni}");
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
