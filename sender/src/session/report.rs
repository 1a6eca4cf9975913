//! What the session tells the operator: how it goes, and how it ended.

use std::net::SocketAddr;
use std::time::Duration;

use common::id::HostName;
use common::units::Bitrate;
use common::wire::{Alarm, Fault, HostPhase, Trial};

use super::phase::Phase;

/// Whom the operator expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// So many hosts, whichever.
    Count(usize),
    /// These hosts and no others.
    Names(Vec<HostName>),
    /// Whoever joins; the outcome is called unstated.
    Any,
}

/// How many of the expected hosts make a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// Every one.
    All,
    /// At least so many.
    Count(usize),
    /// At least this share of the expected, in percent, rounded up.
    Percent(u8),
}

impl Quorum {
    /// Hosts that are enough out of `expected`.
    pub fn of(self, expected: usize) -> usize {
        match self {
            Self::All => expected,
            Self::Count(count) => count,
            Self::Percent(percent) => (expected * usize::from(percent)).div_ceil(100),
        }
    }
}

/// How the session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every expected host, or the quorum, is where policy wants it.
    Reached,
    /// As `Reached` for everybody who joined, but nobody had said who should.
    Unstated,
    /// Not reached.
    NotReached,
    /// Not reached, because hosts found the release bad and went back.
    RolledBack,
    /// Nobody joined.
    NobodyJoined,
    /// Another sender sends this app.
    Busy {
        /// Its host name.
        host: String,
        /// Its user.
        user: String,
        /// When it started, Unix seconds.
        started: u64,
    },
    /// `--timeout` has passed.
    TimedOut,
    /// Interrupted by the operator.
    Interrupted,
}

/// What a host came to, in the words of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostState {
    /// `current` points at the release.
    Active,
    /// Mounted or unpacked, not switched to.
    Staged,
    /// The image is verified and durable.
    Received,
    /// Takes part; no more can be said.
    Receiving,
    /// Had switched to it, found it bad, and is back on the release before.
    RolledBack,
    /// Will not have the release.
    Failed,
    /// Joined and fell silent.
    Lost,
    /// Expected and never seen.
    Absent,
}

impl HostState {
    /// Name in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Staged => "staged",
            Self::Received => "received",
            Self::Receiving => "receiving",
            Self::RolledBack => "rolled-back",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Absent => "absent",
        }
    }

    /// The state of a present host in `phase`.
    pub const fn of_phase(phase: HostPhase) -> Self {
        match phase {
            HostPhase::Active => Self::Active,
            HostPhase::Staged | HostPhase::Activating => Self::Staged,
            HostPhase::Received | HostPhase::Staging => Self::Received,
            HostPhase::Failed => Self::Failed,
            HostPhase::Joined | HostPhase::Receiving | HostPhase::Verifying => Self::Receiving,
        }
    }
}

/// One host's line in the report.
#[derive(Debug, Clone, PartialEq)]
pub struct HostReport {
    /// Its name, or what stands for hosts that never gave one.
    pub host: String,
    /// Where its feedback came from.
    pub address: Option<SocketAddr>,
    /// What it came to.
    pub state: HostState,
    /// The kind of fault.
    pub fault: Fault,
    /// Why, for people; empty when all is well. Text from the host is escaped.
    pub reason: String,
    /// From the sender's start to this state.
    pub seconds: f64,
    /// Datagrams that it received.
    pub received: u32,
    /// Datagrams lost on the way to it.
    pub lost: u32,
    /// Datagrams that its kernel dropped.
    pub kernel_drops: u32,
    /// Unfinished blocks that it gave up for want of memory.
    pub dropped_blocks: u32,
    /// Why it was served apart from the fleet; empty where it was not.
    pub straggler: String,
    /// How the release did there, and what ran around the switch, where it says so.
    pub trial: Option<Trial>,
    /// What it was sent by a forger.
    pub alarm: Option<Alarm>,
}

/// What went over the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireReport {
    /// Source symbols of the payload.
    pub source_symbols: u64,
    /// Symbols sent of the payload, repairs included.
    pub sent_symbols: u64,
    /// Symbols sent of the preamble.
    pub preamble_symbols: u64,
    /// Symbols of both sent to stragglers, apart from the fleet.
    pub catch_up_symbols: u64,
    /// NEEDs received.
    pub needs: u64,
    /// HASHES sent, where hosts were sent false symbols.
    pub hashes: u64,
    /// Bytes of all datagrams sent, without UDP and IP headers.
    pub bytes: u64,
    /// From the first symbol to the last.
    pub time: Duration,
}

/// How it goes, for bars and plain lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Where the session stands.
    pub phase: Phase,
    /// Hosts that joined.
    pub joined: usize,
    /// Hosts that were expected, if a number is known.
    pub expected: Option<usize>,
    /// Hosts that staged or went further.
    pub staged: usize,
    /// Hosts whose `current` is switched.
    pub active: usize,
    /// Stragglers that still take symbols.
    pub catching_up: usize,
    /// Hosts that failed or were lost.
    pub failed: usize,
    /// Share of the payload that was sent once, 0..=1.
    pub sent: f64,
    /// Share of the blocks that the slowest present host has.
    pub slowest: f64,
    /// Which host that is.
    pub slowest_host: Option<HostName>,
    /// Share of the blocks that the median host has.
    pub median: f64,
    /// Symbols sent beyond the source symbols.
    pub repair_symbols: u64,
    /// The rate in force; for an observer, what was achieved in the last second.
    pub rate: Bitrate,
    /// Bytes sent so far.
    pub bytes: u64,
}
