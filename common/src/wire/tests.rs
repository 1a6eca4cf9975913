//! All messages through the public door: round trip, prefixes, garbage.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::digest::{Digest, SymbolDigest};
use crate::geometry::{Geometry, PartSet, PreambleLengths};
use crate::id::{BlockIndex, BootNonce, FrameIndex, ImageKind, ReleaseId, Slot};
use crate::units::Bitrate;

/// An announce that no test cares about the details of.
pub(super) fn announce() -> Announce {
    Announce {
        version_min: 1,
        version_max: 1,
        release: ReleaseId(Digest::from_bytes([0x11; 32])),
        image: Digest::from_bytes([0x22; 32]),
        app: "shop".parse().unwrap(),
        label: "v42".parse().unwrap(),
        kind: ImageKind::Erofs,
        image_bytes: 3_000_000_000,
        geometry: Geometry::new(1408, 1024, 256, 16, 1000, 900_000_000).unwrap(),
        preamble: PreambleLengths { manifest: 600, signatures: 0, chunk_table: 300, plan: 100 },
        data_group: "239.192.70.71:7071".parse().unwrap(),
        feedback: "198.18.0.1:40000".parse().unwrap(),
        timers: SessionTimers {
            join_window: Duration::from_millis(500),
            announce_interval: Duration::from_millis(250),
            grtt: Duration::from_millis(10),
            backoff: Duration::from_millis(100),
            slot: Duration::from_micros(50),
        },
        group_size: 2000,
        activation: Activation::Together,
        stage: SenderStage::Pass,
        sender: SenderFacts {
            host: "deploy1".to_owned(),
            user: "ops".to_owned(),
            started: 1_790_000_000,
            instance: 0x0123_4567_89ab_cdef,
        },
        salt: [0x33; 16],
        sent_at_us: 5_000_001,
        insecure: true,
        force: false,
    }
}

fn order() -> Order {
    Order {
        release: ReleaseId(Digest::from_bytes([7; 32])),
        issue: 3,
        at_us: 0,
        reason: "operator".to_owned(),
    }
}

const SLOT: Slot = Slot(17);
const NONCE: BootNonce = BootNonce(0x1122_3344_5566_7788);

/// One message of every kind.
pub(crate) fn messages() -> Vec<Message> {
    [from_sender(), from_host()].concat()
}

fn from_sender() -> Vec<Message> {
    let (slot, nonce) = (SLOT, NONCE);
    vec![
        Message::Announce(Box::new(announce())),
        Message::Poll(Poll {
            id: 9,
            sent_at_us: 123,
            grtt: Duration::from_millis(2),
            backoff: Duration::from_millis(20),
            group_size: 8,
            blocks: vec![BlockCount { block: BlockIndex(4), sent: 1024, announced: 1030 }],
            sweep: Some(Sweep {
                id: 2,
                slot: Duration::from_micros(50),
                ranges: vec![(Slot(0), Slot(7)), (Slot(9), Slot(9))],
            }),
        }),
        Message::Advertise(Advertise { blocks: vec![(BlockIndex(1), 1100)] }),
        Message::Hashes(Hashes {
            block: BlockIndex(4),
            part: 2,
            digests: vec![SymbolDigest::of(b"symbol"); 64],
        }),
        Message::Activate(order()),
        Message::Cancel(order()),
        Message::Stop(order()),
        Message::JoinAck(JoinAck { nonce, slot, verdict: JoinVerdict::Accepted, have_seen: true }),
        Message::CatchUp(CatchUp { nonce, group: "239.193.70.71:7071".parse().unwrap() }),
    ]
}

fn status() -> Status {
    Status {
        slot: SLOT,
        nonce: NONCE,
        sweep: 2,
        phase: HostPhase::Failed,
        blocks_done: 10,
        blocks_total: 20,
        received: 10_000,
        lost: 100,
        kernel_drops: 1,
        dropped_blocks: 0,
        wasted: 40,
        is_catching_up: true,
        backlog_kib: 512,
        fault: Fault::DiskFull,
        detail: "/var/lib/fanfare: 3 MiB short".to_owned(),
        echo_us: 77,
        held: Duration::from_millis(3),
        trial: None,
        alarm: None,
    }
}

fn from_host() -> Vec<Message> {
    let (slot, nonce) = (SLOT, NONCE);
    let (echo_us, held) = (77, Duration::from_millis(3));
    vec![
        Message::Join(Join {
            host: "web-17".parse().unwrap(),
            version_min: 1,
            version_max: 2,
            machine: 99,
            nonce,
            link: Some(Bitrate::from_megabits(10_000)),
            free_bytes: 1 << 40,
            clock_us: 1_790_000_000_000_000,
            kinds: ImageKind::ALL.into_iter().collect(),
            holds_release: false,
            holds_image: true,
            holds_partial: false,
            echo_us,
            held,
        }),
        Message::Have(Have { slot, nonce, part: 0, parts: 1, frames: vec![(FrameIndex(0), 40)] }),
        Message::Need(Need {
            slot,
            nonce,
            poll: 9,
            echo_us,
            held,
            wants: vec![(BlockIndex(4), 1027)],
        }),
        Message::Status(status()),
        Message::Rate(Rate {
            slot,
            nonce,
            interval: Duration::from_millis(200),
            loss_ppm: 1500,
            overrun_ppm: 200,
            kernel_drops: 0,
            delay_us: 40,
        }),
        Message::Solicit(Solicit {
            host: "web-17".parse().unwrap(),
            nonce,
            reason: SolicitReason::NoData,
        }),
        Message::Activated(Activated {
            slot,
            nonce,
            release: ReleaseId(Digest::from_bytes([7; 32])),
            issue: 3,
            outcome: Outcome::Done,
            fault: Fault::None,
            detail: String::new(),
            trial: None,
        }),
        Message::Doubt(Doubt { slot, nonce, blocks: vec![(BlockIndex(4), PartSet(0b101))] }),
    ]
}

