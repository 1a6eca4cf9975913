//! Running one command: its own process group, a time limit, the end of its output.
//!
//! Invariant: when [`run`] returns, the command's process is gone, and when it was out of time its
//! whole group is, unless the kernel holds it; what it left in the background otherwise stays.

#![expect(clippy::disallowed_methods, reason = "processes take time, which is measured here")]

use std::ffi::OsString;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::limits::{DRAIN_BYTES_MAX, KILL_GRACE, KILL_WAIT, OUTPUT_BYTES_MAX};
use super::{Ending, Facts, Hook, Point, Ran};
use crate::pipeline::take_process_rank;

/// What every command finds, whatever the daemon was started with.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `hook` at `point` with what it is told of the release, and waits for its end.
pub fn run(hook: &Hook, point: Point, facts: &Facts) -> Ran {
    let (input, environment) = (facts.to_json(point), facts.environment(point));
    let begin = Instant::now();
    // A thread of its own, which gives the command the process's rank at the disk: the data path's
    // is for the data path, and a service that a hook starts would keep it.
    let outcome = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            take_process_rank();
            Running::start(hook, &input, &environment).map(|running| running.finish(hook.timeout))
        });
        inside.join().expect("running a command does not panic")
    });
    let (ending, output) = outcome.unwrap_or_else(|error| {
        let line = format!("cannot start {}: {error}", hook.program().display());
        (Ending::NotStarted, line)
    });
    Ran { point, ending, took: begin.elapsed(), output }
}

/// A command under way.
struct Running {
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    output: Option<PipeReader>,
    tail: Tail,
}

impl Running {
    fn start(
        hook: &Hook,
        input: &[u8],
        environment: &[(&'static str, OsString)],
    ) -> io::Result<Self> {
        let (output, writer) = io::pipe()?;
        let (stdin, mut feed) = io::pipe()?;
        rustix::io::ioctl_fionbio(&output, true)?;
        let mut command = Command::new(hook.program());
        command
            .args(hook.command.get(1..).unwrap_or_default())
            .current_dir("/")
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(writer.try_clone()?))
            .stderr(Stdio::from(writer))
            .process_group(0);
        // A page or two: the pipe holds them, whether the command reads them or not.
        feed.write_all(input)?;
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        let pidfd = pidfd_open(group, PidfdFlags::empty())?;
        Ok(Self { child, group, pidfd, output: Some(output), tail: Tail::default() })
    }

    fn finish(mut self, timeout: Duration) -> (Ending, String) {
        let has_ended = self.watch(timeout);
        if !has_ended {
            self.kill();
        }
        let ending = match self.child.try_wait() {
            Ok(Some(status)) if has_ended => ending_of(status),
            _ => Ending::TimedOut,
        };
        self.drain(DRAIN_BYTES_MAX);
        (ending, self.tail.into_text())
    }

    /// Reads output until the process ends, at most for `time`; whether it has ended. It is not
    /// waited for, so that its number stays its own.
    fn watch(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let has_ended = self.rest(left);
            if has_ended || left.is_zero() {
                return has_ended;
            }
            self.drain(OUTPUT_BYTES_MAX);
        }
    }

    /// Waits for output or the end; whether it is the end.
    fn rest(&self, time: Duration) -> bool {
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        fds.extend(self.output.iter().map(|it| PollFd::new(it, PollFlags::IN)));
        let time = Timespec::try_from(time).ok();
        // Interrupted or not, what has happened is looked at.
        let _ = poll(&mut fds, time.as_ref());
        fds[0].revents().contains(PollFlags::IN)
    }

    /// Ends the whole group, politely at first.
    fn kill(&mut self) {
        for (signal, patience) in [(Signal::TERM, KILL_GRACE), (Signal::KILL, KILL_WAIT)] {
            // A group that is gone already is what is wanted.
            let _ = kill_process_group(self.group, signal);
            self.watch(patience);
        }
    }

