//! Where the password of a secret key comes from.
//!
//! In this order: the environment (`FANFARE_PASSWORD`, or the first line of the file that
//! `FANFARE_PASSWORD_FILE` names, which others must not be able to read), then the terminal, where
//! it is not shown. Invariant: the terminal is as before afterwards, also after Ctrl-C.
#![expect(clippy::disallowed_methods, reason = "reads the environment and the terminal")]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::keys::{KeyError, KeyFault};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::complaint::Complaint;
use crate::exit::Exit;

/// Longest password.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The password of the key at `path`.
///
/// # Errors
/// When nobody can be asked, or who was asked gave none.
pub fn ask(path: &Path) -> Result<Zeroizing<String>, Complaint> {
    if let Some(given) = given()? {
        return Ok(given);
    }
    let mut terminal = Terminal::open(&format!("{}: a password protects it", path.display()))?;
    terminal.read(&format!("password of {}: ", path.display()))
}

/// A password for new keys, asked for twice.
///
/// # Errors
/// When nobody can be asked, it is empty, or it was not given twice.
pub fn ask_new() -> Result<Zeroizing<String>, Complaint> {
    let password = match given()? {
        Some(given) => given,
        None => {
            let mut terminal = Terminal::open("secret keys need a password")?;
            let first = terminal.read("password for the new secret keys: ")?;
            let second = terminal.read("once more: ")?;
            if *first != *second {
                return Err(Complaint::usage("that were two different passwords: nothing is made"));
            }
            first
        }
    };
    if password.is_empty() {
        let line = "the password is empty: give one, or --no-password by name";
        return Err(Complaint::usage(line));
    }
    Ok(password)
}

/// What the environment gives.
fn given() -> Result<Option<Zeroizing<String>>, Complaint> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(password) = named("FANFARE_PASSWORD") {
        return password
            .into_string()
            .map(|password| Some(Zeroizing::new(password)))
            .map_err(|_| Complaint::usage("FANFARE_PASSWORD is no UTF-8 text"));
    }
    named("FANFARE_PASSWORD_FILE").map(|path| of_file(&path)).transpose()
}

fn of_file(path: &OsString) -> Result<Zeroizing<String>, Complaint> {
    let path = Path::new(path);
    let wrong = |fault| super::complaint(KeyError { path: path.to_owned(), fault });
    let file = File::open(path).map_err(|error| wrong(KeyFault::Read(error)))?;
    let mode = file.metadata().map_err(|error| wrong(KeyFault::Read(error)))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(wrong(KeyFault::Exposed(mode)));
    }
    let mut text = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX + 1));
    file.take(PASSWORD_BYTES_MAX as u64)
        .read_to_string(&mut text)
        .map_err(|error| wrong(KeyFault::Read(error)))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// The terminal that the command was started from, whatever its input and output are.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    fn open(why: &str) -> Result<Self, Complaint> {
        let nobody = || {
            Complaint::usage(format!(
                "{why}, and there is no terminal to ask at: set FANFARE_PASSWORD_FILE"
            ))
        };
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let file = file.map_err(|_| nobody())?;
        let before = tcgetattr(&file).map_err(|_| nobody())?;
        let mut silent = before.clone();
        // Ctrl-C is read as a byte: a signal would leave the terminal without its echo.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(&file, OptionalActions::Drain, &silent).map_err(|_| nobody())?;
        Ok(Self { file, before })
    }

    /// A line, with no more of it shown than its end.
    fn read(&mut self, prompt: &str) -> Result<Zeroizing<String>, Complaint> {
        let failed = |error: io::Error| {
            Complaint::new(Exit::Resources, format!("cannot ask for the password: {error}"))
        };
        self.file.write_all(prompt.as_bytes()).map_err(failed)?;
        let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX));
        let mut byte = Zeroizing::new([0]);
        let is_given_up = loop {
            let read = self.file.read(&mut *byte).map_err(failed)?;
            match (read, byte[0]) {
                (0, _) | (_, 3) => break true,
                (_, b'\n' | b'\r' | 4) => break false,
                // Backspace takes a character back, of however many bytes.
                (_, 8 | 127) => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
                (_, byte) if line.len() < PASSWORD_BYTES_MAX => line.push(byte),
                _ => {}
            }
        };
        self.file.write_all(b"\n").map_err(failed)?;
        if is_given_up {
            return Err(Complaint::new(Exit::Interrupted, "interrupted; nothing was written"));
        }
        let text = std::str::from_utf8(&line);
        let text = text.map_err(|_| Complaint::usage("the password is no UTF-8 text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing is left to do where even that fails.
        let _ = tcsetattr(&self.file, OptionalActions::Drain, &self.before);
    }
}
