//! One host, as the sender knows it (PROTOCOL 7).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::geometry::Geometry;
use common::id::{BootNonce, FrameIndex, HostName};
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{Alarm, Fault, HostPhase, Join};

use super::judging::HostTrial;
use super::loss::LossMeter;
use super::straggling::Straggling;

/// Nothing is decided about a host that was last heard so long before the last one came to its
/// goal: half a second longer than a host at its goal goes unasked. Counted back from each moment
/// instead, ten thousand hosts at 10 % of loss each way were never all heard, since a sweep takes
/// 0.5 s.
const DOUBTFUL_AFTER: Duration = Duration::from_millis(1500);

/// What is known of one host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Where its feedback comes from.
    pub address: SocketAddr,
    /// Which process of that name.
    pub nonce: BootNonce,
    /// Which machine.
    pub machine: u64,
    /// Its interface's speed.
    pub link: Option<Bitrate>,
    /// Its phase as last told.
    pub phase: HostPhase,
    /// Blocks of which it needs nothing more.
    pub blocks_done: u32,
    /// Datagrams received and lost, and drops by its kernel.
    pub received: u32,
    /// The same when `blocks_done` last changed: what came since is of blocks under way.
    pub received_then: u32,
    /// Datagrams lost on the way.
    pub lost: u32,
    /// Datagrams that its kernel dropped.
    pub kernel_drops: u32,
    /// Unfinished blocks that it gave up for want of memory.
    pub dropped_blocks: u32,
    /// Symbols that came to it in vain.
    pub wasted: u32,
    /// What it lost of late.
    pub loss: LossMeter,
    /// Whether the sender has given it up, whatever it says.
    pub is_given_up: bool,
    /// Symbols sent for its sake alone, since those who are served last changed.
    pub spent: u32,
    /// KiB received and not yet written.
    pub backlog_kib: u32,
    /// What goes wrong there.
    pub fault: Fault,
    /// Whether nothing was heard of it for too long.
    pub is_lost: bool,
    /// When `blocks_done` or the phase last changed.
    pub progress_at: Timestamp,
    /// When it was last heard.
    pub heard_at: Timestamp,
    /// When it reached its phase.
    pub phase_at: Timestamp,
    /// It holds the release; it needs no data.
    pub holds_release: bool,
    /// It holds the image; it needs the preamble alone.
    pub holds_image: bool,
    /// It holds verified frames and will name them.
    pub holds_partial: bool,
    /// Whether it acknowledged the activation.
    pub has_acknowledged: bool,
    /// Sweeps in a row that it did not answer, and whether it has still to answer the last one.
    pub silent_sweeps: u32,
    pub is_asked: bool,
    rare: Option<Box<Rare>>,
}

/// What few hosts have: kept apart, so that ten thousand of the others fit into two megabytes.
#[derive(Debug, Clone, Default)]
pub struct Rare {
    /// Its own words about its fault.
    detail: String,
    /// How the release does there, where somebody asks.
    pub trial: Option<HostTrial>,
    /// Why it is served apart from the fleet, where it is.
    pub straggling: Option<Straggling>,
    /// What it was sent by a forger.
    pub alarm: Option<Alarm>,
    /// Parts of digests that went out for its sake.
    pub parts_asked: u32,
    /// The address of another live host of this name.
    pub twin: Option<SocketAddr>,
    /// The process that had the name before.
    pub former: Option<BootNonce>,
    /// The frames that it named, once all parts have come, and the parts until then.
    pub have: Option<Vec<(FrameIndex, u32)>>,
    pub have_parts: BTreeMap<u16, Vec<(FrameIndex, u32)>>,
}

impl Host {
    /// A host that joins.
    pub fn new(now: Timestamp, from: SocketAddr, join: &Join) -> Self {
        Self {
            name: join.host.clone(),
            address: from,
            nonce: join.nonce,
            machine: join.machine,
            link: join.link,
            phase: HostPhase::Joined,
            blocks_done: 0,
            received: 0,
            received_then: 0,
            lost: 0,
            kernel_drops: 0,
            dropped_blocks: 0,
            wasted: 0,
            loss: LossMeter::default(),
            is_given_up: false,
            spent: 0,
            backlog_kib: 0,
            fault: Fault::None,
            is_lost: false,
            progress_at: now,
            heard_at: now,
            phase_at: now,
            holds_release: join.holds_release,
            holds_image: join.holds_image,
            holds_partial: join.holds_partial,
            has_acknowledged: false,
            silent_sweeps: 0,
            is_asked: false,
            rare: None,
        }
    }

