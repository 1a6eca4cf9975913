//! Our own fault: a panic on any thread is one line, and ends the program with code 1.
//!
//! Invariant: no thread dies alone. A worker that is gone would leave the others waiting for it, so
//! its panic ends the process; one on the calling thread unwinds first, so that what is temporary
//! is removed.

use std::io::Write;
use std::panic::{PanicHookInfo, UnwindSafe, catch_unwind, set_hook};
use std::thread;

/// The exit code of our own fault.
const INTERNAL: u8 = 1;

/// Runs `body`, the whole program called `program`, under this rule; returns its exit code.
pub fn run(program: &'static str, body: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    let caller = thread::current().id();
    set_hook(Box::new(move |panic| {
        // What cannot be told on standard error cannot be told at all.
        let _ = std::io::stderr().write_all(line(program, panic).as_bytes());
        if thread::current().id() != caller {
            std::process::exit(INTERNAL.into());
        }
    }));
    catch_unwind(body).unwrap_or(INTERNAL)
}

fn line(program: &str, panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    let said = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let said = said.unwrap_or("no reason given").replace('\n', ", ");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    format!("{program}: our own fault, please report it: {said} ({place}, version {version})\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    /// Which thread of the child panics; unset in a usual test run.
    const WHO: &str = "GUARD_TEST_PANICS_ON";

    /// The hook is the process's, so the process that gets one is a child: this test, once more.
    #[test]
    fn a_program_that_panics() {
        let Some(who) = std::env::var_os(WHO) else { return };
        let code = run("fanfare", move || match who == "caller" {
            true => panic!("an invariant\nin words"),
            false => {
                let worker = thread::Builder::new().spawn(|| panic!("a worker's invariant"));
                let _ = worker.expect("a thread can be had").join();
                0
            }
        });
        std::process::exit(code.into());
    }

    fn child(who: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().expect("a test knows its path"));
        command.args(["guard::tests::a_program_that_panics", "--exact", "--nocapture"]);
        command.env(WHO, who).output().expect("this program can be run again")
    }

    #[test]
    fn a_panic_is_our_own_fault_and_ends_with_code_1() {
        for (who, said) in
            [("caller", "an invariant, in words ("), ("worker", "a worker's invariant (")]
        {
            let output = child(who);
            assert_eq!(output.status.code(), Some(1), "{who}");
            let stderr = String::from_utf8_lossy(&output.stderr);
            let line = stderr.lines().find(|line| line.starts_with("fanfare: our own fault"));
            assert!(line.is_some_and(|line| line.contains(said)), "{who}: {stderr}");
        }
    }
}
