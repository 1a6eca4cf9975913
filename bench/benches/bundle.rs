//! From bytes as sent to verified chunks: of a compressed frame, and of stored ones.
//!
//! Throughput counts the bytes of the image.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use common::bundle::{Chunk, ChunkTable, Frame, FrameKind, decode_frame, verify_chunks};
use common::digest::Digest;
use common::id::ChunkIndex;
use common::limits::{CHUNK_BYTES_MEAN, FRAME_RAW_BYTES_TARGET};
use criterion::{Criterion, Throughput};

/// As `fanfare pack` has it when nobody says otherwise.
const LEVEL: i32 = 3;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    frames(&mut criterion);
    criterion.final_summary();
}

fn frames(criterion: &mut Criterion) {
    let raw = program_text(FRAME_RAW_BYTES_TARGET as usize);
    let chunks = chunks(&raw);
    let packed = zstd::bulk::compress(&raw, LEVEL).expect("memory for a frame");
    let mut group = criterion.benchmark_group("frame of 1 MiB");
    group.throughput(Throughput::Bytes(raw.len() as u64));
    group.bench_function("stored", |bencher| {
        bencher.iter(|| {
            let verified = verify_chunks(&chunks, ChunkIndex(0), chunks.len(), black_box(&raw));
            verified.expect("our own chunks");
        });
    });
    let frame = Frame {
        kind: FrameKind::Zstd,
        bytes: u32::try_from(packed.len()).expect("a frame is short"),
        digest: Digest::of(&packed),
        first_chunk: ChunkIndex(0),
        chunk_count: chunks.len(),
    };
    let mut memory = Vec::new();
    group.bench_function("zstd", |bencher| {
        bencher.iter(|| {
            let decoded = decode_frame(&frame, black_box(&packed), &chunks, &mut memory);
            decoded.expect("our own frame");
        });
    });
    group.finish();
}

/// Text that compresses as sources do, some five times.
fn program_text(length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length + 100);
    let mut state = 1_u64;
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (name, value) = (state >> 54, state >> 33 & 0xFFF);
        writeln!(text, "    let name_{name} = compute(&context, {value:x}, name_{});", name / 7)
            .expect("a string takes everything");
    }
    text.truncate(length);
    text.into_bytes()
}

fn chunks(raw: &[u8]) -> ChunkTable {
    let chunk = |bytes: &[u8]| Chunk {
        bytes: u32::try_from(bytes.len()).expect("a chunk is short"),
        digest: Digest::of(bytes),
    };
    let all = raw.chunks(CHUNK_BYTES_MEAN as usize).map(chunk).collect();
    ChunkTable::from_chunks(all).expect("chunks within the limits")
}
