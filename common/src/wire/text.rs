//! Texts from peers on their way to people: what a terminal would obey is shown instead.
//!
//! Messages keep a peer's text as it came; whoever prints it passes it through [`escaped`]
//! (PROTOCOL 2.8).

use std::fmt::{self, Write};

/// A text from a peer, printed without control characters, invisible or direction-changing
/// characters and bytes that are no UTF-8; those appear as escapes, a backslash as two.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(&'a [u8]);

/// `text` in a form that is safe to print.
pub const fn escaped(text: &str) -> Printable<'_> {
    Printable(text.as_bytes())
}

/// Bytes that claim to be a text, in a form that is safe to print.
pub const fn escaped_bytes(bytes: &[u8]) -> Printable<'_> {
    Printable(bytes)
}

/// Whether a terminal or a reader would be led astray by `character`.
fn is_misleading(character: char) -> bool {
    matches!(
        character,
        '\\' | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    ) || character.is_control()
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.utf8_chunks() {
            for character in part.valid().chars() {
                if is_misleading(character) {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    f.write_char(character)?;
                }
            }
            part.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PROTOCOL 2.8
    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let shown = |text: &str| escaped(text).to_string();
        assert_eq!(shown("disk full: 3 KiB, größer"), "disk full: 3 KiB, größer");
        assert_eq!(shown("\u{1b}[2Jx\r\n\t"), "\\u{1b}[2Jx\\r\\n\\t");
        assert_eq!(shown("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(shown("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
        assert_eq!(shown("\\x41"), "\\\\x41");
        assert_eq!(escaped_bytes(b"a\xff\xc3b").to_string(), "a\\xff\\xc3b");
    }

    #[test]
    fn no_byte_sequence_prints_a_control_character() {
        for high in 0..=255 {
            for low in 0..=255 {
                let text = escaped_bytes(&[high, low]).to_string();
                assert!(!text.chars().any(char::is_control), "{high:02x} {low:02x}");
            }
        }
    }
}
