//! What a simulated run is made of, and what its sender announces.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use common::digest::Digest;
use common::geometry::{Geometry, PreambleLengths, Space};
use common::id::{BlockIndex, FrameIndex, ImageKind, ReleaseId, SessionId};
use common::units::Bitrate;
use common::wire::{Activation, Announce, Message, SenderFacts, SenderStage, SessionTimers};
use receiver::session::StoreEvent;
use sender::session::{Expect, RateRequest};

use super::fabric::Faults;
use super::forger::Forgery;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Makes all that is random.
    pub seed: u64,
    /// Hosts that run from the beginning.
    pub hosts: usize,
    /// Bytes of the payload.
    pub payload_bytes: u64,
    /// Bytes of the preamble.
    pub preamble_bytes: u32,
    /// What the network does.
    pub faults: Faults,
    /// When hosts switch.
    pub activation: Activation,
    /// Whom the operator expects; `None`: as many hosts as there are.
    pub expect: Option<Expect>,
    /// How fast to send.
    pub rate: RateRequest,
    /// Blocks that a host's memory holds.
    pub block_slots: usize,
    /// Symbols, blocks and windows.
    pub block_symbols: u16,
    /// Real bytes travel, are encoded and decoded: slow, and the same to the last event.
    pub carries_payload: bool,
    /// What a member of the group forges, with the sender's own address: a datagram for each of the
    /// sender's.
    pub forgery: Option<Forgery>,
    /// Threads that hosts are spread over; `None`: as many as there are cores. Changes nothing.
    pub cores: Option<NonZeroUsize>,
}

impl Setup {
    /// Eight hosts, 8 MB, 1 Gbit/s, a network without fault.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            hosts: 8,
            payload_bytes: 8_000_000,
            preamble_bytes: 20_000,
            faults: Faults::default(),
            activation: Activation::Together,
            expect: None,
            rate: RateRequest::Fixed(Bitrate::from_megabits(1000)),
            block_slots: 64,
            block_symbols: 1024,
            carries_payload: false,
            forgery: None,
            cores: None,
        }
    }

    /// The command that runs this seed again.
    pub fn replay(&self) -> String {
        format!("FANFARE_SIM_SEED={} cargo test -p tests --test sim", self.seed)
    }
}

/// How one host differs from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostSetup {
    /// Its store takes nothing.
    pub disk_full: bool,
    /// Frames that it holds already, as in a partial image: the first `n` of the plan.
    pub held_frames: u32,
    /// It holds the release.
    pub holds_release: bool,
    /// What its disk writes; `None`: whatever comes.
    pub disk: Option<Bitrate>,
    /// It starts so long after the world.
    pub starts_after: Duration,
    /// Each delivery to it is late by up to this.
    pub jitter: Duration,
    /// It asks for everything, again and again.
    pub lies: bool,
    /// No switch carries another group than the session's to it.
    pub hears_no_other_group: bool,
}

pub(super) fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, 1], host as u16 + 1))
}

/// Frames of 300,000 bytes.
pub(super) fn frame_offsets(payload_bytes: u64) -> Vec<u64> {
    let mut offsets: Vec<u64> = (0..payload_bytes.div_ceil(300_000)).map(|i| i * 300_000).collect();
    offsets.push(payload_bytes);
    offsets
}

pub(super) fn prepared(geometry: &Geometry, held_frames: u32) -> StoreEvent {
    let offsets = frame_offsets(geometry.payload_bytes());
    let end = offsets[(held_frames as usize).min(offsets.len() - 1)];
    let held_blocks = geometry
        .space_blocks(Space::Payload)
        .map(BlockIndex)
        .filter(|block| {
            let span = geometry.span(*block);
            span.offset + u64::from(span.bytes) <= end
        })
        .collect();
    let held = if held_frames > 0 { vec![(FrameIndex(0), held_frames)] } else { Vec::new() };
    StoreEvent::Prepared { held, held_blocks }
}

/// Emits and parses, so that what sessions exchange is what the wire can carry.
pub(super) fn through_the_wire(session: SessionId, seq: u32, message: &Message) -> Message {
    let mut datagram = Vec::new();
    message.close_plain(session, seq, &mut datagram);
    let (header, parsed) = Message::open_plain(&datagram).expect("our own datagram");
    assert_eq!((header.session, header.seq), (session, seq));
    parsed
}

/// Length of a message's datagram.
pub(super) fn wire_bytes(message: &Message) -> usize {
    let mut datagram = Vec::new();
    message.close_plain(SessionId(1), 0, &mut datagram);
    datagram.len()
}

/// What the sender of `setup` announces.
///
/// # Panics
/// When the setup has no possible geometry.
pub fn announce(setup: &Setup) -> Announce {
    let preamble = PreambleLengths { manifest: setup.preamble_bytes, ..PreambleLengths::default() };
    let geometry = Geometry::new(
        1408,
        setup.block_symbols,
        256,
        16,
        setup.preamble_bytes,
        setup.payload_bytes,
    );
    Announce {
        version_min: 1,
        version_max: 1,
        release: ReleaseId(Digest::of(b"manifest")),
        image: Digest::of(b"image"),
        app: "shop".parse().expect("a name"),
        label: "v1".parse().expect("a name"),
        kind: ImageKind::Raw,
        image_bytes: setup.payload_bytes,
        geometry: geometry.expect("a geometry within the limits"),
        preamble,
        data_group: SocketAddr::from(([239, 192, 70, 71], 7070)),
        feedback: SocketAddr::from(([198, 18, 0, 1], 7071)),
        timers: SessionTimers {
            join_window: Duration::from_secs(1),
            announce_interval: Duration::from_millis(100),
            grtt: Duration::from_millis(50),
            backoff: Duration::from_millis(500),
            slot: Duration::from_micros(50),
        },
        group_size: 1,
        activation: setup.activation,
        stage: SenderStage::Joining,
        sender: SenderFacts {
            host: "deploy1".to_owned(),
            user: "root".to_owned(),
            started: 1_790_000_000,
            instance: 1,
        },
        salt: [7; 16],
        sent_at_us: 0,
        insecure: true,
        force: false,
    }
}
