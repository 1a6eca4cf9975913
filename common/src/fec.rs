//! The erasure code of a block: Reed–Solomon over GF(2^16), MDS, any k of k + r symbols suffice.
//!
//! Encode and decode are words of this module alone. The code detects nothing: a wrong symbol makes
//! a wrong block, so every datagram is authenticated before and every frame verified after. Its
//! equations are PROTOCOL 3.7.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// A block that could not be coded; only wrong counts or sizes lead here.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("block cannot be coded: {0}")]
pub struct FecError(#[from] reed_solomon_simd::Error);

/// Builds the repair symbols of blocks, reusing its working memory.
#[derive(Default)]
pub struct Encoder {
    inner: Option<ReedSolomonEncoder>,
}

impl Encoder {
    /// Writes the `repair_symbols` repair symbols of `source` (whole symbols of `symbol_bytes`, end
    /// to end) into `repair`, end to end.
    ///
    /// # Errors
    /// When a count is zero or too large, or the symbol size is odd.
    ///
    /// # Panics
    /// When `source` is no whole number of symbols or `repair` has another length than asked for.
    pub fn encode(
        &mut self,
        source: &[u8],
        symbol_bytes: usize,
        repair: &mut [u8],
    ) -> Result<(), FecError> {
        assert!(source.len().is_multiple_of(symbol_bytes), "a block is whole symbols");
        assert!(repair.len().is_multiple_of(symbol_bytes), "repair symbols are whole");
        let (k, r) = (source.len() / symbol_bytes, repair.len() / symbol_bytes);
        let encoder = match &mut self.inner {
            Some(encoder) => {
                encoder.reset(k, r, symbol_bytes)?;
                encoder
            }
            None => self.inner.insert(ReedSolomonEncoder::new(k, r, symbol_bytes)?),
        };
        for symbol in source.chunks_exact(symbol_bytes) {
            encoder.add_original_shard(symbol)?;
        }
        let result = encoder.encode()?;
        for (target, symbol) in repair.chunks_exact_mut(symbol_bytes).zip(result.recovery_iter()) {
            target.copy_from_slice(symbol);
        }
        Ok(())
    }
}

/// Restores missing source symbols, reusing its working memory.
#[derive(Default)]
pub struct Decoder {
    inner: Option<ReedSolomonDecoder>,
}

impl Decoder {
    /// Fills the gaps of `source` (k symbols end to end; `is_present[i]` says whether symbol i is
    /// there) from `repair`, pairs of repair index (0..r) and symbol.
    ///
    /// # Errors
    /// When there are fewer than k symbols in all, or an index or size is wrong.
    ///
    /// # Panics
    /// When `source` does not hold `is_present.len()` symbols.
    pub fn decode<'a>(
        &mut self,
        source: &mut [u8],
        symbol_bytes: usize,
        is_present: &[bool],
        repair_symbols: usize,
        repair: impl Iterator<Item = (usize, &'a [u8])>,
    ) -> Result<(), FecError> {
        let k = is_present.len();
        assert_eq!(source.len(), k * symbol_bytes, "a block has k symbols");
        if is_present.iter().all(|present| *present) {
            return Ok(());
        }
        let decoder = match &mut self.inner {
            Some(decoder) => {
                decoder.reset(k, repair_symbols, symbol_bytes)?;
                decoder
            }
            None => self.inner.insert(ReedSolomonDecoder::new(k, repair_symbols, symbol_bytes)?),
        };
        let symbols = source.chunks_exact(symbol_bytes).enumerate();
        for (index, symbol) in symbols.filter(|(index, _)| is_present[*index]) {
            decoder.add_original_shard(index, symbol)?;
        }
        for (index, symbol) in repair {
            decoder.add_recovery_shard(index, symbol)?;
        }
        let result = decoder.decode()?;
        for (index, symbol) in result.restored_original_iter() {
            source[index * symbol_bytes..][..symbol_bytes].copy_from_slice(symbol);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(k: usize, symbol_bytes: usize) -> Vec<u8> {
        (0..k * symbol_bytes).map(|byte| (byte * 31 % 251) as u8).collect()
    }

    #[test]
    fn any_k_symbols_restore_the_block_at_every_small_size() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for k in 1..20 {
            let (r, bytes) = (8, 64);
            let source = block(k, bytes);
            let mut repair = vec![0; r * bytes];
            encoder.encode(&source, bytes, &mut repair).unwrap();
            let missing = k.min(r);
            let is_present: Vec<_> = (0..k).map(|index| index >= missing).collect();
            let mut damaged = source.clone();
            damaged[..missing * bytes].fill(0xa5);
            let symbols = repair.chunks_exact(bytes).enumerate().skip(r - missing);
            decoder.decode(&mut damaged, bytes, &is_present, r, symbols).unwrap();
            assert_eq!(damaged, source, "k = {k}");
        }
    }

    #[test]
    fn one_symbol_too_few_is_an_error_and_leaves_the_decoder_usable() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let source = block(4, 64);
        let mut repair = vec![0; 2 * 64];
        encoder.encode(&source, 64, &mut repair).unwrap();
        let mut damaged = source.clone();
        let present = [false, false, true, true];
        let one = [(0, &repair[..64])];
        assert!(decoder.decode(&mut damaged, 64, &present, 2, one.into_iter()).is_err());
        let both = repair.chunks_exact(64).enumerate();
        decoder.decode(&mut damaged, 64, &present, 2, both).unwrap();
        assert_eq!(damaged, source);
    }
}
