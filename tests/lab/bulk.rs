//! A large tree: what it costs to pack, to send and to receive.
//!
//! Prints the figures; bounds are asserted where the product promises one.

use std::path::Path;
use std::time::Duration;

use tests::fixture;
use tests::lab::{HostOptions, Lab, Shape};
use tests::memory::{MemoryWatch, Peak};
use tests::outcome::exit;
use tests::process::Running;
use tests::product::{Image, Pack, Send};

const DEADLINE: Duration = Duration::from_secs(600);
const BOUND_BYTES: u64 = 256 << 20;

/// Files and additional bytes of the tree: with `--full` 60,000 files and 1.1 GB in all.
fn size() -> (usize, u64) {
    if fixture::is_full_run() { (60_000, 600 << 20) } else { (4_000, 20 << 20) }
}

#[test]
fn a_large_tree_is_packed_sent_and_received_within_the_memory_bound() {
    let mut lab = Lab::new(Shape::hosts(1).alone());
    let (files, noise_bytes) = size();
    let tree = lab.directory().join("bulk");
    fixture::make_tree(&tree, "bulk", files);
    fixture::make_noise(&tree.join("noise"), "bulk", noise_bytes);
    lab.start_hosts(&HostOptions::app("shop"));

    for (label, image) in [("r1", Image::Ext2), ("r2", Image::Erofs), ("r3", Image::Tar)] {
        let packed = measure_pack(&lab, &Pack::of(&tree, label, image));
        let release = lab.release_of(&tree, "shop", label, image);
        let mut sending = Send::of(&release.bundle).expect(1).rate("500Mbit").start(&lab);
        let sender = MemoryWatch::of(sending.process.pid());
        let host = MemoryWatch::of(lab.host(1).daemon().pid());
        let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
        lab.hosts()[0].expect_current(&release);
        eprintln!("{files} files, {} bytes in the bundle as {label}:", release.bundle.bytes());
        let took = outcome.elapsed();
        for (who, peak, took) in
            [("pack", packed.0, packed.1), ("send", sender.end(), took), ("host", host.end(), took)]
        {
            eprintln!("  {who}: {took:.1?}, {:.1} MiB", mebibytes(peak.both_bytes));
            assert!(peak.both_bytes <= BOUND_BYTES, "{who} as {label}: {peak:?}");
        }
    }
}

/// Packs once more than needed, to look at the packer's memory.
fn measure_pack(lab: &Lab, pack: &Pack) -> (Peak, Duration) {
    let output = lab.directory().join("measured.fan");
    let mut command = pack.command(Path::new(&output));
    let mut packing = Running::start("pack", &mut command, &lab.logs());
    let watch = MemoryWatch::of(packing.pid());
    let ending = packing.wait(DEADLINE);
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    (watch.end(), ending.elapsed)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
