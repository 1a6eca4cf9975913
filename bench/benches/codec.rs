//! The erasure code: what a block costs to encode, and to decode with one, some and many erasures.
//!
//! Throughput counts source bytes: what a sender reads, what a host rebuilds.

use std::hint::black_box;
use std::time::Duration;

use common::fec::{Decoder, Encoder};
use common::limits::{REPAIR_SYMBOLS_DEFAULT, SYMBOL_BYTES_DEFAULT};
use criterion::{BenchmarkId, Criterion, Throughput};

const SYMBOL_BYTES: usize = SYMBOL_BYTES_DEFAULT as usize;
const REPAIR_SYMBOLS: usize = REPAIR_SYMBOLS_DEFAULT as usize;
const BLOCK_SYMBOLS: [usize; 4] = [256, 512, 1024, 2048];
const ERASURES: [usize; 9] = [1, 16, 32, 48, 64, 96, 128, 200, 255];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion);
    criterion.final_summary();
}

fn source(block_symbols: usize) -> Vec<u8> {
    (0..block_symbols * SYMBOL_BYTES).map(|byte| (byte * 31 % 251) as u8).collect()
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for block_symbols in BLOCK_SYMBOLS {
        let source = source(block_symbols);
        let mut repair = vec![0; REPAIR_SYMBOLS * SYMBOL_BYTES];
        let mut encoder = Encoder::default();
        group.throughput(Throughput::Bytes(source.len() as u64));
        group.bench_function(BenchmarkId::new("k", block_symbols), |bencher| {
            bencher.iter(|| {
                let encoded = encoder.encode(black_box(&source), SYMBOL_BYTES, &mut repair);
                encoded.expect("counts within the code");
            });
        });
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for block_symbols in BLOCK_SYMBOLS {
        let source = source(block_symbols);
        let mut repair = vec![0; REPAIR_SYMBOLS * SYMBOL_BYTES];
        let encoded = Encoder::default().encode(&source, SYMBOL_BYTES, &mut repair);
        encoded.expect("counts within the code");
        group.throughput(Throughput::Bytes(source.len() as u64));
        for erasures in ERASURES {
            // Spread over the block, as losses are.
            let step = block_symbols / erasures;
            let is_lost = |index: usize| index.is_multiple_of(step) && index / step < erasures;
            let is_present: Vec<bool> = (0..block_symbols).map(|index| !is_lost(index)).collect();
            let mut damaged = source.clone();
            let mut decoder = Decoder::default();
            // Blocks of a window mostly lose the same symbols, and repairs are the same; where they
            // are not, the equations have to be solved anew.
            for (kind, shift) in [("same erasures", 0), ("new erasures", 1)] {
                let name = BenchmarkId::new(format!("k={block_symbols}, {kind}"), erasures);
                let mut first = 0;
                group.bench_function(name, |bencher| {
                    bencher.iter(|| {
                        first ^= shift;
                        let symbols = repair.chunks_exact(SYMBOL_BYTES).enumerate();
                        let symbols = black_box(symbols.skip(first).take(erasures));
                        let decoded = decoder.decode(
                            &mut damaged,
                            SYMBOL_BYTES,
                            &is_present,
                            REPAIR_SYMBOLS,
                            symbols,
                        );
                        decoded.expect("as many symbols as were lost");
                    });
                });
            }
            assert!(damaged == source, "a block that is decoded wrong costs nothing to compare");
        }
    }
    group.finish();
}
