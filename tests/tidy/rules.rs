//! Rules about one file at a time.

use crate::source::{Finding, Line, Source};

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 700;

/// Marks that something was left for later, and switches that turn a test off.
///
/// Put together from halves, so that this file does not find itself.
const UNFINISHED_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNFINISHED_CODE: [&str; 4] = ["dbg!(", "todo!(", "unimplemented!(", "#[ignore"];

/// Directories whose modules are pure, and the impure places in them.
///
/// A place ending in a slash is a directory. The list is the purity line of ARCHITECTURE.md.
const PURE: [&str; 3] = ["common/src/", "sender/src/session/", "receiver/src/session/"];
const IMPURE: [&str; 7] = [
    "common/src/bundle/file.rs",
    "common/src/bundle/ordered.rs",
    "common/src/clock.rs",
    "common/src/guard.rs",
    "common/src/keys/file.rs",
    "common/src/net/",
    "common/src/sys/",
];

/// The one module that may be unsafe; that each block there has its reason is clippy's to see.
pub(crate) const UNSAFE: &str = "common/src/sys/";

/// What belongs to the world. Addresses of `std::net` and `Duration` do not.
const WORLD: [&str; 29] = [
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "common::clock",
    "common::net",
    "common::sys::files",
    "common::sys::landlock",
    "common::sys::processes",
    "common::sys::sockets",
    "crate::clock",
    "crate::net",
    "crate::sys::files",
    "crate::sys::landlock",
    "crate::sys::processes",
    "crate::sys::sockets",
    "indicatif",
    "libc",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
];

/// Lines of more than a hundred columns.
pub(crate) fn long_lines(source: &Source) -> Vec<Finding> {
    let columns = source.lines.iter().map(|line| line.text.chars().count());
    let long = columns.enumerate().filter(|(_, columns)| *columns > COLUMNS_MAX);
    long.map(|(at, columns)| {
        let says = format!("{columns} columns");
        Finding::new(source, at + 1, says, "break it: cargo fmt leaves strings and comments alone")
    })
    .collect()
}

/// Functions of more than seventy lines.
pub(crate) fn long_functions(source: &Source) -> Vec<Finding> {
    let long = functions(source).into_iter().filter(|it| it.lines > FUNCTION_LINES_MAX);
    long.map(|it| {
        let says = format!("fn {} has {} lines", it.name, it.lines);
        Finding::new(source, it.line, says, "give a part of it a name of its own")
    })
    .collect()
}

/// Files of more than seven hundred lines.
pub(crate) fn long_files(source: &Source) -> Vec<Finding> {
    let lines = source.lines.len();
    let says = || format!("{lines} lines");
    let finding = || Finding::new(source, lines, says(), "find the second thing in it and move it");
    (lines > FILE_LINES_MAX).then(finding).into_iter().collect()
}

/// Words and macros that say that something is not done.
pub(crate) fn unfinished(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in source.lines.iter().enumerate() {
        let words = UNFINISHED_WORDS.iter().filter(|word| has_word(&line.comment, word));
        let code = UNFINISHED_CODE.iter().filter(|code| line.code.contains(**code));
        for found in words.chain(code) {
            let remedy = "do it now, or file it where the plan is";
            findings.push(Finding::new(source, at + 1, format!("{found} left"), remedy));
        }
    }
    findings
}

/// Modules without a header.
pub(crate) fn headerless(source: &Source) -> Vec<Finding> {
    let first = source.lines.first().map(|line| line.text.as_str()).unwrap_or_default();
    let remedy = "begin with //! what it is in one sentence, what it is not, the invariant";
    let finding = || Finding::new(source, 1, "no header".to_owned(), remedy);
    let has_header = first.strip_prefix("//!").is_some_and(|rest| !rest.trim().is_empty());
    (!has_header).then(finding).into_iter().collect()
}

/// Sender code that knows the receiver, and the reverse; common code that knows either.
pub(crate) fn crossed_roles(source: &Source) -> Vec<Finding> {
    let strange: &[&str] = match () {
        () if source.is_below("sender") => &["receiver"],
        () if source.is_below("receiver") => &["sender"],
        () if source.is_below("common") => &["sender", "receiver"],
        () => &[],
    };
    let remedy = "move what both need to common: the two sides never import each other";
    paths_used(source, strange, remedy)
}

/// Pure modules that touch the world.
pub(crate) fn impure(source: &Source) -> Vec<Finding> {
    let path = source.path.to_string_lossy();
    let lies_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    if !lies_in(&PURE) || lies_in(&IMPURE) {
        return Vec::new();
    }
    paths_used(source, &WORLD, "pass it in: this module is pure (tests/tidy/rules.rs has the list)")
}

