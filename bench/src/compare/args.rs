//! The command line of the comparison, and the cells that it chooses.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use common::units::{Bitrate, ByteSize};

use crate::cell::{Cell, per_mille};

/// One host gets a file of this length, for the clock must run for some seconds.
const MEGABYTES_LONE: u64 = 1024;
/// Several hosts get one of this length: their copies lie in memory all at once.
const MEGABYTES_MANY: u64 = 256;

const EXAMPLES: &str = "\
Examples:
  compare                                     the whole matrix, which takes some hours
  compare --hosts 8,32 --loss 0,5             four cells of it
  compare --offload off --loss 5 --hosts 8    every datagram lost on its own: wire bytes
  compare --rate-limit 1Gbit --hosts 8        how much of a link is used
  compare --write docs/performance            keep table, figures and plot there
  compare --settings target/compare-settings.json    as tried before, not tried again";

/// Sends one incompressible file to many hosts with fanfare and its peers, and compares
#[derive(Debug, Parser)]
#[command(name = "compare", args_override_self = true, before_help = EXAMPLES)]
pub struct Args {
    /// Hosts, each in a network namespace of its own
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,8,32")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=200))]
    hosts: Vec<u16>,

    /// Percent of all datagrams lost at every machine, in steps of 0.1; a train counts as one
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', default_value = "0,1,5")]
    loss: Vec<f64>,

    /// Whether trains of datagrams stay whole on their way (segmentation offload)
    #[arg(long, value_name = "on|off", value_delimiter = ',', default_value = "on")]
    offload: Vec<Switch>,

    /// What the sender's link carries [default: no limit]
    #[arg(long, value_name = "RATE")]
    rate_limit: Option<Bitrate>,

    /// Receive buffers that the kernel grants (net.core.rmem_max) while this runs
    /// [default: what it grants now]
    #[arg(long, value_name = "SIZE")]
    pub rmem: Option<ByteSize>,

    /// Length of the file in MiB [default: 1024 for one host, 256 for several]
    #[arg(long, value_name = "MIB")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=8192))]
    megabytes: Option<u64>,

    /// Runs of each contestant, alternating; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=99))]
    pub runs: u16,

    /// Who takes part
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[arg(default_value = "fanfare,uftp,udpcast,norm,ceiling")]
    pub contestants: Vec<Name>,

    /// Settings tried for each contestant before the runs; 1 takes the first without trying
    #[arg(long, value_name = "N", default_value_t = 99)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub tries: u16,

    /// Best settings of an earlier comparison: cells in it are not tried again
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,

    /// Arguments of fanfare send instead of trying some, such as "--rate 1Gbit"
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub fanfare: Option<String>,

    /// Seconds after which a run is ended: it did not finish
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    bound: u16,

    /// Write table, figures and plots to this directory, beside those of other cells there
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// A contestant, or the raw ceiling beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// The product, in the clear.
    Fanfare,
    /// The product, under keys.
    Sealed,
    /// UFTP.
    Uftp,
    /// udpcast.
    Udpcast,
    /// NORM, by a small program on libnorm.
    Norm,
    /// Our sockets alone.
    Ceiling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Args {
    /// The cells to compare in, hosts first.
    ///
    /// # Errors
    /// Names a loss that makes no sense.
    pub fn cells(&self) -> anyhow::Result<Vec<Cell>> {
        let losses: Vec<u32> =
            self.loss.iter().map(|loss| per_mille(*loss)).collect::<Result<_, _>>()?;
        let mut cells = Vec::new();
        for offload in &self.offload {
            for hosts in self.hosts.iter().copied().map(usize::from) {
                let usual = if hosts == 1 { MEGABYTES_LONE } else { MEGABYTES_MANY };
                cells.extend(losses.iter().map(|loss_per_mille| Cell {
                    hosts,
                    file_bytes: self.megabytes.unwrap_or(usual) << 20,
                    loss_per_mille: *loss_per_mille,
                    has_offload: *offload == Switch::On,
                    rate_limit: self.rate_limit,
                }));
            }
        }
        Ok(cells)
    }

    /// Time after which a run is ended.
    pub fn bound(&self) -> Duration {
        Duration::from_secs(self.bound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn cells(arguments: &[&str]) -> Vec<Cell> {
        let arguments = ["compare"].iter().chain(arguments);
        Args::try_parse_from(arguments).unwrap().cells().unwrap()
    }

    #[test]
    fn the_command_line_is_consistent_and_has_the_rules_as_defaults() {
        Args::command().debug_assert();
        let args = Args::parse_from(["compare"]);
        assert_eq!((args.runs, args.bound()), (5, Duration::from_secs(300)));
        let cells = args.cells().unwrap();
        let shape = |cell: &Cell| (cell.hosts, cell.loss_per_mille, cell.file_bytes >> 20);
        assert_eq!(
            cells.iter().map(shape).collect::<Vec<_>>(),
            [
                (1, 0, 1024),
                (1, 10, 1024),
                (1, 50, 1024),
                (8, 0, 256),
                (8, 10, 256),
                (8, 50, 256),
                (32, 0, 256),
                (32, 10, 256),
                (32, 50, 256),
            ]
        );
        assert!(cells.iter().all(|cell| cell.has_offload && cell.rate_limit.is_none()));
    }

    #[test]
    fn arguments_choose_cells() {
        let chosen = cells(&["--hosts", "2,4", "--loss", "0.5", "--offload", "on,off"]);
        let shape = |cell: &Cell| (cell.hosts, cell.loss_per_mille, cell.has_offload);
        assert_eq!(
            chosen.iter().map(shape).collect::<Vec<_>>(),
            [(2, 5, true), (4, 5, true), (2, 5, false), (4, 5, false)]
        );
        let limited = cells(&["--rate-limit", "1Gbit", "--megabytes", "32"]);
        assert_eq!(limited[0].rate_limit, Some(Bitrate::from_megabits(1000)));
        assert!(limited.iter().all(|cell| cell.file_bytes == 32 << 20));
    }

    #[test]
    fn a_loss_that_means_nothing_is_refused() {
        for loss in ["51", "0.01", "-1", "NaN"] {
            let arguments = ["compare", &format!("--loss={loss}")];
            let parsed = Args::try_parse_from(arguments).unwrap();
            assert!(parsed.cells().is_err(), "{loss}");
        }
    }
}
