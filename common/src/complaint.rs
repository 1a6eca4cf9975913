//! What a person reads when a command cannot be carried out: one line, and the exit code with it.
//!
//! Not here: the codes, which each program has for itself.
//! Invariant: a complaint is one line, however the text behind it was laid out.

use std::fmt;

/// The exit codes of a program, as far as complaints need to know them.
pub trait ExitCodes {
    /// The command line cannot be carried out as it stands.
    const USAGE: Self;
}

/// One line on standard error and the code that the program ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint<E> {
    /// How the program ends.
    pub exit: E,
    line: String,
}

impl<E> Complaint<E> {
    /// A complaint; line breaks in `line` become commas.
    pub fn new(exit: E, line: impl fmt::Display) -> Self {
        let line = line.to_string();
        let parts: Vec<&str> =
            line.lines().map(str::trim).filter(|part| !part.is_empty()).collect();
        Self { exit, line: parts.join(", ") }
    }
}

impl<E: ExitCodes> Complaint<E> {
    /// The command line is wrong.
    pub fn usage(line: impl fmt::Display) -> Self {
        Self::new(E::USAGE, line)
    }

    /// The page that a command-line parser prints, without its usage block: `--help` has that.
    pub fn of_usage_page(page: &str) -> Self {
        let said = page.split("\n\nUsage:").next().unwrap_or_default();
        let said = said.split("\n\nFor more information").next().unwrap_or_default();
        let said = said.trim().strip_prefix("error: ").unwrap_or(said);
        let mut line = String::new();
        for part in said.lines().map(str::trim).filter(|part| !part.is_empty()) {
            let joint = match (line.is_empty(), line.ends_with(':'), part.starts_with("tip: ")) {
                (true, ..) => "",
                (_, true, _) => " ",
                (_, _, true) => "; ",
                _ => ", ",
            };
            line.push_str(joint);
            line.push_str(part.strip_prefix("tip: ").unwrap_or(part));
        }
        Self::usage(line + " (--help tells more)")
    }
}

impl<E> fmt::Display for Complaint<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl<E: fmt::Debug> std::error::Error for Complaint<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Code(u8);

    impl ExitCodes for Code {
        const USAGE: Self = Self(2);
    }

    #[test]
    fn a_complaint_is_one_line() {
        let complaint = Complaint::<Code>::usage("one\n\n  two\n");
        assert_eq!(complaint.to_string(), "one, two");
        assert_eq!(complaint.exit, Code(2));
    }

    #[test]
    fn what_fills_a_page_is_said_in_a_line() {
        let line = |page: &str| Complaint::<Code>::of_usage_page(page).to_string();
        assert_eq!(
            line(
                "error: the following required arguments were not provided:\n  --expect <N>\n\n\
                 Usage: x --expect <N>\n\nFor more information, try '--help'.\n"
            ),
            "the following required arguments were not provided: --expect <N> \
             (--help tells more)"
        );
        assert_eq!(
            line(
                "error: unexpected argument '--rat' found\n\n  tip: a similar argument exists: \
                 '--rate'\n\nUsage: x\n"
            ),
            "unexpected argument '--rat' found; a similar argument exists: '--rate' \
             (--help tells more)"
        );
    }
}
