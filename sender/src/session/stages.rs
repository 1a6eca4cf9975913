//! From listening to the last STOP: what ends each phase and what begins the next (PROTOCOL 5.1).

use std::time::Duration;

use common::geometry::Space;
use common::id::Slot;
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{Announce, Fault, HostPhase, Message, Order, SenderStage, Sweep};

use super::brake::{Brake, JUDGE_INTERVAL, RatePolicy};
use super::host::Host;
use super::phase::{Phase, Step};
use super::report::Outcome;
use super::{
    ANSWER_INTERVAL, Destination, Output, RateRequest, SLOT, SWEEP_RANGES, Session, TimerName,
};

/// The preamble waits for needs no longer than this, or twice the back-off interval.
const PREAMBLE_WAIT_MAX: Duration = Duration::from_millis(100);
/// The pass waits so long for the frames that hosts hold, where that may save it.
const HAVE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two polls of the flush at the least.
const FLUSH_POLL_MIN: Duration = Duration::from_millis(50);
/// Datagrams of one poll of the flush; the next goes on where it ended.
const FLUSH_POLL_DATAGRAMS: usize = 16;
/// Between two sweeps while symbols flow.
const SWEEP_PASS: Duration = Duration::from_millis(100);
/// A host that has come to its goal is asked again when nothing was heard of it for this long.
const SETTLED_ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two sweeps when nothing else goes on.
const SWEEP_TAIL: Duration = Duration::from_millis(20);
/// A host that takes symbols and completes no block for this long gets nowhere.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(15);
/// The same for one that says what keeps it.
const FAULTY_MAX: Duration = Duration::from_secs(5);
/// The same for one whose disk is behind.
const DISK_STALL_MAX: Duration = Duration::from_secs(30);
/// Blocks that the flush repairs at a time.
const REPAIR_BLOCKS: u64 = 16;
/// The longest that verifying and staging may take.
const STAGING_MAX: Duration = Duration::from_secs(600);
/// ACTIVATE, STOP and CANCEL are repeated so often.
const ORDER_INTERVAL: Duration = Duration::from_millis(100);
/// ACTIVATE goes by unicast to so many hosts at a time: 256 × 0.2 KB every 100 ms are 4 Mbit/s.
const ORDER_UNICASTS_MAX: usize = 256;
/// ACTIVATE is repeated for this long.
const ACTIVATE_MAX: Duration = Duration::from_secs(5);
/// STOP is said so often; a host that misses all is idle after 8 s of silence.
const GOODBYES: u32 = 4;
/// Between two of them.
const GOODBYE_INTERVAL: Duration = Duration::from_millis(10);
/// A link of unknown speed counts as this.
const LINK_UNKNOWN: Bitrate = Bitrate::from_megabits(200);

/// The order to switch, once given.
#[derive(Debug, Default)]
pub struct Activation {
    since: Option<Timestamp>,
}

impl Session {
    /// Nobody else sends this app: announce it.
    pub(super) fn on_clear(&mut self, now: Timestamp) {
        if self.advance(Step::Clear) {
            self.timers.arm(TimerName::JoinWindow, now + self.config.join_window);
            self.send_announce(now);
        }
    }

    /// Somebody announces the same app, or asks who does. The one who started first goes on.
    // PROTOCOL 5.5.
    pub fn handle_foreign(&mut self, now: Timestamp, announce: &Announce) {
        let mine = &self.config.announce;
        let theirs = &announce.sender;
        if announce.app != mine.app || theirs.instance == mine.sender.instance {
            return;
        }
        let is_asking = announce.stage == SenderStage::Listening;
        let is_earlier =
            (theirs.started, theirs.instance) < (mine.sender.started, mine.sender.instance);
        let yields = match self.phase {
            Phase::Listening => !is_asking || is_earlier,
            Phase::Joining => !is_asking && is_earlier,
            _ => false,
        };
        if is_asking && self.phase != Phase::Listening {
            let answer_at = now.max(self.announced_at + ANSWER_INTERVAL);
            self.timers.arm_earlier(TimerName::Announce, answer_at);
        }
        if yields {
            let (host, user) = (theirs.host.clone(), theirs.user.clone());
            self.outcome = Some(Outcome::Busy { host, user, started: theirs.started });
            self.last_symbol_at = now;
            self.advance(Step::Dropped);
        }
    }

    pub(super) fn on_join_window(&mut self, now: Timestamp) {
        if self.phase != Phase::Joining {
            return;
        }
        if self.roster.is_empty() {
            self.outcome = Some(Outcome::NobodyJoined);
            self.advance(Step::Dropped);
        } else {
            self.gather(now);
        }
    }

