//! Goal: a sender counts ten thousand hosts in five megabytes. Method: an allocator that counts
//! what is in use, and a session that ten thousand hosts join and report to, through its public
//! face.

use std::net::SocketAddr;
use std::time::Duration;

use common::digest::Digest;
use common::geometry::{Geometry, PreambleLengths};
use common::id::{BootNonce, ImageKind, ReleaseId, SessionId, Slot};
use common::sys::memory::{CountingAllocator, used_bytes};
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{
    Activation, Announce, CHECKSUM_BYTES, Fault, HostPhase, Join, KindSet, Message, SenderFacts,
    SenderStage, SessionTimers, Status,
};
use sender::session::{Config, Expect, LISTEN, Output, Quorum, RateRequest, Session};

/// The promise: bytes of a sender's state for one host (issue 3).
const HOST_BYTES_MAX: usize = 512;
const HOSTS: usize = 10_000;

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

fn config() -> Config {
    let lengths = PreambleLengths { manifest: 1000, ..PreambleLengths::default() };
    let geometry = Geometry::new(1408, 1024, 256, 16, 1000, 200_000_000).expect("a geometry");
    let announce = Announce {
        version_min: 1,
        version_max: 1,
        release: ReleaseId(Digest::of(b"manifest")),
        image: Digest::of(b"image"),
        app: "shop".parse().expect("a name"),
        label: "v1".parse().expect("a name"),
        kind: ImageKind::Raw,
        image_bytes: 200_000_000,
        geometry,
        preamble: lengths,
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
        activation: Activation::Together,
        stage: SenderStage::Joining,
        sender: SenderFacts { host: "d".into(), user: "u".into(), started: 1, instance: 1 },
        salt: [7; 16],
        sent_at_us: 0,
        insecure: true,
        force: false,
    };
    Config {
        session: SessionId(1),
        announce,
        catch_up_group: SocketAddr::from(([239, 193, 70, 71], 7071)),
        frame_offsets: vec![0, 200_000_000],
        expect: Expect::Any,
        quorum: Quorum::All,
        join_window: Duration::from_secs(1),
        timeout: None,
        verdict_wait: Duration::ZERO,
        rate: RateRequest::Fixed(Bitrate::from_megabits(1000)),
        trailer_bytes: CHECKSUM_BYTES,
    }
}

fn join(host: usize) -> Message {
    Message::Join(Join {
        host: format!("web{host:05}.example.com").parse().expect("a name"),
        version_min: 1,
        version_max: 1,
        machine: host as u64,
        nonce: BootNonce(host as u64),
        link: Some(Bitrate::from_megabits(1000)),
        free_bytes: 1 << 40,
        clock_us: 0,
        kinds: KindSet::default(),
        holds_release: false,
        holds_image: false,
        holds_partial: false,
        echo_us: 0,
        held: Duration::ZERO,
    })
}

fn status(host: usize) -> Message {
    Message::Status(Status {
        slot: Slot(host as u32),
        nonce: BootNonce(host as u64),
        sweep: 1,
        phase: HostPhase::Receiving,
        blocks_done: 3,
        blocks_total: 140,
        received: 1000,
        lost: 10,
        kernel_drops: 0,
        wasted: 0,
        is_catching_up: false,
        dropped_blocks: 0,
        backlog_kib: 0,
        fault: Fault::None,
        detail: String::new(),
        echo_us: 0,
        held: Duration::ZERO,
        trial: None,
        alarm: None,
    })
}

fn drain(session: &mut Session, now: Timestamp) {
    while !matches!(session.poll_output(now), Output::Idle(_) | Output::Ended) {}
}

#[test]
fn a_host_costs_the_sender_at_most_half_a_kilobyte() {
    let start = Timestamp::from_nanos(1_000_000_000);
    let mut session = Session::new(start, config());
    let now = start + LISTEN;
    session.handle_timeout(now);
    drain(&mut session, now);
    let before = used_bytes();
    for message in [join, status] {
        for host in 0..HOSTS {
            let address = [198, 18, (host >> 8) as u8, host as u8];
            session.handle_feedback(now, SocketAddr::from((address, 7000)), &message(host));
            drain(&mut session, now);
        }
    }
    let bytes = (used_bytes() - before) / HOSTS;
    assert_eq!(session.progress().joined, HOSTS);
    assert!(bytes <= HOST_BYTES_MAX, "{bytes} bytes a host");
    assert!(bytes > 100, "what is counted is the roster: {bytes} bytes a host");
}
