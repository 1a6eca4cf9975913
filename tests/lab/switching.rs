//! `current` never leads to anything but a complete, verified release.
#![expect(clippy::disallowed_methods, reason = "it writes a hook and reads what that said")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
        Send::of(&bundle).expect(1).run(&lab, DEADLINE).expect_exit(exit::DONE);
    }
    let seen = watcher.end();
    assert_eq!(seen.faults, Vec::<String>::new());
    assert_eq!(seen.switches, switches as u64 - 1, "{seen:?}");
    assert_eq!(seen.labels.len(), 2, "{seen:?}");
    assert!(seen.reads > 1000 * switches as u64, "{seen:?}");
}

#[test]
fn a_reboot_in_the_middle_of_a_deploy_brings_the_old_release_back_before_its_services() {
    // Goal: the mounted release, and the path that never changes, are there again once restore has
    // run, before there is a daemon; hooks run around such switches; the deploy goes on later.
    let mut lab = Lab::new(Shape::hosts(1));
    let (heard, hook) = (lab.directory().join("heard"), lab.directory().join("hook"));
    let script = "#!/bin/sh\ncat \"${FANFARE_CURRENT%/current}/live/";
    let script = format!("{script}{}\" >> {}\n", fixture::LABEL_FILE, heard.display());
    fs::write(&hook, script).expect("the directory is ours");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    let options = HostOptions::configured(&format!(
        "store = \"{{store}}\"\n[app.shop]\nswitch = \"mount\"\nhook_splay = \"0s\"\n\
         [[app.shop.post_activate]]\ncommand = [\"{}\"]\n",
        hook.display()
    ));
    lab.start_hosts(&options);
    let [first, second] = ["r1", "r2"].map(|label| lab.small_release(label, Image::Erofs));
    Send::of(&first.bundle).expect(1).run(&lab, DEADLINE).expect_exit(exit::DONE);
    let has_heard = |text: &str| fs::read_to_string(&heard).is_ok_and(|heard| heard == text);
    assert!(tests::process::holds_within(DEADLINE, || has_heard("r1")), "{}", lab.hosts()[0].log());

    let mut sending = Send::of(&second.bundle).expect(1).rate("500kbit").start(&lab);
    let host = lab.host(1);
    let has_begun = || !host.incoming_names("shop").is_empty();
    assert!(tests::process::holds_within(DEADLINE, has_begun), "{}", host.log());
    host.kill();
    sending.process.kill();
    let store = host.store().display().to_string();
    let unmount = format!(
        "awk '$2 ~ \"^{store}/\" {{ print $2 }}' /proc/self/mounts | tac | xargs -n 1 umount"
    );
    let rebooted = host.node().command("sh").args(["-c", &unmount]).status();
    assert!(rebooted.is_ok_and(|status| status.success()));
    let live = host.current("shop").with_file_name("live").join(fixture::LABEL_FILE);
    assert!(!host.view(&live).exists(), "nothing is mounted after a reboot");

    let config = host.store().with_file_name("fanhost.toml").display().to_string();
    let ending = host.verb(&["restore", "--config", &config]);
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    assert!(ending.stdout.starts_with("shop: r1 is current, "), "{}", ending.stdout);
    assert_eq!(fs::read_to_string(host.view(&live)).expect("it is back"), "r1");
    lab.hosts()[0].expect_current(&first);

    lab.host(1).start(&options);
    Send::of(&second.bundle).expect(1).run(&lab, DEADLINE).expect_exit(exit::DONE);
    lab.hosts()[0].expect_current(&second);
    assert_eq!(fs::read_to_string(lab.hosts()[0].view(&live)).expect("it is there"), "r2");
    assert!(tests::process::holds_within(DEADLINE, || has_heard("r1r2")));
}