    /// Begins early when everybody expected is here.
    pub(super) fn consider_gathering(&mut self, now: Timestamp) {
        // Who is not listed is not let in, so the number tells.
        let expected = self.config.expected();
        let is_complete = expected.is_some_and(|expected| self.roster.len() >= expected);
        if self.phase == Phase::Joining && is_complete {
            self.gather(now);
        }
    }

    fn gather(&mut self, now: Timestamp) {
        self.timers.disarm(TimerName::JoinWindow);
        self.advance(Step::Gathered);
        let (policy, reason) = self.choose_rate();
        self.brake = Brake::new(policy);
        self.pacer.set_rate(self.brake.rate());
        self.outputs.push_back(Output::Notice(reason));
        self.timers.arm(TimerName::Sweep, now + SWEEP_PASS);
        self.timers.arm(TimerName::Judge, now + JUDGE_INTERVAL);
        self.send_announce(now);
        let needs_preamble = self.roster.hosts().iter().any(|host| !host.holds_release);
        if needs_preamble {
            self.schedule.begin(Space::Preamble, |_| false);
        } else {
            self.begin_pass(now);
        }
    }

    /// The ceiling and the line that says which number it took and why.
    fn choose_rate(&self) -> (RatePolicy, String) {
        match self.config.rate {
            RateRequest::Fixed(rate) => {
                (RatePolicy::Fixed(rate), format!("rate: {rate}, fixed as asked, no brake"))
            }
            RateRequest::Ceiling(rate) => {
                (RatePolicy::Ceiling(rate), format!("rate: at most {rate} as asked"))
            }
            RateRequest::Auto { link } => {
                let hosts = self.roster.hosts();
                let mut links: Vec<_> =
                    hosts.iter().map(|host| host.link.unwrap_or(LINK_UNKNOWN)).collect();
                links.sort_unstable();
                let slow = links.get(links.len() * 5 / 100).copied().unwrap_or(LINK_UNKNOWN);
                let own = link.unwrap_or(LINK_UNKNOWN);
                let unknown = hosts.iter().filter(|host| host.link.is_none()).count();
                let (slower, whose) = match own < slow {
                    true => (own, "the sender's link"),
                    false => (slow, "the hosts' links (5th percentile)"),
                };
                let rate = slower.scaled(1, 2);
                let guess = match unknown + usize::from(link.is_none()) {
                    0 => String::new(),
                    count => format!("; links of unknown speed ({count}) count as {LINK_UNKNOWN}"),
                };
                let line = format!("rate: at most {rate}, half of {whose}, {slower}{guess}");
                (RatePolicy::Guessed(rate), format!("{line} (--rate sets it)"))
            }
        }
    }

    /// The preamble or the payload went out once.
    pub(super) fn on_space_sent(&mut self, now: Timestamp) {
        match self.phase {
            Phase::Preamble => {
                self.preamble_polled_at = Some(now);
                let wait = self.grtt.backoff() + 2 * self.grtt.estimate();
                self.timers.arm(TimerName::PreambleQuiet, now + wait.min(self.preamble_wait()));
            }
            Phase::Pass => self.begin_flush(now),
            _ => {}
        }
    }

    fn preamble_wait(&self) -> Duration {
        PREAMBLE_WAIT_MAX.max(2 * self.grtt.backoff())
    }

    pub(super) fn on_preamble_quiet(&mut self, now: Timestamp) {
        let Some(polled_at) = self.preamble_polled_at.filter(|_| self.phase == Phase::Preamble)
        else {
            return;
        };
        let waited = now.since(polled_at);
        if std::mem::take(&mut self.has_preamble_needs) && waited < self.preamble_wait() {
            self.timers.arm(TimerName::PreambleQuiet, polled_at + self.preamble_wait());
        } else if self.is_waiting_for_have() && waited < HAVE_WAIT_MAX {
            self.timers.arm(TimerName::PreambleQuiet, now + SWEEP_TAIL);
            self.send_poll(now, self.schedule.preamble_scope(), None);
        } else {
            self.begin_pass(now);
        }
    }

    fn begin_pass(&mut self, now: Timestamp) {
        self.advance(Step::PreambleSent);
        self.note_pass(now);
        let held = self.held_by_all();
        let geometry = self.geometry;
        self.schedule.begin(Space::Payload, |block| held.has_block(&geometry, block));
        self.evaluate(now);
        if self.phase == Phase::Pass && !self.schedule.is_passing() {
            self.begin_flush(now);
        }
    }

    fn begin_flush(&mut self, now: Timestamp) {
        self.advance(Step::PassSent);
        self.schedule.begin_flush();
        self.flush_from = 0;
        self.flush_since = now;
        let wait = self.grtt.backoff() + 2 * self.grtt.estimate();
        self.timers.arm(TimerName::FlushPoll, now + wait);
        self.timers.arm_earlier(TimerName::Sweep, now + SWEEP_TAIL);
        self.timers.arm_earlier(TimerName::Advertise, now);
    }

