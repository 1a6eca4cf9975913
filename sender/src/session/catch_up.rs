//! What the session does about stragglers: finds them, lets the fleet go first, serves them apart.
//!
//! Not here: what makes a straggler (`straggling`). Invariant: while the fleet is served, one
//! host's wants cost it no more than [`BUDGET_PERCENT`] of the payload (PROTOCOL 7.10).

use std::time::Duration;

use common::geometry::Space;
use common::id::{BlockIndex, Slot};
use common::time::Timestamp;
use common::wire::{CatchUp, Fault, Message};

use super::brake::{Brake, JUDGE_INTERVAL, RatePolicy};
use super::fleet::Fleet;
use super::host::Host;
use super::phase::{Phase, Step};
use super::straggling::{Audience, Cause, Straggling, ppm};
use super::{Destination, Session, TimerName};

/// What one host may cost the fleet, in percent of the payload: seven such hosts among 10,000 cost
/// a tenth of the time.
const BUDGET_PERCENT: u64 = 2;
/// The same in blocks at the least: a train that a small release loses makes no straggler.
const BUDGET_BLOCKS: u64 = 1;
/// What a straggler may cost the others in its group, in payloads: a host that loses half of what
/// it is sent needs one and its losses, which are another.
const GROUP_BUDGET_PAYLOADS: u64 = 2;
/// The fleet waits at least so long for its last hosts; as long as for one that falls silent.
const PATIENCE_MIN: Duration = super::LOST_AFTER;
/// Stragglers are served together for at least so long, and alone as long again.
const CATCH_UP_MIN: Duration = Duration::from_secs(30);
/// Neither goes on when no block was completed for this long.
const STALL_MAX: Duration = Duration::from_secs(5);
/// The same for a host whose disk is behind.
const DISK_STALL_MAX: Duration = Duration::from_secs(30);
/// A straggler is told so often where it is served, until it says that it knows.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// The clock of the stragglers' service.
#[derive(Debug, Clone, Copy, Default)]
pub struct Service {
    /// When the pass began.
    pass_at: Timestamp,
    /// Since when all but a few hosts of the fleet are done.
    fleet_done_at: Option<Timestamp>,
    /// When the present audience came to be served.
    since: Timestamp,
    /// When its time is over.
    until: Timestamp,
    /// When the last of those who are served alone has had its time.
    over_at: Timestamp,
    /// How long each way of catching up may take.
    limit: Duration,
}

impl Session {
    /// Looks at the fleet.
    pub(super) fn survey(&mut self) {
        self.fleet = Fleet::of(&self.roster, &self.geometry);
    }

    /// The pass begins.
    pub(super) fn note_pass(&mut self, now: Timestamp) {
        self.service.pass_at = now;
    }

    /// Symbols that one host may cost those who are served beside it.
    fn budget_symbols(&self) -> u64 {
        let payload = self.geometry.space_symbols(Space::Payload);
        let least = BUDGET_BLOCKS * u64::from(self.geometry.block_symbols());
        let share = (payload * BUDGET_PERCENT / 100).max(least);
        match self.audience {
            // Blocks that most hosts dropped for want of memory are everybody's, whoever asks.
            Audience::Fleet => share + (self.fleet.wasted * payload as f64) as u64,
            Audience::Stragglers | Audience::Alone(_) => GROUP_BUDGET_PAYLOADS * payload + share,
        }
    }

    /// Symbols beyond k that are everybody's.
    fn free_symbols(&self) -> u32 {
        match self.audience {
            Audience::Fleet => self.fleet.free_symbols,
            Audience::Stragglers | Audience::Alone(_) => 0,
        }
    }

    /// The loss that an answer to `host` has to reckon with.
    pub(super) fn loss_for(&self, host: &Host) -> f64 {
        let loss = match self.audience {
            Audience::Fleet => self.fleet.weather.loss,
            Audience::Stragglers | Audience::Alone(_) => host.loss.share(),
        };
        loss.unwrap_or(0.0).min(0.5)
    }

    /// Whether the host in `slot` may ask for `block` now. The preamble is for whoever lacks it,
    /// also for a straggler whose turn has not come.
    pub(super) fn may_ask(&self, slot: Slot, block: BlockIndex) -> bool {
        let Some(host) = self.roster.hosts().get(slot.0 as usize) else { return false };
        self.audience.serves(slot, host)
            || self.audience == Audience::Fleet && self.geometry.space_of(block) == Space::Preamble
    }