/// System calls that systemd refuses under the units in packaging/.
pub(crate) fn refused_by_units(source: &Source) -> Vec<Finding> {
    let remedy = "open one name at a time: RestrictSUIDSGID= answers it with ENOSYS";
    paths_used(source, &["rustix::fs::openat2", "libc::SYS_openat2"], remedy)
}

/// Unsafe code, and leave for it, outside the module that is there for it; in tests as well.
pub(crate) fn unsafe_elsewhere(source: &Source) -> Vec<Finding> {
    if source.path.to_string_lossy().starts_with(UNSAFE) {
        return Vec::new();
    }
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let words = |line: &'_ Line| -> Option<&'static str> {
        let mut words = line.code.split(|character| !is_part(character));
        words.find_map(|word| ["unsafe", "unsafe_code"].into_iter().find(|it| *it == word))
    };
    let found = source.lines.iter().zip(1..).filter_map(|(line, at)| Some((words(line)?, at)));
    let remedy = "find a safe wrapper, or make one in common/src/sys";
    found.map(|(word, at)| Finding::new(source, at, format!("has {word}"), remedy)).collect()
}

/// Uses of a path that is or begins with one of `prefixes`, outside tests.
fn paths_used(source: &Source, prefixes: &[&str], remedy: &'static str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, path) in paths(source) {
        let is_below = |prefix: &&&str| {
            let rest = path.strip_prefix(**prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        if prefixes.iter().any(|prefix| is_below(&prefix)) && !source.lines[at].is_test {
            findings.push(Finding::new(source, at + 1, format!("uses {path}"), remedy));
        }
    }
    findings
}

/// Every path in the code: those of `use` statements in full, others as they stand; with the index
/// of their line.
fn paths(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut statement: Option<(usize, String)> = None;
    for (at, line) in source.lines.iter().enumerate() {
        let code = line.code.trim();
        let begins_use = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "]
            .iter()
            .find_map(|word| code.strip_prefix(word));
        match (&mut statement, begins_use) {
            (Some((_, text)), _) => text.push_str(code),
            (None, Some(rest)) => statement = Some((at, rest.to_owned())),
            (None, None) => found.extend(paths_in_line(code).map(|path| (at, path))),
        }
        if code.ends_with(';')
            && let Some((begin, text)) = statement.take()
        {
            let mut flat = Vec::new();
            flatten("", text.trim_end_matches(';'), &mut flat);
            found.extend(flat.into_iter().map(|path| (begin, path)));
        }
    }
    found
}

/// Paths with at least two parts in a line of code.
fn paths_in_line(code: &str) -> impl Iterator<Item = String> + '_ {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | ':');
    code.split(move |character| !is_part(character))
        .map(|path| path.trim_start_matches("::").trim_end_matches(':'))
        .filter(|path| path.contains("::"))
        .map(str::to_owned)
}

/// The paths of `tree`, the part of a `use` statement behind `prefix`.
fn flatten(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim().trim_start_matches("::");
    if let Some((head, rest)) = tree.split_once('{') {
        let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
        let prefix = format!("{prefix}{}", head.trim());
        split_top(inner).into_iter().for_each(|part| flatten(&prefix, part, paths));
    } else if !tree.is_empty() {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        let path = path.strip_suffix("::self").unwrap_or(path);
        let whole = if path == "self" {
            prefix.trim_end_matches("::").to_owned()
        } else {
            format!("{prefix}{path}")
        };
        paths.push(whole);
    }
}

/// `list` cut at the commas that no brace encloses.
fn split_top(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[begin..]);
    parts
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body, those inside others too.
fn functions(source: &Source) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, line) in source.lines.iter().enumerate() {
        for (column, _) in line.code.match_indices("fn ") {
            let before = line.code[..column].chars().next_back();
            let is_word = before.is_none_or(|before| !before.is_alphanumeric() && before != '_');
            let rest = &line.code[column + 3..];
            let name: String =
                rest.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
            if is_word
                && !name.is_empty()
                && let Some(end) = end_of_body(source, at, column)
            {
                found.push(Function { name, line: at + 1, lines: end - at + 1 });
            }
        }
    }
    found
}

