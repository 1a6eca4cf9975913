//! A cell of the matrix: how many hosts, which file, what the network does to it.

use std::fmt;

use anyhow::{Context, ensure};
use common::units::{Bitrate, ByteSize};
use serde::{Deserialize, Serialize};

/// Loss beyond which nothing gets through.
const LOSS_PERCENT_MAX: f64 = 50.0;

/// One set of circumstances that contestants are compared under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Hosts that the file goes to.
    pub hosts: usize,
    /// Length of the file.
    pub file_bytes: u64,
    /// Datagrams lost at every machine, in thousandths; a train counts as one.
    pub loss_per_mille: u32,
    /// Whether trains stay whole on their way; if not, each datagram of them is lost on its own.
    pub has_offload: bool,
    /// What the sender's link carries, if that is limited.
    #[serde(with = "bits")]
    pub rate_limit: Option<Bitrate>,
}

impl Cell {
    /// Loss in percent.
    pub fn loss_percent(&self) -> f64 {
        f64::from(self.loss_per_mille) / 10.0
    }

    /// What the network does beside losing datagrams, as a part of a file's name: cells of one kind
    /// share a plot.
    pub fn kind(&self) -> String {
        let offload = if self.has_offload { "" } else { "-singly" };
        let rate = self.rate_limit.map(|rate| format!("-{rate}").replace([' ', '/'], ""));
        format!("compare{offload}{}", rate.unwrap_or_default())
    }

    /// The same for people; nothing for the usual kind.
    pub fn kind_words(&self) -> String {
        let offload = if self.has_offload { "" } else { ", datagrams lost singly" };
        let rate = self.rate_limit.map(|rate| format!(", a link of {rate}"));
        format!("{offload}{}", rate.unwrap_or_default())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, loss, bytes) = (self.hosts, self.loss_percent(), ByteSize(self.file_bytes));
        let plural = if hosts == 1 { "" } else { "s" };
        write!(f, "{bytes} to {hosts} host{plural}, {loss} % loss{}", self.kind_words())
    }
}

/// Percent in thousandths.
///
/// # Errors
/// When it is no share of datagrams that lets any through.
pub fn per_mille(percent: f64) -> anyhow::Result<u32> {
    let is_share = (0.0..=LOSS_PERCENT_MAX).contains(&percent);
    ensure!(is_share, "--loss is 0 to {LOSS_PERCENT_MAX} percent, not {percent}");
    // A tenth of a percent is the finest that is told apart: nobody means "none" by less.
    let per_mille = (percent * 10.0).round() as u32;
    (per_mille > 0 || percent == 0.0)
        .then_some(per_mille)
        .with_context(|| format!("--loss comes in steps of 0.1 percent; {percent} is too little"))
}

/// A rate in JSON: bits per second, null for none.
mod bits {
    use super::Bitrate;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(rate: &Option<Bitrate>, to: S) -> Result<S::Ok, S::Error> {
        rate.map(Bitrate::as_bits).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bitrate>, D::Error> {
        Option::<u64>::deserialize(from).map(|bits| bits.map(Bitrate::from_bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> Cell {
        Cell {
            hosts: 8,
            file_bytes: 256 << 20,
            loss_per_mille: 5,
            has_offload: true,
            rate_limit: None,
        }
    }

    #[test]
    fn a_cell_is_told_in_words_and_kinds_are_kept_apart() {
        assert_eq!(cell().to_string(), "256 MiB to 8 hosts, 0.5 % loss");
        assert_eq!(cell().kind(), "compare");
        let rate_limit = Some(Bitrate::from_megabits(1000));
        let other = Cell { hosts: 1, has_offload: false, rate_limit, ..cell() };
        assert_eq!(
            other.to_string(),
            "256 MiB to 1 host, 0.5 % loss, datagrams lost singly, a link of 1.00 Gbit/s"
        );
        assert_eq!(other.kind(), "compare-singly-1.00Gbits");
    }

    #[test]
    fn a_cell_comes_back_from_json() {
        for rate_limit in [None, Some(Bitrate::from_megabits(1000))] {
            let cell = Cell { rate_limit, ..cell() };
            let text = serde_json::to_string(&cell).unwrap();
            assert_eq!(serde_json::from_str::<Cell>(&text).unwrap(), cell);
        }
    }
}
