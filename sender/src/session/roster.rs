//! The sender's list of hosts: who joined, where each stands, who was lost (PROTOCOL 7).
//!
//! A host is its name; its boot nonce tells a restarted process from two machines of one name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::geometry::Geometry;
use common::id::{BootNonce, FrameIndex, HostName, Slot};
use common::limits;
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{Fault, Have, HostPhase, Join, JoinVerdict, Status};

use super::loss::LossMeter;
use super::phase::Phase;
use super::schedule::Weather;
use super::tally::{Edit, Tally};

/// Sweeps that a host may miss whatever the network, and the time that must have passed, before it
/// counts as lost.
const SILENT_SWEEPS_MIN: u32 = 3;
/// Of so many fleets one may lose a host by chance in a sweep.
const FLEETS_PER_FALSE_LOSS: f64 = 1000.0;
/// A host is never given up sooner than this: scheduling on a busy machine stalls for a second.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// Nothing is decided about a host that was last heard before this: half a second longer than a
/// host at its goal goes unasked.
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
    /// What it lost of late.
    pub loss: LossMeter,
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
    silent_sweeps: u32,
    is_asked: bool,
    rare: Option<Box<Rare>>,
}

/// What few hosts have: kept apart, so that ten thousand of the others fit into two megabytes.
#[derive(Debug, Clone, Default)]
struct Rare {
    /// Its own words about its fault.
    detail: String,
    /// The address of another live host of this name.
    twin: Option<SocketAddr>,
    /// The process that had the name before.
    former: Option<BootNonce>,
    /// The frames that it named, once all parts have come, and the parts until then.
    have: Option<Vec<(FrameIndex, u32)>>,
    have_parts: BTreeMap<u16, Vec<(FrameIndex, u32)>>,
}

impl Host {
    fn new(now: Timestamp, from: SocketAddr, join: &Join) -> Self {
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
            loss: LossMeter::default(),
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

    fn is_former(&self, nonce: BootNonce) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.former == Some(nonce))
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether it still takes symbols.
    fn is_receiving(&self) -> bool {
        self.is_present() && matches!(self.phase, HostPhase::Joined | HostPhase::Receiving)
    }

    /// Whether it counts: neither lost, nor failed, nor one of two of a name.
    pub fn is_present(&self) -> bool {
        !self.is_lost && self.twin().is_none() && self.phase != HostPhase::Failed
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

    /// Blocks that it has, as far as can be told: in the pass the blocks of a window complete
    /// together, and what it received since the last ones is of the next.
    pub fn blocks_so_far(&self, geometry: &Geometry, phase: Phase) -> f64 {
        let since = match phase {
            Phase::Pass => self.received.saturating_sub(self.received_then),
            _ => 0,
        };
        let under_way = f64::from(since) / f64::from(geometry.block_symbols());
        let left = geometry.block_count().saturating_sub(self.blocks_done);
        let most = f64::from(left.min(geometry.window_blocks().into()));
        f64::from(self.blocks_done) + under_way.min(most)
    }

    fn enter(&mut self, now: Timestamp, phase: HostPhase) {
        if self.phase != phase {
            self.phase = phase;
            self.phase_at = now;
            self.progress_at = now;
        }
    }

    fn on_heard(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.silent_sweeps = 0;
        self.is_asked = false;
        self.is_lost = false;
    }
}

/// What the roster makes of a JOIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The answer.
    pub verdict: JoinVerdict,
    /// Its slot, where accepted.
    pub slot: Slot,
    /// Whether it was not known before.
    pub is_new: bool,
}

/// All hosts that joined, by slot.
#[derive(Debug, Default)]
pub struct Roster {
    hosts: Vec<Host>,
    /// The slots in the order of the hosts' names, which stand nowhere else.
    by_name: Vec<Slot>,
    tally: Tally,
    /// Hosts asked in the last sweep that had answered the one before.
    steady_asked: usize,
}

