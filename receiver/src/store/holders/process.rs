//! One process as `/proc` shows it: its name, its unit, its age, and what it has a hold of.
//!
//! Not here: whether any of it belongs to a release. Processes end at any moment: whatever cannot
//! be read then is left out. Names come from whoever started the process, and are made harmless.

#![expect(clippy::disallowed_methods, reason = "reads /proc")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dev, StatxFlags, makedev};

use super::How;

/// Characters of a command line that are kept.
const COMMAND_CHARACTERS_MAX: usize = 400;
/// Digits of a container's id that tell it apart.
const CONTAINER_DIGITS: usize = 12;
/// Words before the id of a container in its cgroup's name.
const CONTAINERS: [&str; 5] = ["docker", "cri-containerd", "crio", "libpod", "lxc.payload"];

/// One process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    id: u32,
    proc: PathBuf,
}

/// Something that a process has a hold of.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) how: How,
    /// As the kernel names it, from this process's root where it can.
    pub(super) path: PathBuf,
    /// Device and inode, where they could be had without asking a server.
    pub(super) file: Option<(Dev, u64)>,
}

/// Every process, by number.
pub(super) fn all() -> io::Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        all.push(Process::of(id));
    }
    all.sort_by_key(|process| process.id);
    Ok(all)
}

impl Process {
    /// The process of this number, if there is one.
    pub(super) fn of(id: u32) -> Self {
        Self { id, proc: PathBuf::from(format!("/proc/{id}")) }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Directories of its threads.
    pub(super) fn tasks(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.proc.join("task")).into_iter().flatten();
        let mut tasks: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        tasks.sort();
        tasks
    }

    /// Everything that it has a hold of. Nothing below the directories in `remote` is asked for its
    /// inode: a server that is gone would never answer.
    ///
    /// # Errors
    /// When it ended, or may not be looked into.
    pub(super) fn links(&self, remote: &BTreeSet<PathBuf>) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        let mut take = |how, proc: &Path| {
            if let Ok(path) = fs::read_link(proc)
                && path.is_absolute()
            {
                let is_remote = path.ancestors().any(|directory| remote.contains(directory));
                let file = if is_remote { None } else { file_of(proc) };
                links.push(Link { how, path, file });
            }
        };
        // Before the rest: whether it may be looked into shows here.
        let files = fs::read_dir(self.proc.join("fd"))?;
        for (how, name) in [(How::Cwd, "cwd"), (How::Root, "root"), (How::Program, "exe")] {
            take(how, &self.proc.join(name));
        }
        for file in files.flatten() {
            take(How::File, &file.path());
        }
        links.extend(self.maps());
        Ok(links)
    }

    /// Files that it has mapped, each once.
    fn maps(&self) -> Vec<Link> {
        let text = fs::read(self.proc.join("maps")).unwrap_or_default();
        let mut seen = BTreeSet::new();
        let lines = text.split(|byte| *byte == b'\n').filter_map(parse_map);
        lines
            .filter(|(path, file)| seen.insert((path.clone(), *file)))
            .map(|(path, file)| Link { how: How::Map, path, file: Some(file) })
            .collect()
    }

    /// Its command line; the kernel's name for it in brackets where it has none.
    pub(super) fn command(&self) -> String {
        let line = fs::read(self.proc.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        let name = || fs::read(self.proc.join("comm")).unwrap_or_default().trim_ascii().to_vec();
        let text = match words.is_empty() {
            true => [b"[".as_slice(), &name(), b"]"].concat(),
            false => words.join(&b' '),
        };
        harmless(&text)
    }

    /// The systemd unit or the container that it belongs to.
    pub(super) fn unit(&self) -> Option<String> {
        unit_of(&fs::read_to_string(self.proc.join("cgroup")).ok()?)
    }

    /// How long it has existed.
    pub(super) fn age_seconds(&self) -> Option<u64> {
        let stat = fs::read_to_string(self.proc.join("stat")).ok()?;
        // The name stands in parentheses and may hold anything; field 22 of all is the start.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
        let started = ticks / rustix::param::clock_ticks_per_second();
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: u64 = uptime.split('.').next()?.parse().ok()?;
        Some(uptime.saturating_sub(started))
    }
}

