//! Command lines and configurations that make no sense: one line, the right code, no effect.

use std::path::Path;

use tests::outcome::{exit, one_line};
use tests::process::{Ending, Running, command};
use tests::product::{self, Image};

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

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