fn datagram(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(SessionId(0xdead_beef), 41, 0, &mut out);
    out
}

#[test]
fn every_control_message_comes_back_as_it_went() {
    for message in messages() {
        let datagram = datagram(&message);
        let (header, parsed) = Message::parse(&datagram).unwrap();
        assert_eq!(parsed, message);
        let kind = message.kind();
        let session = SessionId(0xdead_beef);
        assert_eq!(header, CommonHeader { kind, session, seq: 41, key_epoch: 0, flags: 0 });
        assert_eq!(peek_kind(&datagram), Some(kind));
        assert_eq!(peek_session(&datagram), Some(session));
    }
}

// PROTOCOL 2.2
#[test]
fn every_prefix_of_every_message_is_refused() {
    for message in messages() {
        let datagram = datagram(&message);
        for end in 0..datagram.len() {
            assert_eq!(Message::parse(&datagram[..end]), Err(WireError::Truncated), "{end}");
        }
    }
}

#[test]
fn a_closed_datagram_opens_and_a_damaged_one_does_not() {
    for message in messages() {
        let mut out = vec![0xa5; 5];
        message.close_plain(SessionId(3), 4, &mut out);
        let (header, parsed) = Message::open_plain(&out[5..]).unwrap();
        assert_eq!((header.seq, parsed), (4, message));
        out[20] ^= 0x10;
        assert_eq!(Message::open_plain(&out[5..]), Err(WireError::Checksum));
    }
}

// PROTOCOL 2.6 and 2.10
#[test]
fn what_is_no_control_message_is_refused_for_its_own_reason() {
    for (offset, byte, error) in [
        (0, 0, WireError::Magic),
        (2, 0, WireError::Kind),
        (2, 12, WireError::Kind),
        (2, 15, WireError::Kind),
        (2, 24, WireError::Kind),
        (2, 255, WireError::Kind),
        (2, Kind::Source as u8, WireError::Unexpected),
        (2, Kind::Repair as u8, WireError::Unexpected),
        (3, 0, WireError::Version),
        (3, 2, WireError::Version),
    ] {
        let mut datagram = datagram(&messages()[1]);
        datagram[offset] = byte;
        assert_eq!(Message::parse(&datagram).err(), Some(error), "byte {offset} = {byte}");
    }
}

#[test]
fn a_kind_is_seen_before_anything_else_is_understood() {
    assert_eq!(peek_kind(&[0xfa, 0x4e, 3, 99, 0, 0, 0, 1]), Some(Kind::Poll));
    assert_eq!(peek_session(&[0xfa, 0x4e, 99, 99, 0, 0, 0, 1]), Some(SessionId(1)));
    assert_eq!(peek_kind(&[0xfa, 0x4e, 99, 1, 0, 0, 0, 1]), None);
    assert_eq!(peek_kind(&[0xfa, 0x4f, 3, 1, 0, 0, 0, 1]), None);
    assert_eq!(peek_kind(&[0xfa, 0x4e, 3, 1, 0, 0, 0]), None);
    assert_eq!(peek_kind(&[]), None);
    for kind in Kind::ALL {
        assert_eq!(kind.is_feedback(), *kind as u8 >= 16, "{kind}");
    }
}

/// Every public door that a datagram from the network can come through.
fn enter(datagram: &[u8]) {
    let _ = (peek_kind(datagram), peek_session(datagram));
    let _ = Announce::parse_versions(datagram);
    let _ = SymbolHeader::parse(datagram);
    let _ = Message::open_plain(datagram);
    if let Ok((header, message)) = Message::parse(datagram) {
        let mut again = Vec::new();
        message.emit(header.session, header.seq, header.key_epoch, &mut again);
        let reparsed = Message::parse(&again).map(|(_, message)| message);
        assert_eq!(reparsed, Ok(message), "what was accepted must be repeatable");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_bytes_never_panic(
        kind in any::<u8>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..256),
        is_ours in any::<bool>(),
    ) {
        let mut datagram = bytes;
        if is_ours && datagram.len() > 3 {
            datagram[..4].copy_from_slice(&[0xfa, 0x4e, kind % 25, VERSION]);
        }
        enter(&datagram);
    }

    #[test]
    fn damaged_messages_never_panic(
        message in proptest::sample::select(messages()),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
        tail in proptest::collection::vec(any::<u8>(), 0..8),
        is_cut in any::<bool>(),
    ) {
        let mut datagram = datagram(&message);
        for (place, byte) in edits {
            let place = place.index(datagram.len());
            datagram[place] = byte;
        }
        if is_cut {
            datagram.truncate(end.index(datagram.len()));
        }
        datagram.extend_from_slice(&tail);
        enter(&datagram);
    }
}
