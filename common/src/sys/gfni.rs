//! Multiplying in GF(2^16) by a matrix of bits, with the instructions for it (GFNI).
//!
//! Not here: what the matrices are and how symbols lie in groups ([`crate::fec`]).

/// A group of 32 elements of two bytes: their low bytes, then their high ones.
pub type Group = [u8; 64];
/// A matrix of 16 × 16 bits: what low bytes contribute to low bytes, high to low, low to high, high
/// to high; as GFNI wants each: the byte 7 − i has the input bits that make output bit i.
pub type Quarters = [u64; 4];

#[cfg(target_arch = "x86_64")]
pub use x86::{add_product, is_here};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_set1_epi64x,
        _mm256_storeu_si256, _mm256_xor_si256,
    };

    use super::{Group, Quarters};

    /// Bytes of a vector: half of a group.
    const VECTOR_BYTES: usize = 32;

    /// Whether this processor has the instructions.
    pub fn is_here() -> bool {
        is_x86_feature_detected!("gfni") && is_x86_feature_detected!("avx2")
    }

    /// Adds `source`, multiplied by the matrix, to `target`, group by group.
    ///
    /// # Panics
    /// When the instructions are not here.
    pub fn add_product(target: &mut [Group], source: &[Group], quarters: Quarters) {
        assert!(is_here(), "asked before");
        // SAFETY: the line above.
        unsafe { add(target, source, quarters) }
    }

    #[target_feature(enable = "gfni,avx2")]
    fn add(target: &mut [Group], source: &[Group], quarters: Quarters) {
        let matrices = quarters.map(|matrix| _mm256_set1_epi64x(matrix.cast_signed()));
        let [low_low, high_low, low_high, high_high] = matrices;
        for (target, source) in target.iter_mut().zip(source) {
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
    fn load(group: &Group) -> [__m256i; 2] {
        let halves = group.as_chunks::<VECTOR_BYTES>().0;
        // SAFETY: each half has the 32 bytes that are read, which need no alignment.
        unsafe {
            [
                _mm256_loadu_si256(halves[0].as_ptr().cast()),
                _mm256_loadu_si256(halves[1].as_ptr().cast()),
            ]
        }
    }

    #[target_feature(enable = "avx2")]
    fn store(group: &mut Group, low: __m256i, high: __m256i) {
        let halves = group.as_chunks_mut::<VECTOR_BYTES>().0;
        // SAFETY: each half has the 32 bytes that are written, which need no alignment.
        unsafe {
            _mm256_storeu_si256(halves[0].as_mut_ptr().cast(), low);
            _mm256_storeu_si256(halves[1].as_mut_ptr().cast(), high);
        }
    }
}

/// Other processors have no such instructions.
#[cfg(not(target_arch = "x86_64"))]
pub fn is_here() -> bool {
    false
}

/// Never called.
///
/// # Panics
/// Always: the instructions are not here.
#[cfg(not(target_arch = "x86_64"))]
pub fn add_product(_: &mut [Group], _: &[Group], _: Quarters) {
    unreachable!("asked before")
}