    fn drain(&mut self, bytes_max: usize) {
        let mut buffer = [0; 4096];
        let mut left = bytes_max;
        while let Some(output) = self.output.as_mut().filter(|_| left > 0) {
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    self.tail.push(&buffer[..count]);
                    left = left.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

fn ending_of(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    has_lost: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(surplus) = self.bytes.len().checked_sub(OUTPUT_BYTES_MAX).filter(|it| *it > 0) {
            self.bytes.drain(..surplus);
            self.has_lost = true;
        }
    }

    /// The bytes as text; where some were lost, from the first whole line on if there is one.
    fn into_text(self) -> String {
        let mut bytes = &self.bytes[..];
        if self.has_lost
            && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
            && end + 1 < bytes.len()
        {
            bytes = &bytes[end + 1..];
        }
        String::from_utf8_lossy(bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::facts;
    use super::*;

    fn hook(script: &str, timeout: Duration) -> Hook {
        let command = ["/bin/sh", "-c", script].map(String::from).to_vec();
        Hook { command, timeout }
    }

    fn ran(script: &str) -> Ran {
        run(&hook(script, Duration::from_secs(20)), Point::PostActivate, &facts())
    }

    #[test]
    fn a_hook_gets_the_facts_and_its_output_and_status_come_back() {
        let ran = ran("cat; echo \"$FANFARE_APP $FANFARE_LABEL $HOME\" >&2; pwd; exit 7");
        assert_eq!(ran.ending, Ending::Exited(7));
        let lines: Vec<&str> = ran.output.lines().collect();
        let json: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((json["app"].as_str(), json["label"].as_str()), (Some("shop"), Some("2.0")));
        assert_eq!(lines[1..], ["shop 2.0 ", "/"], "nothing of the daemon's environment");
        let line = ran.to_string();
        assert!(line.starts_with("post-activate ended with status 7 after "), "{line}");
        assert!(line.ends_with(" s: /"), "{line}");
        assert!(!ran.is_success());
    }

    #[test]
    fn a_hook_that_reads_nothing_writes_much_and_is_no_text_is_kept_short() {
        let ran = ran("head -c 3000000 /dev/zero | tr '\\0' '\\n'; printf 'end\\377\\n'");
        assert!(ran.is_success(), "{ran}");
        assert!(ran.output.len() <= OUTPUT_BYTES_MAX + 3, "{}", ran.output.len());
        assert!(ran.output.ends_with("end\u{fffd}\n"));
    }

    #[test]
    fn a_hook_out_of_time_is_killed_with_all_that_it_began() {
        let place = tempfile::tempdir().unwrap();
        let pids = place.path().join("pids");
        let script = format!(
            "trap '' TERM; sleep 60 & echo $! > {0}; echo $$ >> {0}; echo begun; wait; sleep 60",
            pids.display()
        );
        let begin = Instant::now();
        let slow = hook(&script, Duration::from_millis(300));
        let ran = run(&slow, Point::PreActivate, &facts());
        assert_eq!(ran.ending, Ending::TimedOut);
        assert_eq!(ran.output, "begun\n");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert!(ran.to_string().contains("was killed after"), "{ran}");
        let pids = std::fs::read_to_string(pids).unwrap();
        assert_eq!(pids.lines().count(), 2);
        for pid in pids.lines() {
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let is_gone = |state: &str| state.is_empty() || state.contains(") Z ");
            // A killed process ends when it is next given the processor.
            let until = Instant::now() + Duration::from_secs(10);
            while !is_gone(&state()) && Instant::now() < until {
                thread::sleep(Duration::from_millis(10));
            }
            assert!(is_gone(&state()), "process {pid} lives: {}", state());
        }
    }

    #[test]
    fn what_a_hook_leaves_in_the_background_is_not_waited_for() {
        let begin = Instant::now();
        let ran = ran("sleep 20 & echo $!");
        assert!(ran.is_success());
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        let pid: i32 = ran.output.trim().parse().unwrap();
        let sleeper = Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(sleeper, Signal::KILL).expect("it was left alone");
    }

    #[test]
    fn a_signal_and_a_program_that_is_not_there_are_said() {
        assert_eq!(ran("kill -KILL $$").ending, Ending::Signalled(9));
        let lost = Hook { command: vec!["/nonexistent".into()], timeout: Duration::from_secs(1) };
        let ran = run(&lost, Point::PreActivate, &facts());
        assert_eq!(ran.ending, Ending::NotStarted);
        let line = ran.to_string();
        assert!(line.contains("cannot start /nonexistent: No such file"), "{line}");
    }
}
