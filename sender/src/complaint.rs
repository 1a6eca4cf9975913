//! What an operator reads when something cannot be done: one line, and the exit code with it.
//!
//! Invariant: a complaint is one line, however the text behind it was laid out.

use std::fmt;

use crate::exit::Exit;

/// One line on stderr and the code that the program ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// How the program ends.
    pub exit: Exit,
    line: String,
}

impl Complaint {
    /// A complaint; line breaks in `line` become commas.
    pub fn new(exit: Exit, line: impl fmt::Display) -> Self {
        let line = line.to_string();
        let parts: Vec<&str> =
            line.lines().map(str::trim).filter(|part| !part.is_empty()).collect();
        Self { exit, line: parts.join(", ") }
    }

    /// The command line is wrong.
    pub fn usage(line: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, line)
    }

    /// What clap has to say, without its usage block: that is what `--help` is for.
    pub fn of_clap(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let said = text.split("\n\nUsage:").next().unwrap_or_default();
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
        Self::usage(line)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Complaint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line() {
        let complaint = Complaint::usage("one\n\n  two\n");
        assert_eq!(complaint.to_string(), "one, two");
    }

    #[test]
    fn what_clap_says_in_a_page_is_said_in_a_line() {
        let command = clap::Command::new("x")
            .arg(clap::Arg::new("rate").long("rate").value_name("R"))
            .arg(clap::Arg::new("expect").long("expect").value_name("N").required(true));
        let line = |arguments: &[&str]| {
            let error = command.clone().try_get_matches_from(arguments).unwrap_err();
            Complaint::of_clap(&error).to_string()
        };
        assert_eq!(
            line(&["x"]),
            "the following required arguments were not provided: --expect <N>"
        );
        assert_eq!(
            line(&["x", "--expect", "1", "--rat", "1"]),
            "unexpected argument '--rat' found; a similar argument exists: '--rate'"
        );
    }
}
