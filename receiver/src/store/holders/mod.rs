//! Who still uses a release: commands that were started on it to keep it, processes by what they
//! have open or stand in, mount namespaces that keep a mount which this one is about to give up,
//! and other mounts of it.
//!
//! Not here: what follows from it. The census is a look at `/proc` and a moment old when it is
//! read; it never waits for a disk or a server. What it cannot see it counts: processes of others
//! where it has no CAP_SYS_PTRACE; pins it sees all the same. A mount namespace that no process is
//! in any more, kept by a file that it is bound to, is not found.

mod namespaces;
mod pins;
mod process;
mod site;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use common::count::counted;
use serde::Serialize;

use self::namespaces::Namespaces;
pub use self::pins::pin;
use self::process::Process;
use self::site::Site;
use super::table::mount_table;

/// A way to use a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// `fanhost run-pinned` started it.
    Pin,
    /// Its current directory lies there.
    Cwd,
    /// Its root directory lies there.
    Root,
    /// The program that it runs lies there.
    Program,
    /// It has a file or a directory open.
    File,
    /// It has mapped a file, as it does with libraries.
    Map,
    /// Its mount namespace has a mount of its own that stays when the host unmounts.
    MountNamespace,
    /// Somebody mounted the release, or a part of it, elsewhere.
    Mount,
}

/// How often a release is used in one way, with one place for an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// The way.
    pub how: How,
    /// How many files, maps or mounts; for a mount namespace, how many processes are in it.
    pub count: usize,
    /// One of them, as the kernel names it; for a mount namespace, the mount as seen there.
    pub path: PathBuf,
}

/// Somebody who uses a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The process; for a mount namespace, the first of those that are in it. `None` for a mount.
    pub pid: Option<u32>,
    /// Its command line, or its name in brackets where it has none.
    pub command: String,
    /// The systemd unit or the container that it belongs to.
    pub unit: Option<String>,
    /// How long the process has existed.
    pub age_seconds: Option<u64>,
    /// How it uses the release.
    pub holds: Vec<Hold>,
}

/// Who uses each of some releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// In the order asked for.
    pub holders: Vec<Vec<Holder>>,
    /// Processes that could not be looked into, for lack of permission.
    pub unseen: usize,
}

/// Looks who uses the releases that lie at `paths`. The mount of a release at its own path is no
/// use of it.
///
/// # Errors
/// The kernel's answer when /proc cannot be read.
pub fn holders(paths: &[&Path]) -> io::Result<Census> {
    let table = mount_table()?;
    let sites: Vec<Site> = paths.iter().map(|path| Site::of(path, &table)).collect();
    let mut census = Census { holders: vec![Vec::new(); sites.len()], unseen: 0 };
    let mut namespaces = Namespaces::of_this_task(&table)?;
    for process in process::all()? {
        namespaces.visit(&process);
        match process.links(namespaces.remote(&process)) {
            Ok(links) => {
                for (site, holders) in sites.iter().zip(&mut census.holders) {
                    holders.extend(holder(&process, site.held_by(&links)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => census.unseen += 1,
            // It ended meanwhile.
            Err(_) => {}
        }
    }
    for (site, holders) in sites.iter().zip(&mut census.holders) {
        for (process, hold) in namespaces.holding(site) {
            merge(holders, &process, hold);
        }
        add_pins(holders, site.path());
        holders.extend(other_mounts(site.other_mounts(&table)));
    }
    Ok(census)
}

fn holder(process: &Process, holds: Vec<Hold>) -> Option<Holder> {
    let facts = |holds| Holder {
        pid: Some(process.id()),
        command: process.command(),
        unit: process.unit(),
        age_seconds: process.age_seconds(),
        holds,
    };
    (!holds.is_empty()).then(|| facts(holds))
}

/// A process that stands for its mount namespace may use the release in other ways, too.
fn merge(holders: &mut Vec<Holder>, process: &Process, hold: Hold) {
    match holders.iter_mut().find(|holder| holder.pid == Some(process.id())) {
        Some(holder) => {
            holder.holds.push(hold);
            holder.holds.sort_by_key(|hold| hold.how);
        }
        None => holders.extend(holder(process, vec![hold])),
    }
}

/// Names who pinned the release at `path`, as far as the kernel does.
fn add_pins(holders: &mut Vec<Holder>, path: &Path) {
    if !pins::is_pinned(path) {
        return;
    }
    let hold = || Hold { how: How::Pin, count: 1, path: path.to_path_buf() };
    let owners = pins::owners_of(path);
    if owners.is_empty() {
        // Another container's, or those that it was inherited from have ended.
        let (command, unit, age_seconds) = ("[run-pinned]".into(), None, None);
        let holds = vec![hold()];
        holders.push(Holder { pid: None, command, unit, age_seconds, holds });
    }
    for owner in owners {
        merge(holders, &Process::of(owner), hold());
    }
}

fn other_mounts(targets: Vec<PathBuf>) -> Option<Holder> {
    let count = targets.len();
    let path = targets.into_iter().next()?;
    let holds = vec![Hold { how: How::Mount, count, path }];
    Some(Holder { pid: None, command: "[mount]".into(), unit: None, age_seconds: None, holds })
}

/// Counts the ways, and keeps the first place of each.
fn counts(found: impl Iterator<Item = (How, PathBuf)>) -> Vec<Hold> {
    let mut holds: BTreeMap<How, Hold> = BTreeMap::new();
    for (how, path) in found {
        holds.entry(how).or_insert(Hold { how, count: 0, path }).count += 1;
    }
    holds.into_values().collect()
}

/// The holders in a few words, for the line about a release that is kept for them: the first by
/// name, the rest by number. `None` when there are none.
pub fn in_use(holders: &[Holder]) -> Option<String> {
    let (first, rest) = holders.split_first()?;
    let more = match rest.len() {
        0 => String::new(),
        count => format!(" and {}", counted(count as u64, "other")),
    };
    let by = if first.pid.is_some() { "in use by " } else { "" };
    Some(format!("{by}{first}{more}"))
}

impl fmt::Display for Holder {
    /// `php import.php (process 4711, shop.service: current directory, 3 files)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut facts: Vec<String> =
            self.pid.map(|pid| format!("process {pid}")).into_iter().collect();
        facts.extend(self.unit.clone());
        let holds: Vec<String> = self.holds.iter().map(Hold::to_string).collect();
        let holds = holds.join(", ");
        match facts.is_empty() {
            true => f.write_str(&holds),
            false => write!(f, "{} ({}: {holds})", self.short_command(), facts.join(", ")),
        }
    }
}

impl Holder {
    /// The command line, cut to what fits into a line of a log.
    pub fn short_command(&self) -> String {
        const CHARACTERS: usize = 40;
        match self.command.char_indices().nth(CHARACTERS) {
            Some((at, _)) => format!("{}…", &self.command[..at]),
            None => self.command.clone(),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count as u64;
        match self.how {
            How::Pin => f.write_str("run-pinned"),
            How::Cwd => f.write_str("current directory"),
            How::Root => f.write_str("root directory"),
            How::Program => f.write_str("program"),
            How::File => f.write_str(&counted(count, "file")),
            How::Map => f.write_str(&counted(count, "map")),
            How::MountNamespace => {
                write!(f, "mount namespace of {}", counted(count, "process"))
            }
            How::Mount => write!(f, "mounted at {}", self.path.display()),
        }
    }
}
