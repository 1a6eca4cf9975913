//! How each cause of docs/OPERATIONS.md is brought about, as far as loopback and no root suffice.
//!
//! Not here: what is expected; that is in the document, and `operations` compares.
#![expect(clippy::disallowed_methods, reason = "it damages bundles")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;
use tests::process::{Ending, Running, command};
use tests::product::{self, Image};

use crate::site::{DEADLINE, Site};

/// How a cause is staged; answers with the end of the command that meets it.
pub(crate) type Stage = fn(&mut Site) -> Ending;

/// Stages of `fanfare`.
pub(crate) const FANFARE: &[(&str, Stage)] = &[
    ("all_active", all_active),
    ("any_who_came", any_who_came),
    ("dry_run", |site| send(site, &["--expect", "1", "--dry-run"])),
    ("no_expectation", |site| send(site, &[])),
    ("no_keys", no_keys),
    ("unknown_argument", |site| send(site, &["--expect", "1", "--colour", "red"])),
    ("no_unit", |site| send(site, &["--expect", "1", "--rate", "500"])),
    ("large_quorum", |site| send(site, &["--expect", "2", "--quorum", "3"])),
    ("name_twice", name_twice),
    ("unknown_setting", unknown_setting),
    ("no_multicast", |site| send(site, &["--expect", "1", "--group", "127.0.0.1:7070"])),
    ("no_such_bundle", no_such_bundle),
    ("too_few", too_few),
    ("nobody", |site| send(site, &["--expect", "1", "--join-window", "300ms"])),
    ("no_bundle", no_bundle),
    ("cut_bundle", cut_bundle),
    ("damaged", damaged),
    ("unsigned", |site| verify_trusting(site, Key::Unused)),
    ("strange_signature", |site| verify_trusting(site, Key::Strange)),
    ("keys_exist", keys_exist),
    ("key_exposed", |site| sign(site, 0o640)),
    ("no_password", no_password),
    ("no_output", no_output),
    ("no_output_directory", no_output_directory),
    ("no_interface", |site| send(site, &["--expect", "1", "--interface", "eth77"])),
    ("busy", busy),
    ("timeout", timeout),
    ("interrupted", interrupted),
];

/// Stages of `fanhost`.
pub(crate) const FANHOST: &[(&str, Stage)] = &[
    ("terminated", terminated),
    ("status_of_nobody", status_of_nobody),
    ("host_unknown_argument", |site| daemon(site, &["--stroe", "/nowhere"])),
    ("host_no_multicast", |site| daemon(site, &["--group", "127.0.0.1:7070"])),
    // Not even root makes a directory there.
    ("host_no_store", |site| daemon(site, &["--store", "/sys/fanfare"])),
    ("releases_of_nothing", |site| fanhost(site, &["releases", "--store", "/nonexistent/store"])),
    ("holders_of_nothing", |site| {
        let store = site.path().display().to_string();
        fanhost(site, &["holders", "shop", "--store", &store])
    }),
    ("host_no_interface", |site| daemon(site, &["--interface", "eth77"])),
    ("host_store_in_use", host_store_in_use),
    ("rollback_to_nothing", |site| verb(site, &["rollback", "shop"])),
    ("activate_nothing", |site| verb(site, &["activate", "shop", "r7"])),
    ("verify_damage", verify_damage),
    ("host_unknown_key", host_unknown_key),
    ("host_no_config", |site| daemon(site, &["--config", "/nonexistent/fanhost.toml"])),
    ("host_no_keys", |site| fanhost(site, &["run", "--app", "shop", "--host", "a"])),
    ("host_bad_key", host_bad_key),
    ("host_no_app", |site| fanhost(site, &["run", "--insecure", "--host", "a"])),
];

/// A megabyte at this rate takes more than a minute: there is time to do something meanwhile.
const SLOW: [&str; 4] = ["--expect", "1", "--rate", "100kbit"];

