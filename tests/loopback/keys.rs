//! Keys of a site: made, signed with, told apart by hosts; and minisign itself on either side.
#![expect(clippy::disallowed_methods, reason = "it looks at key files")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::fixture;
use tests::outcome::{Outcome, exit, one_line};
use tests::process::{Ending, Running, command};
use tests::product::{self, Bundle, Image, Pack};

use crate::boot::fake_clock;
use crate::site::{DEADLINE, Site};

/// The password of the keys here.
const PASSWORD: &str = "correct horse";

/// `fanfare` with a password in its environment.
fn fanfare(site: &Site, arguments: &[&str]) -> Ending {
    run(site, command(product::fanfare()).env("FANFARE_PASSWORD", PASSWORD).args(arguments))
}

fn run(site: &Site, command: &mut Command) -> Ending {
    Running::start("keys", command, &site.logs()).wait(DEADLINE)
}

#[track_caller]
fn done(ending: Ending) -> String {
    assert_eq!(ending.code, Some(exit::DONE), "{}", ending.stderr);
    ending.stdout
}

#[track_caller]
fn refused(ending: &Ending, code: i32) -> &str {
    assert_eq!(ending.code, Some(code), "{}{}", ending.stdout, ending.stderr);
    one_line(&ending.stderr)
}

