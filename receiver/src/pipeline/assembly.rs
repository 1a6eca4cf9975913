//! One block's symbols as they arrive: source symbols in their places, repair symbols behind.
//!
//! Owned by the socket thread, which copies each payload here, the only copy on the way; then moved
//! whole to a worker.

use common::fec::{Decoder, FecError};
use common::id::SymbolId;

/// A block under assembly.
#[derive(Debug, Default)]
pub struct Assembly {
    symbol_bytes: usize,
    repair_symbols: usize,
    source: Vec<u8>,
    is_present: Vec<bool>,
    repair: Vec<u8>,
    repair_ids: Vec<u16>,
    is_proven: bool,
}

impl Assembly {
    /// Makes this, perhaps used before, an empty block of `source_symbols`. The bytes of an earlier
    /// block stay until they are overwritten; `is_present` says what counts.
    pub fn reset(&mut self, source_symbols: u16, symbol_bytes: u16, repair_symbols: u16) {
        self.symbol_bytes = symbol_bytes.into();
        self.repair_symbols = repair_symbols.into();
        let bytes = usize::from(source_symbols) * self.symbol_bytes;
        if self.source.capacity() < bytes {
            // Memory that the system zeroes when it is first touched, not memory that we zero.
            self.source = vec![0; bytes];
        }
        self.source.resize(bytes, 0);
        self.is_present.clear();
        self.is_present.resize(source_symbols.into(), false);
        self.repair.clear();
        self.repair_ids.clear();
        self.is_proven = false;
    }

    /// Digests have shown that all of its symbols are true.
    pub fn set_proven(&mut self) {
        self.is_proven = true;
    }

    /// Whether they have.
    pub fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Copies one symbol to its place.
    ///
    /// # Panics
    /// When `bytes` is not one symbol: lengths are checked where datagrams are read.
    pub fn keep(&mut self, symbol: SymbolId, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.symbol_bytes, "a symbol has the session's symbol size");
        let index = usize::from(symbol.0);
        match self.is_present.get_mut(index) {
            Some(is_present) => {
                *is_present = true;
                self.source[index * self.symbol_bytes..][..self.symbol_bytes]
                    .copy_from_slice(bytes);
            }
            None => {
                self.repair.extend_from_slice(bytes);
                self.repair_ids.push((index - self.is_present.len()) as u16);
            }
        }
    }

    /// The symbols that are here: those that came, not those that decoding has filled in.
    pub fn symbols(&self) -> Vec<SymbolId> {
        let source = self.is_present.iter().zip(0..).filter(|(is_present, _)| **is_present);
        let k = self.is_present.len() as u16;
        let repair = self.repair_ids.iter().map(|id| k + id);
        source.map(|(_, index)| index).chain(repair).map(SymbolId).collect()
    }

    /// The bytes of one symbol, where it is here.
    pub fn symbol(&self, symbol: SymbolId) -> Option<&[u8]> {
        let index = usize::from(symbol.0);
        let (bytes, at) = match self.is_present.get(index) {
            Some(is_present) => (&self.source, is_present.then_some(index)?),
            None => (&self.repair, self.repair_place(index)?),
        };
        Some(&bytes[at * self.symbol_bytes..][..self.symbol_bytes])
    }

    /// Takes a symbol out again.
    pub fn remove(&mut self, symbol: SymbolId) {
        let index = usize::from(symbol.0);
        if let Some(is_present) = self.is_present.get_mut(index) {
            *is_present = false;
        } else if let Some(at) = self.repair_place(index) {
            self.repair_ids.swap_remove(at);
            let last = self.repair_ids.len() * self.symbol_bytes;
            self.repair.copy_within(last.., at * self.symbol_bytes);
            self.repair.truncate(last);
        }
    }

    fn repair_place(&self, index: usize) -> Option<usize> {
        let id = index.checked_sub(self.is_present.len())?;
        self.repair_ids.iter().position(|it| usize::from(*it) == id)
    }

    /// Fills the gaps from repair symbols.
    ///
    /// # Errors
    /// When there are too few symbols.
    pub fn decode(&mut self, decoder: &mut Decoder) -> Result<&[u8], FecError> {
        let repair = self.repair.chunks_exact(self.symbol_bytes);
        let repair = self.repair_ids.iter().map(|id| usize::from(*id)).zip(repair);
        decoder.decode(
            &mut self.source,
            self.symbol_bytes,
            &self.is_present,
            self.repair_symbols,
            repair,
        )?;
        Ok(&self.source)
    }

    /// The first `length` bytes of the block, once it was decoded.
    pub fn source(&self, length: usize) -> &[u8] {
        &self.source[..length]
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.source.len() + self.repair.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::fec::Encoder;

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_decodes() {
        let source: Vec<u8> = (0..5 * 64).map(|byte| byte as u8).collect();
        let mut repair = vec![0; 4 * 64];
        Encoder::default().encode(&source, 64, &mut repair).unwrap();
        let mut assembly = Assembly::default();
        assembly.reset(5, 64, 4);
        for index in [4, 1, 0] {
            assembly.keep(SymbolId(index), &source[usize::from(index) * 64..][..64]);
        }
        // Of these, 2 and 6 are false.
        assembly.keep(SymbolId(2), &[7; 64]);
        assembly.keep(SymbolId(6), &[8; 64]);
        assembly.keep(SymbolId(8), &repair[3 * 64..]);
        assert_eq!(assembly.symbol(SymbolId(6)), Some(&[8; 64][..]));
        assert!(assembly.decode(&mut Decoder::default()).unwrap() != source);
        [2, 6, 3, 7].into_iter().for_each(|index| assembly.remove(SymbolId(index)));
        assert_eq!(assembly.symbols(), [0, 1, 4, 8].map(SymbolId));
        assert_eq!(assembly.symbol(SymbolId(8)), Some(&repair[3 * 64..]));
        assert_eq!(assembly.symbol(SymbolId(2)), None);
        assembly.keep(SymbolId(5), &repair[..64]);
        assert_eq!(assembly.decode(&mut Decoder::default()).unwrap(), source);
    }

    #[test]
    fn a_block_is_restored_from_any_symbols_also_in_used_memory() {
        let source: Vec<u8> = (0..5 * 64).map(|byte| byte as u8).collect();
        let mut repair = vec![0; 4 * 64];
        Encoder::default().encode(&source, 64, &mut repair).unwrap();
        let mut assembly = Assembly::default();
        for missing in 0..4_usize {
            assembly.reset(5, 64, 4);
            for index in missing..5 {
                assembly.keep(SymbolId(index as u16), &source[index * 64..][..64]);
            }
            for index in 0..missing {
                assembly.keep(SymbolId(5 + index as u16), &repair[index * 64..][..64]);
            }
            assert_eq!(assembly.decode(&mut Decoder::default()).unwrap(), source);
        }
    }
}