fn all_active(site: &mut Site) -> Ending {
    site.start("a");
    send(site, &["--expect", "1"])
}

fn any_who_came(site: &mut Site) -> Ending {
    site.start("a");
    send(site, &["--expect", "any", "--join-window", "500ms"])
}

fn no_keys(site: &mut Site) -> Ending {
    site.fanfare(&["send", "shop.fan", "--expect", "1"])
}

fn name_twice(site: &mut Site) -> Ending {
    let names = site.write("hosts", "web-1\nweb-2\nweb-1\n");
    send(site, &["--expect", &format!("@{}", names.display())])
}

fn unknown_setting(site: &mut Site) -> Ending {
    let settings = site.write("fanfare.toml", "ttl = 1\nintreface = \"lo\"\n");
    send(site, &["--expect", "1", "--config", &settings.to_string_lossy()])
}

fn no_such_bundle(site: &mut Site) -> Ending {
    site.fanfare(&["send", "/nonexistent/shop.fan", "--expect", "1", "--insecure"])
}

fn too_few(site: &mut Site) -> Ending {
    site.start("a");
    send(site, &["--expect", "2", "--join-window", "500ms"])
}

fn no_bundle(site: &mut Site) -> Ending {
    let notes = site.write("notes.fan", "these are notes\n");
    let notes = notes.to_string_lossy();
    site.fanfare(&["send", &notes, "--expect", "1", "--insecure", "--interface", "lo"])
}

fn cut_bundle(site: &mut Site) -> Ending {
    change_bundle(site, |content| content.truncate(content.len() / 2));
    send(site, &["--expect", "1"])
}

fn damaged(site: &mut Site) -> Ending {
    site.start("a");
    change_bundle(site, |content| content[1000] ^= 1);
    send(site, &["--expect", "1"])
}

/// Packs what [`send`] will find packed, and changes it.
fn change_bundle(site: &Site, change: impl FnOnce(&mut Vec<u8>)) {
    let path = site.bundle("r1", Image::Tar).path;
    let mut content = fs::read(&path).expect("it was packed");
    change(&mut content);
    fs::write(&path, content).expect("the directory is ours");
}

/// What has signed a bundle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Unused,
    Strange,
}

fn keygen(site: &Site, directory: &str) -> Ending {
    site.fanfare(&["keygen", "--no-password", directory])
}

/// `fanfare verify` of a bundle that the trusted key has not signed.
fn verify_trusting(site: &mut Site, signer: Key) -> Ending {
    let place = |name: &str| site.path().join(name).to_string_lossy().into_owned();
    for name in ["ours", "theirs"] {
        assert_eq!(keygen(site, &place(name)).code, Some(0));
    }
    let bundle = site.bundle("r1", Image::Tar).path;
    let bundle = bundle.to_string_lossy();
    if signer == Key::Strange {
        let signed = site.fanfare(&["sign", &bundle, "--key", &place("theirs/release.key")]);
        assert_eq!(signed.code, Some(0), "{}", signed.stderr);
    }
    site.fanfare(&["verify", &bundle, "--trust", &place("ours/release.pub")])
}

fn keys_exist(site: &mut Site) -> Ending {
    let directory = site.path().join("keys").to_string_lossy().into_owned();
    assert_eq!(keygen(site, &directory).code, Some(0));
    keygen(site, &directory)
}

