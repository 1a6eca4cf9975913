//! That `tests/run` installs what tests and the lab call, seen by comparing its list with the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::source::{Finding, Source};

/// Debian's essential packages have them.
const ESSENTIAL: [&str; 6] = ["bash", "echo", "sh", "sleep", "tar", "touch"];
/// What `bench/` can do without: it says so, and how to get it.
const OPTIONAL: [&str; 7] =
    ["callgrind_annotate", "git", "perf", "udp-receiver", "udp-sender", "uftp", "uftpd"];
/// What a test calls because there is no such program.
const NONEXISTENT: &str = "mkfs.none";
/// How a program is called, up to its name.
const CALLS: [&str; 4] = ["Command::new(\"", "command(\"", "tool(\"", "Tool { name: \""];

/// The programs of the list called TOOLS in `tests/run`.
pub(crate) fn installed(root: &Path) -> BTreeSet<String> {
    let script = fs::read_to_string(root.join("tests/run")).expect("tests/run is there");
    let list = script.split_once("TOOLS=(").and_then(|(_, rest)| rest.split_once(')'));
    let (list, _) = list.expect("tests/run has a list called TOOLS");
    let names = list.split_whitespace().filter_map(|item| item.split_once(':'));
    names.map(|(program, _)| program.to_owned()).collect()
}

/// Calls of programs that nobody installs. Files of the product itself are looked at as well: what
/// it calls, its tests call.
pub(crate) fn missing(source: &Source, installed: &BTreeSet<String>) -> Vec<Finding> {
    let is_known = |name: &str| {
        let is_excused = ESSENTIAL.contains(&name) || OPTIONAL.contains(&name);
        installed.contains(name) || is_excused || name == NONEXISTENT
    };
    let lines = source.lines.iter().zip(1..);
    let calls = lines.flat_map(|(line, at)| called(&line.text).map(move |name| (name, at)));
    let unknown = calls.filter(|(name, _)| !is_known(name));
    unknown
        .map(|(name, at)| {
            let says = format!("calls {name}, which tests/run does not install");
            Finding::new(source, at, says, "add it to TOOLS with its package")
        })
        .collect()
}

/// The programs that a line names.
fn called(line: &str) -> impl Iterator<Item = &str> {
    let of = move |call: &'static str| {
        line.match_indices(call).filter_map(move |(at, _)| {
            let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let is_longer = line[..at].chars().next_back().is_some_and(is_word);
            let name = line[at + call.len()..].split('"').next()?;
            // An empty name is this file's own list; a placeholder is no name.
            (!is_longer && !name.is_empty() && !name.contains(['{', '/', ' '])).then_some(name)
        })
    };
    CALLS.into_iter().flat_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_form() {
        let of = |line| called(line).collect::<Vec<_>>();
        assert_eq!(of(r#"node.tool("nft", "list")"#), ["nft"]);
        assert_eq!(of(r#"let it = Command::new("mke2fs");"#), ["mke2fs"]);
        assert_eq!(of(r#"site.daemon_command("a")"#), [""; 0]);
        assert_eq!(of(r#"const T: Tool = Tool { name: "debugfs", package"#), ["debugfs"]);
        assert_eq!(of("command(product::fanhost())"), [""; 0]);
    }
}
