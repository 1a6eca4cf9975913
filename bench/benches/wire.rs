//! The datagrams: headers of symbols, polls, checksums and seals, digests.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use common::digest::Digest;
use common::id::{BlockIndex, BootNonce, SessionId, Slot};
use common::keys::{KeyId, Keyring, Role, SecretKey, SymmetricKey};
use common::limits::{SYMBOL_BYTES_DEFAULT, TRAIN_SYMBOLS_MAX};
use common::seal::{HostKeys, HostSeal, MemberSeal, SenderKeys, SenderSeal, Stream, TAG_BYTES};
use common::time::Timestamp;
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
    checksums(&mut criterion);
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

/// A train of datagrams with room for a trailer.
fn open_train(trailer_bytes: usize) -> Vec<Vec<u8>> {
    let datagram = |nth| {
        let mut bytes = vec![0x5a; SymbolHeader::WIRE_BYTES + SYMBOL_BYTES];
        let head = bytes.first_chunk_mut().expect("it has a header's length");
        header(nth).emit(Kind::Source, head);
        bytes.resize(bytes.len() + trailer_bytes, 0);
        bytes
    };
    (0..TRAIN_SYMBOLS_MAX as u32).map(datagram).collect()
}

/// A train of datagrams in plain mode.
fn train() -> Vec<Vec<u8>> {
    let mut datagrams = open_train(CHECKSUM_BYTES);
    datagrams.iter_mut().for_each(|datagram| close_plain(datagram));
    datagrams
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

/// The same under keys: AES-256-GCM, in place.
fn seals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sealed");
    let (mut sender, mut member) = site();
    let bytes = open_train(TAG_BYTES).iter().map(|it| it.len() as u64).sum();
    group.throughput(Throughput::Bytes(bytes));
    let mut seq = 0;
    let mut close = |datagrams: &mut Vec<Vec<u8>>| {
        for datagram in datagrams {
            seq += 1;
            let closed = sender.close_symbol(Stream::Data, seq, datagram);
            closed.expect("there are numbers left");
        }
    };
    let mut closed = open_train(TAG_BYTES);
    close(&mut closed);
    group.bench_function("close a train", |bencher| {
        bencher.iter_batched_ref(|| open_train(TAG_BYTES), &mut close, BatchSize::SmallInput);
    });
    group.bench_function("open a train", |bencher| {
        bencher.iter_batched_ref(
            || closed.clone(),
            |datagrams| {
                for datagram in datagrams {
                    let opened = member.open(Stream::Data, Timestamp::ZERO, 0, datagram);
                    black_box(opened.expect("our own datagram"));
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Both ends of one sealed session.
fn site() -> (SenderSeal, MemberSeal) {
    let symmetric = |role, nth| SymmetricKey::new(role, KeyId([nth; 8]), [nth; 32].into());
    let operator = SecretKey::from_seed(KeyId([3; 8]), &[3; 32]);
    let operators = Keyring::new([*operator.public()]).expect("it is one key");
    let (group, master) = (symmetric(Role::Group, 1), symmetric(Role::Master, 2));
    let host = master.host_key(&"host".parse().expect("it is a name"));
    let host = HostKeys { groups: vec![group.clone()], operators: operators.clone(), host };
    let keys = SenderKeys { group, master, operator, operators };
    let announce = tests::sim::announce(&tests::sim::Setup::new(1));
    let sender = SenderSeal::new(Arc::new(keys), SessionId(7), &announce);
    let mut datagram = Vec::new();
    sender.close_announce(0, &Message::Announce(Box::new(announce)), &mut datagram);
    let mut host = HostSeal::new(Arc::new(host));
    let opened = host.open_announce(Timestamp::ZERO, 0, Ipv4Addr::LOCALHOST.into(), &datagram);
    let (header, announce) = opened.expect("our own announce");
    (
        sender,
        host.member(&header, &announce, BootNonce(1), Timestamp::ZERO).expect("of the same group"),
    )
}

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plain");
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
