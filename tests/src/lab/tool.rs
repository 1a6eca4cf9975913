//! Tools of the system (`ip`, `nft`, `tc`, `mount`): run to their end, or a panic that names them.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs `command` and returns what it printed.
///
/// # Panics
/// When it cannot be started or fails: the machine cannot stage what the test needs.
pub(super) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    finish(command, output)
}

/// Runs `command` with `input` on its standard input and returns what it printed.
///
/// # Panics
/// As [`run`].
pub(super) fn feed(command: &mut Command, input: &str) -> String {
    let spawned =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = spawned.and_then(|mut child| {
        // Scripts are a few hundred bytes: they fit the pipe before the tool reads.
        child.stdin.take().expect("it was piped").write_all(input.as_bytes())?;
        child.wait_with_output()
    });
    finish(command, output)
}

fn finish(command: &Command, output: std::io::Result<Output>) -> String {
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        Ok(output) => panic!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) => panic!("cannot run {command:?}: {error}"),
    }
}
