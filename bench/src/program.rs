//! What the measuring programs have in common: how they begin, and that they clean up at the end.
#![expect(clippy::print_stderr, reason = "they are programs for people")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};

use crate::conditions::Conditions;
use crate::contestant::Contestant;
use crate::interrupt::{INTERRUPTED, Interrupted, Leftovers, on_signals};

/// Above this load of others the figures are not worth keeping.
const LOAD_MAX: f64 = 0.5;

/// Runs `work` as the program called `name`; what is wrong goes to standard error. Whatever it
/// entered as left over is gone afterwards, interrupted or not.
pub fn run(
    name: &str,
    work: impl FnOnce(&Leftovers, &Interrupted) -> anyhow::Result<()>,
) -> ExitCode {
    let leftovers = Leftovers::default();
    let done =
        on_signals(&leftovers, || {}).context("cannot wait for signals").and_then(|raised| {
            match work(&leftovers, &raised) {
                // An interrupted part fails in its own words; what counts is why.
                Err(_) if raised.is_raised() => Ok(INTERRUPTED),
                done => done.map(|()| 0),
            }
        });
    let removed = leftovers.remove().context("cannot clean up");
    match done.and_then(|code| removed.map(|()| code)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(code) => {
            eprintln!("{name}: interrupted; nothing is left of it");
            ExitCode::from(code)
        }
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where this program lies, and the product's beside it.
///
/// # Errors
/// When it does not know its own place.
pub fn directory() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    Ok(program.parent().context("a program lies in a directory")?.to_owned())
}

/// That the lab can be built.
///
/// # Errors
/// When this is not root.
pub fn ensure_root() -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
    Ok(())
}

/// Says that figures will be wrong when something else runs on the machine.
pub fn warn_of_load(name: &str, conditions: &Conditions) {
    let load = conditions.load;
    if load > LOAD_MAX {
        eprintln!("{name}: load {load}: something else runs here, and figures will be wrong");
    }
}

/// Writes `text` to `path`.
///
/// # Errors
/// Names the file.
#[expect(clippy::disallowed_methods, reason = "programs keep what they found")]
pub fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether the programs of `contestant` are there; `name` says which are not.
pub fn is_complete(name: &str, contestant: &dyn Contestant) -> bool {
    let (programs, remedy) = contestant.needs();
    let missing: Vec<String> = programs
        .iter()
        .filter(|program| !exists(program))
        .map(|program| program.display().to_string())
        .collect();
    if !missing.is_empty() {
        let (contestant, missing) = (contestant.name(), missing.join(" and "));
        eprintln!("{name}: without {contestant}: {missing} missing ({remedy})");
    }
    missing.is_empty()
}

fn exists(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.is_file()
        || program.is_relative()
            && std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_noticed() {
        assert!(exists(Path::new("sh")));
        assert!(!exists(Path::new("no-such-program-anywhere")));
        assert!(!exists(Path::new("/no/such/program")));
    }
}
