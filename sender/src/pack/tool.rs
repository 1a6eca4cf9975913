//! Runs the standard tools that make filesystem images.
//!
//! Invariant: a tool sees a fixed environment (locale, time zone, no configuration of this
//! machine), writes into a file that has no name, so nothing is left however the process ends, and
//! is stopped when the operator interrupts.
#![expect(clippy::disallowed_methods, reason = "a thread reads what the tool says")]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use common::id::ImageKind;

use super::cancel::Cancel;
use super::error::PackError;

/// The image as its maker sees it: it inherits the nameless file as its standard input.
pub const IMAGE_PATH: &str = "/dev/stdin";
/// How often an interrupt is looked for while a tool runs.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Last words of a tool that are kept.
const SAID_BYTES_MAX: usize = 4096;
/// Administrators' tools are not on everybody's path.
const MORE_PATH: &str = "/usr/sbin:/sbin:/usr/local/sbin";

/// A tool and where to get it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The program.
    pub name: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// What it makes.
    pub kind: ImageKind,
}

/// A tool that said no, with its last words.
#[derive(Debug)]
pub struct Said(pub String);

impl Tool {
    /// The command with the fixed environment, writing to `image`.
    ///
    /// # Errors
    /// When the file cannot be shared with the tool.
    pub fn command(&self, image: &File) -> Result<Command, PackError> {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
        let mut command = Command::new(self.name);
        command
            .env_clear()
            .env("PATH", format!("{path}:{MORE_PATH}"))
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(image.try_clone().map_err(PackError::Machine)?)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs the command to its end; the inner error is the tool's own refusal.
    ///
    /// # Errors
    /// When the tool is missing, cannot be run, or the operator interrupts.
    pub fn run(
        &self,
        command: &mut Command,
        cancel: &Cancel,
    ) -> Result<Result<(), Said>, PackError> {
        let mut child = command.spawn().map_err(|error| self.spawn_error(error))?;
        let stderr = child.stderr.take().expect("stderr is piped");
        let (said, listen) = channel();
        thread::spawn(move || said.send(last_words(stderr)));
        let words = loop {
            match listen.recv_timeout(LOOK_INTERVAL) {
                Ok(words) => break words,
                Err(RecvTimeoutError::Disconnected) => break String::new(),
                Err(RecvTimeoutError::Timeout) => self.stop_if_cancelled(&mut child, cancel)?,
            }
        };
        let status = child.wait().map_err(PackError::Machine)?;
        cancel.check()?;
        Ok(if status.success() { Ok(()) } else { Err(Said(describe(status, &words))) })
    }

    /// The error of a tool that said no.
    pub fn failed(&self, said: Said) -> PackError {
        PackError::ToolFailed { tool: self.name, said: said.0 }
    }

    fn spawn_error(&self, error: io::Error) -> PackError {
        if error.kind() != io::ErrorKind::NotFound {
            return PackError::Machine(error);
        }
        PackError::ToolMissing { tool: self.name, package: self.package, kind: self.kind }
    }

    fn stop_if_cancelled(&self, child: &mut Child, cancel: &Cancel) -> Result<(), PackError> {
        cancel.check().inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })
    }
}

/// A nameless temporary file below `within`.
///
/// # Errors
/// Names the directory that does not take files.
pub fn nameless_file(within: &Path) -> Result<File, PackError> {
    tempfile::tempfile_in(within).map_err(|error| PackError::output(within, error))
}

fn last_words(mut stderr: impl Read) -> String {
    let mut words = Vec::new();
    let mut buf = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buf) {
        words.extend_from_slice(&buf[..count]);
        words.drain(..words.len().saturating_sub(SAID_BYTES_MAX));
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// The last line that a tool said, and how it ended when it said nothing.
fn describe(status: ExitStatus, words: &str) -> String {
    let line = words.lines().map(str::trim).rfind(|line| !line.is_empty());
    match line {
        Some(line) => line.chars().filter(|letter| !letter.is_control()).collect(),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SHELL: Tool = Tool { name: "sh", package: "dash", kind: ImageKind::Ext2 };

    fn shell(script: &str, cancel: &Cancel) -> Result<Result<(), Said>, PackError> {
        let image = tempfile::tempfile().unwrap();
        SHELL.run(SHELL.command(&image).unwrap().args(["-c", script]), cancel)
    }

    #[test]
    fn the_last_line_of_a_tool_that_fails_is_its_reason() {
        let cancel = Cancel::default();
        let said = shell("echo one >&2; echo two >&2; exit 1", &cancel).unwrap().unwrap_err();
        assert_eq!(SHELL.failed(said).to_string(), "sh failed: two");
        let said = shell("exit 3", &cancel).unwrap().unwrap_err();
        assert_eq!(said.0, "exit status: 3");
        shell("yes | head -c 1000000 >&2", &cancel).unwrap().unwrap();
    }

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let tool = Tool { name: "mkfs.none", package: "none-utils", kind: ImageKind::Erofs };
        let image = tempfile::tempfile().unwrap();
        let error = tool.run(&mut tool.command(&image).unwrap(), &Cancel::default()).unwrap_err();
        let line = "mkfs.none was not found, which makes erofs images: install the Debian package \
                    none-utils, or pack with --image tar";
        assert_eq!(error.to_string(), line);
    }

    #[test]
    fn an_interrupt_stops_the_tool() {
        let cancel = Cancel::default();
        let begin = Instant::now();
        thread::scope(|scope| {
            let run = scope.spawn(|| shell("exec sleep 60", &cancel));
            thread::sleep(Duration::from_millis(100));
            cancel.cancel();
            assert!(matches!(run.join().unwrap(), Err(PackError::Interrupted)));
        });
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_tool_sees_a_fixed_environment_and_writes_the_nameless_file() {
        let image = tempfile::tempfile().unwrap();
        let script = format!("env > {IMAGE_PATH}");
        let mut command = SHELL.command(&image).unwrap();
        SHELL.run(command.args(["-c", &script]), &Cancel::default()).unwrap().unwrap();
        let mut text = String::new();
        io::Seek::rewind(&mut &image).unwrap();
        (&image).read_to_string(&mut text).unwrap();
        let by_the_shell = ["PATH=", "PWD=", "SHLVL=", "_="];
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| !by_the_shell.iter().any(|it| line.starts_with(it)))
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C", "TZ=UTC"]);
    }
}