    /// The address of another live host of its name.
    pub fn twin(&self) -> Option<SocketAddr> {
        self.rare.as_ref()?.twin
    }

    /// Its standing as a straggler, where it is one.
    pub fn straggling(&self) -> Option<Straggling> {
        self.rare.as_ref()?.straggling
    }

    /// What it said of its trial, and until when that holds.
    pub fn host_trial(&self) -> Option<&HostTrial> {
        self.rare.as_ref()?.trial.as_ref()
    }

    /// What it was sent by a forger, where it says so.
    pub fn alarm(&self) -> Option<&Alarm> {
        self.rare.as_ref()?.alarm.as_ref()
    }

    /// Parts of digests that went out for its sake.
    pub fn parts_asked(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.parts_asked)
    }

    /// Its own words about its fault.
    pub fn detail(&self) -> &str {
        self.rare.as_ref().map_or("", |rare| &rare.detail)
    }

    /// Takes its words about its fault.
    pub fn set_detail(&mut self, detail: &str) {
        if self.detail() != detail {
            detail.clone_into(&mut self.rare_mut().detail);
        }
    }

    /// The frames that it named, once all parts have come.
    pub fn have(&self) -> Option<&[(FrameIndex, u32)]> {
        self.rare.as_ref()?.have.as_deref()
    }

    /// Whether a former process of it has this nonce.
    pub fn is_former(&self, nonce: BootNonce) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.former == Some(nonce))
    }

    /// What few hosts have, made for this one.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Symbols that it needed beyond those that came to it and were of use.
    pub fn needed(&self) -> u64 {
        u64::from(self.lost) + u64::from(self.wasted)
    }

    /// Datagrams sent to it, as far as it has told.
    pub fn seen(&self) -> u64 {
        u64::from(self.received) + u64::from(self.lost)
    }

    /// What it needed beyond that, as a share of what was sent to it.
    pub fn need_share(&self) -> Option<f64> {
        (self.seen() > 0).then(|| self.needed() as f64 / self.seen() as f64)
    }

    /// Whether it still takes symbols.
    pub fn is_receiving(&self) -> bool {
        self.is_present() && matches!(self.phase, HostPhase::Joined | HostPhase::Receiving)
    }

    /// Whether it counts: neither lost, nor failed, nor one of two of a name.
    pub fn is_present(&self) -> bool {
        !self.is_lost && self.twin().is_none() && self.phase != HostPhase::Failed
    }

    /// Whether it was last heard so long before `since`, when the last host came to its goal, that
    /// it may have been gone then.
    pub fn is_doubtful(&self, since: Timestamp) -> bool {
        since.since(self.heard_at) >= DOUBTFUL_AFTER
    }

    /// Whether it has staged or activated the release.
    pub fn has_staged(&self) -> bool {
        let staged =
            matches!(self.phase, HostPhase::Staged | HostPhase::Activating | HostPhase::Active);
        staged && self.twin().is_none()
    }

    /// Whether `current` points at the release there.
    pub fn is_active(&self) -> bool {
        self.phase == HostPhase::Active && self.twin().is_none()
    }

    /// Blocks that it has, as far as can be told: the blocks of a window complete together, and
    /// what it received since the last ones is of the next. Not all, before it says so.
    pub fn blocks_so_far(&self, geometry: &Geometry) -> f64 {
        let since = self.received.saturating_sub(self.received_then);
        let under_way = f64::from(since) / f64::from(geometry.block_symbols());
        let left = geometry.block_count().saturating_sub(self.blocks_done);
        let most = f64::from(left.saturating_sub(1).min(geometry.window_blocks().into()));
        f64::from(self.blocks_done) + under_way.min(most)
    }

    /// It is in this phase.
    pub fn enter(&mut self, now: Timestamp, phase: HostPhase) {
        if self.phase != phase {
            self.phase = phase;
            self.phase_at = now;
            self.progress_at = now;
        }
    }

    /// It has said something.
    pub fn on_heard(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.silent_sweeps = 0;
        self.is_asked = false;
        self.is_lost = false;
    }
}
