//! That the measuring programs find figures that can be, and leave the machine as it was.
#![expect(clippy::disallowed_methods, reason = "it looks for what is left on the machine")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tests::process::{Running, command, holds_within};
use tests::product;

const PATIENCE: Duration = Duration::from_secs(120);
const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

fn start(program: &str, arguments: &str, logs: &Path) -> Running {
    let mut bench = command(product::bench(program));
    Running::start(program, bench.args(arguments.split_whitespace()), logs)
}

/// Asserts that neither a machine nor a directory of the labs of process `pid` is left.
fn expect_nothing_left(pid: u32) {
    let prefix = format!("fanlab-{pid}-");
    let is_ours = |name: String| name.starts_with(&prefix);
    let directories = fs::read_dir(std::env::temp_dir()).expect("files can be made").flatten();
    let mut names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    assert!(!names.any(is_ours), "a directory of {prefix} is left");
    let processes = || fs::read_dir("/proc").expect("this is Linux").flatten();
    let line = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let is_named = |line: Vec<u8>| is_ours(String::from_utf8_lossy(&line).into_owned());
    let is_alone = || !processes().map(line).any(is_named);
    assert!(holds_within(Duration::from_secs(5), is_alone), "a machine of {prefix} is left");
}

#[test]
fn the_comparison_keeps_figures_that_can_be_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("files can be made");
    let place = directory.path().join("figures");
    let arguments = format!(
        "--hosts 2 --megabytes 24 --loss 0,1 --runs 2 --tries 1 --contestants fanfare,ceiling \
         --rate-limit 500Mbit --write {}",
        place.display()
    );
    let mut compare = start("compare", &arguments, directory.path());
    let ending = compare.wait(PATIENCE);
    assert_eq!(ending.code, Some(0), "{}{}", ending.stdout, ending.stderr);
    expect_nothing_left(compare.pid());
    let text = fs::read_to_string(place.join("compare.json")).expect("the figures are there");
    let report: Value = serde_json::from_str(&text).expect("an object");
    let cells = report["cells"].as_array().expect("a list");
    assert_eq!(cells.len(), 2, "{text}");
    for cell in cells {
        let entry = &cell["entries"][0];
        assert_eq!(
            (&entry["name"], entry["failures"].as_array()),
            (&"fanfare".into(), Some(&vec![]))
        );
        assert_eq!(cell["ceiling_bits_per_second"].as_array().map(Vec::len), Some(2), "{text}");
        let runs = entry["runs"].as_array().expect("a list");
        assert_eq!(runs.len(), 2, "{text}");
        for run in runs {
            let number = |name: &str| run[name].as_f64().expect("a number");
            assert!((0.1..60.0).contains(&number("seconds")), "{run}");
            // Headers are 5 %, repairs some more.
            let share = number("wire_bytes") / f64::from(24 << 20);
            assert!((1.05..1.5).contains(&share), "{run}");
            // The link carries 500 Mbit/s, and has saved up ten milliseconds of it at the start.
            assert!(number("wire_bits_per_second") < 550e6, "{run}");
            assert!(
                number("sender_cpu_seconds") > 0.0 && number("host_cpu_seconds") > 0.0,
                "{run}"
            );
        }
        let usage = &entry["usage"];
        assert!(usage["host_bytes"].as_u64() > Some(8 << 20), "{usage}");
        assert!(usage["host_stages"]["worker"].as_f64() >= Some(0.0), "{usage}");
    }
    for file in ["compare-500Mbits.md", "compare-500Mbits.svg"] {
        assert!(place.join(file).is_file(), "{file} in {place:?}");
    }
}

#[test]
fn an_interrupted_comparison_says_so_and_leaves_nothing() {
    let before = fs::read_to_string(RMEM_MAX).expect("this is Linux");
    let rmem_max: u64 = before.trim().parse().expect("a number");
    for moment in ["MiB to 2 hosts", "trying"] {
        let logs = tempfile::tempdir().expect("files can be made");
        let arguments = format!(
            "--hosts 2 --megabytes 64 --loss 0 --contestants fanfare --rmem {}B --settings {}",
            rmem_max + 4096,
            logs.path().join("settings.json").display()
        );
        let mut compare = start("compare", &arguments, logs.path());
        compare.wait_until(moment, PATIENCE, |it| it.stdout().contains(moment));
        let changed = fs::read_to_string(RMEM_MAX).expect("this is Linux");
        assert_eq!(changed.trim(), (rmem_max + 4096).to_string());
        // As a terminal does it: to the whole group.
        let group = Pid::from_raw(compare.pid().cast_signed()).expect("a process id");
        kill_process_group(group, Signal::INT).expect("it runs");
        let ending = compare.wait(PATIENCE);
        assert_eq!(ending.code, Some(130), "{moment}: {}{}", ending.stdout, ending.stderr);
        let line = "compare: interrupted; nothing is left of it\n";
        assert!(ending.stderr.ends_with(line), "{moment}: {}", ending.stderr);
        expect_nothing_left(compare.pid());
        assert_eq!(fs::read_to_string(RMEM_MAX).expect("this is Linux"), before);
    }
}

#[test]
fn a_small_crowd_is_verified_and_leaves_nothing() {
    let logs = tempfile::tempdir().expect("files can be made");
    let mut crowd = start("crowd", "--hosts 5 --megabytes 4 --loss 1", logs.path());
    let ending = crowd.wait(PATIENCE);
    assert_eq!(ending.code, Some(0), "{}{}", ending.stdout, ending.stderr);
    assert!(ending.stdout.contains("5 of 5 hosts"), "{}", ending.stdout);
    expect_nothing_left(crowd.pid());
}
