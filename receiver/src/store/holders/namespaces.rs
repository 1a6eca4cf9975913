//! The mount namespaces of all processes, and which of them keep a mount that the host gives up.
//!
//! Unmounting here reaches another namespace when its mount lies on one that shares or follows the
//! peer group of ours (mount_namespaces(7)); then it is no pin. Otherwise the image stays in use
//! until the last process has left that namespace, though nothing of it is seen from here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Hold;
use super::process::Process;
use super::site::Site;
use crate::store::table::{Mounted, mount_table_of};

/// Filesystems whose files are asked for over a network, or of another process.
const REMOTE: [&str; 9] =
    ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "autofs", "glusterfs"];

#[derive(Debug)]
struct Namespace {
    table: Vec<Mounted>,
    /// Where its processes have files of other machines.
    remote: BTreeSet<PathBuf>,
    /// The first process found in it.
    process: Option<Process>,
    processes: usize,
}

impl Namespace {
    fn new(table: Vec<Mounted>) -> Self {
        let is_remote = |mount: &&Mounted| {
            REMOTE.contains(&mount.kind.as_str()) || mount.kind.starts_with("fuse")
        };
        let remote = table.iter().filter(is_remote).map(|mount| mount.target.clone()).collect();
        Self { table, remote, process: None, processes: 0 }
    }
}

/// All mount namespaces that some process is in, by what the kernel calls them.
#[derive(Debug)]
pub(super) struct Namespaces {
    own: PathBuf,
    all: BTreeMap<PathBuf, Namespace>,
    nothing: BTreeSet<PathBuf>,
}

fn name_of(task: &Path) -> io::Result<PathBuf> {
    fs::read_link(task.join("ns/mnt"))
}

impl Namespaces {
    /// This task's own, whose mount table is given.
    pub(super) fn of_this_task(table: &[Mounted]) -> io::Result<Self> {
        let own = name_of(Path::new("/proc/thread-self"))?;
        let all = BTreeMap::from([(own.clone(), Namespace::new(table.to_vec()))]);
        Ok(Self { own, all, nothing: BTreeSet::new() })
    }

    /// Takes note of the namespaces that a process's threads are in.
    pub(super) fn visit(&mut self, process: &Process) {
        let mut visited = BTreeSet::new();
        for task in process.tasks() {
            let Ok(name) = name_of(&task) else { continue };
            if !visited.insert(name.clone()) {
                continue;
            }
            if !self.all.contains_key(&name) {
                let Ok(table) = mount_table_of(&task) else { continue };
                self.all.insert(name.clone(), Namespace::new(table));
            }
            let namespace = self.all.get_mut(&name).expect("it was inserted");
            namespace.process.get_or_insert_with(|| process.clone());
            namespace.processes += 1;
        }
    }

    /// Where a process has files of other machines.
    pub(super) fn remote(&self, process: &Process) -> &BTreeSet<PathBuf> {
        let task = process.tasks().into_iter().next();
        let name = task.and_then(|task| name_of(&task).ok());
        let namespace = name.and_then(|name| self.all.get(&name));
        namespace.map_or(&self.nothing, |namespace| &namespace.remote)
    }

    /// The namespaces that keep a release in use once it is unmounted here.
    pub(super) fn holding(&self, site: &Site) -> Vec<(Process, Hold)> {
        let others = self.all.iter().filter(|(name, _)| **name != self.own);
        let held = others.filter_map(|(_, namespace)| {
            let is_kept =
                |mount: &&Mounted| site.is_shown_by(mount) && !self.follows(site, namespace, mount);
            let mount = namespace.table.iter().find(is_kept)?;
            Some((namespace.process.clone()?, Site::hold_of(mount, namespace.processes)))
        });
        held.collect()
    }

    /// Whether unmounting the release here unmounts `mount` there: it lies at the same place of
    /// what it is mounted on, and that shares or follows ours. The root of a container follows the
    /// host's as a rule, and what is mounted elsewhere in it does not.
    fn follows(&self, site: &Site, namespace: &Namespace, mount: &Mounted) -> bool {
        let Some((there, at)) = ground(&namespace.table, mount) else { return false };
        let own = &self.all[&self.own].table;
        let grounds = own.iter().filter(|it| site.is_shown_by(it)).filter_map(|it| ground(own, it));
        let mut groups =
            grounds.filter(|(_, place)| *place == at).filter_map(|(here, _)| here.shared);
        groups.any(|group| self.is_reached(there, group))
    }

    /// Whether what happens on mounts of a peer group happens on `mount`.
    fn is_reached(&self, mount: &Mounted, group: u32) -> bool {
        if mount.shared == Some(group) {
            return true;
        }
        let masters = self.masters();
        let mut seen = BTreeSet::new();
        let mut next = mount.master;
        while let Some(master) = next.filter(|master| seen.insert(*master)) {
            if master == group {
                return true;
            }
            next = masters.get(&master).copied();
        }
        false
    }

    /// Which peer group each one follows.
    fn masters(&self) -> BTreeMap<u32, u32> {
        let mounts = self.all.values().flat_map(|namespace| &namespace.table);
        mounts.filter_map(|mount| Some((mount.shared?, mount.master?))).collect()
    }
}

/// What a mount lies on, and where in that filesystem.
fn ground<'t>(table: &'t [Mounted], mount: &Mounted) -> Option<(&'t Mounted, PathBuf)> {
    let below = table.iter().find(|it| it.id == mount.parent)?;
    let at = mount.target.strip_prefix(&below.target).ok()?;
    Some((below, below.root.join(at)))
}
