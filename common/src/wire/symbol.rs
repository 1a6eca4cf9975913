//! SOURCE and REPAIR: one symbol behind its header, the messages of the hot path.
//!
//! ```text
//!  0         2      3         4             8         12          14        16
//!  +---------+------+---------+-------------+---------+-----------+---------+
//!  | magic   | kind | version | session     | seq     | key_epoch | flags   |
//!  +---------+------+---------+-------------+---------+-----------+---------+
//!  | block u32      | transmission u32      | announced u32                 |
//!  16               20                      24                             28 .. symbol
//! ```
//!
//! Neither allocates nor copies; the symbol is whatever is behind the header. Which symbol it is
//! follows from the transmission and the geometry, not from the kind (PROTOCOL 4.1).

use super::{CommonHeader, Kind, MAGIC, VERSION, WireError};
use crate::id::{BlockIndex, SessionId};
use crate::limits;

/// Header of a datagram that carries a symbol, the common header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolHeader {
    /// Session whose geometry gives the other fields a meaning.
    pub session: SessionId,
    /// Number of the datagram among those to the data group: gaps are losses (PROTOCOL 2.9).
    pub seq: u32,
    /// Generation of the key that seals the datagram; zero in plain mode.
    pub key_epoch: u16,
    /// [`SymbolHeader::PREAMBLE`], [`SymbolHeader::LAST_OF_WINDOW`]; other bits are ignored.
    pub flags: u16,
    /// Block that the symbol belongs to.
    pub block: BlockIndex,
    /// Position in the block's endless schedule: symbol `transmission mod (k + r)`.
    pub transmission: u32,
    /// S: transmissions of this block that the sender has announced.
    pub announced: u32,
}

impl SymbolHeader {
    /// Length of the header.
    pub const WIRE_BYTES: usize = limits::SYMBOL_HEADER_BYTES;
    /// Flag: the block belongs to the preamble.
    pub const PREAMBLE: u16 = 1 << 0;
    /// Flag: the sender has gone once through the blocks of this window.
    pub const LAST_OF_WINDOW: u16 = 1 << 1;

