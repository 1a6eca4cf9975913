//! Sources as lines of code and of comment, read without knowing Rust's grammar.
//!
//! Only what the rules need is understood: comments, strings and character literals, so that a
//! brace in a string is no brace and a word in a string is no word. Invariant: `code` and `comment`
//! of a line have the columns of the file, with blanks for what belongs to the other.
#![expect(clippy::disallowed_methods, reason = "it reads the sources")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories below the root that hold sources.
const PARTS: [&str; 6] = [".ci", "bench", "common", "receiver", "sender", "tests"];

/// Something that a rule objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    file: PathBuf,
    line: usize,
    says: String,
    remedy: &'static str,
}

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path below the root.
    pub(crate) path: PathBuf,
    /// The lines, the first being line 1.
    pub(crate) lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// As it stands in the file.
    pub(crate) text: String,
    /// Its code, with what stands in strings left out.
    pub(crate) code: String,
    /// Its comment.
    pub(crate) comment: String,
    /// Whether it is compiled for tests only.
    pub(crate) is_test: bool,
}

/// What the reader is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

impl Finding {
    /// `says` what is wrong in line `line` (from 1) of `source`, `remedy` what to do.
    pub(crate) fn new(source: &Source, line: usize, says: String, remedy: &'static str) -> Self {
        Self { file: source.path.clone(), line, says, remedy }
    }

    /// The same about a file that is no Rust source.
    pub(crate) fn in_file(file: &str, line: usize, says: String, remedy: &'static str) -> Self {
        Self { file: PathBuf::from(file), line, says, remedy }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.file.display(), self.line, self.says, self.remedy)
    }
}

impl Source {
    /// Reads `text` as the Rust source at `path`.
    pub(crate) fn parse(path: &Path, text: &str) -> Self {
        let mut lines = split(text);
        mark_tests(path, &mut lines);
        Self { path: path.to_owned(), lines }
    }

    /// Reads `text` as lines that are all code: for scripts.
    pub(crate) fn plain(path: &Path, text: &str) -> Self {
        let line = |text: &str| Line { text: text.to_owned(), ..Line::default() };
        Self { path: path.to_owned(), lines: text.lines().map(line).collect() }
    }

    /// Whether it lies below `directory`, given from the root.
    pub(crate) fn is_below(&self, directory: &str) -> bool {
        self.path.starts_with(directory)
    }
}

/// Every Rust source of the workspace.
///
/// # Panics
/// When one cannot be read.
pub(crate) fn read_all(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    PARTS.iter().for_each(|part| find(&root.join(part), &mut paths));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    paths.iter().map(|path| Source::parse(below(root, path), &text_of(path))).collect()
}

