//! A large tree: what it costs to pack, to send and to receive.
//!
//! Prints the figures; bounds are asserted where the product promises one.

use std::path::Path;
use std::time::Duration;

use tests::fixture;
use tests::lab::{HostOptions, Lab, Release, Shape};
use tests::memory::{MemoryWatch, Peak};
use tests::outcome::exit;
use tests::process::Running;
use tests::product::{Bundle, Image, Pack, Send};

const DEADLINE: Duration = Duration::from_secs(1200);
const BOUND_BYTES: u64 = 256 << 20;
/// Room for the image and the tree of the large run.
const STORE_BYTES: u64 = 3 << 30;

/// How much is packed, and to how many hosts it is sent.
struct Size {
    hosts: usize,
    files: usize,
    noise_bytes: u64,
}

impl Size {
    /// With `--full` 60,000 files of 250 MB and one of 800 MB, to eight hosts.
    fn of_this_run() -> Self {
        match fixture::is_full_run() {
            true => Self { hosts: 8, files: 60_000, noise_bytes: 760 << 20 },
            false => Self { hosts: 1, files: 4_000, noise_bytes: 20 << 20 },
        }
    }
}

#[test]
fn a_large_tree_is_packed_sent_and_received_within_the_memory_bound() {
    let size = Size::of_this_run();
    let place = tempfile::tempdir().expect("a temporary directory can be made");
    let tree = place.path().join("bulk");
    fixture::make_tree(&tree, "bulk", size.files);
    fixture::make_noise(&tree.join("noise"), "bulk", size.noise_bytes);
    // A lab for each kind: together their stores would take tens of gigabytes.
    for image in [Image::Ext2, Image::Erofs, Image::Tar] {
        deliver(&size, &tree, image);
    }
}

#[expect(clippy::print_stderr, reason = "the figures are what this is run for")]
fn deliver(size: &Size, tree: &Path, image: Image) {
    let mut lab = Lab::new(Shape::hosts(size.hosts).alone());
    // The upper half of the stores lies in memory, where no disk is the bottleneck.
    for host in lab.hosts().iter().skip(size.hosts.div_ceil(2)) {
        host.put_store_on_tmpfs(STORE_BYTES);
    }
    lab.start_hosts(&HostOptions::app("shop"));
    let (release, pack, packed_in) = pack(&lab, tree, image);
    let mut sending = Send::of(&release.bundle).expect(size.hosts).rate("500Mbit").start(&lab);
    let sender = MemoryWatch::of(sending.process.pid());
    let daemons = lab.hosts_mut().iter_mut().map(|host| host.daemon().pid());
    let hosts: Vec<_> = daemons.map(MemoryWatch::of).collect();
    let outcome = sending.wait(DEADLINE).expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active").len(), size.hosts, "{}", outcome.report());
    let sender = sender.end();
    let host = hosts.into_iter().map(MemoryWatch::end).max_by_key(|peak| peak.both_bytes);
    let host = host.expect("a lab has hosts");
    let took = outcome.elapsed();
    eprintln!(
        "{} files as {}, {} bytes in the bundle, to {} hosts, {:.3} symbols per source symbol:",
        size.files,
        image.name(),
        release.bundle.bytes(),
        size.hosts,
        outcome.symbols_per_source_symbol()
    );
    for (who, peak, took) in
        [("pack", pack, packed_in), ("send", sender, took), ("hungriest host", host, took)]
    {
        eprintln!("  {who}: {took:.1?}, {:.1} MiB", mebibytes(peak.both_bytes));
        assert!(peak.both_bytes <= BOUND_BYTES, "{who} as {}: {peak:?}", image.name());
    }
    // Content, modes, owners, links and times, on a disk and in memory.
    for host in [&lab.hosts()[0], &lab.hosts()[size.hosts - 1]] {
        host.expect_current(&release);
    }
}

/// Packs, and looks at the packer's memory.
fn pack(lab: &Lab, tree: &Path, image: Image) -> (Release, Peak, Duration) {
    let (app, label) = ("shop".to_owned(), "r1".to_owned());
    let bundle = Bundle { path: lab.directory().join("bulk.fan"), app, label, image };
    let mut command = Pack::of(tree, &bundle.label, image).command(&bundle.path);
    let mut packing = Running::start("pack", &mut command, &lab.logs());
    let watch = MemoryWatch::of(packing.pid());
    let ending = packing.wait(DEADLINE);
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    (Release::of_tree(bundle, tree), watch.end(), ending.elapsed)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
