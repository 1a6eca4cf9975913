//! Whom the operator expects, as written: a number, a file of names, or whoever comes.
//!
//! Not here: who came. Invariant: a roster names every host once, and what is wrong with its file
//! is told with the line.
#![expect(clippy::disallowed_methods, reason = "reads the file of host names")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use common::count::counted;
use common::id::HostName;
use common::limits::ROSTER_HOSTS_MAX;

use crate::complaint::Complaint;
use crate::exit::Exit;
use crate::session::{Expect, Quorum};

/// `--expect` before its file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectArg {
    /// So many.
    Count(usize),
    /// The names in this file.
    File(PathBuf),
    /// Whoever comes.
    Any,
}

impl FromStr for ExpectArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::Any);
        }
        if let Some(file) = text.strip_prefix('@').filter(|file| !file.is_empty()) {
            return Ok(Self::File(file.into()));
        }
        match text.parse() {
            Ok(0) => Err("no host to expect; \"any\" takes whoever comes".to_owned()),
            Ok(count) if count > ROSTER_HOSTS_MAX => {
                Err(format!("one session takes at most {ROSTER_HOSTS_MAX} hosts"))
            }
            Ok(count) => Ok(Self::Count(count)),
            Err(_) => Err("give a number of hosts, @FILE with their names, or any".to_owned()),
        }
    }
}

/// `--quorum`: a number of hosts or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumArg(pub Quorum);

impl FromStr for QuorumArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "give a number of hosts from 1, or a share from 1% to 100%".to_owned();
        let quorum = match text.strip_suffix('%') {
            Some(percent) => Quorum::Percent(percent.parse().map_err(|_| wrong())?),
            None => Quorum::Count(text.parse().map_err(|_| wrong())?),
        };
        match quorum {
            Quorum::Count(0) | Quorum::Percent(0 | 101..) => Err(wrong()),
            quorum => Ok(Self(quorum)),
        }
    }
}

/// Reads what `--expect` names and holds `--quorum` against it.
///
/// # Errors
/// The file cannot be used, or the quorum is more than is expected.
pub fn resolve(
    expect: &ExpectArg,
    quorum: Option<QuorumArg>,
) -> Result<(Expect, Quorum), Complaint> {
    let quorum = quorum.map_or(Quorum::All, |quorum| quorum.0);
    let expect = match expect {
        ExpectArg::Count(count) => Expect::Count(*count),
        ExpectArg::File(path) => Expect::Names(read_names(path)?),
        ExpectArg::Any => Expect::Any,
    };
    let expected = match &expect {
        Expect::Count(count) => *count,
        Expect::Names(names) => names.len(),
        Expect::Any => return Ok((expect, quorum)),
    };
    match quorum {
        Quorum::Count(count) if count > expected => Err(Complaint::usage(format!(
            "--quorum {count} is more than the {} that --expect names",
            counted(expected, "host")
        ))),
        _ => Ok((expect, quorum)),
    }
}

fn read_names(path: &Path) -> Result<Vec<HostName>, Complaint> {
    let bytes = fs::read(path).map_err(|error| {
        Complaint::usage(format!("cannot read the host names in {}: {error}", path.display()))
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Complaint::usage(format!("{} is no UTF-8 text", path.display())))?;
    parse_names(&text)
        .map_err(|(line, reason)| match line {
            Some(line) => format!("{}:{line}: {reason}", path.display()),
            None => format!("{}: {reason}", path.display()),
        })
        .map_err(|line| Complaint::new(Exit::Usage, line))
}

/// One name a line; what follows `#` is a comment. Errors come with their line, counted from 1.
fn parse_names(text: &str) -> Result<Vec<HostName>, (Option<usize>, String)> {
    let mut seen: BTreeMap<HostName, usize> = BTreeMap::new();
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let number = index + 1;
        let name: HostName = word.parse().map_err(|error| (Some(number), format!("{error}")))?;
        if let Some(first) = seen.insert(name.clone(), number) {
            return Err((Some(number), format!("{name} stands in line {first} already")));
        }
        names.push(name);
    }
    match names.len() {
        0 => Err((None, "names no host".to_owned())),
        count if count > ROSTER_HOSTS_MAX => {
            Err((None, format!("{count} hosts: one session takes at most {ROSTER_HOSTS_MAX}")))
        }
        _ => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_files_and_any_are_expectations_and_nothing_else_is() {
        assert_eq!("8".parse(), Ok(ExpectArg::Count(8)));
        assert_eq!("any".parse(), Ok(ExpectArg::Any));
        assert_eq!("@hosts".parse(), Ok(ExpectArg::File("hosts".into())));
        for bad in ["", "0", "@", "-1", "all", "8 hosts", "100001", "ANY"] {
            assert!(bad.parse::<ExpectArg>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_quorum_is_a_count_or_a_share() {
        assert_eq!("95%".parse(), Ok(QuorumArg(Quorum::Percent(95))));
        assert_eq!("7".parse(), Ok(QuorumArg(Quorum::Count(7))));
        for bad in ["", "0", "0%", "101%", "256%", "9.5%", "%", "-1", "half"] {
            assert!(bad.parse::<QuorumArg>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_quorum_beyond_the_expectation_is_a_usage_error() {
        let quorum = Some(QuorumArg(Quorum::Count(9)));
        let complaint = resolve(&ExpectArg::Count(8), quorum).unwrap_err();
        assert_eq!(complaint.exit, Exit::Usage);
        assert!(complaint.to_string().starts_with("--quorum 9 is more than the 8 hosts"));
        assert!(resolve(&ExpectArg::Any, quorum).is_ok());
        assert_eq!(resolve(&ExpectArg::Count(8), None).unwrap().1, Quorum::All);
    }

    #[test]
    fn names_are_read_one_a_line_with_comments() {
        let names = parse_names("# web\nweb-1\n\n  web-2  # the slow one\r\nweb-3").unwrap();
        let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
        assert_eq!(names, ["web-1", "web-2", "web-3"]);
    }

    #[test]
    fn a_wrong_roster_is_refused_with_the_line() {
        let line_of = |text: &str| parse_names(text).unwrap_err();
        assert_eq!(
            line_of("web-1\nweb-2\n\nweb-1\n"),
            (Some(4), "web-1 stands in line 1 already".into())
        );
        let (line, reason) = line_of("web-1\nweb 2\n");
        assert_eq!(line, Some(2));
        assert!(reason.starts_with("\"web 2\" is not a name"), "{reason}");
        assert_eq!(line_of("# nobody\n"), (None, "names no host".into()));
    }

    #[test]
    fn a_roster_that_is_not_there_is_named() {
        let complaint = resolve(&ExpectArg::File("/nonexistent/x".into()), None).unwrap_err();
        let line = complaint.to_string();
        assert!(
            line.starts_with("cannot read the host names in /nonexistent/x: No such"),
            "{line}"
        );
    }
}
