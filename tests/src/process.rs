//! A child process with captured output, deadlines, and an end that is certain.
//!
//! Output goes to two files, so that a child never blocks on a pipe and a failed test can print the
//! tail of every log. Invariant: no child outlives its [`Running`] (killed and reaped on drop), nor
//! the thread that started it (the kernel kills it with its parent, whatever killed that one).
#![expect(clippy::disallowed_methods, reason = "the harness runs real processes in real time")]
#![expect(clippy::print_stderr, reason = "the logs of a failed test are printed for its reader")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How often a child and a condition are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Lines of each log that a failed test prints.
const TAIL_LINES: usize = 40;

/// A child that runs, or has ended and not been asked yet.
pub struct Running {
    name: String,
    child: Child,
    started: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<Duration>,
}

/// How a child ended, and what it said.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// From its start to the moment its end was seen.
    pub elapsed: Duration,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

/// A command that dies with the thread that starts it; `program` is looked up in PATH.
///
/// In a process group of its own: Ctrl-C at a terminal reaches the harness alone, which then ends
/// its children in its own order.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).process_group(0);
    command
}

impl Running {
    /// Starts `command`; its output goes to `<logs>/<name>.out` and `<logs>/<name>.err`.
    ///
    /// # Panics
    /// When the program or the log files cannot be had.
    pub fn start(name: &str, command: &mut Command, logs: &Path) -> Self {
        fs::create_dir_all(logs).expect("the log directory is ours to make");
        let (stdout, stderr) = fresh_logs(logs, name);
        let open = |path: &Path| File::create(path).expect("a log file is ours to make");
        let child = command
            .stdin(Stdio::null())
            .stdout(open(&stdout))
            .stderr(open(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self { name: name.to_owned(), child, started: Instant::now(), stdout, stderr, ended: None }
    }

    /// The process id; the same before and after the wrappers have replaced themselves.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Since the start.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read_log(&self.stderr)
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read_log(&self.stdout)
    }

    /// Sends `signal` to this child, if it has not ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll().is_none() {
            kill_process(self.pid_for_kernel(), signal)
                .expect("a child that was not reaped exists");
        }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// When it does not within `deadline`, or when the child ends first.
    pub fn wait_until(
        &mut self,
        what: &str,
        deadline: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) {
        let begin = Instant::now();
        while !condition(self) {
            if let Some(status) = self.poll() {
                panic!("{} ended ({status}) before {what}; it said:\n{}", self.name, self.tails());
            }
            assert!(
                begin.elapsed() < deadline,
                "{}: not within {deadline:?}: {what}; it said:\n{}",
                self.name,
                self.tails()
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until standard error contains `text`.
    ///
    /// # Panics
    /// As [`Running::wait_until`].
    pub fn wait_for_stderr(&mut self, text: &str, deadline: Duration) {
        self.wait_until(&format!("{text:?} on stderr"), deadline, |it| it.stderr().contains(text));
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Ending {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.poll() {
                return self.ending(status);
            }
            assert!(
                begin.elapsed() < deadline,
                "{} still runs after {deadline:?}; it said:\n{}",
                self.name,
                self.tails()
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// SIGTERM, then the end within `grace`.
    ///
    /// # Panics
    /// When it does not end by itself within `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Ending {
        self.signal(Signal::TERM);
        self.wait(grace)
    }

    /// SIGKILL and the end.
    pub fn kill(&mut self) -> Ending {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(10))
    }

    /// The last lines of both logs, each with the child's name before it.
    pub fn tails(&self) -> String {
        let part = |stream: &str, text: String| -> String {
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            lines[from..].iter().map(|line| format!("{} {stream}| {line}\n", self.name)).collect()
        };
        part("out", self.stdout()) + &part("err", self.stderr())
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("our own child can be waited for");
        if status.is_some() && self.ended.is_none() {
            self.ended = Some(self.started.elapsed());
        }
        status
    }

    fn ending(&self, status: ExitStatus) -> Ending {
        Ending {
            code: status.code(),
            signal: status.signal(),
            elapsed: self.ended.unwrap_or_else(|| self.started.elapsed()),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    fn pid_for_kernel(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let still_running = matches!(self.child.try_wait(), Ok(None));
        if still_running {
            // A stopped child must be continued by nothing: SIGKILL ends it as it is.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let tails = if thread::panicking() { self.tails() } else { String::new() };
        if !tails.is_empty() {
            eprintln!("-- {} ({})\n{}", self.name, self.stderr.display(), tails);
        }
    }
}

/// Waits until `condition` holds; `false` when it does not within `deadline`.
pub fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begin.elapsed() >= deadline {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits for `time`: for tests whose point is that time passes.
pub fn pass_time(time: Duration) {
    thread::sleep(time);
}

/// Log names that no earlier child of the same name has used.
fn fresh_logs(logs: &Path, name: &str) -> (PathBuf, PathBuf) {
    let mut stem = name.to_owned();
    let mut nth = 1;
    while logs.join(format!("{stem}.err")).exists() {
        nth += 1;
        stem = format!("{name}-{nth}");
    }
    (logs.join(format!("{stem}.out")), logs.join(format!("{stem}.err")))
}

fn read_log(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> (tempfile::TempDir, Running) {
        let logs = tempfile::tempdir().unwrap();
        let child = Running::start("child", command("sh").args(["-c", script]), logs.path());
        (logs, child)
    }

    #[test]
    fn an_ending_carries_code_and_both_streams() {
        let (_logs, mut child) = start("echo result; echo complaint >&2; exit 3");
        let ending = child.wait(Duration::from_secs(5));
        assert_eq!((ending.code, ending.signal), (Some(3), None));
        assert_eq!((ending.stdout.as_str(), ending.stderr.as_str()), ("result\n", "complaint\n"));
    }

    #[test]
    fn a_dropped_child_is_gone_even_when_it_was_stopped() {
        let (_logs, mut child) = start("exec sleep 100");
        child.signal(Signal::STOP);
        let proc = PathBuf::from(format!("/proc/{}", child.pid()));
        assert!(proc.exists());
        drop(child);
        assert!(!proc.exists());
    }

    #[test]
    fn a_second_child_of_the_same_name_keeps_the_first_ones_log() {
        let logs = tempfile::tempdir().unwrap();
        for word in ["first", "second"] {
            let mut child = Running::start("x", command("echo").arg(word), logs.path());
            child.wait(Duration::from_secs(5));
        }
        assert_eq!(read_log(&logs.path().join("x.out")), "first\n");
        assert_eq!(read_log(&logs.path().join("x-2.out")), "second\n");
    }

    #[test]
    #[should_panic(expected = "ended (exit status: 0) before it was ready")]
    fn waiting_for_a_condition_ends_with_the_child() {
        let (_logs, mut child) = start("true");
        child.wait_until("it was ready", Duration::from_secs(5), |_| false);
    }
}
