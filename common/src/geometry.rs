//! How a session's bytes are cut into blocks and symbols; the only arithmetic on indices.
//!
//! Preamble and payload are two spaces of bytes, coded alike. Their blocks are numbered through,
//! preamble first, and a window never mixes the two (PROTOCOL 3).

use std::ops::Range;

use crate::id::{BlockIndex, SymbolId};
use crate::limits;

/// Lengths of the parts of a preamble, end to end in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PreambleLengths {
    /// Bytes of the manifest.
    pub manifest: u32,
    /// Bytes of the signatures, zero without.
    pub signatures: u32,
    /// Bytes of the chunk table.
    pub chunk_table: u32,
    /// Bytes of the plan.
    pub plan: u32,
}

impl PreambleLengths {
    /// Bytes of the whole preamble.
    pub fn total(&self) -> u64 {
        [self.manifest, self.signatures, self.chunk_table, self.plan]
            .into_iter()
            .map(u64::from)
            .sum()
    }
}

/// Which bytes a block belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Manifest, signatures, chunk table and plan.
    Preamble,
    /// The plan's frames, end to end.
    Payload,
}

/// Where one block lies and how it is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSpan {
    /// The space its bytes belong to.
    pub space: Space,
    /// First byte within the space.
    pub offset: u64,
    /// Bytes of the space in this block; the last symbol is padded with zeros for coding only.
    pub bytes: u32,
    /// k: source symbols.
    pub source_symbols: u16,
}

/// Parts of the digests of one block's symbols: bit n is part n (PROTOCOL 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartSet(pub u128);

impl PartSet {
    /// The first `count` parts.
    const fn first_parts(count: u16) -> Self {
        Self(if count >= 128 { u128::MAX } else { (1 << count) - 1 })
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether `part` is among them.
    pub const fn has(self, part: u16) -> bool {
        part < 128 && self.0 >> part & 1 == 1
    }

    /// These and `part`, which is below 128.
    #[must_use]
    pub const fn with(self, part: u16) -> Self {
        Self(self.0 | 1 << part)
    }

    /// These and `others`.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those that are not among `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those that are among `others`, too.
    #[must_use]
    pub const fn within(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// The lowest.
    pub const fn lowest(self) -> Option<u16> {
        if self.is_empty() { None } else { Some(self.0.trailing_zeros() as u16) }
    }
}

/// A set of numbers that cannot be a geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Not a positive multiple of 64 up to the limit.
    #[error("symbol size is not a multiple of 64 between 64 and 8896")]
    SymbolBytes,
    /// k, r or the window is zero or above its limit.
    #[error("block, repair or window size is outside its limits")]
    BlockSymbols,
    /// More bytes or blocks than a session may have.
    #[error("preamble or payload is larger than a session may carry")]
    TooLarge,
}

/// How a session is cut.
///
/// Invariants: sizes within [`limits`]; the blocks of a space tile its bytes without gap or
/// overlap; their symbol counts differ by at most one, larger ones first (RFC 5052 §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    symbol_bytes: u16,
    block_symbols: u16,
    repair_symbols: u16,
    window_blocks: u16,
    preamble_bytes: u32,
    payload_bytes: u64,
    /// Derived from the above once: a host asks for a block's k with every datagram.
    preamble: Cut,
    payload: Cut,
}

/// The blocks of one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    /// First block, and the one after the last.
    start: u32,
    end: u32,
    /// So many blocks have one symbol more than `small_symbols`; they come first.
    large_blocks: u32,
    small_symbols: u16,
}

impl Cut {
    fn new(start: u32, symbols: u64, block_symbols: u16) -> Self {
        let blocks = symbols.div_ceil(block_symbols.into());
        // `Geometry::new` has checked that the blocks are few enough.
        let end = start + blocks as u32;
        let large_blocks = symbols.checked_rem(blocks).unwrap_or(0) as u32;
        let small_symbols = symbols.checked_div(blocks).unwrap_or(0) as u16;
        Self { start, end, large_blocks, small_symbols }
    }

    #[inline]
    fn source_symbols(&self, block: u32) -> u16 {
        self.small_symbols + u16::from(block - self.start < self.large_blocks)
    }
}