    pub(super) fn on_flush_poll(&mut self, now: Timestamp) {
        if !matches!(self.phase, Phase::Flush | Phase::CatchUp | Phase::Unicast) {
            return;
        }
        for _ in 0..FLUSH_POLL_DATAGRAMS {
            let scope = self.schedule.flush_scope(self.flush_from, super::POLL_BLOCKS);
            self.flush_from = scope.last().map_or(0, |count| count.block.0 + 1);
            if scope.is_empty() {
                break;
            }
            self.send_poll(now, scope, None);
        }
        let wait = FLUSH_POLL_MIN.max(2 * self.grtt.backoff());
        self.timers.arm(TimerName::FlushPoll, now + wait);
    }

    /// Asks hosts where they stand, gives up those that get nowhere, and looks whether it is over.
    pub(super) fn on_sweep(&mut self, now: Timestamp) {
        let is_tail = (Phase::Flush..=Phase::Judging).contains(&self.phase);
        if !is_tail && !matches!(self.phase, Phase::Preamble | Phase::Pass) {
            return;
        }
        let goal = self.goal_phase();
        let is_judging = self.phase == Phase::Judging;
        let is_asked = |host: &Host| {
            let is_settled = is_tail && (host.phase == goal || host.phase == HostPhase::Active);
            let is_fresh = now.since(host.heard_at) < SETTLED_ASK_INTERVAL;
            host.phase != HostPhase::Failed
                && host.twin().is_none()
                && !(is_settled && is_fresh)
                && (!is_judging || host.is_on_trial())
        };
        let ranges = self.roster.begin_sweep(now, is_asked, SWEEP_RANGES);
        let asked: u32 = ranges.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
        if asked > 0 {
            let sweep = Sweep { id: self.next_sweep, slot: SLOT, ranges };
            self.next_sweep = self.next_sweep.wrapping_add(1);
            // A host that has just come learns at once how to ask for the preamble.
            let has_newcomer = self
                .roster
                .hosts()
                .iter()
                .any(|host| host.is_present() && host.phase == HostPhase::Joined);
            let scope = if has_newcomer { self.schedule.preamble_scope() } else { Vec::new() };
            self.send_poll(now, scope, Some(sweep));
        }
        self.give_up_stuck(now);
        self.review_stragglers(now);
        // No faster than the answers take: those of the hosts that were asked, not of the fleet, or
        // the last one of ten thousand would be asked twice a second.
        let spread = SLOT * asked + 2 * self.grtt.estimate();
        let interval = if is_tail { SWEEP_TAIL } else { SWEEP_PASS };
        self.timers.arm(TimerName::Sweep, now + interval.max(spread));
        self.evaluate(now);
    }

    fn give_up_stuck(&mut self, now: Timestamp) {
        if self.phase == Phase::Pass || self.phase == Phase::Preamble {
            return;
        }
        for slot in 0..self.roster.len() {
            let host = &self.roster.hosts()[slot];
            if host.straggling().is_some() && host.is_receiving() {
                continue; // Its time is that of its service.
            }
            // PROTOCOL 7.5: in a slow pass the blocks of a window take longer than any patience.
            let waited = now.since(host.progress_at.max(self.flush_since));
            let limit = match host.phase {
                HostPhase::Joined | HostPhase::Receiving if host.backlog_kib > 0 => DISK_STALL_MAX,
                HostPhase::Joined | HostPhase::Receiving if host.fault != Fault::None => FAULTY_MAX,
                HostPhase::Joined | HostPhase::Receiving => NO_PROGRESS_MAX,
                HostPhase::Verifying | HostPhase::Received | HostPhase::Staging => STAGING_MAX,
                _ => continue,
            };
            // While symbols are under way to it the host may need as long as they take, twice.
            let is_owed = self.schedule.is_owing() && host.fault == Fault::None;
            let limit = if is_owed { limit.max(2 * self.repair_time()) } else { limit };
            if host.is_present() && waited > limit {
                let seconds = waited.as_secs();
                let line = format!("no progress for {seconds} s while {}", host.phase);
                self.roster.give_up(now, Slot(slot as u32), Fault::Stopped, &line);
            }
        }
    }

    /// How long a full set of blocks under repair takes at the rate in force.
    fn repair_time(&self) -> Duration {
        let symbols = u64::from(self.geometry.block_symbols()) * REPAIR_BLOCKS;
        self.pacer.rate().time_for(symbols * self.datagram_wire_bytes()).max(DISK_STALL_MAX)
    }

    /// What a host comes to under the policy without being told.
    fn goal_phase(&self) -> HostPhase {
        match self.config.announce.activation {
            common::wire::Activation::Each => HostPhase::Active,
            _ if self.phase >= Phase::Activating => HostPhase::Active,
            _ => HostPhase::Staged,
        }
    }

