//! Real bytes behind the headers: encoded, carried in datagrams, decoded and compared.
//!
//! A run with payload takes the same course as one without, to the last event; that is what makes
//! the runs without it worth something.

use std::collections::BTreeMap;

use common::digest::Digest;
use common::fec::{Decoder, Encoder};
use common::geometry::{Geometry, Space};
use common::id::BlockIndex;
use common::wire::{CHECKSUM_BYTES, Kind, SymbolHeader, close_plain, open_plain};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use receiver::pipeline::Assembly;
use receiver::session::Verdict;

/// What the sender sends: preamble and payload, and the symbols of prepared blocks.
pub(super) struct Payload {
    preamble: Vec<u8>,
    payload: Vec<u8>,
    encoder: Encoder,
    symbols: BTreeMap<BlockIndex, Vec<u8>>,
}

impl Payload {
    /// Bytes without pattern for both spaces.
    pub(super) fn new(geometry: &Geometry, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = |space| {
            let mut bytes = vec![0; geometry.space_bytes(space) as usize];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        Self {
            preamble: bytes(Space::Preamble),
            payload: bytes(Space::Payload),
            encoder: Encoder::default(),
            symbols: BTreeMap::new(),
        }
    }

    /// Encodes a block.
    pub(super) fn prepare(&mut self, geometry: &Geometry, block: BlockIndex) {
        let span = geometry.span(block);
        let space = match span.space {
            Space::Preamble => &self.preamble,
            Space::Payload => &self.payload,
        };
        let symbol_bytes = usize::from(geometry.symbol_bytes());
        let mut source = space[span.offset as usize..][..span.bytes as usize].to_vec();
        source.resize(usize::from(span.source_symbols) * symbol_bytes, 0);
        let mut repair = vec![0; usize::from(geometry.repair_symbols()) * symbol_bytes];
        self.encoder.encode(&source, symbol_bytes, &mut repair).expect("sizes of a geometry");
        source.extend_from_slice(&repair);
        self.symbols.insert(block, source);
    }

    /// Forgets a block's symbols.
    pub(super) fn release(&mut self, block: BlockIndex) {
        self.symbols.remove(&block);
    }

    /// The datagram of a header.
    pub(super) fn datagram(&self, geometry: &Geometry, header: &SymbolHeader) -> Vec<u8> {
        let k = geometry.source_symbols_of(header.block);
        let symbol = geometry.symbol_of(k, header.transmission);
        let kind = if symbol.0 < k { Kind::Source } else { Kind::Repair };
        let mut head = [0; SymbolHeader::WIRE_BYTES];
        header.emit(kind, &mut head);
        let mut datagram = head.to_vec();
        let symbol_bytes = usize::from(geometry.symbol_bytes());
        let symbols = &self.symbols[&header.block];
        datagram
            .extend_from_slice(&symbols[usize::from(symbol.0) * symbol_bytes..][..symbol_bytes]);
        datagram.resize(datagram.len() + CHECKSUM_BYTES, 0);
        close_plain(&mut datagram);
        datagram
    }

    /// What every host must end with.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.payload)
    }
}

/// The header of a datagram that arrived whole.
pub(super) fn header_of(datagram: &[u8]) -> SymbolHeader {
    opened(datagram).0
}

fn opened(datagram: &[u8]) -> (SymbolHeader, &[u8]) {
    let inner = open_plain(datagram).expect("our own datagram");
    SymbolHeader::parse(inner).expect("our own datagram")
}

/// A datagram damaged on the way is refused.
pub(super) fn assert_refused_when_damaged(datagram: &[u8], bit: usize) {
    let mut damaged = datagram.to_vec();
    damaged[bit / 8 % datagram.len()] ^= 1 << (bit % 8);
    assert!(open_plain(&damaged).is_err(), "the checksum finds one wrong bit");
}

/// What one host has of the payload.
#[derive(Default)]
pub(super) struct Received {
    assemblies: BTreeMap<BlockIndex, Assembly>,
    decoder: Decoder,
    payload: BTreeMap<BlockIndex, Vec<u8>>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} blocks under assembly", self.assemblies.len())
    }
}

impl Received {
    /// Does with a datagram's symbol what the session said.
    pub(super) fn obey(&mut self, geometry: &Geometry, verdict: &Verdict, datagram: &[u8]) {
        let (block, symbol) = match *verdict {
            Verdict::Drop(_) => return,
            Verdict::Keep { block, symbol } => (block, symbol),
            Verdict::KeepAndDecode { block, symbol, evicted } => {
                evicted.into_iter().for_each(|evicted| self.discard(evicted));
                (block, symbol)
            }
            Verdict::KeepInsteadOf { block, symbol, evicted } => {
                self.discard(evicted);
                (block, symbol)
            }
        };
        let assembly = self.assemblies.entry(block).or_insert_with(|| {
            let mut assembly = Assembly::default();
            let k = geometry.source_symbols_of(block);
            assembly.reset(k, geometry.symbol_bytes(), geometry.repair_symbols());
            assembly
        });
        assembly.keep(symbol, opened(datagram).1);
        if matches!(verdict, Verdict::KeepAndDecode { .. }) {
            self.decode(geometry, block);
        }
    }

    fn decode(&mut self, geometry: &Geometry, block: BlockIndex) {
        let Some(mut assembly) = self.assemblies.remove(&block) else { return };
        assembly.decode(&mut self.decoder).expect("the session counted k different symbols");
        let span = geometry.span(block);
        if span.space == Space::Payload {
            let bytes = assembly.source(span.bytes as usize).to_vec();
            assert!(self.payload.insert(block, bytes).is_none(), "{block} is decoded once");
        }
    }

    /// The session gave up what it had of a block.
    pub(super) fn discard(&mut self, block: BlockIndex) {
        self.assemblies.remove(&block);
    }

    /// Digest of all that was decoded, in order.
    pub(super) fn digest(&self) -> Digest {
        let bytes: Vec<u8> = self.payload.values().flatten().copied().collect();
        Digest::of(&bytes)
    }
}
