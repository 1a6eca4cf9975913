//! Where contestants meet: a sender and hosts in network namespaces, every file of it in memory.
//!
//! The same machines, the same file and the same checks for every contestant. Not here: clocks.
//! Invariant: what the arena made goes with it; see `tests::lab`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ::tests::fixture::make_noise;
use ::tests::lab::{Family, INTERFACE, Lab, Loss, Node, Shape};
use ::tests::tree::digest_of_file;
use anyhow::{Context, bail, ensure};
use common::digest::Digest;
use common::units::ByteSize;

use crate::cell::Cell;
use crate::machine;

/// Name of the file that is sent.
pub const FILE: &str = "image";
/// Room beside the files themselves.
const SPARE_BYTES: u64 = 256 << 20;

/// What a host's process takes beside a small file, and at most: its budget of symbols and of
/// fragments, and its socket's buffer.
const HOST_BYTES_MIN: u64 = 8 << 20;
const HOST_BYTES_MAX: u64 = 160 << 20;
/// Packets that wait at the sender's interface where it is not limited: as Linux has it for queues
/// of its own; they never wait long here.
const QUEUE_PACKETS: u32 = 1000;

/// The machines and the file.
pub struct Arena {
    lab: Lab,
    cell: Cell,
    digest: Digest,
    desk: PathBuf,
}

impl Arena {
    /// Builds what `cell` says.
    ///
    /// # Errors
    /// When the machine has too little memory for it.
    ///
    /// # Panics
    /// When the machine cannot stage it otherwise.
    pub fn new(cell: &Cell) -> anyhow::Result<Self> {
        let (needed, available) = (bytes_needed(cell), machine::available_bytes());
        ensure!(
            needed <= available,
            "{cell} takes {} of memory, and {} are available: try fewer hosts or less",
            ByteSize(needed),
            ByteSize(available)
        );
        let lab = Lab::new(Shape::hosts(cell.hosts).alone());
        let desk = lab.directory().join("desk");
        fs::create_dir_all(&desk).expect("the lab's directory is ours");
        let room = 2 * cell.file_bytes + SPARE_BYTES;
        // The file, and a bundle of it in the clear and one under keys.
        let desk_room = room + cell.file_bytes;
        let mount = format!("-t tmpfs -o size={desk_room} arena {}", desk.display());
        lab.sender().tool("mount", &mount);
        lab.hosts().iter().for_each(|host| host.put_store_on_tmpfs(room));
        let machines = lab.hosts().iter().map(|host| host.node()).chain([lab.sender()]);
        for machine in machines {
            adapt(machine);
            if cell.loss_per_mille > 0 {
                machine.lose(Loss::per_mille(cell.loss_per_mille));
            }
        }
        give_queue(lab.sender(), cell);
        let source = lab.sender().view(&desk.join(FILE));
        make_noise(&source, "arena", cell.file_bytes);
        let digest = digest_of_file(&source).expect("it was just written");
        Ok(Self { lab, cell: cell.clone(), digest, desk })
    }

    /// The lab underneath.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// What it was built from.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// The file, as the sender sees it.
    pub fn source(&self) -> PathBuf {
        self.desk.join(FILE)
    }

    /// A directory of the sender's, in memory.
    pub fn desk(&self) -> &Path {
        &self.desk
    }

    /// Empties every store.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        for host in self.lab.hosts() {
            let store = host.view(&host.store());
            for entry in fs::read_dir(&store)? {
                let path = entry?.path();
                let removed =
                    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Reads the file that each host has at `place` below its store, on all processors at once.
    ///
    /// # Errors
    /// Names the first host whose file is missing or another.
    pub fn check(&self, place: impl Fn(&Path) -> Option<PathBuf> + Sync) -> anyhow::Result<()> {
        let (next, fault) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(host) = self.lab.hosts().get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.check_file(place(&host.view(&host.store()))) {
                    let error = error.context(format!("{} has no good copy", host.name()));
                    fault.lock().expect("no holder panics").get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            let workers = thread::available_parallelism().map_or(1, usize::from);
            (0..workers).for_each(|_| {
                scope.spawn(work);
            });
        });
        fault.into_inner().expect("no holder panics").map_or(Ok(()), Err)
    }

    fn check_file(&self, path: Option<PathBuf>) -> anyhow::Result<()> {
        let path = path.context("no file")?;
        let digest = digest_of_file(&path).with_context(|| path.display().to_string())?;
        if digest != self.digest {
            bail!("{} has digest {digest}, not {}", path.display(), self.digest);
        }
        Ok(())
    }
}

/// Memory that a run in `cell` takes at most: the file and its bundle, a copy on every host, and
/// what each host's process holds of it.
fn bytes_needed(cell: &Cell) -> u64 {
    let process = (HOST_BYTES_MIN + 2 * cell.file_bytes).min(HOST_BYTES_MAX);
    2 * cell.file_bytes + cell.hosts as u64 * (cell.file_bytes + process)
}

/// What the peers need: a broadcast address, and a route for groups that they send to.
fn adapt(machine: &Node) {
    let address = machine.address(Family::V4);
    machine.ip(&format!("-4 addr flush dev {INTERFACE}"));
    machine.ip(&format!("addr add {address}/15 broadcast + dev {INTERFACE}"));
    machine.ip(&format!("route add 224.0.0.0/4 dev {INTERFACE}"));
}

/// The sender's interface: a queue that counts what leaves, as fast as the cell says.
fn give_queue(sender: &Node, cell: &Cell) {
    match cell.rate_limit {
        Some(rate) => sender.shape(rate),
        None => {
            let queue = format!("pfifo limit {QUEUE_PACKETS}");
            sender.tool("tc", &format!("qdisc replace dev {INTERFACE} root {queue}"));
        }
    }
    if !cell.has_offload {
        sender.split_trains();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(hosts: usize, file_bytes: u64) -> u64 {
        let (loss_per_mille, has_offload, rate_limit) = (0, true, None);
        bytes_needed(&Cell { hosts, file_bytes, loss_per_mille, has_offload, rate_limit })
    }

    #[test]
    fn memory_follows_hosts_and_file_and_is_asked_for_first() {
        assert_eq!(needed(1, 1 << 30), (3 << 30) + HOST_BYTES_MAX);
        assert_eq!(needed(200, 16 << 20), (32 << 20) + 200 * (56 << 20));
        let (loss_per_mille, has_offload, rate_limit) = (0, true, None);
        let hosts = 1_000_000;
        let cell = Cell { hosts, file_bytes: 1 << 30, loss_per_mille, has_offload, rate_limit };
        let error = Arena::new(&cell).err().unwrap().to_string();
        assert!(error.contains("1000000 hosts") && error.contains("of memory"), "{error}");
    }
}
