//! The tables of docs/OPERATIONS.md: every cause in them happens, with the code and message named.
//!
//! A row is `| cause | code | message | test |` below a heading "Exit codes of ...". In a message
//! `…` stands for anything. A test that is a bare name is staged here (`operations_stages`); `FILE
//! NAME` is a test elsewhere, which must exist. A row that nobody stages is a failure, and so is a
//! stage without a row: document and product say the same, or this says which does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use tests::process::Ending;

use crate::operations_stages::{FANFARE, FANHOST, Stage};
use crate::site::Site;

/// Rows that are staged side by side; most of them wait more than they work.
const LANES: usize = 4;

/// A row of a table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    cause: String,
    code: i32,
    message: String,
    test: String,
}

#[test]
fn fanfare_ends_as_its_table_says() {
    walk("fanfare", FANFARE);
}

#[test]
fn fanhost_ends_as_its_table_says() {
    walk("fanhost", FANHOST);
}

#[test]
fn every_exit_code_has_a_cause_in_its_table() {
    let codes = |program| -> Vec<i32> {
        let codes: BTreeSet<i32> = read_table(program).iter().map(|row| row.code).collect();
        codes.into_iter().collect()
    };
    // DESIGN, chapter 8.
    assert_eq!(codes("fanfare"), [0, 1, 2, 3, 4, 5, 6, 7, 8, 124, 130]);
    assert_eq!(codes("fanhost"), [0, 1, 2, 3, 5, 6, 7, 78]);
}

#[test]
fn rows_that_are_staged_elsewhere_name_a_test_that_exists() {
    for row in [read_table("fanfare"), read_table("fanhost")].into_iter().flatten() {
        let Some((file, name)) = row.test.split_once(' ') else { continue };
        let text = fs::read_to_string(root().join(file));
        let text = text.unwrap_or_else(|error| panic!("{}: {file}: {error}", row.cause));
        assert!(text.contains(&format!("fn {name}()")), "{}: {file} has no {name}", row.cause);
    }
}

/// Stages every row of the program's table that has a bare name for its test.
fn walk(program: &str, stages: &[(&str, Stage)]) {
    let table = read_table(program);
    let named: BTreeSet<&str> =
        table.iter().map(|row| row.test.as_str()).filter(|test| !test.contains(' ')).collect();
    let staged: BTreeSet<&str> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, staged, "the tests that the table names, and the stages there are");
    let wrong: Vec<String> = thread::scope(|scope| {
        let lanes = (0..LANES).map(|lane| {
            let rows = table.iter().skip(lane).step_by(LANES);
            scope.spawn(move || rows.filter_map(|row| stage(row, stages)).collect::<Vec<_>>())
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("its panic is printed")).collect()
    });
    assert!(wrong.is_empty(), "{} rows are not as written:\n{}", wrong.len(), wrong.join("\n"));
}

/// Stages a row, if it is staged here; answers with what is not as it says.
fn stage(row: &Row, stages: &[(&str, Stage)]) -> Option<String> {
    let (_, stage) = stages.iter().find(|(name, _)| *name == row.test)?;
    difference(row, &stage(&mut Site::new()))
}

/// What is not as the row says.
fn difference(row: &Row, ending: &Ending) -> Option<String> {
    let is_code = ending.code == Some(row.code);
    let is_said = says(&ending.stderr, &row.message) || says(&ending.stdout, &row.message);
    (!is_code || !is_said).then(|| {
        format!(
            "{}: expected {} and {:?}, got {:?} (signal {:?}) and\n{}{}",
            row.cause,
            row.code,
            row.message,
            ending.code,
            ending.signal,
            ending.stdout,
            ending.stderr
        )
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

fn read_table(program: &str) -> Vec<Row> {
    let path = root().join("docs/OPERATIONS.md");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = parse_table(&text, program);
    assert!(!rows.is_empty(), "{} has no exit codes of {program}", path.display());
    rows
}

fn parse_table(text: &str, program: &str) -> Vec<Row> {
    let heading = format!("Exit codes of {program}");
    let chapter = text.lines().skip_while(|line| !line.ends_with(&heading)).skip(1);
    let chapter = chapter.take_while(|line| !line.starts_with('#'));
    let rows = chapter.filter(|line| line.starts_with('|')).filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [cause, code, message, test] = cells[..] else {
            panic!("not a row of four cells: {line}")
        };
        Some(Row {
            cause: cause.to_owned(),
            code: code.parse().ok()?,
            message: message.trim_matches('`').to_owned(),
            test: test.to_owned(),
        })
    });
    rows.collect()
}

/// Whether a line of `text` begins with `message`, where each `…` stands for anything.
fn says(text: &str, message: &str) -> bool {
    let mut parts = message.split('…');
    let first = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let begins = |line: &str| {
        let mut rest = line.strip_prefix(first)?;
        for part in &parts {
            rest = &rest[rest.find(part)? + part.len()..];
        }
        Some(())
    };
    message.is_empty() || text.lines().any(|line| begins(line).is_some())
}

#[test]
fn a_table_is_read_and_its_messages_are_matched() {
    let text = "# Operations\n## Exit codes of fanfare\n\n| cause | code | message | test |\n\
                |---|---|---|---|\n\
                | nobody joined | 4 | `fanfare: nobody joined within … on …` | nobody |\n\
                ## More\n| x | 1 | y | z |\n";
    let table = parse_table(text, "fanfare");
    assert_eq!(table.len(), 1);
    let row = &table[0];
    assert_eq!((row.code, row.test.as_str()), (4, "nobody"));
    assert!(says("one\nfanfare: nobody joined within 2s on eth0\n", &row.message));
    assert!(!says("fanfare: nobody joined\n", &row.message));
    assert!(!says("and fanfare: nobody joined within 2s on eth0\n", &row.message));
}
