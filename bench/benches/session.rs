//! A host's bookkeeping: what its session does with the header of each symbol.
//!
//! A pass through four windows, in trains, with every lost symbol made good by repair symbols at
//! the end; blocks are consumed as soon as they are complete. Throughput counts headers.

use std::time::Duration;

use common::geometry::Geometry;
use common::id::{BlockIndex, BootNonce, ImageKind, SessionId, Slot};
use common::limits::{SYMBOL_BYTES_DEFAULT, TRAIN_SYMBOLS_MAX, WINDOW_BLOCKS_DEFAULT};
use common::time::Timestamp;
use common::wire::{Announce, JoinAck, JoinVerdict, KindSet, SymbolHeader};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use receiver::session::{Facts, Session, StoreEvent, Verdict, Via};
use tests::sim::{Setup, announce};

const SESSION: SessionId = SessionId(7);
const WINDOWS: u64 = 4;
/// One symbol in so many is lost; none where there is no number.
const LOSSES: [Option<u32>; 3] = [None, Some(100), Some(20)];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .configure_from_args();
    handle_symbols(&mut criterion);
    criterion.final_summary();
}

fn handle_symbols(criterion: &mut Criterion) {
    let block_bytes = u64::from(SYMBOL_BYTES_DEFAULT) * 1024;
    let payload_bytes = WINDOWS * u64::from(WINDOW_BLOCKS_DEFAULT) * block_bytes;
    let announce = announce(&Setup { payload_bytes, preamble_bytes: 0, ..Setup::new(1) });
    let mut group = criterion.benchmark_group("host session");
    for loss in LOSSES {
        let headers = headers(&announce.geometry, loss);
        group.throughput(Throughput::Elements(headers.len() as u64));
        let name = BenchmarkId::new("handle_symbols, % lost", loss.map_or(0, |loss| 100 / loss));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || session(&announce),
                |session| assert!(receive(session, &headers), "all blocks are done"),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// What arrives of a pass, window by window, and as many repair symbols as were lost.
fn headers(geometry: &Geometry, loss: Option<u32>) -> Vec<SymbolHeader> {
    let repair_symbols = u32::from(geometry.repair_symbols());
    let mut headers = Vec::new();
    for window in 0..geometry.window_count() {
        for transmission in 0..1024 + repair_symbols {
            for block in geometry.window(window).map(BlockIndex) {
                let k = u32::from(geometry.source_symbols_of(block));
                let is_lost = |nth: u32| loss.is_some_and(|loss| nth.is_multiple_of(loss));
                let lost = (0..k).filter(|nth| is_lost(*nth)).count() as u32;
                let is_sent = transmission < k + lost;
                if is_sent && !(transmission < k && is_lost(transmission)) {
                    let seq = headers.len() as u32;
                    let (session, key_epoch, flags, announced) = (SESSION, 0, 0, k + lost);
                    let header = SymbolHeader {
                        session,
                        seq,
                        key_epoch,
                        flags,
                        block,
                        transmission,
                        announced,
                    };
                    headers.push(header);
                }
            }
        }
    }
    headers
}

/// A host that has joined and knows that it holds nothing.
fn session(announce: &Announce) -> Session {
    let facts = Facts {
        host: "web1".parse().expect("a name"),
        machine: 1,
        nonce: BootNonce(77),
        link: None,
        free_bytes: 1 << 40,
        clock_us: 0,
        kinds: ImageKind::ALL.into_iter().collect::<KindSet>(),
        holds_release: false,
        holds_image: false,
        holds_partial: false,
        block_slots: 64,
    };
    let mut session = Session::new(Timestamp::ZERO, SESSION, announce, facts, 1);
    let (nonce, verdict) = (BootNonce(77), JoinVerdict::Accepted);
    let ack = JoinAck { nonce, slot: Slot(0), verdict, have_seen: false };
    session.handle_join_ack(Timestamp::ZERO, &ack);
    session
}

/// Takes everything in, train by train; whether that was all.
fn receive(session: &mut Session, headers: &[SymbolHeader]) -> bool {
    let mut verdicts = Vec::with_capacity(TRAIN_SYMBOLS_MAX);
    for (nth, train) in headers.chunks(TRAIN_SYMBOLS_MAX).enumerate() {
        // A train takes 200 µs at 1 Gbit/s.
        let now = Timestamp::from_nanos(nth as u64 * 200_000);
        session.handle_symbols(now, Via::Data, train, &mut verdicts);
        for verdict in verdicts.drain(..) {
            if let Verdict::KeepAndDecode { block, .. } = verdict {
                session.handle_store(now, StoreEvent::Consumed(block));
            }
        }
    }
    session.blocks().are_all_done()
}
