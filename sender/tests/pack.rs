//! The binary as an operator meets it: codes, lines, and what an interrupt leaves behind.
#![expect(clippy::disallowed_methods, reason = "makes real files and waits for a real process")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

fn fanfare(arguments: &[&str], within: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.args(arguments).current_dir(within).stdin(Stdio::null());
    command.env_remove("SOURCE_DATE_EPOCH").env_remove("TMPDIR");
    command
}

fn stderr_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_packed_file_is_inspected_and_verified_as_text_and_json() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("file"), "some words ".repeat(100_000)).unwrap();
    let pack = ["pack", "file", "--app", "shop", "--release", "v1", "-o", "x.fan", "--json"];
    let output = fanfare(&pack, site.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let packed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(packed["schema"], 1);
    assert_eq!(packed["image"]["bytes"], 1_100_000);
    for verb in ["inspect", "verify"] {
        let text = fanfare(&[verb, "x.fan"], site.path()).output().unwrap();
        assert!(text.status.success(), "{text:?}");
        let release = packed["release"].as_str().unwrap();
        assert!(String::from_utf8(text.stdout).unwrap().contains(release), "{verb}");
        let json = fanfare(&[verb, "x.fan", "--json"], site.path()).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!((&json["schema"], &json["release"]), (&packed["schema"], &packed["release"]));
    }
}

#[test]
fn mistakes_are_one_line_with_their_code() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("notes.fan"), "these are notes").unwrap();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["verify", "notes.fan"], 5, "notes.fan: it is not a fanfare bundle"),
        (&["verify", "none.fan"], 2, "none.fan: cannot open it"),
        (&["pack", "x", "--app", "shop", "--release", "v", "-o", "y"], 2, "cannot read x"),
        (&["pack", "x", "--app", "a b", "--release", "v", "-o", "y"], 2, "is not a name"),
    ];
    for (arguments, code, words) in cases {
        let output = fanfare(arguments, site.path()).output().unwrap();
        let line = stderr_line(&output);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(line.starts_with("fanfare: ") && line.contains(words), "{line}");
    }
}

#[test]
fn an_output_that_is_a_device_is_left_alone_and_a_link_is_followed() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("file"), "some words").unwrap();
    let pack = |output: &str| {
        let pack = ["pack", "file", "--app", "shop", "--release", "v1", "-q", "-o", output];
        fanfare(&pack, site.path()).output().unwrap()
    };
    let pipe = site.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    let output = pack("pipe");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr_line(&output).contains("is no regular file"));
    assert!(!pipe.is_file());
    fs::write(site.path().join("target"), "").unwrap();
    std::os::unix::fs::symlink("target", site.path().join("link")).unwrap();
    assert!(pack("link").status.success());
    assert!(site.path().join("link").is_symlink());
    assert!(fs::metadata(site.path().join("target")).unwrap().len() > 100);
}

#[test]
fn an_expired_bundle_is_not_sent() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("file"), "some words").unwrap();
    let pack = ["pack", "file", "--app", "shop", "--release", "v1", "-q", "-o", "x.fan"];
    let times = ["--created", "1700000000", "--expires", "1h"];
    let packed = fanfare(&[&pack[..], &times[..]].concat(), site.path()).output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let send = ["send", "x.fan", "--expect", "1", "--interface", "lo", "--insecure"];
    let output = fanfare(&send, site.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(stderr_line(&output).contains("has expired"));
}

#[test]
fn an_archive_cut_short_is_not_taken_as_raw_by_itself() {
    let site = tempfile::tempdir().unwrap();
    let whole = zstd::encode_all(&b"a tar, or so it says".repeat(9000)[..], 3).unwrap();
    fs::write(site.path().join("a.tar.zst"), &whole[..whole.len() / 2]).unwrap();
    let pack = ["pack", "a.tar.zst", "--app", "shop", "--release", "v1", "-q", "-o", "x.fan"];
    let output = fanfare(&pack, site.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(stderr_line(&output).contains("cut short"));
    let raw = [&pack[..], &["--image", "raw"]].concat();
    assert!(fanfare(&raw, site.path()).output().unwrap().status.success());
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let site = tempfile::tempdir().unwrap();
    let raw = fs::File::create(site.path().join("raw")).unwrap();
    // Long enough to be hashed for some seconds, and nothing on disk.
    raw.set_len(40 << 30).unwrap();
    let mut text = vec![b'x'; 1 << 20];
    text[7] = b'y';
    std::os::unix::fs::FileExt::write_all_at(&raw, &text, 0).unwrap();
    let pack = ["pack", "raw", "--app", "shop", "--release", "v1", "-o", "x.fan"];
    let child =
        fanfare(&pack, site.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    // Lines of progress may come before it.
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.lines().last().is_some_and(|line| line.contains("interrupted")), "{text}");
    let left: Vec<_> =
        fs::read_dir(site.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["raw"]);
}
