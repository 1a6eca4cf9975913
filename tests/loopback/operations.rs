//! The table of docs/OPERATIONS.md: every cause in it happens, with the code and message it names.
//!
//! A row is `| cause | code | message |` below the heading "Exit codes". In a message, `…` stands
//! for anything. A cause that no test stages here is a failure, and so is a staged cause that the
//! table does not have: the document and the product say the same, or this says which does not.
#![expect(clippy::disallowed_methods, reason = "it reads the document and damages a bundle")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tests::outcome::exit;
use tests::process::{Ending, Running, command};
use tests::product::{self, Image};

use crate::site::{DEADLINE, Site};

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    code: i32,
    message: String,
}

/// How a cause is staged; answers with the end of the command that meets it.
type Stage = fn(&mut Site) -> Ending;

/// The causes that are staged here. Those that need a network or root are staged in `tests/lab`,
/// which has no row to compare: they are listed with `None`.
const STAGES: [(&str, Option<Stage>); 14] = [
    ("every expected host is active", Some(all_active)),
    ("`--expect` is missing", Some(no_expectation)),
    ("an argument is unknown", Some(unknown_argument)),
    ("the group is not multicast", Some(no_multicast)),
    ("nobody joined", Some(nobody)),
    ("fewer hosts than expected got there", Some(too_few)),
    ("the bundle is damaged", Some(damaged)),
    ("the interface does not exist", Some(no_interface)),
    ("a key of the configuration file is unknown", Some(unknown_key)),
    ("`--timeout` passed", Some(timeout)),
    ("the store is read-only or full", None),
    ("another sender is sending this app", None),
    ("interrupted by Ctrl-C", None),
    ("our own fault", None),
];

#[test]
fn every_row_of_the_table_happens_as_it_is_written() {
    let table = read_table();
    let staged: BTreeMap<&str, Option<Stage>> = STAGES.into_iter().collect();
    let unknown: Vec<_> = table.keys().filter(|it| !staged.contains_key(it.as_str())).collect();
    assert!(unknown.is_empty(), "causes in docs/OPERATIONS.md that nobody stages: {unknown:?}");
    for (cause, stage) in staged {
        let row = table.get(cause);
        let row = row.unwrap_or_else(|| panic!("docs/OPERATIONS.md has no row for {cause:?}"));
        let Some(stage) = stage else { continue };
        let ending = stage(&mut Site::new());
        assert_eq!(ending.code, Some(row.code), "{cause}: {}", ending.stderr);
        assert!(
            says(&ending.stderr, &row.message),
            "{cause}: {:?} is not in\n{}",
            row.message,
            ending.stderr
        );
    }
}

fn read_table() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse_table(&text)
}

fn parse_table(text: &str) -> BTreeMap<String, Row> {
    let chapter = text.lines().skip_while(|line| !line.ends_with("Exit codes")).skip(1);
    let chapter = chapter.take_while(|line| !line.starts_with('#'));
    let mut rows = BTreeMap::new();
    for line in chapter.filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [cause, code, message] = cells[..]
            && let Ok(code) = code.parse()
        {
            let message = message.trim_matches('`').to_owned();
            rows.insert(cause.to_owned(), Row { code, message });
        }
    }
    rows
}

/// Whether a line of `text` has the parts of `message` between its `…`, in their order.
fn says(text: &str, message: &str) -> bool {
    let has_parts = |line: &str| {
        let mut rest = line;
        message.split('…').map(str::trim).all(|part| {
            let found = rest.find(part).map(|at| &rest[at + part.len()..]);
            found.is_some_and(|behind| {
                rest = behind;
                true
            })
        })
    };
    message.is_empty() || text.lines().any(has_parts)
}

fn all_active(site: &mut Site) -> Ending {
    site.start("a");
    send(site, &["--expect", "1"])
}

fn no_expectation(site: &mut Site) -> Ending {
    send(site, &[])
}

fn unknown_argument(site: &mut Site) -> Ending {
    send(site, &["--expect", "1", "--colour", "red"])
}

fn no_multicast(site: &mut Site) -> Ending {
    send(site, &["--expect", "1", "--group", "127.0.0.1:7070"])
}

fn nobody(site: &mut Site) -> Ending {
    send(site, &["--expect", "1", "--join-window", "300ms"])
}

fn too_few(site: &mut Site) -> Ending {
    site.start("a");
    send(site, &["--expect", "2", "--join-window", "500ms"])
}

fn damaged(site: &mut Site) -> Ending {
    let path = site.bundle("r1", Image::Tar).path;
    let mut content = fs::read(&path).expect("it was packed");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&path, content).expect("the directory is ours");
    site.fanfare(&["verify", &path.to_string_lossy()])
}

fn no_interface(site: &mut Site) -> Ending {
    send(site, &["--expect", "1", "--interface", "eth77"])
}

fn unknown_key(site: &mut Site) -> Ending {
    let path = site.write("fanhost.toml", "[app.shop]\ncolour = 1\n");
    let mut command = command(product::fanhost());
    command.args(["run", "--insecure", "--config"]).arg(path);
    Running::start("fanhost", &mut command, &site.logs()).wait(DEADLINE)
}

fn timeout(site: &mut Site) -> Ending {
    // A megabyte at 100 kbit/s takes eighty seconds.
    site.start("a");
    send(site, &["--expect", "1", "--rate", "100kbit", "--timeout", "2s"])
}

/// `fanfare send` of a small release through the loopback with `arguments`, which come last and so
/// win over what stands before them.
fn send(site: &Site, arguments: &[&str]) -> Ending {
    let bundle = site.bundle("r1", Image::Tar).path;
    let group = site.group().to_string();
    let bundle = bundle.to_string_lossy();
    let mut all = vec!["send", &bundle, "--insecure", "--interface", "lo", "--group", &group];
    all.extend(arguments);
    site.fanfare(&all)
}

#[test]
fn a_table_is_read_and_its_messages_are_matched() {
    let text = "# Operations\n## Exit codes\n\n| cause | code | message |\n|---|---|---|\n\
                | nobody joined | 4 | `nobody joined within … on …` |\n## More\n| x | 1 | y |\n";
    let table = parse_table(text);
    assert_eq!(table.len(), 1);
    let row = &table["nobody joined"];
    assert_eq!(row.code, exit::NOBODY_JOINED);
    assert!(says("fanfare: nobody joined within 2s on eth0\n", &row.message));
    assert!(!says("fanfare: nobody joined\n", &row.message));
}
