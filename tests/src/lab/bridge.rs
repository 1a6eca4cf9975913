//! The switch between the machines: a Linux bridge with IGMP and MLD snooping and a querier.
//!
//! A port carries a group only after somebody behind it has joined (`mcast_flood off`), and forgets
//! it after the membership interval unless the querier's question was answered. Measured on kernel
//! 6.18: without a querier such a bridge forwards no group at all; the querier's answer delay must
//! be set *before* it is switched on, because nothing is forwarded until the first delay is over.

use std::net::IpAddr;
use std::time::Duration;

use super::node::{INTERFACE, Node};
use crate::process::{holds_within, pass_time};

/// How the bridge learns who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snooping {
    /// Whether the bridge asks. Without a querier it forwards no group.
    pub querier: bool,
    /// Time between two questions; the kernel takes no less than a second.
    pub query_interval: Duration,
    /// Time after which an unanswered membership is forgotten.
    pub membership: Duration,
}

impl Snooping {
    /// Asks every second and forgets after four.
    pub const QUICK: Self = Self {
        querier: true,
        query_interval: Duration::from_secs(1),
        membership: Duration::from_secs(4),
    };
}

/// How long hosts may take to answer a question of the querier.
const ANSWER_DELAY: Duration = Duration::from_millis(200);

/// The bridge, in a machine of its own.
pub struct Bridge {
    node: Node,
    ports: usize,
}

impl Bridge {
    /// Makes `node` a bridge.
    pub fn new(node: Node, snooping: Snooping) -> Self {
        node.ip(&format!(
            "link add br0 type bridge mcast_snooping 1 mcast_startup_query_count 2 \
             mcast_startup_query_interval 100 mcast_last_member_interval 20 \
             mcast_query_response_interval {} mcast_query_interval {} mcast_membership_interval {}",
            centiseconds(ANSWER_DELAY),
            centiseconds(snooping.query_interval),
            centiseconds(snooping.membership),
        ));
        node.ip("link set br0 up");
        node.ip(&format!("link set br0 type bridge mcast_querier {}", u8::from(snooping.querier)));
        Self { node, ports: 0 }
    }

    /// Plugs `machine` in: its interface gets its addresses, `mtu`, and a port that floods nothing.
    pub fn plug(&mut self, machine: &Node, mtu: u32) {
        self.ports += 1;
        let port = format!("port{}", self.ports);
        machine.ip(&format!(
            "link add {INTERFACE} mtu {mtu} type veth peer name {port} mtu {mtu} netns {}",
            self.node.anchor_pid()
        ));
        self.node.ip(&format!("link set {port} master br0"));
        self.node.ip(&format!("link set {port} type bridge_slave mcast_flood off mcast_router 0"));
        self.node.ip(&format!("link set {port} up"));
        let v4 = machine.address(super::Family::V4);
        let v6 = machine.address(super::Family::V6);
        machine.ip(&format!("addr add {v4}/15 dev {INTERFACE}"));
        machine.ip(&format!("addr add {v6}/64 dev {INTERFACE} nodad"));
        machine.ip(&format!("link set {INTERFACE} up"));
    }

    /// Waits until every port forwards and the querier's first answer delay is over.
    ///
    /// The kernel looks at a link that came up only once a second; what a machine says before, its
    /// first membership report too, is lost.
    ///
    /// # Panics
    /// When a port does not come up.
    pub fn settle(&self) {
        let forwarding = || {
            let links = self.node.tool("bridge", "link show");
            links.lines().filter(|line| line.contains("state forwarding")).count()
        };
        let is_up = holds_within(Duration::from_secs(10), || forwarding() == self.ports);
        assert!(is_up, "{} of {} ports forward", forwarding(), self.ports);
        pass_time(ANSWER_DELAY * 2);
    }

    /// Waits until the bridge knows `members` members of `group`.
    ///
    /// # Panics
    /// When it does not within ten seconds.
    pub fn wait_for_members(&self, group: IpAddr, members: usize) {
        let entry = format!(" grp {group} ");
        let known = || self.memberships().lines().filter(|line| line.contains(&entry)).count();
        let learned = holds_within(Duration::from_secs(10), || known() == members);
        assert!(learned, "not {members} members of {group}:\n{}", self.memberships());
    }

    /// The groups that the bridge knows members of, as `bridge mdb show` prints them.
    pub fn memberships(&self) -> String {
        self.node.tool("bridge", "mdb show")
    }
}

fn centiseconds(time: Duration) -> u128 {
    time.as_millis() / 10
}