/// The shell scripts of the workspace.
///
/// # Panics
/// When one cannot be read.
pub(crate) fn read_scripts(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    PARTS.iter().for_each(|part| find(&root.join(part), &mut paths));
    paths.retain(|path| path.extension().is_none());
    paths.sort();
    let texts = paths.iter().map(|path| (path, text_of(path)));
    let scripts = texts.filter(|(_, text)| text.starts_with("#!"));
    scripts.map(|(path, text)| Source::plain(below(root, path), &text)).collect()
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != "target" {
                find(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn below<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

fn text_of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn split(text: &str) -> Vec<Line> {
    let mut inside = Inside::Code;
    text.lines()
        .map(|text| {
            let mut line = Line { text: text.to_owned(), ..Line::default() };
            let chars: Vec<char> = text.chars().collect();
            let mut at = 0;
            while at < chars.len() {
                at += step(&chars[at..], &mut inside, &mut line);
            }
            if inside == Inside::LineComment {
                inside = Inside::Code;
            }
            line
        })
        .collect()
}

/// Takes the next characters of a line; returns how many.
fn step(rest: &[char], inside: &mut Inside, line: &mut Line) -> usize {
    let begins = |text: &str| {
        text.chars().count() <= rest.len() && text.chars().zip(rest).all(|(a, b)| a == *b)
    };
    let (taken, next, is_comment) = match *inside {
        Inside::Code if begins("//") => (2, Inside::LineComment, true),
        Inside::Code if begins("/*") => (2, Inside::BlockComment(1), true),
        Inside::Code if rest[0] == '"' => (1, Inside::Text, false),
        Inside::Code => {
            let before = line.code.chars().next_back();
            let (taken, next) = step_in_code(rest, before);
            (taken, next, false)
        }
        Inside::LineComment => (1, Inside::LineComment, true),
        Inside::BlockComment(depth) if begins("/*") => (2, Inside::BlockComment(depth + 1), true),
        Inside::BlockComment(1) if begins("*/") => (2, Inside::Code, true),
        Inside::BlockComment(depth) if begins("*/") => (2, Inside::BlockComment(depth - 1), true),
        Inside::BlockComment(depth) => (1, Inside::BlockComment(depth), true),
        Inside::Text if rest[0] == '\\' => (2.min(rest.len()), Inside::Text, false),
        Inside::Text if rest[0] == '"' => (1, Inside::Code, false),
        Inside::Text => (1, Inside::Text, false),
        Inside::RawText(hashes) if closes_raw(rest, hashes) => (1 + hashes, Inside::Code, false),
        Inside::RawText(hashes) => (1, Inside::RawText(hashes), false),
    };
    let is_code = *inside == Inside::Code && next == Inside::Code && taken == 1;
    for character in &rest[..taken] {
        line.code.push(if is_code { *character } else { ' ' });
        line.comment.push(if is_comment { *character } else { ' ' });
    }
    *inside = next;
    taken
}

/// One step in code at something that is no comment and no plain string; `before` is the character
/// before it.
fn step_in_code(rest: &[char], before: Option<char>) -> (usize, Inside) {
    let is_name_part = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    if rest[0] == 'r' && (!is_name_part || before == Some('b')) {
        let hashes = rest[1..].iter().take_while(|character| **character == '#').count();
        if rest.get(1 + hashes) == Some(&'"') {
            return (2 + hashes, Inside::RawText(hashes));
        }
    }
    // A character literal; a lifetime has no second quote two or more places on.
    if rest[0] == '\'' {
        let end = if rest.get(1) == Some(&'\\') {
            rest.iter().skip(3).position(|character| *character == '\'').map(|at| at + 4)
        } else {
            (rest.get(2) == Some(&'\'')).then_some(3)
        };
        if let Some(end) = end {
            return (end, Inside::Code);
        }
    }
    (1, Inside::Code)
}

fn closes_raw(rest: &[char], hashes: usize) -> bool {
    rest[0] == '"'
        && rest.len() > hashes
        && rest[1..=hashes].iter().all(|character| *character == '#')
}

/// Marks what is compiled for tests only: by the file's place, or below `#[cfg(test)]`.
fn mark_tests(path: &Path, lines: &mut [Line]) {
    let is_test_file = path.starts_with("tests")
        || path
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
    let mut depth: usize = 0;
    let mut waits_for_item = false;
    for line in lines {
        waits_for_item |= depth == 0 && line.code.contains("#[cfg(test)]");
        line.is_test = is_test_file || waits_for_item || depth > 0;
        for character in line.code.chars() {
            match character {
                '{' if waits_for_item || depth > 0 => {
                    depth += 1;
                    waits_for_item = false;
                }
                '}' => depth = depth.saturating_sub(1),
                ';' if depth == 0 => waits_for_item = false,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        Source::parse(Path::new("common/src/x.rs"), text).lines
    }

    #[test]
    fn strings_and_comments_are_no_code() {
        let text = "let a = \"{ // no\"; // why {\nlet b = r#\"\"}\"#; /* { */ let c = '{';\n";
        let read = lines(text);
        assert_eq!(read[0].code.trim_end(), "let a =          ;");
        assert_eq!(read[0].comment.trim(), "// why {");
        assert_eq!(read[1].code.trim_end(), "let b =        ;         let c =    ;");
    }

    #[test]
    fn lifetimes_and_escapes_are_told_from_characters() {
        let read = lines("fn f<'a>(x: &'a str) { '\\''; '\\u{7d}'; b'{'; }");
        assert_eq!(read[0].code.matches(['{', '}']).count(), 2);
    }

    #[test]
    fn a_string_over_several_lines_stays_a_string() {
        let read = lines("let a = \"one {\ntwo }\"; }");
        assert_eq!(read[1].code.trim(), "; }");
    }

    #[test]
    fn test_code_is_known_by_its_attribute_and_by_its_file() {
        let read = lines("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
        let marks: Vec<bool> = read.iter().map(|line| line.is_test).collect();
        assert_eq!(marks, [false, true, true, true, true, false]);
        let read = lines("#[cfg(test)]\nmod tests;\nfn c() {}\n");
        assert!(!read[2].is_test);
        assert!(Source::parse(Path::new("common/src/wire/tests.rs"), "fn a() {}").lines[0].is_test);
    }
}