    /// Whether what `slot` has cost the others leaves room for raising `block` to `target`; if so
    /// it is accounted for.
    pub(super) fn may_spend(
        &mut self,
        now: Timestamp,
        slot: Slot,
        block: BlockIndex,
        target: u32,
    ) -> bool {
        let free = self.free_symbols();
        let excess = self.schedule.excess(block, target, free);
        let is_alone = self.audience == Audience::Fleet && !self.is_any_an_exception();
        if excess == 0 || is_alone {
            return true;
        }
        let budget = self.budget_symbols();
        let mut spent = u64::from(self.roster.hosts()[slot.0 as usize].spent);
        if spent + excess > budget && self.audience == Audience::Fleet {
            // By now others may have needed as much, and what is everybody's may be known better.
            spent = self.schedule.owned_excess(slot, free);
        }
        let is_within = spent + excess <= budget;
        let known = if is_within { spent + excess } else { spent };
        self.roster.set_spent(slot, known.try_into().unwrap_or(u32::MAX));
        if !is_within {
            self.on_overspent(now, slot, spent + excess);
        }
        is_within
    }

    /// Whether there would be a fleet without one of its hosts. Of a fleet of one nobody can fall
    /// behind, and without a fleet nothing would be heard of the rate.
    fn is_any_an_exception(&self) -> bool {
        let tally = self.roster.tally();
        tally.present() - tally.receiving() + tally.fleet_receiving() >= 2
    }

    fn on_overspent(&mut self, now: Timestamp, slot: Slot, spent: u64) {
        let payload = self.geometry.space_symbols(Space::Payload);
        let greed = Cause::Greed { ppm: ppm(spent, payload) };
        let host = &self.roster.hosts()[slot.0 as usize];
        match (self.audience, host.straggling()) {
            // Before anybody has told of losses, all that a host needs looks like its own.
            (Audience::Fleet, None) => {
                if let Some(need) = self.fleet.need {
                    let has_told = host.need_share().is_some_and(|share| share > 2.0 * need);
                    let cause = if has_told { Cause::told(host, need) } else { greed };
                    self.straggle(slot, cause);
                }
            }
            (Audience::Fleet, _) => {}
            (Audience::Stragglers, straggling) => {
                let known = straggling.unwrap_or_else(|| Straggling::new(greed));
                self.roster.set_straggling(slot, Straggling { is_alone: true, ..known });
            }
            (Audience::Alone(_), _) => self.give_up_straggler(now, slot),
        }
    }

    /// The host in `slot` is served apart from now on.
    fn straggle(&mut self, slot: Slot, cause: Cause) {
        let name = self.roster.hosts()[slot.0 as usize].name.clone();
        self.tell_of(&name, &format!("{cause}: it is served after the others"));
        // Who does not hear the data group will hardly hear another one.
        let is_alone = self.roster.hosts()[slot.0 as usize].fault == Fault::NoData;
        self.roster.set_straggling(slot, Straggling { is_alone, ..Straggling::new(cause) });
    }

    /// A host that joins when much was sent needs all of that: it is served after the others.
    pub(super) fn consider_late(&mut self, slot: Slot) {
        let host = &self.roster.hosts()[slot.0 as usize];
        let needs_data = !host.holds_release && !host.holds_image && host.straggling().is_none();
        let has_others = self.roster.tally().present() > 1;
        let missed = self.schedule.sent_symbols(Space::Payload) > self.budget_symbols();
        let is_fleet_done = matches!(self.phase, Phase::CatchUp | Phase::Unicast);
        if needs_data && has_others && (missed || is_fleet_done) {
            self.straggle(slot, Cause::Late);
        }
    }

    /// Looks for stragglers, tells them, and ends what takes too long.
    pub(super) fn review_stragglers(&mut self, now: Timestamp) {
        self.survey();
        if matches!(self.phase, Phase::Preamble | Phase::Pass | Phase::Flush) {
            self.find_needy();
        }
        if self.phase == Phase::Flush {
            self.find_slow(now);
        }
        if matches!(self.phase, Phase::CatchUp | Phase::Unicast) {
            // Who was silent and is back, is behind like the others.
            self.straggle_all(Cause::Late);
            self.consider_service(now);
        }
        self.tell_stragglers(now);
    }

