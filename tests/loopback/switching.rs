//! Two hundred switches of the real daemon under the eye of a reader in a tight loop.

use tests::fixture;
use tests::outcome::exit;
use tests::product::{Image, Pack};
use tests::watch::Watcher;

use crate::site::Site;

/// The host keeps both images, so that each send is a switch and little else.
#[test]
fn current_is_a_whole_release_at_every_instant_of_many_switches() {
    let switches: u64 = if fixture::is_full_run() { 200 } else { 20 };
    let mut site = Site::new();
    let trees = ["a", "b"].map(|label| {
        let tree = site.path().join(format!("tree-{label}"));
        fixture::make_tree(&tree, label, 10);
        tree
    });
    site.start("a");
    let watcher = Watcher::of(&site.current("a"));
    for nth in 0..switches {
        let which = usize::from(!nth.is_multiple_of(2));
        let pack = Pack::of(&trees[which], ["a", "b"][which], Image::Tar);
        let bundle = pack.arg(&format!("--sequence={}", nth + 1)).run(site.path());
        site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
    }
    let seen = watcher.end();
    assert_eq!(seen.faults, Vec::<String>::new());
    assert_eq!(seen.switches, switches - 1, "{seen:?}");
    assert_eq!(seen.labels.len(), 2, "{seen:?}");
}
