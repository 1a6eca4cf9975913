//! A small data centre in network namespaces: one snooping bridge, a sender, hosts, and strangers.
//!
//! Needs root and the tools that `tests/run` installs. Addresses are 198.18.0.0/15 (RFC 2544) and
//! fd00:fa::/64; nothing leaves the machine, for no interface of the lab leads outside. What a lab
//! made ends with it: see `node` for why that holds even after kill -9. The directory is the one
//! thing that a killed test leaves; the next lab removes it by the dead process's id in its name.

mod bridge;
mod host;
mod leftover;
mod link;
mod node;
mod release;
mod socket;
mod tool;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use self::bridge::{Bridge, Snooping};
pub use self::host::{FrozenStore, Host, HostOptions, RECEIVER};
pub use self::link::{Loss, LossCount};
pub use self::node::{INTERFACE, Node};
pub use self::release::Release;

/// Which internet protocol a lab speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4, group 239.192.70.70.
    V4,
    /// IPv6, group ff15::7070.
    V6,
}

/// What a lab consists of.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Hosts, called h1, h2, …
    pub hosts: usize,
    /// Machines beside the sender and the hosts, by name.
    pub strangers: Vec<&'static str>,
    /// The protocol of its sessions.
    pub family: Family,
    /// Loss at every host and at the sender, each way.
    pub loss: Option<Loss>,
    /// MTU of every interface.
    pub mtu: u32,
    /// How the bridge learns who listens.
    pub snooping: Snooping,
    /// Whether the test needs the whole machine: because it measures time, or fills both cores.
    pub alone: bool,
}

/// A running lab.
pub struct Lab {
    sender: Node,
    hosts: Vec<Host>,
    strangers: Vec<Node>,
    bridge: Bridge,
    shape: Shape,
    directory: PathBuf,
    _turn: Turn,
}

/// Labs that measure time run alone; the others beside each other.
static TURNS: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "a turn is held, never looked at")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Family {
    /// The default control group of this family.
    pub const fn group(self) -> SocketAddr {
        let address = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(239, 192, 70, 70)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0xFF15, 0, 0, 0, 0, 0, 0, 0x7070)),
        };
        SocketAddr::new(address, 7070)
    }
}

impl Shape {
    /// `hosts` hosts, IPv4, no loss, MTU 1500, a bridge that asks every second.
    pub const fn hosts(hosts: usize) -> Self {
        Self {
            hosts,
            strangers: Vec::new(),
            family: Family::V4,
            loss: None,
            mtu: 1500,
            snooping: Snooping::QUICK,
            alone: false,
        }
    }

    /// The same with `percent` % of all datagrams lost at every machine, each on its own.
    pub const fn losing_percent(mut self, percent: u32) -> Self {
        self.loss = Some(Loss::percent(percent));
        self
    }

    /// The same over `family`.
    pub const fn over(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// The same with a machine called `name` beside the others.
    pub fn with(mut self, name: &'static str) -> Self {
        self.strangers.push(name);
        self
    }

    /// The same, with no other lab running.
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

impl Lab {
    /// Builds the lab; hosts have a store directory but no daemon yet.
    ///
    /// # Panics
    /// When the machine cannot stage it.
    pub fn new(shape: Shape) -> Self {
        assert!(rustix::process::geteuid().is_root(), "the lab needs root; use tests/run as root");
        let turn = Turn::take(shape.alone);
        let directory = leftover::fresh_directory();
        let name = directory.file_name().expect("it was made with one").to_string_lossy();
        let logs = directory.join("logs");
        let machine = |called: &str, number: u16| Node::new(&name, called, number, &logs);

        let mut bridge = Bridge::new(machine("bridge", 1), shape.snooping);
        let sender = machine("sender", 2);
        bridge.plug(&sender, shape.mtu);
        let mut number = 10;
        let mut next = |called: &str| {
            number += 1;
            let node = machine(called, number);
            bridge.plug(&node, shape.mtu);
            node
        };
        let hosts: Vec<Host> = (1..=shape.hosts)
            .map(|nth| Host::new(next(&format!("h{nth}")), shape.family, &directory))
            .collect();
        let strangers: Vec<Node> = shape.strangers.iter().map(|called| next(called)).collect();

        let lab = Self { sender, hosts, strangers, bridge, shape, directory, _turn: turn };
        if let Some(loss) = lab.shape.loss {
            lab.lose_everywhere(loss);
        }
        lab.bridge.settle();
        lab
    }

    /// The machine that sends.
    pub fn sender(&self) -> &Node {
        &self.sender
    }

    /// Host number `nth`, counted from 1.
    pub fn host(&mut self, nth: usize) -> &mut Host {
        &mut self.hosts[nth - 1]
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// All hosts, to change them.
    pub fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// The machine beside the others called `name`.
    ///
    /// # Panics
    /// When the shape names none so.
    pub fn stranger(&self, name: &str) -> &Node {
        let found = self.strangers.iter().find(|node| node.name() == name);
        found.unwrap_or_else(|| panic!("the lab has no machine called {name}"))
    }

    /// The switch.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// What it was built from.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A directory that goes away with the lab.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the output of the lab's processes goes.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Starts the daemon of every host with `options` and waits until each has joined the group.
    ///
    /// # Panics
    /// When one does not come up.
    pub fn start_hosts(&mut self, options: &HostOptions) {
        for host in &mut self.hosts {
            host.spawn(options);
        }
        for host in &mut self.hosts {
            host.wait_ready();
        }
    }

    /// Draws `loss` for every datagram at every machine, both ways.
    pub fn lose_everywhere(&self, loss: Loss) {
        let nodes = self.hosts.iter().map(Host::node).chain([&self.sender]);
        for node in nodes {
            node.split_trains();
            node.lose(loss);
        }
    }

    /// Datagrams that the lab dropped at the hosts and at the sender.
    pub fn lost(&self) -> u64 {
        let nodes = self.hosts.iter().map(Host::node).chain([&self.sender]);
        nodes.map(|node| node.loss_count().lost).sum()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.drop_daemon();
        }
        // The anchors end after this body; loop devices of their mounts clear themselves only then.
        self.hosts.clear();
        let loops = leftover::loop_devices_of(&self.directory);
        let _ = fs::remove_dir_all(&self.directory);
        if !std::thread::panicking() {
            assert!(loops.is_empty(), "loop devices outlive their host: {loops:?}");
        }
    }
}

impl Turn {
    fn take(alone: bool) -> Self {
        // A panicking test poisons the lock; the lock guards no data, so that changes nothing.
        if alone {
            Self::Alone(TURNS.write().unwrap_or_else(std::sync::PoisonError::into_inner))
        } else {
            Self::Shared(TURNS.read().unwrap_or_else(std::sync::PoisonError::into_inner))
        }
    }
}