    /// Stragglers by their own account: what they needed beyond the share of the 95th percentile is
    /// more than one host may cost.
    fn find_needy(&mut self) {
        let Some(need) = self.fleet.need else { return };
        let budget = self.budget_symbols() as f64;
        let excess = |host: &Host| host.needed() as f64 - need * host.seen() as f64;
        let is_needy = |host: &Host| {
            host.is_receiving() && host.straggling().is_none() && excess(host) > budget
        };
        let hosts = self.roster.hosts().iter().enumerate();
        let needy: Vec<(Slot, Cause)> = hosts
            .filter(|(_, host)| is_needy(host))
            .map(|(index, host)| (Slot(index as u32), Cause::told(host, need)))
            .collect();
        for (slot, cause) in needy {
            if self.is_any_an_exception() {
                self.straggle(slot, cause);
            }
        }
    }

    /// Stragglers by the clock: all but one in twenty have been done for a while.
    fn find_slow(&mut self, now: Timestamp) {
        let tally = self.roster.tally();
        let (present, behind) = (tally.present(), tally.fleet_receiving());
        let done = present - tally.receiving();
        if behind == 0 || present < 2 || done <= (present - 1) * 95 / 100 {
            self.service.fleet_done_at = None;
            return;
        }
        let since = *self.service.fleet_done_at.get_or_insert(now);
        let patience = PATIENCE_MIN.max(since.since(self.service.pass_at) / 2);
        if now.since(since) >= patience {
            self.straggle_all(Cause::Slow);
        }
    }

    fn straggle_all(&mut self, cause: Cause) {
        let is_behind = |host: &Host| host.is_receiving() && host.straggling().is_none();
        let hosts = self.roster.hosts().iter().enumerate();
        let behind: Vec<Slot> = hosts
            .filter(|(_, host)| is_behind(host))
            .map(|(index, _)| Slot(index as u32))
            .collect();
        behind.into_iter().for_each(|slot| self.straggle(slot, cause));
    }

    /// Says CATCH-UP to those who have not said that they know.
    fn tell_stragglers(&mut self, now: Timestamp) {
        let is_due = |it: &Straggling| {
            !it.is_listening && it.told_at.is_none_or(|at| now.since(at) >= TELL_INTERVAL)
        };
        for index in 0..self.roster.len() {
            let host = &self.roster.hosts()[index];
            let Some(straggling) = host.straggling().filter(is_due) else { continue };
            if !host.is_receiving() {
                continue;
            }
            let catch_up = CatchUp { nonce: host.nonce, group: self.config.catch_up_group };
            let slot = Slot(index as u32);
            self.tell_host(slot, Message::CatchUp(catch_up));
            let straggling = Straggling { told_at: Some(now), ..straggling };
            self.roster.set_straggling(slot, straggling);
        }
    }

    /// The fleet is done: its stragglers' turn.
    pub(super) fn begin_catch_up(&mut self, now: Timestamp) {
        self.advance(Step::FleetServed);
        self.service.limit = CATCH_UP_MIN.max(2 * now.since(self.service.pass_at));
        self.service.until = now + self.service.limit;
        self.serve(now, Audience::Stragglers);
        self.evaluate_service(now);
    }

    /// Those who are left are served one after another, those who miss least first.
    fn begin_unicast(&mut self, now: Timestamp) {
        self.advance(Step::GroupServed);
        self.service.over_at = now + self.service.limit;
        self.next_turn(now);
    }

    fn next_turn(&mut self, now: Timestamp) {
        let hosts = self.roster.hosts().iter().enumerate();
        let receiving = hosts.filter(|(_, host)| host.is_receiving());
        let next = receiving.max_by_key(|(_, host)| host.blocks_done);
        if let Some((index, _)) = next {
            let left = self.roster.tally().receiving().max(1) as u32;
            self.service.until = now + self.service.over_at.since(now) / left;
            self.serve(now, Audience::Alone(Slot(index as u32)));
        }
    }