impl Roster {
    /// The hosts in the order of their slots.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Number of hosts that joined.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether nobody joined.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// How many hosts are where.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The host in `slot`, if `nonce` is its own.
    pub fn host_mut(&mut self, slot: Slot, nonce: BootNonce) -> Option<Edit<'_>> {
        self.edit(slot).filter(|host| host.nonce == nonce)
    }

    fn edit(&mut self, slot: Slot) -> Option<Edit<'_>> {
        let host = self.hosts.get_mut(slot.0 as usize)?;
        Some(Edit::new(host, &mut self.tally))
    }

    /// The host of a name.
    pub fn find(&self, name: &HostName) -> Option<&Host> {
        self.slot_of(name).ok().map(|slot| &self.hosts[slot.0 as usize])
    }

    /// The slot of a name, or its place in the order of names.
    pub fn slot_of(&self, name: &HostName) -> Result<Slot, usize> {
        let place =
            self.by_name.binary_search_by(|slot| self.hosts[slot.0 as usize].name.cmp(name));
        place.map(|place| self.by_name[place])
    }

    /// Whether a present host was not heard for so long that it may be gone (PROTOCOL 7.4).
    pub fn has_doubtful(&self, now: Timestamp) -> bool {
        let is_doubtful =
            |host: &Host| host.is_present() && now.since(host.heard_at) >= DOUBTFUL_AFTER;
        self.hosts.iter().any(is_doubtful)
    }

    /// What the hosts that take symbols have to weather: the loss of their 95th percentile, since
    /// the worst ones are not to set everybody's parity.
    pub fn weather(&self) -> Weather {
        let mut losses: Vec<f64> = Vec::new();
        let mut hosts = 0;
        for host in self.hosts.iter().filter(|host| host.is_receiving()) {
            hosts += 1;
            losses.extend(host.loss.share());
        }
        Weather { loss: quantile95(&mut losses), hosts }
    }

    /// A host joins, joins again, or comes back as another process.
    pub fn join(&mut self, now: Timestamp, from: SocketAddr, join: &Join) -> Admission {
        let slot = match self.slot_of(&join.host) {
            Ok(slot) => slot,
            Err(place) => return self.admit(now, from, join, place),
        };
        let mut host = self.edit(slot).expect("a slot in the order of names is taken");
        let accepted = Admission { verdict: JoinVerdict::Accepted, slot, is_new: false };
        if host.nonce == join.nonce {
            host.address = from;
            host.on_heard(now);
            return accepted;
        }
        // Two live machines of one name: another machine, or a former process that still speaks.
        if host.machine != join.machine || host.is_former(join.nonce) {
            host.rare_mut().twin = Some(from);
            return Admission { verdict: JoinVerdict::NameTaken, ..accepted };
        }
        let former = host.nonce;
        *host = Host::new(now, from, join);
        host.rare_mut().former = Some(former);
        Admission { is_new: true, ..accepted }
    }

    fn admit(&mut self, now: Timestamp, from: SocketAddr, join: &Join, place: usize) -> Admission {
        let slot = Slot(self.hosts.len() as u32);
        if self.hosts.len() >= limits::ROSTER_HOSTS_MAX {
            return Admission { verdict: JoinVerdict::RosterFull, slot, is_new: false };
        }
        self.by_name.insert(place, slot);
        let host = Host::new(now, from, join);
        self.tally.add(&host);
        self.hosts.push(host);
        Admission { verdict: JoinVerdict::Accepted, slot, is_new: true }
    }

    /// A datagram that names a slot arrived; a former process of the name that still speaks means
    /// that two machines share it.
    pub fn on_heard(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        slot: Slot,
        nonce: BootNonce,
    ) -> bool {
        let Some(mut host) = self.edit(slot) else { return false };
        if host.nonce == nonce {
            host.on_heard(now);
            return true;
        }
        if host.is_former(nonce) {
            host.rare_mut().twin = Some(from);
        }
        false
    }

    /// Takes a STATUS.
    pub fn on_status(&mut self, now: Timestamp, status: &Status) {
        let Some(mut host) = self.host_mut(status.slot, status.nonce) else { return };
        if host.blocks_done != status.blocks_done {
            host.blocks_done = status.blocks_done;
            host.received_then = status.received;
            host.progress_at = now;
        }
        // A switch acknowledged is not taken back by a STATUS that was under way.
        if !(host.phase == HostPhase::Active && status.phase != HostPhase::Failed) {
            host.enter(now, status.phase);
        }
        let received = status.received.saturating_sub(host.received);
        let lost = i64::from(status.lost) - i64::from(host.lost);
        host.loss.observe(received, lost);
        host.received = status.received;
        host.lost = status.lost;
        host.kernel_drops = status.kernel_drops;
        host.dropped_blocks = status.dropped_blocks;
        host.backlog_kib = status.backlog_kib;
        host.fault = status.fault;
        host.set_detail(&status.detail);
    }

    /// Takes one part of a HAVE; true when all parts are here.
    pub fn on_have(&mut self, have: &Have) -> bool {
        let Some(mut host) = self.host_mut(have.slot, have.nonce) else { return false };
        let rare = host.rare_mut();
        if rare.have.is_none() {
            rare.have_parts.insert(have.part, have.frames.clone());
            if rare.have_parts.len() == usize::from(have.parts) {
                rare.have =
                    Some(std::mem::take(&mut rare.have_parts).into_values().flatten().collect());
            }
        }
        rare.have.is_some()
    }

    /// Sets a host's phase from the answer to an order.
    pub fn on_answer(&mut self, now: Timestamp, slot: Slot, nonce: BootNonce, phase: HostPhase) {
        if let Some(mut host) = self.host_mut(slot, nonce) {
            host.has_acknowledged = true;
            host.enter(now, phase);
        }
    }

    /// Ends a host that gets nowhere.
    pub fn give_up(&mut self, now: Timestamp, slot: Slot, fault: Fault, detail: &str) {
        let Some(mut host) = self.edit(slot) else { return };
        host.enter(now, HostPhase::Failed);
        if host.fault == Fault::None {
            host.fault = fault;
            host.set_detail(detail);
        }
    }

    /// Silent sweeps that make a host a lost one, by the share of those who had answered the sweep
    /// before and left the last one unanswered.
    fn silent_sweeps_max(&self) -> u32 {
        let is_newly_silent = |host: &&Host| host.is_asked && host.silent_sweeps == 0;
        let newly_silent = self.hosts.iter().filter(is_newly_silent).count();
        let share = newly_silent as f64 / self.steady_asked.max(1) as f64;
        sweeps_beyond_chance(share, self.hosts.len())
    }

    /// Begins a sweep over the hosts that `is_asked` picks: counts the silence of those asked last
    /// time, gives the lost ones up, and returns the slots to ask as ranges, at most `ranges_max`.
    pub fn begin_sweep(
        &mut self,
        now: Timestamp,
        is_asked: impl Fn(&Host) -> bool,
        ranges_max: usize,
    ) -> Vec<(Slot, Slot)> {
        let mut ranges: Vec<(Slot, Slot)> = Vec::new();
        let silent_sweeps_max = self.silent_sweeps_max();
        let mut steady_asked = 0;
        for (index, host) in self.hosts.iter_mut().enumerate() {
            let mut host = Edit::new(host, &mut self.tally);
            host.silent_sweeps += u32::from(host.is_asked);
            let has_been_long = now.since(host.heard_at) >= LOST_AFTER;
            host.is_lost |= host.silent_sweeps >= silent_sweeps_max && has_been_long;
            host.is_asked = is_asked(&host);
            if !host.is_asked {
                continue;
            }
            steady_asked += usize::from(host.silent_sweeps == 0);
            let slot = Slot(index as u32);
            match ranges.last_mut() {
                Some(last) if last.1.0 + 1 == slot.0 || ranges_max <= 1 => last.1 = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        self.steady_asked = steady_asked;
        merge_nearest(&mut ranges, ranges_max);
        ranges
    }
}

/// The value that 95 % of `values` do not exceed, `None` for none; of up to twenty, the last but
/// one.
fn quantile95(values: &mut [f64]) -> Option<f64> {
    let rank = values.len().checked_sub(1)? * 95 / 100;
    let (_, value, _) = values.select_nth_unstable_by(rank, f64::total_cmp);
    Some(*value)
}

/// In how many sweeps a host must have been silent so that chance does not explain it: of `hosts`
/// each misses a sweep with probability `share` (PROTOCOL 7.4).
fn sweeps_beyond_chance(share: f64, hosts: usize) -> u32 {
    // A share of nothing gives zero sweeps, one of all infinitely many; the cast saturates.
    let sweeps = (hosts as f64 * FLEETS_PER_FALSE_LOSS).ln() / share.recip().ln();
    (sweeps.ceil() as u32).max(SILENT_SWEEPS_MIN)
}

/// Joins the ranges with the smallest gaps until at most `max` are left.
fn merge_nearest(ranges: &mut Vec<(Slot, Slot)>, max: usize) {
    if ranges.len() <= max {
        return;
    }
    let mut gaps: Vec<u32> = ranges.windows(2).map(|pair| pair[1].0.0 - pair[0].1.0).collect();
    gaps.sort_unstable();
    let widest_closed = gaps[ranges.len() - max - 1];
    let mut merged: Vec<(Slot, Slot)> = Vec::with_capacity(max);
    for range in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if range.0.0 - last.1.0 <= widest_closed => last.1 = range.1,
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}

#[cfg(test)]
mod tests {
    use common::wire::KindSet;

    use super::*;

    fn join(name: &str, machine: u64, nonce: u64) -> Join {
        Join {
            host: name.parse().unwrap(),
            version_min: 1,
            version_max: 1,
            machine,
            nonce: BootNonce(nonce),
            link: None,
            free_bytes: 0,
            clock_us: 0,
            kinds: KindSet::default(),
            holds_release: false,
            holds_image: false,
            holds_partial: false,
            echo_us: 0,
            held: Duration::ZERO,
        }
    }

    fn status(slot: Slot, nonce: BootNonce, phase: HostPhase) -> Status {
        Status {
            slot,
            nonce,
            sweep: 0,
            phase,
            blocks_done: 0,
            blocks_total: 0,
            received: 0,
            lost: 0,
            wasted: 0,
            kernel_drops: 0,
            dropped_blocks: 0,
            backlog_kib: 0,
            fault: Fault::None,
            detail: String::new(),
            echo_us: 0,
            held: Duration::ZERO,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([198, 18, 0, last], 1000))
    }

    #[test]
    fn a_hosts_progress_moves_within_a_window_and_never_beyond_it() {
        // Forty blocks of a hundred symbols, sixteen to a window.
        let geometry = Geometry::new(64, 100, 25, 16, 0, 64 * 4000).unwrap();
        let mut roster = Roster::default();
        roster.join(at(0), address(1), &join("web1", 7, 1));
        let mut told = |blocks_done, received, phase| {
            let status = status(Slot(0), BootNonce(1), HostPhase::Receiving);
            roster.on_status(at(1), &Status { blocks_done, received, ..status });
            roster.hosts()[0].blocks_so_far(&geometry, phase)
        };
        assert_eq!(told(0, 800, Phase::Pass), 8.0);
        assert_eq!(told(0, 1700, Phase::Pass), 16.0, "repairs of a window are no further blocks");
        assert_eq!(told(16, 1700, Phase::Pass), 16.0);
        assert_eq!(told(16, 1800, Phase::Pass), 17.0);
        assert_eq!(told(39, 4000, Phase::Pass), 39.0);
        assert_eq!(told(39, 9000, Phase::Pass), 40.0);
        assert_eq!(told(39, 9000, Phase::Flush), 39.0, "what others need says nothing of this one");
    }

    #[test]
    fn a_restarted_host_keeps_its_slot_and_starts_anew() {
        let mut roster = Roster::default();
        let first = roster.join(at(0), address(1), &join("web1", 7, 1));
        let mut host = roster.host_mut(Slot(0), BootNonce(1)).unwrap();
        host.phase = HostPhase::Receiving;
        drop(host);
        let again = roster.join(at(1), address(1), &join("web1", 7, 2));
        assert_eq!((first.slot, again.slot, again.is_new), (Slot(0), Slot(0), true));
        assert_eq!(roster.hosts()[0].phase, HostPhase::Joined);
        assert!(roster.hosts()[0].twin().is_none());
    }

    #[test]
    fn two_machines_of_one_name_are_both_reported_and_neither_counts() {
        let mut roster = Roster::default();
        roster.join(at(0), address(1), &join("web1", 7, 1));
        let second = roster.join(at(0), address(2), &join("web1", 8, 2));
        assert_eq!(second.verdict, JoinVerdict::NameTaken);
        assert_eq!(roster.hosts()[0].twin(), Some(address(2)));
        assert!(!roster.hosts()[0].is_present());
    }

    #[test]
    fn two_processes_of_one_cloned_machine_are_found_when_the_former_speaks_again() {
        let mut roster = Roster::default();
        roster.join(at(0), address(1), &join("web1", 7, 1));
        roster.join(at(0), address(2), &join("web1", 7, 2));
        assert!(!roster.on_heard(at(1), address(1), Slot(0), BootNonce(1)));
        assert_eq!(roster.hosts()[0].twin(), Some(address(1)));
    }

    #[test]
    fn a_host_silent_in_three_sweeps_over_two_seconds_is_lost_until_it_speaks() {
        let mut roster = Roster::default();
        roster.join(at(0), address(1), &join("web1", 7, 1));
        for second in 0..3 {
            roster.begin_sweep(at(second), |_| true, 8);
            assert!(!roster.hosts()[0].is_lost, "second {second}");
        }
        roster.begin_sweep(at(3), |_| true, 8);
        assert!(roster.hosts()[0].is_lost);
        assert!(roster.on_heard(at(4), address(1), Slot(0), BootNonce(1)));
        assert!(!roster.hosts()[0].is_lost);
    }

    #[test]
    fn the_tally_is_what_counting_would_give() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut rng = StdRng::seed_from_u64(1);
        let mut roster = Roster::default();
        for second in 0..2000 {
            let now = at(second);
            let (host, nonce) = (rng.random_range(0..9), rng.random_range(0..2));
            let (from, slot) = (address(host as u8), Slot(host as u32));
            let phase = HostPhase::ALL[rng.random_range(0..HostPhase::ALL.len())];
            match rng.random_range(0..6) {
                0 => _ = roster.join(now, from, &join(&format!("h{host}"), 7, nonce)),
                1 => _ = roster.on_heard(now, from, slot, BootNonce(nonce)),
                2 => roster.on_status(now, &status(slot, BootNonce(nonce), phase)),
                3 => roster.on_answer(now, slot, BootNonce(nonce), phase),
                4 => roster.give_up(now, slot, Fault::Stopped, "no progress"),
                _ => _ = roster.begin_sweep(now, Host::is_present, 4),
            }
            let mut counted = Tally::default();
            roster.hosts().iter().for_each(|host| counted.add(host));
            assert_eq!(roster.tally(), &counted);
            let is_receiving = |host: &&Host| {
                host.is_present() && matches!(host.phase, HostPhase::Joined | HostPhase::Receiving)
            };
            assert_eq!(counted.receiving(), roster.hosts().iter().filter(is_receiving).count());
        }
    }

    // PROTOCOL 7.4.
    #[test]
    fn silence_counts_for_less_where_many_are_silent_by_chance() {
        assert_eq!(sweeps_beyond_chance(0.0, 10_000), 3);
        assert_eq!(sweeps_beyond_chance(0.002, 10_000), 3, "0.1 % loss each way");
        assert_eq!(sweeps_beyond_chance(0.19, 10_000), 10, "10 % loss each way");
        assert_eq!(sweeps_beyond_chance(0.5, 2), 11);
        assert_eq!(
            sweeps_beyond_chance(1.0, 1),
            u32::MAX,
            "all at once are not lost: it is the net"
        );
    }

    #[test]
    fn a_fleet_that_loses_a_fifth_of_its_answers_loses_no_host() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut rng = StdRng::seed_from_u64(2);
        let mut roster = Roster::default();
        let hosts = 10_000;
        (0..hosts).for_each(|host| {
            _ = roster.join(at(0), address(1), &join(&format!("h{host}"), 7, host))
        });
        for second in 1..30 {
            roster.begin_sweep(at(second), |_| true, 8);
            // The last host is dead from the tenth second on.
            let heard = (0..hosts).filter(|host| *host + 1 < hosts || second < 10);
            for host in heard.filter(|_| rng.random_bool(0.81)) {
                roster.on_heard(at(second), address(1), Slot(host as u32), BootNonce(host));
            }
            let lost = roster.hosts().iter().filter(|host| host.is_lost).count();
            assert_eq!(lost, usize::from(second >= 20), "second {second}");
        }
    }

    #[test]
    fn sweeps_name_the_asked_slots_in_few_ranges() {
        let mut roster = Roster::default();
        for index in 0..20 {
            roster.join(at(0), address(1), &join(&format!("h{index}"), 7, index));
        }
        let asked = [0, 1, 2, 5, 6, 19];
        let is_asked = |host: &Host| asked.contains(&host.nonce.0);
        let slots = |ranges: Vec<(Slot, Slot)>| -> Vec<_> {
            ranges.into_iter().map(|(first, last)| (first.0, last.0)).collect()
        };
        assert_eq!(slots(roster.begin_sweep(at(0), is_asked, 8)), [(0, 2), (5, 6), (19, 19)]);
        assert_eq!(slots(roster.begin_sweep(at(0), is_asked, 2)), [(0, 6), (19, 19)]);
    }
}
