//! One release, sent once, live on every host: each kind of image, over lossy links.

use std::time::Duration;

use tests::fixture;
use tests::lab::{Family, HostOptions, Lab, Release, Shape};
use tests::outcome::{Outcome, exit};
use tests::product::{Image, Send};

const DEADLINE: Duration = Duration::from_secs(60);

/// Files of Debian's wordpress package where they could be had, else a generated tree.
fn real_release(lab: &Lab, label: &str, image: Image) -> Release {
    let tree = fixture::wordpress().unwrap_or_else(|| lab.small_tree("instead-of-wordpress"));
    lab.release_of(&tree, "shop", label, image)
}

/// Sends `release` to every host of `lab` and checks that each has it.
#[track_caller]
fn deliver(lab: &Lab, release: &Release) -> Outcome {
    let count = lab.hosts().len();
    let outcome = Send::of(&release.bundle).expect(count).run(lab, DEADLINE);
    let outcome = outcome.expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("active").len(), count, "{}", outcome.report());
    for host in lab.hosts() {
        host.expect_current(release);
    }
    outcome
}

/// Eight hosts, 2 % independent loss each way, a real release, then a small one beside it.
fn delivers_through_loss(family: Family, image: Image) {
    let mut lab = Lab::new(Shape::hosts(8).over(family).losing_percent(2).alone());
    lab.start_hosts(&HostOptions::app("shop"));
    let first = real_release(&lab, "r1", image);
    let outcome = deliver(&lab, &first);
    assert!(lab.lost() > 0, "the lab lost nothing");
    let spent = outcome.symbols_per_source_symbol();
    assert!(spent < 1.5, "{spent} symbols sent for each source symbol");

    let second = lab.small_release("r2", image);
    deliver(&lab, &second);
    for host in lab.hosts() {
        host.expect_beside(&first);
    }
}

#[test]
fn ext2_reaches_eight_hosts_through_loss_and_a_second_release_stands_beside_it() {
    delivers_through_loss(Family::V4, Image::Ext2);
}

#[test]
fn erofs_reaches_eight_hosts_through_loss_and_a_second_release_stands_beside_it() {
    delivers_through_loss(Family::V6, Image::Erofs);
}

#[test]
fn tar_reaches_eight_hosts_through_loss_and_a_second_release_stands_beside_it() {
    delivers_through_loss(Family::V4, Image::Tar);
}

#[test]
fn tar_is_delivered_over_the_other_family_too() {
    let mut lab = Lab::new(Shape::hosts(3).over(Family::V6).losing_percent(2));
    lab.start_hosts(&HostOptions::app("shop"));
    deliver(&lab, &lab.small_release("r1", Image::Tar));
}

#[test]
fn a_raw_file_arrives_as_it_is() {
    let mut lab = Lab::new(Shape::hosts(2).losing_percent(2));
    lab.start_hosts(&HostOptions::app("shop"));
    deliver(&lab, &lab.raw_release("r1", 5_000_001));
}

#[test]
fn ext4_and_squashfs_are_mounted_from_a_store_on_tmpfs() {
    // A tmpfs cannot carry an erofs without a loop device, so erofs is tried there as well.
    let mut lab = Lab::new(Shape::hosts(1));
    lab.host(1).put_store_on_tmpfs(256 << 20);
    lab.start_hosts(&HostOptions::app("shop"));
    for (label, image) in [("r1", Image::Ext4), ("r2", Image::Squashfs), ("r3", Image::Erofs)] {
        deliver(&lab, &lab.small_release(label, image));
    }
}

#[test]
fn hold_stages_without_switching() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.start_hosts(&HostOptions::app("shop"));
    let first = lab.small_release("r1", Image::Ext2);
    deliver(&lab, &first);
    let second = lab.small_release("r2", Image::Ext2);
    let outcome = Send::of(&second.bundle).expect(2).activate("hold").run(&lab, DEADLINE);
    let outcome = outcome.expect_exit(exit::DONE);
    assert_eq!(outcome.hosts_in("staged").len(), 2, "{}", outcome.report());
    for host in lab.hosts() {
        host.expect_current(&first);
        host.expect_beside(&second);
    }
}

#[test]
fn an_image_that_every_host_holds_moves_no_data() {
    let mut lab = Lab::new(Shape::hosts(2));
    lab.start_hosts(&HostOptions::app("shop"));
    let tree = lab.small_tree("same");
    deliver(&lab, &lab.release_of(&tree, "shop", "r1", Image::Ext2));
    let again = lab.release_of(&tree, "shop", "r2", Image::Ext2);
    let before = lab.sender().sent_bytes();
    deliver(&lab, &again);
    let sent = lab.sender().sent_bytes() - before;
    assert!(sent < again.bundle.bytes() / 4, "{sent} bytes for a bundle that they all hold");
}

#[test]
fn a_host_that_restarts_still_shows_its_release() {
    let mut lab = Lab::new(Shape::hosts(1));
    lab.start_hosts(&HostOptions::app("shop"));
    let first = lab.small_release("r1", Image::Ext2);
    deliver(&lab, &first);
    assert_eq!(lab.host(1).stop().code, Some(0));
    lab.hosts()[0].expect_current(&first);
    lab.host(1).start(&HostOptions::app("shop"));
    lab.hosts()[0].expect_current(&first);
    deliver(&lab, &lab.small_release("r2", Image::Ext2));
}