    /// All repairs of the phase are made: the fleet is the audience again.
    pub(super) fn end_service(&mut self) {
        if self.audience != Audience::Fleet {
            self.schedule.forfeit();
            self.audience = Audience::Fleet;
            self.roster.forget_spent();
            self.set_brake(Brake::new(RatePolicy::Ceiling(self.fleet_rate)));
        }
    }

    fn serve(&mut self, now: Timestamp, audience: Audience) {
        match self.audience {
            // What the fleet's last hosts asked for is of use to stragglers, too.
            Audience::Fleet => self.fleet_rate = self.brake.rate(),
            Audience::Stragglers | Audience::Alone(_) => self.schedule.forfeit(),
        }
        self.audience = audience;
        self.service.since = now;
        self.roster.forget_spent();
        // No faster than the fleet took it, and from there on by what these hosts report.
        self.set_brake(Brake::new(RatePolicy::Ceiling(self.fleet_rate)));
        self.flush_from = 0;
        self.timers.arm(TimerName::FlushPoll, now);
        self.timers.arm(TimerName::Judge, now + JUDGE_INTERVAL);
    }

    fn set_brake(&mut self, brake: Brake) {
        self.brake = brake;
        self.pacer.set_rate(self.brake.rate());
    }

    /// Whether those who are served have made no headway for too long.
    fn is_stalled(&self, now: Timestamp) -> bool {
        let hosts = self.roster.hosts().iter().enumerate();
        let mut served = hosts
            .filter(|(index, host)| {
                host.is_receiving() && self.audience.serves(Slot(*index as u32), host)
            })
            .map(|(_, host)| host);
        served.all(|host| {
            let idle = now.since(host.progress_at.max(self.service.since));
            idle >= if host.backlog_kib > 0 { DISK_STALL_MAX } else { STALL_MAX }
        })
    }

    /// Ends a service that is over, for whatever reason.
    pub(super) fn consider_service(&mut self, now: Timestamp) {
        let is_over = now >= self.service.until || self.is_stalled(now);
        match (self.phase, self.audience) {
            (Phase::CatchUp, _) if is_over => self.begin_unicast(now),
            (Phase::Unicast, Audience::Alone(slot)) if is_over => {
                self.give_up_straggler(now, slot);
                self.evaluate(now);
            }
            _ => {}
        }
    }

    /// A host has come to its end, or has got out of its group: who is next?
    pub(super) fn evaluate_service(&mut self, now: Timestamp) {
        match (self.phase, self.audience) {
            (Phase::CatchUp, _) if self.roster.tally().grouped_receiving() == 0 => {
                self.begin_unicast(now);
            }
            (Phase::Unicast, Audience::Alone(slot))
                if !self.roster.hosts()[slot.0 as usize].is_receiving() =>
            {
                self.next_turn(now);
            }
            _ => {}
        }
    }

    fn give_up_straggler(&mut self, now: Timestamp, slot: Slot) {
        let host = &self.roster.hosts()[slot.0 as usize];
        let total = u64::from(self.geometry.block_count().max(1));
        let percent = u64::from(host.blocks_done) * 100 / total;
        let cause = host.straggling().map_or(Cause::Slow, |it| it.cause);
        let line = format!("{cause}; had {percent} % when the time of stragglers was over");
        // Where the host has told of a fault of its own, that stays: it knows better.
        self.roster.give_up(now, slot, Fault::TooSlow, &line);
    }

    /// Stragglers that take symbols.
    pub(super) fn catching_up(&self) -> usize {
        self.roster.tally().stragglers_receiving()
    }

    /// Hosts that are served, where they are not the whole fleet.
    pub(super) fn audience_size(&self) -> u32 {
        match self.audience {
            Audience::Fleet => self.group_size(),
            Audience::Stragglers => self.roster.tally().grouped_receiving().max(1) as u32,
            Audience::Alone(_) => 1,
        }
    }

    /// Where the symbols go.
    pub(super) fn destination(&self) -> Destination {
        match self.audience {
            Audience::Fleet => Destination::Data,
            Audience::Stragglers => Destination::CatchUp,
            Audience::Alone(slot) => {
                Destination::Host(self.roster.hosts()[slot.0 as usize].address)
            }
        }
    }
}