impl Geometry {
    /// Cuts `preamble_bytes` and `payload_bytes` into symbols of `symbol_bytes`, at most
    /// `block_symbols` to a block with `repair_symbols` repair symbols each, `window_blocks` blocks
    /// interleaved.
    ///
    /// # Errors
    /// When a number is outside [`limits`].
    pub fn new(
        symbol_bytes: u16,
        block_symbols: u16,
        repair_symbols: u16,
        window_blocks: u16,
        preamble_bytes: u32,
        payload_bytes: u64,
    ) -> Result<Self, GeometryError> {
        let is_symbol = symbol_bytes.is_multiple_of(limits::SYMBOL_BYTES_STEP)
            && (limits::SYMBOL_BYTES_STEP..=limits::SYMBOL_BYTES_MAX).contains(&symbol_bytes);
        if !is_symbol {
            return Err(GeometryError::SymbolBytes);
        }
        let is_block = (1..=limits::BLOCK_SYMBOLS_MAX).contains(&block_symbols)
            && (1..=limits::REPAIR_SYMBOLS_MAX).contains(&repair_symbols)
            && (1..=limits::WINDOW_BLOCKS_MAX).contains(&window_blocks);
        if !is_block {
            return Err(GeometryError::BlockSymbols);
        }
        let fits = preamble_bytes <= limits::PREAMBLE_BYTES_MAX
            && payload_bytes <= limits::PAYLOAD_BYTES_MAX;
        let symbols = |bytes: u64| bytes.div_ceil(u64::from(symbol_bytes));
        let blocks = |bytes: u64| symbols(bytes).div_ceil(u64::from(block_symbols));
        let count = blocks(preamble_bytes.into()).saturating_add(blocks(payload_bytes));
        if !fits || count > u64::from(limits::BLOCKS_MAX) {
            return Err(GeometryError::TooLarge);
        }
        let preamble = Cut::new(0, symbols(preamble_bytes.into()), block_symbols);
        let payload = Cut::new(preamble.end, symbols(payload_bytes), block_symbols);
        Ok(Self {
            symbol_bytes,
            block_symbols,
            repair_symbols,
            window_blocks,
            preamble_bytes,
            payload_bytes,
            preamble,
            payload,
        })
    }

    /// Bytes of one symbol.
    pub const fn symbol_bytes(&self) -> u16 {
        self.symbol_bytes
    }

    /// Largest k.
    pub const fn block_symbols(&self) -> u16 {
        self.block_symbols
    }

    /// r, the same for every block.
    pub const fn repair_symbols(&self) -> u16 {
        self.repair_symbols
    }

    /// Blocks interleaved.
    pub const fn window_blocks(&self) -> u16 {
        self.window_blocks
    }

    /// Bytes of the preamble.
    pub const fn preamble_bytes(&self) -> u32 {
        self.preamble_bytes
    }

    /// Bytes of the payload.
    pub const fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Bytes of a space.
    pub fn space_bytes(&self, space: Space) -> u64 {
        match space {
            Space::Preamble => self.preamble_bytes.into(),
            Space::Payload => self.payload_bytes,
        }
    }

    /// Source symbols of a space.
    pub fn space_symbols(&self, space: Space) -> u64 {
        self.space_bytes(space).div_ceil(self.symbol_bytes.into())
    }

    /// Source symbols of the whole session.
    pub fn source_symbols(&self) -> u64 {
        self.space_symbols(Space::Preamble) + self.space_symbols(Space::Payload)
    }

    /// The blocks of a space.
    pub fn space_blocks(&self, space: Space) -> Range<u32> {
        let cut = self.cut(space);
        cut.start..cut.end
    }

    #[inline]
    fn cut(&self, space: Space) -> &Cut {
        match space {
            Space::Preamble => &self.preamble,
            Space::Payload => &self.payload,
        }
    }

    /// Blocks of the whole session.
    pub fn block_count(&self) -> u32 {
        self.payload.end
    }

    /// Where `block` lies.
    ///
    /// # Panics
    /// When the session has no such block: indices from peers are checked with
    /// [`Geometry::has_block`] first.
    pub fn span(&self, block: BlockIndex) -> BlockSpan {
        assert!(self.has_block(block), "block {block} lies outside the geometry");
        let space = self.space_of(block);
        let cut = self.cut(space);
        let index = u64::from(block.0 - cut.start);
        let (small, large_blocks) = (u64::from(cut.small_symbols), u64::from(cut.large_blocks));
        let first_symbol = index * small + index.min(large_blocks);
        let source_symbols = cut.source_symbols(block.0);
        let offset = first_symbol * u64::from(self.symbol_bytes);
        let full = u64::from(source_symbols) * u64::from(self.symbol_bytes);
        let bytes = full.min(self.space_bytes(space) - offset) as u32;
        BlockSpan { space, offset, bytes, source_symbols }
    }

