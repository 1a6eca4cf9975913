//! What a link of the lab does to datagrams: loses some, carries so many a second, cuts some off.
//!
//! Loss is drawn for each incoming UDP datagram by nftables, so it is independent at every machine.
//! Rate is a token bucket on what a machine sends. Neither touches IGMP, MLD or ARP.

use common::units::Bitrate;

use super::node::{INTERFACE, Node};
use super::tool;

/// A share of datagrams, in thousandths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss(u32);

/// UDP datagrams that came to a machine, and those of them that the lab dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossCount {
    /// All that arrived at the machine.
    pub arrived: u64,
    /// Dropped by the lab before a socket saw them.
    pub lost: u64,
}

impl Loss {
    /// `percent` of the datagrams.
    pub const fn percent(percent: u32) -> Self {
        Self(percent * 1000)
    }

    /// `per_mille` thousandths of the datagrams.
    pub const fn per_mille(per_mille: u32) -> Self {
        Self(per_mille * 100)
    }
}

impl Node {
    /// Loses `loss` of all UDP datagrams that come to this machine, each on its own.
    pub fn lose(&self, loss: Loss) {
        let drawn = format!("meta l4proto udp numgen random mod 100000 < {}", loss.0);
        self.filter(&format!("{drawn} counter name lost drop"));
    }

    /// Drops incoming datagrams that match `rule`, an nftables expression (`udp dport 7071`).
    pub fn cut(&self, rule: &str) {
        self.filter(&format!("{rule} counter name lost drop"));
    }

    /// Takes loss and cuts away again.
    pub fn mend(&self) {
        self.filter("");
    }

    /// What [`Node::lose`] and [`Node::cut`] have done since they were last set.
    pub fn loss_count(&self) -> LossCount {
        let text = self.tool("nft", "-j list counters table inet fanlab");
        let json: serde_json::Value = serde_json::from_str(&text).expect("nft -j prints an object");
        let packets = |name: &str| {
            let items = json["nftables"].as_array().into_iter().flatten();
            let mut counters = items.filter_map(|item| item.get("counter"));
            let counter = counters.find(|counter| counter["name"] == name);
            counter.and_then(|counter| counter["packets"].as_u64()).unwrap_or(0)
        };
        LossCount { arrived: packets("arrived"), lost: packets("lost") }
    }

    /// Sends no faster than `rate`; what exceeds 200 ms of it in the queue is dropped.
    pub fn shape(&self, rate: Bitrate) {
        let bits = rate.as_bits();
        // A bucket below one train of 16 full symbols would lose every train.
        let burst_bytes = (bits / 8 / 100).max(64 * 1024);
        let limit_bytes = (bits / 8 / 5).max(2 * burst_bytes);
        self.tool(
            "tc",
            &format!(
                "qdisc replace dev {INTERFACE} root tbf rate {bits}bit burst {burst_bytes} \
                 limit {limit_bytes}"
            ),
        );
    }

    /// Cuts trains into single datagrams before they leave, so that loss is drawn for each.
    pub fn split_trains(&self) {
        self.ip(&format!("link set {INTERFACE} gso_max_segs 1"));
    }

    fn filter(&self, rule: &str) {
        let script = format!(
            "table inet fanlab {{}}\n\
             delete table inet fanlab\n\
             table inet fanlab {{\n\
               counter arrived {{}}\n\
               counter lost {{}}\n\
               chain incoming {{\n\
                 type filter hook input priority 0; policy accept;\n\
                 meta l4proto udp counter name arrived\n\
                 {rule}\n\
               }}\n\
             }}\n"
        );
        tool::feed(self.command("nft").args(["-f", "-"]), &script);
    }
}