/// The line with the brace that closes the body that opens behind `column` of line `at`.
fn end_of_body(source: &Source, at: usize, column: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_i32, 0_i32);
    for (nth, line) in source.lines.iter().enumerate().skip(at) {
        let code = if nth == at { &line.code[column..] } else { line.code.as_str() };
        for character in code.chars() {
            match character {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' => braces -= 1,
                ';' if braces == 0 && brackets == 0 => return None,
                _ => {}
            }
            if character == '}' && braces == 0 && brackets == 0 {
                return Some(nth);
            }
        }
    }
    None
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|it: char| !it.is_alphanumeric()).any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn at(path: &str, text: &str) -> Source {
        Source::parse(Path::new(path), text)
    }

    fn said(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_finding_names_file_line_and_remedy() {
        let long = format!("//! x\n// {}\n", "é".repeat(98));
        let said = said(&long_lines(&at("common/src/x.rs", &long)));
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("common/src/x.rs:2: 101 columns; break it"), "{said:?}");
        assert!(long_lines(&at("x.rs", &"é".repeat(100))).is_empty());
    }

    #[test]
    fn functions_are_measured_from_their_name_to_their_brace() {
        let body = |lines: usize| format!("fn f(\n) {{\n{}}}\n", "x(\"}\");\n".repeat(lines));
        assert!(long_functions(&at("x.rs", &body(67))).is_empty());
        let said = said(&long_functions(&at("x.rs", &body(68))));
        assert!(said[0].starts_with("x.rs:1: fn f has 71 lines"), "{said:?}");
        let declared = format!("trait T {{\nfn f(x: [u8; 4]);\n{}}}\n", "// x\n".repeat(90));
        assert!(long_functions(&at("x.rs", &declared)).is_empty());
    }

    #[test]
    fn unfinished_things_are_found_in_comments_and_code_but_not_in_strings() {
        let word = UNFINISHED_WORDS[0];
        assert_eq!(unfinished(&at("x.rs", &format!("// {word}: later"))).len(), 1);
        assert_eq!(unfinished(&at("x.rs", "let x = dbg!(1);")).len(), 1);
        assert_eq!(unfinished(&at("x.rs", "#[ignore = \"slow\"]")).len(), 1);
        assert!(unfinished(&at("x.rs", &format!("let x = \"{word} dbg!(1)\";"))).is_empty());
    }

    #[test]
    fn a_header_says_something() {
        assert_eq!(headerless(&at("x.rs", "//!\nuse std::fmt;\n")).len(), 1);
        assert_eq!(headerless(&at("x.rs", "use std::fmt;\n")).len(), 1);
        assert!(headerless(&at("x.rs", "//! What it is.\n")).is_empty());
    }

    #[test]
    fn what_systemd_refuses_is_found_by_its_path_and_by_its_import() {
        let text =
            "use rustix::fs::{Mode, openat2};\nrustix::fs::openat2(a);\nrustix::fs::openat(a);\n";
        let found = said(&refused_by_units(&at("receiver/src/x.rs", text)));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn roles_are_crossed_by_imports_and_by_paths_but_not_by_modules_of_that_name() {
        let text = "use sender::pack;\nfn f() { sender::send() }\nuse crate::sender::x;\n";
        assert_eq!(crossed_roles(&at("receiver/src/x.rs", text)).len(), 2);
        assert_eq!(crossed_roles(&at("common/src/x.rs", text)).len(), 2);
        assert!(crossed_roles(&at("tests/src/x.rs", text)).is_empty());
    }

    #[test]
    fn unsafe_is_found_as_a_word_of_code_everywhere_but_in_its_module() {
        let text = "#![expect(unsafe_code)]\nfn f() { unsafe { g() } }\n// unsafe\n\
                    fn h() { unshare_unsafe(\"unsafe\") }\n\
                    #[cfg(test)]\nmod t {\nunsafe fn x() {}\n}\n";
        let found = said(&unsafe_elsewhere(&at("receiver/src/x.rs", text)));
        let lines: Vec<&str> = found.iter().map(|it| it.split(';').next().unwrap()).collect();
        assert_eq!(
            lines,
            [
                "receiver/src/x.rs:1: has unsafe_code",
                "receiver/src/x.rs:2: has unsafe",
                "receiver/src/x.rs:7: has unsafe",
            ]
        );
        assert!(unsafe_elsewhere(&at("common/src/sys/x.rs", text)).is_empty());
    }

    #[test]
    fn the_world_is_found_behind_every_form_of_import() {
        let text = "use std::{fmt, fs};\nuse std::{\n    io,\n    net::{IpAddr, UdpSocket},\n};\n\
                    use std::time::{Duration, Instant as Now};\n\
                    fn f() { std::thread::yield_now() }\n";
        let found = said(&impure(&at("common/src/x.rs", text)));
        let lines: Vec<&str> = found.iter().map(|it| it.split(';').next().unwrap()).collect();
        assert_eq!(
            lines,
            [
                "common/src/x.rs:1: uses std::fs",
                "common/src/x.rs:2: uses std::net::UdpSocket",
                "common/src/x.rs:6: uses std::time::Instant",
                "common/src/x.rs:7: uses std::thread::yield_now",
            ]
        );
        assert!(impure(&at("common/src/net/socket.rs", text)).is_empty());
        assert!(impure(&at("sender/src/pack/x.rs", text)).is_empty());
        let tested = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert!(impure(&at("common/src/x.rs", &tested)).is_empty());
    }
}
