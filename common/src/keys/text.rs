//! The text of key files: a comment line and a line of base64, as minisign writes them.
//!
//! Invariant: what is read is at most as long as what was asked for, and is wiped when dropped.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// What the first line of every file of minisign begins with.
pub(super) const COMMENT: &str = "untrusted comment: ";

/// A line end within a comment would be a line of its own.
pub(super) fn is_comment(text: &str) -> bool {
    text.len() <= COMMENT_BYTES_MAX && !text.chars().any(|char| char.is_control() && char != '\t')
}

/// Longest comment; minisign's bound is the same.
const COMMENT_BYTES_MAX: usize = 1024;

/// The bytes behind a line of base64, exactly `N` of them.
pub(super) fn decode<const N: usize>(line: &str) -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    let decoded = Base64::decode(line, &mut *bytes).ok()?;
    (decoded.len() == N).then_some(bytes)
}

/// A line of base64.
pub(super) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(Base64::encode_string(bytes))
}

/// The lines of a file, without their ends; minisign takes either kind of them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
}

/// The line of base64 of a key file, behind its comment.
pub(super) fn key_line(text: &str) -> Option<&str> {
    let mut lines = lines(text);
    lines.next()?.strip_prefix(COMMENT)?;
    let line = lines.next()?;
    lines.all(|rest| rest.trim().is_empty()).then_some(line)
}

/// What the first line of a key file says.
pub(super) fn comment(text: &str) -> &str {
    lines(text).next().and_then(|line| line.strip_prefix(COMMENT)).unwrap_or_default()
}

/// A key file.
pub(super) fn key_file(comment: &str, bytes: &[u8]) -> Zeroizing<String> {
    debug_assert!(is_comment(comment), "comments are one line");
    let line = encode(bytes);
    // As long as it will be, so that no copy of a secret stays behind where it grew.
    let mut text = String::with_capacity(COMMENT.len() + comment.len() + line.len() + 2);
    for part in [COMMENT, comment, "\n", &line, "\n"] {
        text.push_str(part);
    }
    Zeroizing::new(text)
}
