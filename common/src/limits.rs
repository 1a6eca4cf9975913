//! Every bound in one place, each with its reason, related by compile-time asserts.
//!
//! A queue or a map that a peer can fill has its bound here.

use std::time::Duration;

/// Largest UDP payload emitted at the default MTU: 1500 (Ethernet) − 40 (IPv6) − 8 (UDP).
pub const DATAGRAM_BYTES_MAX: usize = 1452;
/// Largest datagram read at all: jumbo frames (9000) with the IPv4 header.
pub const DATAGRAM_BYTES_READ_MAX: usize = 8972;
/// Header of a SOURCE or REPAIR datagram, common header included (PROTOCOL 4.1).
pub const SYMBOL_HEADER_BYTES: usize = 28;
/// Room kept behind every datagram for the authentication tag, also where plain mode fills four
/// bytes of it.
pub const TAG_BYTES_MAX: usize = 16;
/// Framing around a symbol: 40 (IPv6) + 8 (UDP) + header + tag.
pub const SYMBOL_FRAMING_BYTES: usize = 48 + SYMBOL_HEADER_BYTES + TAG_BYTES_MAX;
/// Symbols are cut at multiples of this: the codec works on 64-byte lanes.
pub const SYMBOL_BYTES_STEP: u16 = 64;
/// Default and largest symbol on a path with an MTU of 1500.
pub const SYMBOL_BYTES_DEFAULT: u16 = 1408;
/// Largest symbol at all: jumbo frames of 9000.
pub const SYMBOL_BYTES_MAX: u16 = 8896;

/// Source symbols of a block. The transform costs the same for one erasure as for two hundred; 4096
/// falls out of the L2 cache (five times the time of 1024), 64 wastes the transform.
pub const BLOCK_SYMBOLS_DEFAULT: u16 = 1024;
/// Largest k that a host accepts; bounds what one open block costs.
pub const BLOCK_SYMBOLS_MAX: u16 = 4096;
/// Repair symbols of a block, always built together (the codec's parity set depends on their
/// number).
pub const REPAIR_SYMBOLS_DEFAULT: u16 = 256;
/// Largest r that a host accepts.
pub const REPAIR_SYMBOLS_MAX: u16 = 4096;
/// Blocks whose symbols are interleaved: a lost train of 16 symbols costs each block one.
pub const WINDOW_BLOCKS_DEFAULT: u16 = 16;
/// Largest window that a host accepts.
pub const WINDOW_BLOCKS_MAX: u16 = 64;
/// Symbols of one train (one system call, one departure): larger bursts overrun shallow queues.
pub const TRAIN_SYMBOLS_MAX: usize = 16;

/// Digests in one HASHES: as many symbols as a word of a host's bitmap marks. Their 1024 bytes
/// leave room for a signature in a control datagram.
pub const HASHES_DIGESTS_MAX: u16 = 64;
/// Blocks whose digests a host keeps in one session, 20 KB each at the default sizes: those that
/// may be under assembly (57), and as many again as a sender repairs and a window brings.
pub const PROOF_BLOCKS_MAX: usize = 128;
/// Addresses of forgers that a host tells apart in one session; who has more of them is told as
/// one.
pub const FORGERS_MAX: usize = 16;

/// Largest preamble: the tables of an image of about 80 GB.
pub const PREAMBLE_BYTES_MAX: u32 = 64 << 20;
/// Largest payload of a session.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 40;
/// Blocks of one session.
pub const BLOCKS_MAX: u32 = 1 << 20;

/// Hosts that one sender counts; each costs some hundred bytes.
pub const ROSTER_HOSTS_MAX: usize = 100_000;
/// Sessions that a host takes part in at the same time.
pub const HOST_SESSIONS_MAX: usize = 8;
/// Symbols and decoded blocks that one process holds, over all its sessions.
pub const SYMBOL_MEMORY_BYTES: usize = 128 << 20;

