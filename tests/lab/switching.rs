//! `current` never leads to anything but a complete, verified release.

use std::time::Duration;

use tests::fixture;
use tests::lab::{HostOptions, Lab, Shape};
use tests::outcome::exit;
use tests::product::{Image, Pack, Send};
use tests::watch::Watcher;

const DEADLINE: Duration = Duration::from_secs(30);

/// Sends that alternate between two mounted releases under the eye of a reader.
///
/// Their images stay on the host, so that what is repeated is the switch, not the transfer; the
/// 200 switches of the store alone are watched in its own tests.
#[test]
fn a_reader_in_a_tight_loop_sees_only_whole_releases() {
    let switches = if fixture::is_full_run() { 200 } else { 12 };
    let mut lab = Lab::new(Shape::hosts(1));
    lab.start_hosts(&HostOptions::app("shop"));
    let host = &lab.hosts()[0];
    let watcher = Watcher::of(&host.view(&host.current("shop")));
    for nth in 0..switches {
        let (tree, image) = [("a", Image::Ext2), ("b", Image::Erofs)][nth % 2];
        let pack = Pack::of(&lab.small_tree(tree), tree, image);
        let bundle = pack.arg(&format!("--sequence={}", nth + 1)).run(lab.directory());
        let send = Send::of(&bundle).expect(1).arg("--join-window").arg("300ms");
        send.run(&lab, DEADLINE).expect_exit(exit::DONE);
    }
    let seen = watcher.end();
    assert_eq!(seen.faults, Vec::<String>::new());
    assert_eq!(seen.switches, switches as u64 - 1, "{seen:?}");
    assert_eq!(seen.labels.len(), 2, "{seen:?}");
    assert!(seen.reads > 1000 * switches as u64, "{seen:?}");
}
