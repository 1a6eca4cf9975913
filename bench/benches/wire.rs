//! The datagrams: headers of symbols, polls, the seal of plain mode, digests.

use std::hint::black_box;
use std::time::Duration;

use common::digest::Digest;
use common::id::{BlockIndex, SessionId, Slot};
use common::limits::{SYMBOL_BYTES_DEFAULT, TRAIN_SYMBOLS_MAX};
use common::wire::{
    BlockCount, CHECKSUM_BYTES, Kind, Message, POLL_BLOCKS_MAX, Poll, Sweep, SymbolHeader,
    close_plain, open_plain,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};

const SYMBOL_BYTES: usize = SYMBOL_BYTES_DEFAULT as usize;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    symbol_headers(&mut criterion);
    seals(&mut criterion);
    polls(&mut criterion);
    digests(&mut criterion);
    criterion.final_summary();
}

fn header(nth: u32) -> SymbolHeader {
    SymbolHeader {
        session: SessionId(7),
        seq: nth,
        key_epoch: 0,
        flags: 0,
        block: BlockIndex(nth % 16),
        transmission: nth / 16,
        announced: 1032,
    }
}

/// A train of datagrams, sealed.
fn train() -> Vec<Vec<u8>> {
    let datagram = |nth| {
        let mut bytes = vec![0x5a; SymbolHeader::WIRE_BYTES + SYMBOL_BYTES];
        let head = bytes.first_chunk_mut().expect("it has a header's length");
        header(nth).emit(Kind::Source, head);
        bytes.resize(bytes.len() + CHECKSUM_BYTES, 0);
        close_plain(&mut bytes);
        bytes
    };
    (0..TRAIN_SYMBOLS_MAX as u32).map(datagram).collect()
}

fn symbol_headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("symbol header");
    group.throughput(Throughput::Elements(1));
    let mut head = [0; SymbolHeader::WIRE_BYTES];
    group.bench_function("emit", |bencher| {
        bencher.iter(|| black_box(header(black_box(9))).emit(Kind::Source, black_box(&mut head)));
    });
    let datagram = train().remove(0);
    group.bench_function("parse", |bencher| {
        bencher.iter(|| SymbolHeader::parse(black_box(&datagram)).expect("our own datagram").0);
    });
    group.finish();
}

fn seals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plain seal");
    let datagrams = train();
    group.throughput(Throughput::Bytes(datagrams.iter().map(|it| it.len() as u64).sum()));
    group.bench_function("open a train", |bencher| {
        bencher.iter(|| {
            for datagram in &datagrams {
                black_box(open_plain(black_box(datagram)).expect("our own datagram"));
            }
        });
    });
    group.bench_function("close a train", |bencher| {
        bencher.iter_batched_ref(
            train,
            |datagrams| datagrams.iter_mut().for_each(|datagram| close_plain(datagram)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn polls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("poll");
    for blocks in [16, 48, POLL_BLOCKS_MAX] {
        let count = |block| BlockCount { block: BlockIndex(block), sent: 1032, announced: 1040 };
        let ranges = vec![(Slot(0), Slot(9_999)); Poll::ranges_max(blocks).min(1)];
        let sweep = Some(Sweep { id: 3, slot: Duration::from_micros(50), ranges });
        let message = Message::Poll(Poll {
            id: 5,
            sent_at_us: 1_000_000,
            grtt: Duration::from_millis(2),
            backoff: Duration::from_millis(20),
            group_size: 10_000,
            blocks: (0..blocks as u32).map(count).collect(),
            sweep,
        });
        let mut datagram = Vec::new();
        message.emit(SessionId(7), 1, 0, &mut datagram);
        group.bench_function(BenchmarkId::new("parse, blocks", blocks), |bencher| {
            bencher.iter(|| Message::parse(black_box(&datagram)).expect("our own datagram"));
        });
    }
    group.finish();
}

fn digests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    for (name, length) in [("chunk of 64 KiB", 64 << 10), ("frame of 1 MiB", 1 << 20)] {
        let bytes = vec![0x5a; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(name, |bencher| bencher.iter(|| Digest::of(black_box(&bytes))));
    }
    group.finish();
}
