//! That docs/SECURITY.md cites tests that exist: each row of its threat model names a file of
//! tests, and the tests in it by their names.
//!
//! Not here: whether they show what the row says, which only a reader can tell.
#![expect(clippy::disallowed_methods, reason = "it reads the document and the tests")]

use std::fs;
use std::path::Path;

/// Rows of the threat model, without heads and rules.
pub(crate) fn rows(document: &str) -> Vec<&str> {
    let table = document.lines().skip_while(|line| !line.starts_with("| attacker |"));
    table.skip(2).take_while(|line| line.starts_with("| ")).collect()
}

/// What is wrong with the citations of one row.
pub(crate) fn objections(row: &str, root: &Path) -> Vec<String> {
    let cells: Vec<&str> = row.trim_matches([' ', '|']).split(" | ").collect();
    let [attacker, .., cited] = cells.as_slice() else { return vec![format!("no row: {row}")] };
    let (mut objections, mut file) = (Vec::new(), None);
    for word in cited.split([' ', ',', ';', '(', ')']) {
        if word.ends_with(".rs") {
            file = fs::read_to_string(root.join(word)).ok();
            if file.is_none() {
                objections.push(format!("{attacker}: there is no {word}"));
            }
        } else if word.matches('_').count() > 1 {
            let is_there = file.as_ref().is_some_and(|it| it.contains(&format!("fn {word}()")));
            if !is_there {
                objections.push(format!("{attacker}: the file before it has no test {word}"));
            }
        }
    }
    if !cited.contains(".rs") {
        objections.push(format!("{attacker}: no test is named"));
    }
    objections.into_iter().map(|objection| format!("docs/SECURITY.md: {objection}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cited_and_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.rs"), "fn one_of_these() {}\n").unwrap();
        let document = "| attacker | can | shown by |\n|---|---|---|\n\
                        | he | do | a.rs one_of_these; a.rs (all) |\n\
                        | she | do | a.rs none_of_these, b.rs; one_of_these |\n\
                        | it | do | nothing |\n\nmore\n| no | row |\n";
        let found: Vec<_> =
            rows(document).iter().flat_map(|row| objections(row, directory.path())).collect();
        let expected = [
            "docs/SECURITY.md: she: the file before it has no test none_of_these",
            "docs/SECURITY.md: she: there is no b.rs",
            "docs/SECURITY.md: she: the file before it has no test one_of_these",
            "docs/SECURITY.md: it: no test is named",
        ];
        assert_eq!(found, expected);
    }
}