/// GRTT is never taken shorter: scheduling noise is of this size.
pub const GRTT_MIN: Duration = Duration::from_millis(1);
/// GRTT is never taken longer, so that no host can stretch everybody's timers.
pub const GRTT_MAX: Duration = Duration::from_millis(50);
/// Shortest back-off interval of NEEDs.
pub const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// A sender without a datagram for this long is gone; the host goes idle and keeps its partial
/// image.
pub const SENDER_SILENCE_MAX: Duration = Duration::from_secs(8);
/// Membership of the control group is renewed by leaving and joining: a switch without a querier
/// forgets after 260 s.
pub const REJOIN_INTERVAL: Duration = Duration::from_secs(60);

/// Longest manifest: it is read by people and must fit into memory before anything is trusted.
pub const MANIFEST_BYTES_MAX: u32 = 64 << 10;
/// Longest signatures: some hundred bytes each, a handful of keys.
pub const SIGNATURES_BYTES_MAX: u32 = 64 << 10;
/// Signatures of one manifest: the keys of a rotation, and of a few people.
pub const SIGNATURES_MAX: usize = 16;
/// Longest key file: two lines, with a comment that a person wrote.
pub const KEY_FILE_BYTES_MAX: usize = 4 << 10;
/// Largest image that a manifest may name.
pub const IMAGE_BYTES_MAX: u64 = 1 << 43;
/// Shortest chunk that the cutter makes, except before a gap or the end.
pub const CHUNK_BYTES_MIN: u32 = 16 << 10;
/// What the cutter aims at. At 16 KiB the tables are four times as long and a next release,
/// compressed against the last one, no smaller.
pub const CHUNK_BYTES_MEAN: u32 = 64 << 10;
/// Longest chunk with bytes in it.
pub const CHUNK_BYTES_MAX: u32 = 256 << 10;
/// Longest chunk of zeros; longer gaps are several chunks.
pub const ZERO_CHUNK_BYTES_MAX: u32 = 1 << 30;
/// Shortest run of zeros that is cut out as a gap of its own.
pub const ZERO_RUN_BYTES_MIN: u32 = 64 << 10;
/// Raw bytes that a packed frame holds at most: 64 KiB units cost 19 % more on the wire.
pub const FRAME_RAW_BYTES_TARGET: u32 = 1 << 20;
/// Raw bytes of a frame that a host accepts; bounds what decoding one costs.
pub const FRAME_RAW_BYTES_MAX: u32 = 2 << 20;

const _: () = {
    assert!(CHUNK_BYTES_MIN < CHUNK_BYTES_MEAN && CHUNK_BYTES_MEAN < CHUNK_BYTES_MAX);
    assert!(CHUNK_BYTES_MAX <= FRAME_RAW_BYTES_TARGET);
    assert!(FRAME_RAW_BYTES_TARGET <= FRAME_RAW_BYTES_MAX);
    assert!(MANIFEST_BYTES_MAX + SIGNATURES_BYTES_MAX < PREAMBLE_BYTES_MAX);
    assert!(SYMBOL_FRAMING_BYTES == 92);
    assert!(
        SYMBOL_BYTES_DEFAULT as usize + SYMBOL_HEADER_BYTES + TAG_BYTES_MAX <= DATAGRAM_BYTES_MAX
    );
    assert!(
        SYMBOL_BYTES_MAX as usize + SYMBOL_HEADER_BYTES + TAG_BYTES_MAX <= DATAGRAM_BYTES_READ_MAX
    );
    assert!(SYMBOL_BYTES_DEFAULT.is_multiple_of(SYMBOL_BYTES_STEP));
    assert!(BLOCK_SYMBOLS_MAX as u32 + (REPAIR_SYMBOLS_MAX as u32) < 1 << 16);
    // The parts of a block's digests are bits of a u128.
    let symbols_max = BLOCK_SYMBOLS_MAX + REPAIR_SYMBOLS_MAX;
    assert!(symbols_max.div_ceil(HASHES_DIGESTS_MAX) <= 128 && HASHES_DIGESTS_MAX == 64);
    assert!(TRAIN_SYMBOLS_MAX <= WINDOW_BLOCKS_DEFAULT as usize);
};
