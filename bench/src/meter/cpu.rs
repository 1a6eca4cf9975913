//! Processor time of a process and of its threads, from /proc.
//!
//! The kernel sums it in nanoseconds and shows it in ticks (a hundredth of a second). What the
//! network does on behalf of a sender (the bridge, its copies, the filters of the lab) is counted
//! as the time of the process that it interrupted, mostly the sender, unless the kernel was built
//! with IRQ_TIME_ACCOUNTING: the same for every contestant.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Time that process `pid` has run, and the children that it waited for; none when it is gone.
///
/// A child that has ended and was not waited for yet is still there.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, ticks) = parse(&text)?;
    Some(of_ticks(ticks.iter().sum()))
}

/// Name and time of every thread of process `pid` that runs; none when it is gone.
pub fn threads(pid: u32) -> Option<Vec<(u32, String, Duration)>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let thread = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, [user, system, ..]) = parse(&text)?;
        let id = task.file_name().to_str()?.parse().ok()?;
        Some((id, name.to_owned(), of_ticks(user + system)))
    };
    Some(tasks.flatten().filter_map(thread).collect())
}

/// Whether the child `pid` has ended; unlike waiting for it, this keeps what [`cpu_time`] reads.
///
/// Also true when it was waited for already.
pub fn has_ended(pid: u32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("process ids are positive");
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// Name and ticks (user, system, and both of children waited for) in a line of /proc/PID/stat.
fn parse(line: &str) -> Option<(&str, [u64; 4])> {
    // The name may contain blanks and brackets; the last bracket ends it.
    let (head, rest) = line.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut numbers = rest.split_whitespace().skip(11).map_while(|number| number.parse().ok());
    let mut next = || numbers.next();
    Some((name, [next()?, next()?, next()?, next()?]))
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks)
        / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_the_name() {
        let line = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 2 1 20 0 1 0 900 0 0\n";
        assert_eq!(parse(line), Some(("a (b) c", [7, 5, 2, 1])));
        assert_eq!(parse("42 (x) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_child_that_has_ended_still_tells_its_time() {
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        while !has_ended(child.id()) {
            ::tests::process::pass_time(Duration::from_millis(5));
        }
        let time = cpu_time(child.id()).unwrap();
        assert!(time >= Duration::from_millis(10), "{time:?}");
        assert!(child.wait().unwrap().success());
        assert!(has_ended(child.id()));
        assert_eq!(cpu_time(child.id()), None);
    }

    #[test]
    fn threads_tell_their_names() {
        let named = std::thread::Builder::new().name("a-thread".to_owned());
        let names = named
            .spawn(|| threads(std::process::id()).unwrap().into_iter().map(|(_, name, _)| name))
            .unwrap();
        let names: Vec<String> = names.join().unwrap().collect();
        assert!(names.iter().any(|name| name == "a-thread"), "{names:?}");
    }
}
