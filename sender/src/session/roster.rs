//! The sender's list of hosts: who joined, where each stands, who was lost (PROTOCOL 7).
//!
//! A host is its name; its boot nonce tells a restarted process from two machines of one name.

use std::net::SocketAddr;
use std::time::Duration;

use common::id::{BootNonce, HostName, Slot};
use common::limits;
use common::time::Timestamp;
use common::wire::{Activated, Alarm, Fault, Have, HostPhase, Join, JoinVerdict, Status};

use super::host::Host;
use super::straggling::Straggling;
use super::tally::{Edit, Tally};

/// Sweeps that a host may miss whatever the network, and the time that must have passed, before it
/// counts as lost.
const SILENT_SWEEPS_MIN: u32 = 3;
/// Of so many fleets one may lose a host by chance in a sweep.
const FLEETS_PER_FALSE_LOSS: f64 = 1000.0;
/// A host is never given up sooner than this: scheduling on a busy machine stalls for a second.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
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

    /// Whether a present host is doubtful (PROTOCOL 5.1).
    pub fn has_doubtful(&self, since: Timestamp) -> bool {
        self.hosts.iter().any(|host| host.is_present() && host.is_doubtful(since))
    }

    /// Changes a host's standing among stragglers.
    pub fn set_straggling(&mut self, slot: Slot, straggling: Straggling) {
        if let Some(mut host) = self.edit(slot) {
            host.rare_mut().straggling = Some(straggling);
        }
    }

    /// A host was sent forged data.
    pub fn set_alarm(&mut self, slot: Slot, alarm: Alarm) {
        if let Some(mut host) = self.edit(slot) {
            host.rare_mut().alarm = Some(alarm);
        }
    }

    /// Accounts for digests sent for one host's sake.
    pub fn set_parts_asked(&mut self, slot: Slot, parts: u32) {
        if let Some(mut host) = self.edit(slot) {
            host.rare_mut().parts_asked = parts;
        }
    }

    /// Accounts for symbols sent for one host's sake.
    pub fn set_spent(&mut self, slot: Slot, spent: u32) {
        if let Some(mut host) = self.edit(slot) {
            host.spent = spent;
        }
    }

    /// Whoever is served from now on has spent nothing.
    pub fn forget_spent(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.spent = 0);
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
        let (former, spent) = (host.nonce, host.spent);
        *host = Host::new(now, from, join);
        host.rare_mut().former = Some(former);
        host.spent = spent;
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
        if host.is_given_up {
            return; // It may go on for a while: it is told by STOP.
        }
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
        host.wasted = status.wasted;
        if let Some(straggling) = host.straggling() {
            let is_listening = straggling.is_listening || status.is_catching_up;
            host.rare_mut().straggling = Some(Straggling { is_listening, ..straggling });
        }
        host.backlog_kib = status.backlog_kib;
        host.fault = status.fault;
        host.set_detail(&status.detail);
        host.set_trial(now, status.trial.as_ref());
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
    pub fn on_answer(&mut self, now: Timestamp, answer: &Activated, phase: HostPhase) {
        if let Some(mut host) = self.host_mut(answer.slot, answer.nonce) {
            host.has_acknowledged = true;
            host.enter(now, phase);
            host.set_trial(now, answer.trial.as_ref());
        }
    }

    /// Ends a host that gets nowhere.
    pub fn give_up(&mut self, now: Timestamp, slot: Slot, fault: Fault, detail: &str) {
        let Some(mut host) = self.edit(slot) else { return };
        host.enter(now, HostPhase::Failed);
        host.is_given_up = true;
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
            if host.is_on_trial() {
                host.give_up_verdict(now);
            }
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
pub(super) mod tests {
    use common::digest::Digest;
    use common::geometry::Geometry;
    use common::id::ReleaseId;
    use common::wire::{KindSet, Outcome, Trial, TrialVerdict};

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

    /// `count` hosts, each with the number of its slot as its nonce.
    pub fn roster_of(count: u32) -> Roster {
        let mut roster = Roster::default();
        for slot in 0..count {
            roster.join(at(0), address(1), &join(&format!("h{slot}"), 7, slot.into()));
        }
        roster
    }

    pub fn status(slot: Slot, nonce: BootNonce, phase: HostPhase) -> Status {
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
            is_catching_up: false,
            kernel_drops: 0,
            dropped_blocks: 0,
            backlog_kib: 0,
            fault: Fault::None,
            detail: String::new(),
            echo_us: 0,
            held: Duration::ZERO,
            trial: None,
            alarm: None,
        }
    }

    fn answer(slot: Slot, nonce: BootNonce, trial: Option<Trial>) -> Activated {
        Activated {
            slot,
            nonce,
            release: ReleaseId(Digest::of(b"r")),
            issue: 1,
            outcome: Outcome::Done,
            fault: Fault::None,
            detail: String::new(),
            trial,
        }
    }

    fn trial(which: usize) -> Option<Trial> {
        let verdicts = [TrialVerdict::Pending, TrialVerdict::Good, TrialVerdict::RolledBack];
        let verdict = *verdicts.get(which)?;
        Some(Trial { verdict, left: Duration::from_secs(5), results: Vec::new() })
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
        let mut told = |blocks_done, received| {
            let status = status(Slot(0), BootNonce(1), HostPhase::Receiving);
            roster.on_status(at(1), &Status { blocks_done, received, ..status });
            roster.hosts()[0].blocks_so_far(&geometry)
        };
        assert_eq!(told(0, 800), 8.0);
        assert_eq!(told(0, 1700), 16.0, "repairs of a window are no further blocks");
        assert_eq!(told(16, 1700), 16.0);
        assert_eq!(told(16, 1800), 17.0);
        assert_eq!(told(37, 4000), 37.0);
        assert_eq!(told(37, 9000), 39.0, "a host is not done before it says so");
        assert_eq!(told(40, 9000), 40.0);
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
                2 => {
                    let status = status(slot, BootNonce(nonce), phase);
                    let trial = trial(rng.random_range(0..4));
                    roster.on_status(now, &Status { trial, ..status });
                }
                3 => {
                    let answer = answer(slot, BootNonce(nonce), trial(rng.random_range(0..4)));
                    roster.on_answer(now, &answer, phase);
                }
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