/// `fanfare sign` with a key of this mode.
fn sign(site: &Site, mode: u32) -> Ending {
    let directory = site.path().join("keys");
    assert_eq!(keygen(site, &directory.to_string_lossy()).code, Some(0));
    let key = directory.join("release.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("it is ours");
    let bundle = site.bundle("r1", Image::Tar).path;
    site.fanfare(&["sign", &bundle.to_string_lossy(), "--key", &key.to_string_lossy()])
}

/// Where there is no terminal to ask at.
fn no_password(site: &mut Site) -> Ending {
    let mut alone = command("setsid");
    alone.arg("--wait").arg(product::fanfare()).arg("keygen").arg(site.path().join("keys"));
    end_of(site, &mut alone)
}

fn no_output(site: &mut Site) -> Ending {
    pack_to(site, "/sys/shop.fan")
}

fn no_output_directory(site: &mut Site) -> Ending {
    pack_to(site, "/nonexistent/shop.fan")
}

fn pack_to(site: &Site, output: &str) -> Ending {
    let tree = site.tree("r1");
    let tree = tree.to_string_lossy();
    let line = ["pack", &tree, "--app", "shop", "--release", "r1", "--image", "tar", "-o", output];
    site.fanfare(&line)
}

fn busy(site: &mut Site) -> Ending {
    site.start("a");
    let mut first = start(site, &SLOW);
    first.wait_for_stderr("preamble", DEADLINE);
    send(site, &["--expect", "1"])
}

fn timeout(site: &mut Site) -> Ending {
    site.start("a");
    send(site, &[&SLOW[..], &["--timeout", "1500ms"]].concat())
}

fn interrupted(site: &mut Site) -> Ending {
    site.start("a");
    let mut sending = start(site, &SLOW);
    sending.wait_for_stderr("preamble", DEADLINE);
    sending.signal(Signal::INT);
    sending.wait(DEADLINE)
}

/// `fanfare send` of a small release through the loopback with `arguments`, which come last and so
/// win over what stands before them.
fn send(site: &Site, arguments: &[&str]) -> Ending {
    start(site, arguments).wait(DEADLINE)
}

fn start(site: &Site, arguments: &[&str]) -> Running {
    let bundle = site.path().join("shop-r1-tar.fan");
    if !bundle.exists() {
        assert_eq!(site.bundle("r1", Image::Tar).path, bundle);
    }
    let mut command = command(product::fanfare());
    command.arg("send").arg(bundle).args(["--insecure", "--interface", "lo"]);
    command.args(["--group", &site.group().to_string()]).args(arguments);
    Running::start("fanfare-send", &mut command, &site.logs())
}

fn terminated(site: &mut Site) -> Ending {
    let place = site.start("a");
    site.host(place).terminate(DEADLINE)
}

fn status_of_nobody(site: &mut Site) -> Ending {
    let store = site.store("a");
    fs::create_dir_all(&store).expect("the directory is ours");
    fanhost(site, &["status", "--store", &store.to_string_lossy()])
}

fn host_store_in_use(site: &mut Site) -> Ending {
    site.start("a");
    daemon(site, &[])
}

/// A verb beside a daemon that has the release `r1`.
fn verb(site: &mut Site, arguments: &[&str]) -> Ending {
    site.start("a");
    assert_eq!(send(site, &["--expect", "1"]).code, Some(0));
    site.verb("a", arguments)
}

fn verify_damage(site: &mut Site) -> Ending {
    site.start("a");
    let bundle = site.raw_bundle(1);
    site.run(&site.send(&bundle).expect(1)).expect_exit(0);
    site.damage_image("a");
    site.verb("a", &["verify"])
}

fn host_bad_key(site: &mut Site) -> Ending {
    let path = site.write("release.pub", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
    daemon(site, &["--keys", &site.path().to_string_lossy()])
}

fn host_unknown_key(site: &mut Site) -> Ending {
    let path = site.write("fanhost.toml", "[app.shop]\ncolour = 1\n");
    daemon(site, &["--config", &path.to_string_lossy()])
}

/// `fanhost run` with `arguments`, which come last and so win.
fn daemon(site: &Site, arguments: &[&str]) -> Ending {
    end_of(site, site.daemon_command("a").args(arguments))
}

fn fanhost(site: &Site, arguments: &[&str]) -> Ending {
    end_of(site, command(product::fanhost()).args(arguments))
}

fn end_of(site: &Site, command: &mut Command) -> Ending {
    Running::start("fanhost", command, &site.logs()).wait(DEADLINE)
}
