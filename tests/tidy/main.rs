//! The tree checks itself: rules that no compiler checks, each with a file, a line and a remedy.
//!
//! [`source`] reads a file into lines of code and of comment; [`rules`] judges one file at a time;
//! [`protocol`] compares what the code cites with what docs/PROTOCOL.md says; [`programs`] what it
//! calls with what `tests/run` installs; [`supply`] what it is built from with `deny.toml`;
//! [`threats`] the tests that docs/SECURITY.md cites with those that exist.

mod programs;
mod protocol;
mod rules;
mod source;
mod supply;
mod threats;

use std::path::{Path, PathBuf};

use crate::source::{Finding, Source};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

/// Panics with all findings, one a line, when there are any.
#[track_caller]
fn assert_none(findings: &[Finding]) {
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} findings\n{}\n", list.len(), list.join("\n"));
}

/// Findings of `rule` in every source.
fn judge(rule: fn(&Source) -> Vec<Finding>) -> Vec<Finding> {
    source::read_all(&root()).iter().flat_map(rule).collect()
}

#[test]
fn lines_fit_a_hundred_columns() {
    assert_none(&judge(rules::long_lines));
    let scripts = source::read_scripts(&root());
    assert!(!scripts.is_empty(), "tests/run is a script");
    assert_none(&scripts.iter().flat_map(rules::long_lines).collect::<Vec<_>>());
}

#[test]
fn functions_fit_seventy_lines() {
    assert_none(&judge(rules::long_functions));
}

#[test]
fn files_fit_seven_hundred_lines() {
    assert_none(&judge(rules::long_files));
}

#[test]
fn nothing_unfinished_or_switched_off_is_left() {
    assert_none(&judge(rules::unfinished));
}

#[test]
fn every_module_says_what_it_is() {
    assert_none(&judge(rules::headerless));
}

#[test]
fn sender_and_receiver_do_not_know_each_other() {
    assert_none(&judge(rules::crossed_roles));
}

#[test]
fn pure_modules_do_not_touch_the_world() {
    assert_none(&judge(rules::impure));
}

#[test]
fn nothing_is_called_that_the_units_refuse() {
    assert_none(&judge(rules::refused_by_units));
}

#[test]
fn what_is_unsafe_is_in_one_module() {
    assert_none(&judge(rules::unsafe_elsewhere));
    let place = |source: &Source| source.is_below(rules::UNSAFE.trim_end_matches('/'));
    let sources = source::read_all(&root());
    assert!(sources.iter().filter(|source| place(source)).count() > 1, "the module is there");
}

#[test]
fn every_program_that_is_called_is_installed_by_tests_run() {
    let installed = programs::installed(&root());
    let sources = source::read_all(&root());
    let missing = sources.iter().flat_map(|source| programs::missing(source, &installed));
    assert_none(&missing.collect::<Vec<_>>());
}

#[test]
fn everything_built_from_is_allowed_by_deny_toml() {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    let rules = supply::Rules::parse(&text).unwrap_or_else(|error| panic!("deny.toml: {error}"));
    let crates = rules.crates(&root());
    assert!(crates.len() > 100, "cargo knows {} crates", crates.len());
    let objections: Vec<String> = crates.iter().flat_map(|it| rules.objections(it)).collect();
    assert!(objections.is_empty(), "{}\n", objections.join("\n"));
}

#[test]
fn every_row_of_the_threat_model_names_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("docs/SECURITY.md")).expect("it is there");
    let rows = threats::rows(&text);
    assert!(rows.len() > 10, "{} rows", rows.len());
    let objections: Vec<_> =
        rows.iter().flat_map(|row| threats::objections(row, &root())).collect();
    assert!(objections.is_empty(), "{}\n", objections.join("\n"));
}

#[test]
fn every_citation_of_the_protocol_names_a_rule_that_exists() {
    let document = protocol::Document::read(&root());
    assert_none(&protocol::dangling(&document, &source::read_all(&root())));
}

#[test]
fn every_must_of_the_protocol_is_cited_by_code_and_by_a_test() {
    let document = protocol::Document::read(&root());
    assert_none(&protocol::uncited(&document, &source::read_all(&root())));
}
