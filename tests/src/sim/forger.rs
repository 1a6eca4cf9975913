//! A member of the group that sends false data with the sender's own address.
//!
//! It hears what the sender sends, and answers each time with as many datagrams of its own. No byte
//! travels here: a forged train is marked as such, and the mark takes the place of digests where a
//! host has them (see `sifting`).

use common::geometry::Geometry;
use common::id::{BlockIndex, SessionId};
use common::wire::{Advertise, Message, SymbolHeader};
use rand::RngExt;
use rand::rngs::StdRng;

use super::stream::{Packet, Train};

/// What is forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// Symbols of the blocks that are being sent.
    Symbols,
    /// Symbols of the blocks that are sent next, before the true ones come.
    Ahead,
    /// Symbols of any block, numbered by chance.
    Anywhere,
    /// True symbols with counts and numbers that are none.
    Counts,
    /// ADVERTISEs of counts that will never be sent.
    Advertises,
}

/// Answers the sender's train with these `headers`.
pub(super) fn forge(
    forgery: Forgery,
    geometry: &Geometry,
    session: SessionId,
    headers: &[SymbolHeader],
    rng: &mut StdRng,
) -> Packet {
    match forgery {
        Forgery::Symbols | Forgery::Ahead => {
            let ahead = match forgery {
                Forgery::Ahead => u32::from(geometry.window_blocks()),
                _ => 0,
            };
            let forged = headers.iter().map(|header| {
                let block = (header.block.0 + ahead).min(geometry.block_count() - 1);
                let symbols = geometry.symbols_of(BlockIndex(block));
                let transmission = rng.random_range(0..u32::from(symbols));
                SymbolHeader { block: BlockIndex(block), transmission, ..*header }
            });
            Packet::Train(Train::forged(geometry, session, forged.collect()))
        }
        Forgery::Anywhere => {
            let forged = headers.iter().map(|header| {
                let block = BlockIndex(rng.random_range(0..geometry.block_count()));
                let transmission = rng.random_range(0..u32::from(geometry.symbols_of(block)));
                SymbolHeader { block, transmission, seq: header.seq / 2, ..*header }
            });
            Packet::Train(Train::forged(geometry, session, forged.collect()))
        }
        Forgery::Counts => {
            let forged = headers.iter().map(|header| {
                let period = u32::from(geometry.symbols_of(header.block));
                let rounds = rng.random_range(1..u32::MAX / period - 1);
                let transmission = header.transmission + rounds * period;
                SymbolHeader { transmission, announced: u32::MAX, seq: rng.random(), ..*header }
            });
            let forged = forged.collect();
            Packet::Train(Train::new(geometry, session, forged, Vec::new()))
        }
        Forgery::Advertises => {
            let blocks = headers.iter().map(|header| (header.block, u32::MAX)).collect();
            Packet::Control(session, rng.random(), Message::Advertise(Advertise { blocks }))
        }
    }
}