    /// Whether the session has this block.
    #[inline]
    pub fn has_block(&self, block: BlockIndex) -> bool {
        block.0 < self.payload.end
    }

    /// The space of `block`.
    #[inline]
    pub fn space_of(&self, block: BlockIndex) -> Space {
        if block.0 < self.preamble.end { Space::Preamble } else { Space::Payload }
    }

    /// k of `block`.
    ///
    /// # Panics
    /// When the session has no such block.
    #[inline]
    pub fn source_symbols_of(&self, block: BlockIndex) -> u16 {
        assert!(self.has_block(block), "block {block} lies outside the geometry");
        self.cut(self.space_of(block)).source_symbols(block.0)
    }

    /// The symbol that transmission `transmission` of a block of `source_symbols` carries: one
    /// endless schedule.
    #[inline]
    pub fn symbol_of(&self, source_symbols: u16, transmission: u32) -> SymbolId {
        let period = u32::from(source_symbols) + u32::from(self.repair_symbols);
        // Nearly all transmissions lie in the first period, and a division costs as much as all
        // else that a host does for a header.
        let symbol = if transmission < period { transmission } else { transmission % period };
        SymbolId(symbol as u16)
    }

    /// Symbols of `block`, source and repair.
    ///
    /// # Panics
    /// When the session has no such block.
    pub fn symbols_of(&self, block: BlockIndex) -> u16 {
        // Both are at most 4096.
        self.source_symbols_of(block) + self.repair_symbols
    }

    /// All parts of the digests of `block`.
    ///
    /// # Panics
    /// When the session has no such block.
    pub fn all_parts(&self, block: BlockIndex) -> PartSet {
        PartSet::first_parts(self.symbols_of(block).div_ceil(limits::HASHES_DIGESTS_MAX))
    }

    /// The symbols whose digests are in part `part` of those of `block`; none where it has no such
    /// part.
    ///
    /// # Panics
    /// When the session has no such block.
    pub fn part_symbols(&self, block: BlockIndex, part: u16) -> Range<u16> {
        let (size, end) = (limits::HASHES_DIGESTS_MAX, self.symbols_of(block));
        let start = part.saturating_mul(size).min(end);
        start..start.saturating_add(size).min(end)
    }

    /// The part that has the digest of `symbol`.
    #[inline]
    pub fn part_of(&self, symbol: SymbolId) -> u16 {
        symbol.0 / limits::HASHES_DIGESTS_MAX
    }

    /// Windows of the whole session, preamble windows first.
    pub fn window_count(&self) -> u32 {
        let count =
            |blocks: Range<u32>| (blocks.end - blocks.start).div_ceil(self.window_blocks.into());
        count(self.space_blocks(Space::Preamble)) + count(self.space_blocks(Space::Payload))
    }

    /// The window of `block`.
    pub fn window_of(&self, block: BlockIndex) -> u32 {
        let width = u32::from(self.window_blocks);
        let preamble = self.preamble.end;
        if block.0 < preamble {
            block.0 / width
        } else {
            preamble.div_ceil(width) + (block.0 - preamble) / width
        }
    }

    /// The blocks of window `window`.
    pub fn window(&self, window: u32) -> Range<u32> {
        let width = u32::from(self.window_blocks);
        let (preamble, payload) =
            (self.space_blocks(Space::Preamble), self.space_blocks(Space::Payload));
        let preamble_windows = preamble.end.div_ceil(width);
        let (blocks, index) = if window < preamble_windows {
            (preamble, window)
        } else {
            (payload, window - preamble_windows)
        };
        let start = (blocks.start + index * width).min(blocks.end);
        start..(start + width).min(blocks.end)
    }

    /// The blocks that hold bytes `bytes` of a space; empty for no bytes.
    pub fn blocks_covering(&self, space: Space, bytes: Range<u64>) -> Range<u32> {
        let blocks = self.space_blocks(space);
        if bytes.is_empty() || blocks.is_empty() {
            return blocks.start..blocks.start;
        }
        let first = self.block_at(space, bytes.start);
        first..self.block_at(space, bytes.end - 1) + 1
    }

