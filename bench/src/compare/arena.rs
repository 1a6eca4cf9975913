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
use anyhow::{Context, bail};
use common::digest::Digest;

/// Name of the file that is sent.
pub const FILE: &str = "image";
/// Room beside the files themselves.
const SPARE_BYTES: u64 = 256 << 20;

/// The machines and the file.
pub struct Arena {
    lab: Lab,
    bytes: u64,
    digest: Digest,
    desk: PathBuf,
}

impl Arena {
    /// Builds it: `hosts` hosts, a file of `bytes`, `loss_per_mille` lost at every machine.
    ///
    /// Trains stay whole on their way: a lost datagram may be a lost train.
    ///
    /// # Panics
    /// When the machine cannot stage it.
    pub fn new(hosts: usize, bytes: u64, loss_per_mille: u32) -> Self {
        let lab = Lab::new(Shape::hosts(hosts).alone());
        let desk = lab.directory().join("desk");
        fs::create_dir_all(&desk).expect("the lab's directory is ours");
        let room = 2 * bytes + SPARE_BYTES;
        let mount = format!("-t tmpfs -o size={room} arena {}", desk.display());
        lab.sender().tool("mount", &mount);
        lab.hosts().iter().for_each(|host| host.put_store_on_tmpfs(room));
        let machines = lab.hosts().iter().map(|host| host.node()).chain([lab.sender()]);
        for machine in machines {
            adapt(machine);
            if loss_per_mille > 0 {
                machine.lose(Loss::per_mille(loss_per_mille));
            }
        }
        let source = lab.sender().view(&desk.join(FILE));
        make_noise(&source, "arena", bytes);
        let digest = digest_of_file(&source).expect("it was just written");
        Self { lab, bytes, digest, desk }
    }

    /// The lab underneath.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file, as the sender sees it.
    pub fn source(&self) -> PathBuf {
        self.desk.join(FILE)
    }

    /// A directory of the sender's, in memory.
    pub fn desk(&self) -> &Path {
        &self.desk
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.lab.hosts().len()
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

/// What the peers need: a broadcast address, and a route for groups that they send to.
fn adapt(machine: &Node) {
    let address = machine.address(Family::V4);
    machine.ip(&format!("-4 addr flush dev {INTERFACE}"));
    machine.ip(&format!("addr add {address}/15 broadcast + dev {INTERFACE}"));
    machine.ip(&format!("route add 224.0.0.0/4 dev {INTERFACE}"));
}