    /// Looks whether the phase is over.
    pub(super) fn evaluate(&mut self, now: Timestamp) {
        let is_receiving = self.roster.tally().receiving() > 0;
        match self.phase {
            // Whoever took symbols has failed or gone: the rest of the pass is for nobody.
            Phase::Pass if !is_receiving => {
                self.schedule.end_pass();
                self.begin_flush(now);
                self.evaluate(now);
            }
            Phase::Flush | Phase::CatchUp | Phase::Unicast if !is_receiving => {
                self.advance(Step::Repaired);
                self.end_service();
                self.evaluate(now);
            }
            Phase::Flush if self.roster.tally().fleet_receiving() == 0 => self.begin_catch_up(now),
            Phase::CatchUp | Phase::Unicast => self.evaluate_service(now),
            Phase::Settling if is_receiving => {
                self.settled_at = None;
                self.advance(Step::LateHost);
                self.timers.arm(TimerName::FlushPoll, now);
            }
            Phase::Settling => self.consider_settled(now),
            Phase::Activating => self.consider_activated(now),
            Phase::Judging => self.consider_judged(now),
            _ => {}
        }
    }

    /// PROTOCOL 5.1: nothing is decided before everybody was heard since the last host came to its
    /// goal, or shortly before that.
    fn consider_settled(&mut self, now: Timestamp) {
        if self.roster.tally().short_of(self.goal_phase()) > 0 {
            self.settled_at = None;
            return;
        }
        let settled_at = *self.settled_at.get_or_insert(now);
        if !self.roster.has_doubtful(settled_at) {
            self.decide(now);
        }
    }

    fn decide(&mut self, now: Timestamp) {
        let is_together = self.config.announce.activation == common::wire::Activation::Together;
        let staged = self
            .roster
            .hosts()
            .iter()
            .filter(|host| host.is_present() && host.has_staged())
            .count();
        if is_together && staged > 0 && staged >= self.required() {
            self.advance(Step::Decided);
            self.activation.since = Some(now);
            self.on_order(now);
            self.timers.arm_earlier(TimerName::Sweep, now + SWEEP_TAIL);
        } else {
            self.conclude(now);
        }
    }

    pub(super) fn on_order(&mut self, now: Timestamp) {
        match self.phase {
            Phase::Activating => self.send_activate(now),
            Phase::Closing => self.send_goodbye(now),
            _ => {}
        }
    }

    fn order(&self) -> Order {
        let release = self.config.announce.release;
        Order { release, issue: 1, at_us: 0, reason: String::new() }
    }

    fn send_activate(&mut self, now: Timestamp) {
        let order = self.order();
        self.tell(Destination::Data, Message::Activate(order.clone()));
        // PROTOCOL 8.2.
        let answers_take = SLOT * self.group_size() + 2 * self.grtt.estimate();
        let since = self.activation.since.unwrap_or(now);
        if now.since(since) > answers_take + ORDER_INTERVAL {
            let is_silent =
                |host: &&Host| host.is_present() && host.has_staged() && !host.has_acknowledged;
            let slots = (0..).map(Slot).zip(self.roster.hosts());
            let silent = slots.filter(|(_, host)| is_silent(host)).take(ORDER_UNICASTS_MAX);
            let silent: Vec<_> = silent.map(|(slot, _)| slot).collect();
            for slot in silent {
                self.tell_host(slot, Message::Activate(order.clone()));
            }
        }
        self.timers.arm(TimerName::Order, now + ORDER_INTERVAL);
        self.consider_activated(now);
    }

    fn consider_activated(&mut self, now: Timestamp) {
        let since = self.activation.since.unwrap_or(now);
        let is_over = now.since(since) >= ACTIVATE_MAX;
        if is_over || self.roster.tally().to_activate() == 0 {
            self.conclude(now);
        }
    }

    /// Ends the session with `outcome`; hosts are told.
    pub(super) fn end(&mut self, now: Timestamp, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(outcome);
        if self.phase == Phase::Listening {
            self.advance(Step::Dropped);
            return;
        }
        self.advance(Step::Settled);
        self.timers.disarm(TimerName::Timeout);
        self.send_goodbye(now);
    }

    fn send_goodbye(&mut self, now: Timestamp) {
        if self.goodbyes == GOODBYES {
            self.advance(Step::Closed);
            return;
        }
        self.goodbyes += 1;
        let is_cancelled = matches!(self.outcome, Some(Outcome::Interrupted | Outcome::TimedOut));
        let order = self.order();
        let message = if is_cancelled { Message::Cancel(order) } else { Message::Stop(order) };
        self.tell(Destination::Data, message);
        self.timers.arm(TimerName::Order, now + GOODBYE_INTERVAL);
    }
}