    /// The block of a space that holds byte `offset`.
    fn block_at(&self, space: Space, offset: u64) -> u32 {
        let cut = self.cut(space);
        let (small, large_blocks) = (u64::from(cut.small_symbols), u64::from(cut.large_blocks));
        let symbol = offset / u64::from(self.symbol_bytes);
        let in_large = large_blocks * (small + 1);
        let index = if symbol < in_large {
            symbol / (small + 1)
        } else {
            large_blocks + (symbol - in_large) / small
        };
        cut.start + index as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(preamble: u32, payload: u64) -> Geometry {
        Geometry::new(64, 10, 4, 3, preamble, payload).unwrap()
    }

    #[test]
    fn blocks_tile_each_space_at_every_size_around_every_boundary() {
        for bytes in 1..64 * 10 * 4 + 3 {
            let geometry = geometry(100, bytes);
            for space in [Space::Preamble, Space::Payload] {
                let mut next = 0;
                for block in geometry.space_blocks(space) {
                    let span = geometry.span(BlockIndex(block));
                    assert_eq!((span.space, span.offset), (space, next));
                    assert!(span.source_symbols >= 1 && span.source_symbols <= 10);
                    assert_eq!(u32::from(span.source_symbols), span.bytes.div_ceil(64));
                    next += u64::from(span.bytes);
                }
                assert_eq!(next, geometry.space_bytes(space));
            }
        }
    }

    #[test]
    fn every_byte_is_found_in_its_block() {
        let geometry = geometry(700, 64 * 33 + 5);
        for space in [Space::Preamble, Space::Payload] {
            for offset in 0..geometry.space_bytes(space) {
                let blocks = geometry.blocks_covering(space, offset..offset + 1);
                let span = geometry.span(BlockIndex(blocks.start));
                assert!(span.offset <= offset && offset < span.offset + u64::from(span.bytes));
                assert_eq!(blocks.len(), 1);
            }
        }
        assert!(geometry.blocks_covering(Space::Payload, 5..5).is_empty());
    }

    #[test]
    fn windows_cover_all_blocks_and_never_mix_spaces() {
        let geometry = geometry(64 * 10 * 4, 64 * 10 * 7);
        let windows: Vec<_> =
            (0..geometry.window_count()).map(|window| geometry.window(window)).collect();
        assert_eq!(windows, [0..3, 3..4, 4..7, 7..10, 10..11]);
        for (index, window) in windows.into_iter().enumerate() {
            for block in window {
                assert_eq!(geometry.window_of(BlockIndex(block)), index as u32);
            }
        }
    }

    #[test]
    fn the_schedule_of_a_block_is_endless() {
        let geometry = geometry(0, 640);
        assert_eq!(geometry.symbol_of(10, 13), SymbolId(13));
        assert_eq!(geometry.symbol_of(10, 14), SymbolId(0));
        assert_eq!(geometry.symbol_of(10, u32::MAX), SymbolId((u32::MAX % 14) as u16));
    }

    // PROTOCOL 4.3
    #[test]
    fn the_parts_of_a_blocks_digests_tile_its_symbols() {
        for (k, r, parts) in
            [(1, 1, 1), (50, 14, 1), (51, 14, 2), (1024, 256, 20), (4096, 4096, 128)]
        {
            let geometry = Geometry::new(64, k, r, 3, 0, 64 * u64::from(k)).unwrap();
            let (block, all) = (BlockIndex(0), geometry.all_parts(BlockIndex(0)));
            assert_eq!((all.len(), all.lowest()), (parts, Some(0)));
            let mut next = 0;
            for part in (0..128).filter(|part| all.has(*part)) {
                let symbols = geometry.part_symbols(block, part);
                assert!(symbols.start == next && symbols.len() <= 64 && !symbols.is_empty());
                assert!(symbols.clone().all(|it| geometry.part_of(SymbolId(it)) == part));
                next = symbols.end;
            }
            assert_eq!(next, k + r);
            assert!(geometry.part_symbols(block, parts as u16).is_empty());
            assert!(geometry.part_symbols(block, u16::MAX).is_empty());
        }
    }

    #[test]
    fn numbers_outside_the_limits_are_refused() {
        let new = |symbol, block, payload| Geometry::new(symbol, block, 4, 16, 0, payload);
        assert_eq!(new(0, 10, 1), Err(GeometryError::SymbolBytes));
        assert_eq!(new(100, 10, 1), Err(GeometryError::SymbolBytes));
        assert_eq!(new(8960, 10, 1), Err(GeometryError::SymbolBytes));
        assert_eq!(new(64, 0, 1), Err(GeometryError::BlockSymbols));
        assert_eq!(new(64, 10, u64::MAX), Err(GeometryError::TooLarge));
        assert_eq!(new(64, 1, 1 << 32), Err(GeometryError::TooLarge));
        assert!(Geometry::new(64, 10, 4, 16, 0, 0).is_ok());
    }
}