    /// Takes a datagram without its trailer apart into header and symbol.
    ///
    /// # Errors
    /// When the header is not complete, not ours or not that of a symbol. Block, transmission and
    /// the symbol's length (PROTOCOL 3.3) are for those to judge who know the geometry.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (head, symbol) =
            datagram.split_first_chunk::<{ Self::WIRE_BYTES }>().ok_or(WireError::Truncated)?;
        let [m0, m1, kind, version, s0, s1, s2, s3, rest @ ..] = *head;
        let [q0, q1, q2, q3, e0, e1, f0, f1, rest @ ..] = rest;
        let [b0, b1, b2, b3, t0, t1, t2, t3, a0, a1, a2, a3] = rest;
        let is_symbol = kind == Kind::Source as u8 || kind == Kind::Repair as u8;
        if u16::from_be_bytes([m0, m1]) != MAGIC || version != VERSION || !is_symbol {
            return Err(CommonHeader::parse(datagram).err().unwrap_or(WireError::Unexpected));
        }
        let header = Self {
            session: SessionId(u32::from_be_bytes([s0, s1, s2, s3])),
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            key_epoch: u16::from_be_bytes([e0, e1]),
            flags: u16::from_be_bytes([f0, f1]),
            block: BlockIndex(u32::from_be_bytes([b0, b1, b2, b3])),
            transmission: u32::from_be_bytes([t0, t1, t2, t3]),
            announced: u32::from_be_bytes([a0, a1, a2, a3]),
        };
        Ok((header, symbol))
    }

    /// Writes the header; `kind` is [`Kind::Source`] when the geometry says so of the transmission,
    /// else [`Kind::Repair`].
    pub fn emit(&self, kind: Kind, out: &mut [u8; Self::WIRE_BYTES]) {
        debug_assert!(kind.is_symbol(), "{kind:?} carries no symbol");
        out[0..2].copy_from_slice(&MAGIC.to_be_bytes());
        out[2] = kind as u8;
        out[3] = VERSION;
        out[4..8].copy_from_slice(&self.session.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.seq.to_be_bytes());
        out[12..14].copy_from_slice(&self.key_epoch.to_be_bytes());
        out[14..16].copy_from_slice(&self.flags.to_be_bytes());
        out[16..20].copy_from_slice(&self.block.0.to_be_bytes());
        out[20..24].copy_from_slice(&self.transmission.to_be_bytes());
        out[24..28].copy_from_slice(&self.announced.to_be_bytes());
    }

    /// Whether the block belongs to the preamble.
    pub const fn is_preamble(&self) -> bool {
        self.flags & Self::PREAMBLE != 0
    }

    /// Whether the pass through this window ends here.
    pub const fn is_last_of_window(&self) -> bool {
        self.flags & Self::LAST_OF_WINDOW != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::bytes_of;
    use super::*;

    const HEADER: SymbolHeader = SymbolHeader {
        session: SessionId(0xdead_beef),
        seq: 0x0102_0304,
        key_epoch: 0x0506,
        flags: SymbolHeader::PREAMBLE | SymbolHeader::LAST_OF_WINDOW,
        block: BlockIndex(0x0708_090a),
        transmission: 0x0b0c_0d0e,
        announced: 0x0f10_1112,
    };

    const MOST: SymbolHeader = SymbolHeader {
        session: SessionId(u32::MAX),
        seq: u32::MAX,
        key_epoch: u16::MAX,
        flags: u16::MAX,
        block: BlockIndex(u32::MAX),
        transmission: u32::MAX,
        announced: u32::MAX,
    };

    fn emitted(header: &SymbolHeader, kind: Kind) -> [u8; SymbolHeader::WIRE_BYTES] {
        let mut out = [0xa5; SymbolHeader::WIRE_BYTES];
        header.emit(kind, &mut out);
        out
    }

    #[test]
    fn symbol_header_matches_golden_bytes() {
        let golden = "
            fa4e 02 01      ; magic, kind, version
            deadbeef        ; session
            01020304        ; seq
            0506 0003       ; key epoch, flags
            0708090a        ; block
            0b0c0d0e        ; transmission
            0f101112        ; announced
        ";
        let mut datagram = emitted(&HEADER, Kind::Repair).to_vec();
        assert_eq!(datagram, bytes_of(golden));
        datagram.extend_from_slice(b"symbol");
        assert_eq!(SymbolHeader::parse(&datagram), Ok((HEADER, &b"symbol"[..])));
        assert_eq!(super::super::peek_kind(&datagram), Some(Kind::Repair));
        assert!(HEADER.is_preamble() && HEADER.is_last_of_window());
    }

    #[test]
    fn every_prefix_is_refused() {
        let datagram = emitted(&HEADER, Kind::Source);
        for end in 0..datagram.len() {
            assert_eq!(SymbolHeader::parse(&datagram[..end]), Err(WireError::Truncated));
        }
        assert_eq!(SymbolHeader::parse(&datagram), Ok((HEADER, &[][..])));
    }

    #[test]
    fn every_field_at_its_limits() {
        let least = SymbolHeader {
            session: SessionId(0),
            seq: 0,
            key_epoch: 0,
            flags: 0,
            block: BlockIndex(0),
            transmission: 0,
            announced: 0,
        };
        for header in [least, MOST] {
            let datagram = emitted(&header, Kind::Source);
            assert_eq!(SymbolHeader::parse(&datagram), Ok((header, &[][..])));
        }
        assert!(!least.is_preamble() && !least.is_last_of_window());
    }

    #[test]
    fn what_is_no_symbol_is_refused_for_its_own_reason() {
        for (offset, byte, error) in [
            (0, 0, WireError::Magic),
            (1, 0, WireError::Magic),
            (2, 0, WireError::Kind),
            (2, 200, WireError::Kind),
            (2, Kind::Poll as u8, WireError::Unexpected),
            (3, 0, WireError::Version),
            (3, 2, WireError::Version),
        ] {
            let mut datagram = emitted(&HEADER, Kind::Source);
            datagram[offset] = byte;
            assert_eq!(SymbolHeader::parse(&datagram), Err(error), "byte {offset} = {byte}");
        }
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (session, seq, key_epoch, flags) in any::<(u32, u32, u16, u16)>(),
            (block, transmission, announced) in any::<(u32, u32, u32)>(),
            is_source in any::<bool>(),
            symbol in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let (session, block) = (SessionId(session), BlockIndex(block));
            let header =
                SymbolHeader { session, seq, key_epoch, flags, block, transmission, announced };
            let kind = if is_source { Kind::Source } else { Kind::Repair };
            let mut datagram = emitted(&header, kind).to_vec();
            datagram.extend_from_slice(&symbol);
            prop_assert_eq!(SymbolHeader::parse(&datagram), Ok((header, &symbol[..])));
        }
    }
}
