//! What a host hears of its session, and what it does about silence (PROTOCOL 7.7, 7.9).
//!
//! Two things can fall silent: the session as a whole, and its data group while announces go on.
//! Neither is decided by a single loss: an announce comes ten times a second, a sweep too.

use std::time::Duration;

use common::limits;
use common::time::Timestamp;
use common::wire::{Fault, HostPhase, Message, SenderStage, Solicit, SolicitReason};

use super::phase::Step;
use super::{Output, Role, Session, TimerName, Via};

/// What should come ten times a second is missed after this, and looked for so often.
const MISSED_AFTER: Duration = Duration::from_secs(1);

/// When what was last heard.
#[derive(Debug, Clone, Copy)]
pub struct Hearing {
    /// Anything of the session.
    any_at: Timestamp,
    /// Anything on its data group.
    group_at: Timestamp,
    /// When announces first said that symbols flow.
    flowing_since: Option<Timestamp>,
    /// Whether a symbol was ever of use.
    has_data: bool,
}

impl Hearing {
    /// Nothing yet but the announce at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { any_at: now, group_at: now, flowing_since: None, has_data: false }
    }
}

impl Session {
    // PROTOCOL 7.7: idle after 8 s of silence.
    pub(super) fn on_heard(&mut self, now: Timestamp) {
        self.hearing.any_at = now;
        self.timers.arm(TimerName::Silence, now + limits::SENDER_SILENCE_MAX);
    }

    /// A datagram of one of the streams.
    pub(super) fn on_heard_by(&mut self, now: Timestamp, via: Via) {
        self.on_heard(now);
        if via == Via::Data {
            self.on_heard_in_group(now);
        }
    }

    /// A datagram of the data group.
    fn on_heard_in_group(&mut self, now: Timestamp) {
        self.hearing.group_at = now;
        // Where no symbol ever came, small datagrams getting through is no comfort.
        if self.hearing.has_data {
            self.clear_no_data();
        }
    }

    /// A symbol that is of use.
    pub(super) fn on_data(&mut self) {
        self.hearing.has_data = true;
        self.clear_no_data();
        if self.phase == HostPhase::Joined {
            self.advance(Step::FirstSymbol);
        }
    }

    fn clear_no_data(&mut self) {
        if self.fault == Fault::NoData {
            self.fault = Fault::None;
            self.detail.clear();
        }
    }

    /// The announce says where the sender stands.
    pub(super) fn on_stage(&mut self, now: Timestamp, stage: SenderStage) {
        self.stage = stage;
        if is_flowing(stage) {
            self.hearing.flowing_since.get_or_insert(now);
        }
    }

    /// The host has a place in the roster: from now on it would be missed, and misses. Hosts look
    /// in the order of their slots, so that what all of them miss is not said by all at once.
    pub(super) fn begin_to_listen(&mut self, now: Timestamp) {
        self.hearing.group_at = self.hearing.group_at.max(now);
        let turn = self.slot.map_or(Duration::ZERO, |slot| self.slot_time * slot.0);
        self.timers.arm(TimerName::Missed, now + MISSED_AFTER + turn.min(super::SPREAD_MAX));
    }

    /// Looks whether something is missed, says so, and renews memberships: a switch may have
    /// forgotten this host.
    pub(super) fn on_missed(&mut self, now: Timestamp) {
        self.timers.arm(TimerName::Missed, now + MISSED_AFTER);
        let Some(reason) = self.missed(now) else { return };
        self.fault = Fault::NoData;
        reason.line().clone_into(&mut self.detail);
        let (host, nonce) = (self.facts.host.clone(), self.facts.nonce);
        self.send(Message::Solicit(Solicit { host, nonce, reason }));
        self.send_status(now);
        self.outputs.push_back(Output::Rejoin);
    }

    fn missed(&self, now: Timestamp) -> Option<SolicitReason> {
        let is_long = |since: Timestamp| now.since(since) >= MISSED_AFTER;
        if matches!(self.phase, HostPhase::Active | HostPhase::Failed) {
            return None;
        }
        if is_long(self.hearing.any_at) {
            return Some(SolicitReason::SenderLost);
        }
        // A straggler whose turn has not come misses nothing yet.
        let is_waiting = self.is_asking()
            && !self.blocks.are_all_done()
            && is_flowing(self.stage)
            && self.role != Role::Waiting;
        let is_deaf = self.hearing.flowing_since.is_some_and(|flowing| {
            let has_none = !self.hearing.has_data && is_long(flowing);
            // Before symbols flow nothing comes by the data group.
            has_none || is_long(self.hearing.group_at.max(flowing))
        });
        (is_waiting && is_deaf).then_some(SolicitReason::NoData)
    }
}

/// Whether symbols of the payload or the preamble are under way, and sweeps.
const fn is_flowing(stage: SenderStage) -> bool {
    matches!(
        stage,
        SenderStage::Preamble | SenderStage::Pass | SenderStage::Flush | SenderStage::CatchUp
    )
}