/// The keys of a site, without passwords, and the directory of its hosts, who know no secret.
fn keys(site: &Site) -> (PathBuf, PathBuf) {
    let (keys, host) = (site.path().join("keys"), site.path().join("host-keys"));
    if !keys.exists() {
        done(site.fanfare(&["keygen", "--no-password", &text(&keys)]));
        fs::create_dir(&host).expect("the directory is ours");
        fs::copy(keys.join("release.pub"), host.join("release.pub")).expect("both are ours");
    }
    (keys, host)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A tar release that the site's key has signed.
fn signed(site: &Site, label: &str) -> Bundle {
    sign(site, Pack::of(&site.tree(label), label, Image::Tar))
}

/// A raw one of a few megabytes, whose image a host keeps.
fn signed_image(site: &Site, label: &str, sequence: u64) -> Bundle {
    let path = site.path().join(label);
    fixture::make_noise(&path, label, 3 << 20);
    sign(site, Pack::of(&path, label, Image::Raw).arg(&format!("--sequence={sequence}")))
}

fn sign(site: &Site, pack: Pack) -> Bundle {
    let (keys, _) = keys(site);
    pack.arg(&format!("--key={}", keys.join("release.key").display())).run(site.path())
}

/// Starts a host that believes the site's key.
fn start(site: &mut Site, host: &str, change: impl FnOnce(&mut Command)) -> usize {
    let (_, keys) = keys(site);
    let mut command = site.daemon_command(host);
    command.arg("--keys").arg(keys);
    change(&mut command);
    site.start_command(host, &mut command)
}

fn send(site: &Site, bundle: &Bundle) -> Outcome {
    site.run(&site.send(bundle).expect(1))
}

/// The one host's fault and words.
fn fault(outcome: &Outcome) -> (String, String) {
    let report: Value = serde_json::from_str(&outcome.ending.stdout).expect("a report");
    let host = &report["hosts"][0];
    let field = |name: &str| host[name].as_str().expect("a text").to_owned();
    (field("fault"), field("reason"))
}

#[test]
fn the_keys_of_a_site_are_made_once_with_sane_modes() {
    let site = Site::new();
    let place = site.path().join("keys");
    let place_text = text(&place);
    let said = done(fanfare(&site, &["keygen", &place_text]));
    assert_eq!(said.lines().count(), 6, "{said}");
    let mode = |name: &str| {
        let facts = fs::metadata(place.join(name)).expect("it was made");
        facts.permissions().mode() & 0o7777
    };
    for name in ["release.key", "operator.key", "group.key", "master.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
        assert!(said.contains(&format!("{place_text}/{name}")), "{said}");
    }
    assert_eq!((mode("release.pub") | mode("operator.pub")) & 0o022, 0);
    let before = fs::read(place.join("release.key")).expect("it is ours");
    let again = fanfare(&site, &["keygen", &place_text]);
    let line = refused(&again, exit::USAGE);
    assert!(line.contains("release.key: it exists, and keys are never overwritten"), "{line}");
    // None of those that do not exist is made either.
    fs::remove_file(place.join("group.key")).expect("it is ours");
    refused(&fanfare(&site, &["keygen", &place_text]), exit::USAGE);
    assert!(!place.join("group.key").exists());
    assert_eq!(fs::read(place.join("release.key")).expect("it is ours"), before);
    for host in ["web-1", "web-2"] {
        done(site.fanfare(&["keygen", &place_text, "--host", host]));
    }
    let key = |host: &str| fs::read(place.join(format!("host-{host}.key"))).expect("it was made");
    assert_ne!(key("web-1"), key("web-2"));
    assert_eq!(mode("host-web-1.key"), 0o600);
    let next = ["keygen", &place_text, "--only", "release", "--name", "release-next"];
    done(fanfare(&site, &next));
    assert!(place.join("release-next.pub").exists());
}

#[test]
fn a_password_is_needed_and_never_guessed() {
    // Method: no terminal is there to ask at (setsid), so the environment has it or nobody.
    let site = Site::new();
    let place = text(&site.path().join("keys"));
    let alone = |arguments: &[&str]| {
        let mut command = command("setsid");
        command.arg("--wait").arg(product::fanfare()).args(arguments);
        command
    };
    let nobody = run(&site, &mut alone(&["keygen", &place]));
    let line = refused(&nobody, exit::USAGE);
    assert!(line.contains("no terminal to ask at: set FANFARE_PASSWORD_FILE"), "{line}");
    assert!(!Path::new(&place).exists());
    done(fanfare(&site, &["keygen", &place, "--only", "release"]));
    let bundle = text(&site.bundle("r1", Image::Tar).path);
    let key = format!("{place}/release.key");
    let sign = ["sign", &bundle, "--key", &key];
    let locked = run(&site, &mut alone(&sign));
    let line = refused(&locked, exit::USAGE);
    assert!(line.contains("release.key: a password protects it, and there is no"), "{line}");
    let wrong = run(&site, alone(&sign).env("FANFARE_PASSWORD", "wrong"));
    assert!(refused(&wrong, exit::REFUSED).ends_with("release.key: the password is wrong"));
    let file = site.write("password", &format!("{PASSWORD}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let exposed = run(&site, alone(&sign).env("FANFARE_PASSWORD_FILE", &file));
    assert!(refused(&exposed, exit::REFUSED).contains("others may read this secret (mode 0644)"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    done(run(&site, alone(&sign).env("FANFARE_PASSWORD_FILE", &file)));
    // A key that others could have read signs nothing.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("it is ours");
    let exposed = fanfare(&site, &sign);
    assert!(refused(&exposed, exit::REFUSED).contains("others may read this secret (mode 0640)"));
}

#[test]
fn a_terminal_is_asked_for_a_password_that_it_does_not_show() {
    let site = Site::new();
    let place = text(&site.path().join("keys"));
    let program = product::fanfare();
    let inner = format!("{} keygen {place} --only release", program.display());
    let typed = site.write("typed", &format!("{PASSWORD}\n{PASSWORD}\n"));
    let script = format!(
        "script --quiet --return --echo never --command '{inner}' /dev/null < {}",
        typed.display()
    );
    let said = done(run(&site, command("sh").args(["-c", &script])));
    assert!(said.contains("password for the new secret keys: "), "{said}");
    assert!(!said.contains("horse"), "{said}");
    let bundle = text(&site.bundle("r1", Image::Tar).path);
    done(fanfare(&site, &["sign", &bundle, "--key", &format!("{place}/release.key")]));
}

#[test]
fn minisign_itself_verifies_and_signs() {
    let site = Site::new();
    let (keys, _) = keys(&site);
    let at = |name: &str| text(&keys.join(name));
    let bundle = signed(&site, "r1");
    let bundle = text(&bundle.path);
    let export = |what: &str, name: &str| {
        text(&site.write(name, &done(site.fanfare(&["inspect", what, &bundle]))))
    };
    let (manifest, signature) =
        (export("--manifest", "manifest"), export("--signatures", "manifest.minisig"));
    let minisign = |arguments: &[&str]| run(&site, command("minisign").args(arguments));
    let public = at("release.pub");
    let said = done(minisign(&["-V", "-p", &public, "-m", &manifest, "-x", &signature]));
    assert!(said.contains("Signature and comment signature verified"), "{said}");
    assert!(said.contains("app:shop"), "the trusted comment: {said}");
    // Its own key signs; ours, too, in its hands.
    let other = text(&site.path().join("other"));
    done(minisign(&["-G", "-W", "-p", &format!("{other}.pub"), "-s", &format!("{other}.key")]));
    for (secret, public) in
        [(format!("{other}.key"), format!("{other}.pub")), (at("release.key"), public)]
    {
        let made = format!("{other}.minisig");
        done(minisign(&["-S", "-s", &secret, "-m", &manifest, "-x", &made, "-t", "by hand"]));
        let said = done(site.fanfare(&["sign", &bundle, "--add", &made, "--trust", &public]));
        assert!(said.contains("right: by hand"), "{said}");
        done(site.fanfare(&["verify", &bundle, "--trust", &public]));
    }
    let both = done(site.fanfare(&["inspect", &bundle, "--json"]));
    let both: Value = serde_json::from_str(&both).expect("one object");
    assert_eq!(both["signatures"].as_array().expect("a list").len(), 2);
    // A signature of another document is not put in.
    fs::write(&manifest, "{}").expect("it is ours");
    let made = format!("{other}.minisig");
    done(minisign(&["-S", "-s", &at("release.key"), "-m", &manifest, "-x", &made]));
    let wrong = site.fanfare(&["sign", &bundle, "--add", &made, "--trust", &at("release.pub")]);
    assert!(refused(&wrong, exit::REFUSED).contains("it is no signature of this bundle by"));
}

#[test]
fn signing_leaves_the_payload_and_makes_packing_no_less_reproducible() {
    let site = Site::new();
    let (keys, _) = keys(&site);
    let key = text(&keys.join("release.key"));
    let pack = |name: &str, more: &[&str]| {
        let out = site.path().join(name);
        let (tree, path) = (text(&site.tree("r1")), text(&out));
        let fixed = ["--app", "shop", "--release", "r1", "--created", "@1700000000", "-o", &path];
        let line = [&["pack", &tree][..], &fixed, more].concat();
        done(site.fanfare(&line));
        out
    };
    let (plain, one) = (pack("plain.fan", &[]), pack("one.fan", &["--key", &key]));
    let unsigned = fs::read(&plain).expect("it was packed");
    done(site.fanfare(&["sign", &text(&plain), "--key", &key]));
    let signed = fs::read(&plain).expect("it was signed");
    assert_eq!(signed, fs::read(one).expect("it was packed"), "signed at once or later");
    let begin = unsigned.len() - 256;
    assert_eq!(signed[..begin], unsigned[..begin], "everything before the signature and footer");
    done(site.fanfare(&["sign", &text(&plain), "--key", &key]));
    assert_eq!(fs::read(&plain).expect("it was signed"), signed, "signing twice is signing once");
    let two = site.path().join("two.fan");
    let renew = ["sign", &text(&plain), "--key", &key, "--sequence", "next", "-o", &text(&two)];
    done(site.fanfare(&renew));
    done(site.fanfare(&["verify", &text(&two), "--trust", &text(&keys.join("release.pub"))]));
    assert_eq!(fs::read(&plain).expect("it is still there"), signed);
    let facts = |path: &Path| -> Value {
        let said = done(site.fanfare(&["inspect", "--json", &text(path)]));
        serde_json::from_str(&said).expect("one object")
    };
    let (former, next) = (facts(&plain), facts(&two));
    assert_eq!(former["manifest"]["image"], next["manifest"]["image"]);
    assert!(next["manifest"]["sequence"].as_u64() > former["manifest"]["sequence"].as_u64());
    assert_eq!(next["signatures"].as_array().expect("a list").len(), 1, "of the new manifest");
}

#[test]
fn a_host_with_a_key_takes_signed_releases_alone() {
    let mut site = Site::new();
    let place = start(&mut site, "a", |_| {});
    let log = site.host(place).stderr();
    assert!(log.contains("shop: releases are believed by "), "{log}");
    let unsigned = site.bundle("r1", Image::Tar);
    let outcome = send(&site, &unsigned).expect_exit(exit::NOT_REACHED);
    let (name, says) = fault(&outcome);
    assert_eq!(name, "unsigned", "{says}");
    assert!(says.ends_with("it is not signed: fanfare sign --key, then send it again"), "{says}");
    assert!(!site.current("a").exists());
    // Nothing of it was decompressed, or is kept.
    let names = |part: &str| {
        let entries = fs::read_dir(site.store("a").join("shop").join(part)).expect("it is there");
        entries.count()
    };
    assert_eq!((names("incoming"), names("images"), names("manifests")), (0, 0, 0));
    let (keys, _) = keys(&site);
    done(site.fanfare(&[
        "keygen",
        &text(&keys),
        "--no-password",
        "--only",
        "release",
        "--name",
        "x",
    ]));
    let path = text(&unsigned.path);
    done(site.fanfare(&["sign", &path, "--key", &text(&keys.join("x.key"))]));
    let (name, says) = fault(&send(&site, &unsigned).expect_exit(exit::NOT_REACHED));
    assert_eq!(name, "key-unknown", "{says}");
    done(site.fanfare(&["sign", &path, "--key", &text(&keys.join("release.key"))]));
    send(&site, &unsigned).expect_exit(exit::DONE);
    assert!(site.current("a").exists());
}

#[test]
fn a_fleet_goes_back_by_a_bundle_that_is_signed_again() {
    // Goal: the former release, sent again as it was, is refused by its sequence; signed with the
    // next one it is taken, and its data need not come again.
    let mut site = Site::new();
    let (keys, _) = keys(&site);
    start(&mut site, "a", |_| {});
    let (one, two) = (signed_image(&site, "r1", 1), signed_image(&site, "r2", 2));
    let first = send(&site, &one).expect_exit(exit::DONE);
    send(&site, &two).expect_exit(exit::DONE);
    let (name, says) = fault(&send(&site, &one).expect_exit(exit::NOT_REACHED));
    assert_eq!(name, "sequence-old", "{says}");
    assert!(says.contains("accepted before; fanfare sign --sequence next"), "{says}");
    let back = Bundle { path: site.path().join("back.fan"), ..one.clone() };
    let key = text(&keys.join("release.key"));
    let (from, to) = (text(&one.path), text(&back.path));
    let sequence = ["--sequence", "next", "-o", &to];
    done(site.fanfare(&[&["sign", &from, "--key", &key][..], &sequence].concat()));
    let again = send(&site, &back).expect_exit(exit::DONE);
    let bytes = |outcome: &Outcome| -> u64 {
        let report: Value = serde_json::from_str(&outcome.ending.stdout).expect("a report");
        report["wire"]["bytes"].as_u64().expect("a number")
    };
    let current = fs::read_link(site.current("a")).expect("it was switched");
    assert!(text(&current).starts_with("releases/r1-"), "{current:?}");
    let (first, again) = (bytes(&first), bytes(&again));
    assert!(again * 20 < first, "{again} of {first} bytes went again");
}

#[test]
fn a_host_whose_clock_stands_at_1970_says_so() {
    let mut site = Site::new();
    let bundle = signed(&site, "r1");
    let library = fake_clock();
    let place = start(&mut site, "a", |command| {
        command.env("LD_PRELOAD", &library).env("FAKETIME", "@1970-01-02 00:00:00");
    });
    let (name, says) = fault(&send(&site, &bundle).expect_exit(exit::NOT_REACHED));
    assert_eq!(name, "from-future", "{says}");
    assert!(says.contains("(this host's clock says 1970-01-02T00:00:"), "{says}");
    site.host(place).terminate(DEADLINE);
    // The clock was set: it takes the release, and whatever becomes of the clock then, also later
    // ones.
    let place = start(&mut site, "a", |_| {});
    send(&site, &bundle).expect_exit(exit::DONE);
    site.host(place).terminate(DEADLINE);
    start(&mut site, "a", |command| {
        command.env("LD_PRELOAD", &library).env("FAKETIME", "@1970-01-02 00:00:00");
    });
    assert!(site.current("a").exists());
    send(&site, &signed(&site, "r2")).expect_exit(exit::DONE);
}

#[test]
fn a_host_with_another_hosts_key_says_itself_that_no_sender_answers_it_and_why() {
    let mut site = Site::new();
    let (keys, host) = keys(&site);
    done(site.fanfare(&["keygen", &text(&keys), "--host", "web-2"]));
    for (from, to) in [
        ("group.key", "group.key"),
        ("operator.pub", "operator.pub"),
        ("host-web-2.key", "host.key"),
    ] {
        fs::copy(keys.join(from), host.join(to)).expect("both are ours");
    }
    let mut command = command(product::fanhost());
    command.args(["run", "--interface", "lo", "--app", "shop", "--host", "web-1"]);
    command.args(["--group", &site.group().to_string(), "--keys", &text(&host)]);
    command.arg("--store").arg(site.store("web-1"));
    let place = site.start_command("web-1", &mut command);
    let made = "host.key was made for web-2, as its comment says, and this host is web-1";
    site.host(place).wait_for_stderr(made, DEADLINE);
    let bundle = signed(&site, "r1");
    let send = site.send(&bundle).keys_in(keys).expect(1).arg("--join-window").arg("5s");
    let mut sending = send.start_here(tests::lab::Family::V4, &site.logs());
    let line = "shop r1: the sender has not answered this host's JOIN for 3 s: nothing that it \
                says gets there (a firewall, a route back), or its host.key is not the one of \
                web-1 under";
    site.host(place).wait_for_stderr(line, DEADLINE);
    let status = done(site.verb("web-1", &["status"]));
    assert!(status.contains("; no-answer: the sender has not answered"), "{status}");
    assert!(status.contains("its comment says \"fanfare host key of web-2, master "), "{status}");
    sending.wait(DEADLINE).expect_exit(exit::NOBODY_JOINED);
}
