//! Command lines and configurations that make no sense: one line, the right code, no effect.

use std::path::Path;

use tests::outcome::{exit, one_line};
use tests::process::{Ending, Running, command};
use tests::product::{self, Image, Pack};

use crate::boot::fake_clock;
use crate::site::{DEADLINE, Site};

fn fanhost(site: &Site, arguments: &[&str]) -> Ending {
    let mut command = command(product::fanhost());
    Running::start("fanhost", command.args(arguments), &site.logs()).wait(DEADLINE)
}

#[test]
fn send_without_an_expectation_is_a_usage_error() {
    let site = Site::new();
    let bundle = site.bundle("r1", Image::Tar);
    let outcome = site.run(&site.send(&bundle)).expect_exit(exit::USAGE);
    assert!(outcome.ending.stderr.contains("--expect"), "{}", outcome.ending.stderr);
}

#[test]
fn an_unknown_argument_is_a_usage_error_on_both_sides() {
    let site = Site::new();
    let ending = site.fanfare(&["send", "x.fan", "--expct", "3"]);
    assert_eq!(ending.code, Some(exit::USAGE), "{}", ending.stderr);
    assert!(ending.stderr.contains("--expct"), "{}", ending.stderr);
    let ending = fanhost(&site, &["run", "--stroe", "/nowhere"]);
    assert_eq!(ending.code, Some(exit::USAGE), "{}", ending.stderr);
}

#[test]
fn an_unknown_key_of_the_configuration_is_named_with_its_line() {
    let site = Site::new();
    let store = site.store("a");
    for (text, key) in [
        (format!("store = \"{}\"\ncolour = \"red\"\n", store.display()), "colour"),
        ("[app.shop]\nkeeep = 3\n".to_owned(), "keeep"),
    ] {
        let path = site.write("fanhost.toml", &text);
        let ending = fanhost(&site, &["run", "--insecure", "--config", &text_of(&path)]);
        assert_eq!(ending.code, Some(exit::CONFIG), "{}", ending.stderr);
        let line = one_line(&ending.stderr);
        assert!(line.contains(key) && line.contains("fanhost.toml:2"), "{line}");
    }
    assert!(!store.exists(), "a refused configuration has no effect");
}

#[test]
fn a_file_that_is_no_bundle_is_refused() {
    let site = Site::new();
    let path = site.write("notes.fan", "these are notes\n");
    for verb in ["inspect", "verify"] {
        let ending = site.fanfare(&[verb, &text_of(&path)]);
        assert_eq!(ending.code, Some(exit::REFUSED), "{verb}: {}", ending.stderr);
        assert!(one_line(&ending.stderr).contains("notes.fan"), "{}", ending.stderr);
    }
}

#[test]
fn names_that_would_be_paths_are_refused() {
    let site = Site::new();
    let tree = text_of(&site.tree("r1"));
    let output = text_of(&site.path().join("out.fan"));
    for (app, label) in [("../etc", "r1"), ("shop", ".."), ("shop", "a/b"), ("", "r1")] {
        let ending = site.fanfare(&[
            "pack",
            &tree,
            "--app",
            app,
            "--release",
            label,
            "--image",
            "tar",
            "-o",
            &output,
        ]);
        assert_eq!(ending.code, Some(exit::USAGE), "{app:?} {label:?}: {}", ending.stderr);
    }
    assert!(!Path::new(&output).exists());
}

#[test]
fn a_dry_run_sends_nothing() {
    let mut site = Site::new();
    let place = site.start("a");
    let bundle = site.bundle("r1", Image::Tar);
    site.run(&site.send(&bundle).expect(1).arg("--dry-run")).expect_exit(exit::DONE);
    assert!(!site.current("a").exists());
    assert!(site.host(place).is_running());
}

#[test]
fn a_release_that_expires_on_its_way_is_refused_by_the_host() {
    // The sender looks by its own clock; the host by its own, which is three days ahead.
    let mut site = Site::new();
    let pack = Pack::of(&site.tree("r1"), "r1", Image::Tar).arg("--expires=1day");
    let bundle = pack.run(site.path());
    let mut command = site.daemon_command("a");
    command.env("LD_PRELOAD", fake_clock()).env("FAKETIME", "+3d");
    site.start_command("a", &mut command);
    let outcome = site.run(&site.send(&bundle).expect(1)).expect_exit(exit::NOT_REACHED);
    let host = outcome.host("a");
    assert_eq!(host.state, "failed", "{host:?}");
    assert!(host.reason.starts_with("shop r1: it has expired at "), "{host:?}");
    assert!(host.reason.contains("(this host's clock says "), "{host:?}");
    assert!(!site.current("a").exists());
}

#[test]
fn a_current_that_cannot_be_switched_keeps_all_on_the_old_release() {
    let mut site = Site::new();
    site.start("a");
    let first = site.bundle("r1", Image::Tar);
    site.run(&site.send(&first).expect(1)).expect_exit(exit::DONE);
    let precious = site.current("b").join("precious");
    std::fs::create_dir_all(&precious).expect("the directory is ours");
    site.start("b");
    let second = site.bundle("r2", Image::Tar);
    let outcome = site.run(&site.send(&second).expect(2)).expect_exit(exit::NOT_REACHED);
    let (a, b) = (outcome.host("a"), outcome.host("b"));
    assert_eq!((a.state.as_str(), b.state.as_str()), ("staged", "failed"), "{}", outcome.report());
    assert!(b.reason.contains("is no link but a directory: move it away"), "{b:?}");
    assert!(precious.exists());
    let link = std::fs::read_link(site.current("a")).expect("r1 is current");
    assert!(link.starts_with("releases") && text_of(&link).contains("/r1-"), "{}", link.display());
}

#[test]
fn a_host_that_is_not_on_the_list_is_named_and_left_out() {
    let mut site = Site::new();
    site.start("a");
    let place = site.start("b");
    let names = site.write("names", "a\n");
    let bundle = site.bundle("r1", Image::Tar);
    let send = site.send(&bundle).expect_text(&format!("@{}", names.display()));
    // Slow enough that b, whose JOIN may be the later one, is heard before all is over.
    let outcome = site.run(&send.rate("1Mbit")).expect_exit(exit::DONE);
    let said = &outcome.ending.stderr;
    let named = said.lines().filter(|line| {
        line.starts_with("fanfare: b at 127.0.0.1:") && line.ends_with("joins but is not expected")
    });
    assert_eq!(named.count(), 1, "{said}");
    assert_eq!(outcome.hosts().len(), 1, "{}", outcome.report());
    assert!(!site.current("b").exists());
    let log = site.host(place).stderr();
    assert!(log.contains("not taken in: not expected"), "{log}");
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