/// Device and inode of what a link of `/proc` leads to, from what the kernel has in memory.
fn file_of(proc: &Path) -> Option<(Dev, u64)> {
    let facts = rustix::fs::statx(CWD, proc, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some((makedev(facts.stx_dev_major, facts.stx_dev_minor), facts.stx_ino))
}

/// proc(5): range, permissions, offset, device, inode, path; nothing for memory without a file.
fn parse_map(line: &[u8]) -> Option<(PathBuf, (Dev, u64))> {
    let at = line.iter().position(|byte| *byte == b'/')?;
    let facts = std::str::from_utf8(&line[..at]).ok()?;
    let mut fields = facts.split_whitespace().skip(3);
    let (major, minor) = fields.next()?.split_once(':')?;
    let hex = |digits| u32::from_str_radix(digits, 16).ok();
    let device = makedev(hex(major)?, hex(minor)?);
    let inode = fields.next()?.parse().ok()?;
    Some((PathBuf::from(OsString::from_vec(line[at..].to_vec())), (device, inode)))
}

/// What a terminal or a log may be given.
fn harmless(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let letters = text.chars().take(COMMAND_CHARACTERS_MAX);
    letters.map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// The unit or container that a process's control groups name, innermost first.
fn unit_of(cgroup: &str) -> Option<String> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut parts = paths.flat_map(|path| path.rsplit('/')).filter(|part| !part.is_empty());
    let mut unit = None;
    // A container is told before the unit that it runs in, and before one of its own inside.
    let container = parts.find_map(|part| {
        if unit.is_none() && (part.ends_with(".service") || part.ends_with(".scope")) {
            unit = Some(harmless(part.as_bytes()));
        }
        container_of(part)
    });
    container.or(unit)
}

fn container_of(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id(part) {
        return Some(format!("container {}", &part[..CONTAINER_DIGITS]));
    }
    let (word, rest) = CONTAINERS.into_iter().find_map(|word| {
        let rest = part.strip_prefix(word)?.strip_prefix(['-', '.'])?;
        Some((word, rest))
    })?;
    let name = if is_id(rest) { &rest[..CONTAINER_DIGITS] } else { rest };
    Some(harmless(format!("{word} container {name}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers_are_told_by_their_control_groups() {
        let id = "0123456789abcdef".repeat(4);
        for (cgroup, expected) in [
            ("0::/system.slice/php8.2-fpm.service\n", Some("php8.2-fpm.service")),
            ("0::/user.slice/user-0.slice/session-3.scope\n", Some("session-3.scope")),
            ("0::/init.scope\n", Some("init.scope")),
            ("0::/\n", None),
            ("", None),
            (&format!("0::/system.slice/docker-{id}.scope"), Some("docker container 0123456789ab")),
            (
                &format!("12:pids:/docker/{id}\n1:name=systemd:/docker/{id}"),
                Some("container 0123456789ab"),
            ),
            (
                &format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                Some("cri-containerd container 0123456789ab"),
            ),
            (
                &format!("0::/system.slice/docker-{id}.scope/system.slice/nginx.service"),
                Some("docker container 0123456789ab"),
            ),
            ("0::/lxc.payload.web/init.scope", Some("lxc.payload container web")),
            ("0::/a\u{1b}[2J.service", Some("a?[2J.service")),
        ] {
            assert_eq!(unit_of(cgroup).as_deref(), expected, "{cgroup}");
        }
    }

    #[test]
    fn a_line_of_the_maps_is_read_with_its_device_and_path() {
        let line =
            b"7f1c-7f1d r-xp 00001000 fe:01 4711                       /srv/a b/lib.so (deleted)";
        let expected = (PathBuf::from("/srv/a b/lib.so (deleted)"), (makedev(0xfe, 1), 4711));
        assert_eq!(parse_map(line), Some(expected));
        assert_eq!(parse_map(b"7f1c-7f1d rw-p 00000000 00:00 0    [heap]"), None);
        assert_eq!(parse_map(b""), None);
    }

    #[test]
    fn this_process_has_a_command_an_age_and_its_program() {
        let own = all().unwrap().into_iter().find(|it| it.id() == std::process::id()).unwrap();
        let program = std::env::current_exe().unwrap();
        assert!(own.command().contains(program.file_name().unwrap().to_str().unwrap()));
        assert!(own.age_seconds().unwrap() < 24 * 3600);
        let links = own.links(&BTreeSet::new()).unwrap();
        let ways: BTreeSet<How> =
            links.iter().filter(|link| link.path == program).map(|link| link.how).collect();
        assert_eq!(ways, BTreeSet::from([How::Program, How::Map]));
    }

    #[test]
    fn names_from_outside_are_made_harmless() {
        assert_eq!(harmless(b"php\x1b[2J \xff x"), "php?[2J \u{fffd} x");
        assert_eq!(harmless(&[b'a'; 5000]).len(), COMMAND_CHARACTERS_MAX);
    }
}
