//! What an administrator does on a host: with the daemon running, and without.

use std::time::Duration;

use tests::outcome::{exit, one_line};
use tests::process::holds_within;
use tests::product::Bundle;

use crate::site::{DEADLINE, Site};

/// Sends the releases `r1` to `r<count>` of the shop to the host `a`.
fn send_all(site: &Site, count: u32) -> Vec<Bundle> {
    let send = |number| {
        let bundle = site.raw_bundle(number);
        site.run(&site.send(&bundle).expect(1)).expect_exit(exit::DONE);
        bundle
    };
    (1..=count).map(send).collect()
}

/// What a verb that succeeds prints.
fn said(site: &Site, arguments: &[&str]) -> String {
    let ending = site.verb("a", arguments);
    assert_eq!(ending.code, Some(exit::DONE), "{arguments:?}: {}", ending.stderr);
    ending.stdout
}

/// What a verb that is refused complains of.
fn refused(site: &Site, arguments: &[&str], code: i32) -> String {
    let ending = site.verb("a", arguments);
    assert_eq!(ending.code, Some(code), "{arguments:?}: {}", ending.stderr);
    one_line(&ending.stderr).to_owned()
}

/// The verbs in a row; `is_running`: beside the daemon, which does them.
fn walk(is_running: bool) {
    let mut site = Site::new();
    let daemon = site.start("a");
    send_all(&site, 3);
    if !is_running {
        site.host(daemon).terminate(DEADLINE);
    }
    let line = said(&site, &["rollback", "shop"]);
    let start = "shop r2 is active, r3 was; held by a local rollback from r3 since 20";
    assert!(line.starts_with(start), "{line}");
    let listed = said(&site, &["releases"]);
    assert!(listed.contains("\nshop is held by a local rollback from r3 since 20"), "{listed}");
    assert!(said(&site, &["status"]).contains("\nshop is held by a local rollback from r3"));
    assert!(said(&site, &["rollback", "shop"]).starts_with("shop r1 is active, r2 was"));
    let line = refused(&site, &["activate", "shop", "r"], exit::USAGE);
    assert!(line.starts_with("fanhost: shop has no release r (there are: r3 ("), "{line}");
    let line = refused(&site, &["activate", "blog", "r1"], exit::USAGE);
    assert_eq!(line, "fanhost: blog is no app of this host (there are: shop)");
    assert_eq!(said(&site, &["activate", "shop", "r3"]), "shop r3 is active, r1 was\n");
    assert_eq!(said(&site, &["activate", "shop", "r3"]), "shop r3 is active already\n");
    assert!(!said(&site, &["releases"]).contains("held by"));
    let pin = ["pin", "shop", "r2", "--owner", "alice", "--reason", "audit", "--for", "2h"];
    assert!(said(&site, &pin).starts_with("shop r2 is pinned by alice until 20"));
    let line = refused(&site, &["unpin", "shop", "r2", "--owner", "bob"], exit::USAGE);
    assert!(line.ends_with(" is not pinned by bob, but by alice: give --owner"), "{line}");
    let plan = said(&site, &["prune", "--explain", "--dry-run"]);
    assert!(plan.contains("pinned by alice until 20") && plan.contains(": audit, "), "{plan}");
    let unpin = ["unpin", "shop", "r2", "--owner", "alice"];
    assert_eq!(said(&site, &unpin), "shop r2 is no longer pinned by alice\n");
    // All three are good, and were left a moment ago.
    assert_eq!(said(&site, &["prune"]), "nothing to prune\n");
    assert_eq!(said(&site, &["verify"]).matches(": intact, ").count(), 3);
    assert_eq!(site.host(daemon).is_running(), is_running);
}

#[test]
fn verbs_are_carried_out_by_the_daemon() {
    walk(true);
}

#[test]
fn verbs_are_carried_out_where_no_daemon_runs() {
    walk(false);
}

/// PROTOCOL 8.6: another send of what was gone back from does not undo the rollback, the sender's
/// report says why, staging alone is taken, and a newer release ends it.
#[test]
fn a_host_that_was_rolled_back_is_held_and_the_senders_report_says_so() {
    let mut site = Site::new();
    site.start("a");
    let sent = send_all(&site, 2);
    said(&site, &["rollback", "shop"]);
    let again = site.send(&sent[1]).expect(1);
    let outcome = site.run(&again).expect_exit(exit::NOT_REACHED);
    let host = outcome.host("a");
    assert_eq!(host.state, "failed", "{host:?}");
    assert_eq!(outcome.report()["hosts"][0]["fault"], "held");
    assert!(host.reason.contains("held by a local rollback: send a newer release"), "{host:?}");
    let staged = site.send(&sent[1]).expect(1).activate("hold");
    site.run(&staged).expect_exit(exit::DONE);
    assert!(said(&site, &["status"]).contains("shop is held by a local rollback from r2"));
    let newer = site.send(&site.raw_bundle(3)).expect(1);
    site.run(&newer).expect_exit(exit::DONE);
    assert!(!said(&site, &["releases"]).contains("held by"));
}

/// A disk that changed what services are on is noticed at the next start, with what to do; and what
/// is said helps: the same release is taken again, and is then what it was.
#[test]
fn a_start_with_a_damaged_active_image_says_so_and_the_same_release_mends_it() {
    let mut site = Site::new();
    let daemon = site.start("a");
    let sent = send_all(&site, 2);
    site.host(daemon).terminate(DEADLINE);
    site.damage_image("a");
    let daemon = site.start("a");
    let line = "was changed since it was verified; services are on it: send the same release \
        again, or fanhost rollback shop";
    site.host(daemon).wait_for_stderr(line, DEADLINE);
    let listed = || said(&site, &["releases"]);
    let marked = || listed().contains("current, DAMAGED, good");
    assert!(holds_within(Duration::from_secs(10), marked), "{}", listed());
    assert!(said(&site, &["rollback", "shop"]).starts_with("shop r1 is active, r2 was"));
    // Nobody goes back to it by mistake.
    let line = refused(&site, &["activate", "shop", "r2"], exit::USAGE);
    assert_eq!(line, "fanhost: shop r2 is damaged on this disk: fanhost activate --force");
    let again = site.send(&sent[1]).expect(1).activate("hold");
    site.run(&again).expect_exit(exit::DONE);
    assert!(!listed().contains("DAMAGED"), "{}", listed());
    assert!(said(&site, &["verify", "shop", "r2"]).starts_with("shop r2: intact"));
    assert!(said(&site, &["activate", "shop", "r2"]).starts_with("shop r2 is active, r1 was"));
}

/// What `verify` finds is remembered, both ways.
#[test]
fn verify_notes_damage_and_that_it_is_gone() {
    let mut site = Site::new();
    let daemon = site.start("a");
    send_all(&site, 1);
    site.host(daemon).terminate(DEADLINE);
    site.damage_image("a");
    let line = refused(&site, &["verify"], exit::REFUSED);
    assert!(line.contains("services are on it: send the same release again"), "{line}");
    assert!(said(&site, &["releases"]).contains("current, DAMAGED, good"));
    // The same byte once more: as it was.
    site.damage_image("a");
    assert!(said(&site, &["verify"]).starts_with("shop r1: intact"));
    assert!(!said(&site, &["releases"]).contains("DAMAGED"));
}
