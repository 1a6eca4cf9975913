//! What the code cites of docs/PROTOCOL.md, against what stands there.
//!
//! A section is a heading that begins with its number (`## 6`, `### 6.3`); a rule is a paragraph
//! that begins with its number in bold (`**6.3** A host MUST …`). A citation is `PROTOCOL 6.3` in a
//! comment; several numbers may follow each other (`PROTOCOL 6.3, 6.5–6.7 and 7`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::source::{Finding, Source};

const DOCUMENT: &str = "docs/PROTOCOL.md";

/// The sections and rules of the document; none while it does not exist.
#[derive(Debug, Default)]
pub(crate) struct Document {
    numbers: BTreeSet<String>,
    musts: BTreeMap<String, usize>,
}

impl Document {
    /// Reads the document below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        Self::parse(&fs::read_to_string(root.join(DOCUMENT)).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut rule: Option<(String, usize)> = None;
        for (at, line) in text.lines().enumerate() {
            if let Some(number) = rule_number(line) {
                document.numbers.insert(number.clone());
                rule = Some((number, at + 1));
            } else if line.trim().is_empty() || line.starts_with('#') {
                rule = None;
                document.numbers.extend(section_number(line));
            }
            if line.contains("MUST")
                && let Some((number, begin)) = &rule
            {
                document.musts.entry(number.clone()).or_insert(*begin);
            }
        }
        document
    }
}

/// Citations of a section or rule that the document does not have.
pub(crate) fn dangling(document: &Document, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (line, number) in citations(source) {
            if !document.numbers.contains(&number) {
                let says = format!("cites PROTOCOL {number}, which {DOCUMENT} does not have");
                let remedy = "cite the rule by its present number, or write it";
                findings.push(Finding::new(source, line, says, remedy));
            }
        }
    }
    findings
}

/// Rules with a MUST that no code line, or no test line, cites.
pub(crate) fn uncited(document: &Document, sources: &[Source]) -> Vec<Finding> {
    let (mut by_code, mut by_tests) = (BTreeSet::new(), BTreeSet::new());
    for source in sources {
        for (line, number) in citations(source) {
            let is_test = source.lines[line - 1].is_test;
            if is_test { &mut by_tests } else { &mut by_code }.insert(number);
        }
    }
    let mut findings = Vec::new();
    for (number, line) in &document.musts {
        let mut miss = |cited: &BTreeSet<String>, who: &str, remedy: &'static str| {
            if !cited.contains(number) {
                let says = format!("MUST of rule {number} is cited by no {who}");
                findings.push(Finding::in_file(DOCUMENT, *line, says, remedy));
            }
        };
        miss(&by_code, "code", "put `// PROTOCOL n.m` where the code obeys it");
        miss(&by_tests, "test", "put `// PROTOCOL n.m` above the test that would fail without it");
    }
    findings
}

/// Cited numbers of a source, with their line.
fn citations(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // These files speak of citations without citing.
    let lines = if source.is_below("tests/tidy") { &[] } else { source.lines.as_slice() };
    for (at, line) in lines.iter().enumerate() {
        for (place, word) in line.comment.match_indices("PROTOCOL ") {
            let numbers = numbers(&line.comment[place + word.len()..]);
            found.extend(numbers.into_iter().map(|number| (at + 1, number)));
        }
    }
    found
}

/// The numbers at the beginning of `text`, as in `6.3, 6.4 and 7).`.
fn numbers(text: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    let mut rest = text;
    while let Some((number, behind)) = number(rest) {
        // `PROTOCOL 4.6, 4 hosts`: what a word follows is no number of a rule.
        let is_count = behind.strip_prefix(' ').is_some_and(|behind| {
            !behind.starts_with("and ") && behind.starts_with(char::is_alphanumeric)
        });
        if is_count && !numbers.is_empty() {
            break;
        }
        let range = behind.strip_prefix('–').and_then(self::number);
        let (last, behind) = range.unwrap_or_else(|| (number.clone(), behind));
        numbers.extend(between(&number, &last));
        let next = [", ", " and "].iter().find_map(|word| behind.strip_prefix(word));
        let Some(next) = next else { break };
        rest = next;
    }
    numbers
}

/// The numbers from `first` to `last`, which differ in their last part: `6.4–6.6`.
fn between(first: &str, last: &str) -> Vec<String> {
    let cut = |number: &str| {
        let (section, rule) = number.rsplit_once('.').unwrap_or(("", number));
        (section.to_owned(), rule.parse::<u32>().unwrap_or(0))
    };
    let ((section, from), (_, to)) = (cut(first), cut(last));
    let name = |rule: u32| match section.as_str() {
        "" => rule.to_string(),
        section => format!("{section}.{rule}"),
    };
    (from..=to).map(name).collect()
}

/// The number that `text` begins with, like `6` or `6.3`, and what is behind it.
fn number(text: &str) -> Option<(String, &str)> {
    let end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
    let number = text[..end].trim_end_matches('.');
    let is_number = !number.is_empty() && number.split('.').all(|part| !part.is_empty());
    is_number.then(|| (number.to_owned(), &text[number.len()..]))
}

fn rule_number(line: &str) -> Option<String> {
    let (number, behind) = number(line.strip_prefix("**")?)?;
    behind.starts_with("**").then_some(number)
}

fn section_number(line: &str) -> Option<String> {
    let title = line.trim_start_matches('#');
    if title.len() == line.len() {
        return None;
    }
    number(title.trim_start()).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Protocol\n## 6 Repair\n\n**6.1** A host MUST wait.\n\n\
                        **6.2** It may\nspeak, and MUST\nbe heard.\n\n**6.3** It may rest.\n";

    fn source(path: &str, text: &str) -> Source {
        Source::parse(Path::new(path), text)
    }

    #[test]
    fn sections_and_rules_are_read() {
        let document = Document::parse(TEXT);
        let numbers: Vec<&str> = document.numbers.iter().map(String::as_str).collect();
        assert_eq!(numbers, ["6", "6.1", "6.2", "6.3"]);
        let musts: Vec<_> = document.musts.into_iter().collect();
        assert_eq!(musts, [("6.1".to_owned(), 4), ("6.2".to_owned(), 6)]);
    }

    #[test]
    fn several_numbers_may_follow_each_other() {
        assert_eq!(numbers("6.3."), ["6.3"]);
        assert_eq!(numbers("4.6, 4.7)"), ["4.6", "4.7"]);
        assert_eq!(numbers("2 and 4)."), ["2", "4"]);
        assert_eq!(numbers("6.4–6.6, 7"), ["6.4", "6.5", "6.6", "7"]);
        assert_eq!(numbers("6.3, 4 hosts"), ["6.3"]);
        assert_eq!(numbers("6.3 says"), ["6.3"]);
        assert_eq!(numbers("of old"), Vec::<String>::new());
    }

    #[test]
    fn a_citation_of_nothing_is_found() {
        let document = Document::parse(TEXT);
        let cites = source("common/src/x.rs", "//! Waits (PROTOCOL 6.1).\n// PROTOCOL 6.9\n");
        let findings = dangling(&document, &[cites]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with("common/src/x.rs:2: cites PROTOCOL 6.9, "));
    }

    #[test]
    fn a_must_needs_code_and_a_test() {
        let document = Document::parse(TEXT);
        let code = source("common/src/x.rs", "// PROTOCOL 6.1 and 6.2\n");
        let test = source("tests/sim/x.rs", "// PROTOCOL 6.1\n");
        let said: Vec<String> =
            uncited(&document, &[code, test]).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("docs/PROTOCOL.md:6: MUST of rule 6.2 is cited by no test"));
    }
}
