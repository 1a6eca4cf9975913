//! What hosts say, and what it changes (PROTOCOL 6.2, 7).

use std::net::SocketAddr;
use std::time::Duration;

use common::geometry::Space;
use common::id::{BlockIndex, BootNonce, HostName, Slot};
use common::time::Timestamp;
use common::wire::{
    Activated, Fault, Have, HostPhase, Join, JoinAck, JoinVerdict, Message, Need, Outcome, Rate,
    Solicit, Status, VERSION,
};

use super::outcome::fault_line;
use super::phase::Phase;
use super::report::Expect;
use super::roster::Admission;
use super::straggling::Audience;
use super::{ADVERTISE_DELAY, Output, Session, TimerName};

/// Hosts that are told of by name while the session lasts; the report names all.
const TOLD_MAX: usize = 20;

impl Session {
    /// A message of this session from a host, authenticated.
    pub fn handle_feedback(&mut self, now: Timestamp, from: SocketAddr, message: &Message) {
        match message {
            Message::Join(join) => self.on_join(now, from, join),
            Message::Have(have) => self.on_have(now, from, have),
            Message::Need(need) => self.on_need(now, from, need),
            Message::Status(status) => self.on_status(now, from, status),
            Message::Rate(rate) => self.on_rate(now, from, rate),
            Message::Activated(activated) => self.on_activated(now, from, activated),
            Message::Solicit(solicit) => self.on_solicit(now, from, solicit),
            Message::Doubt(doubt) => self.on_doubt(now, from, doubt),
            // What only a sender says.
            _ => {}
        }
    }

    fn on_join(&mut self, now: Timestamp, from: SocketAddr, join: &Join) {
        self.observe_rtt(now, join.echo_us, join.held);
        let refusal = self.refusal(join);
        if refusal == Some(JoinVerdict::NotExpected) {
            self.tell_of(&join.host, &format!("at {from} joins but is not expected"));
        }
        let admission = match refusal {
            Some(verdict) => Admission { verdict, slot: Slot(0), is_new: false },
            None => self.roster.join(now, from, join),
        };
        let (nonce, slot, verdict) = (join.nonce, admission.slot, admission.verdict);
        let ack = JoinAck { nonce, slot, verdict, have_seen: false };
        let answer = Output::Answer(from, join.host.clone(), nonce, Message::JoinAck(ack));
        self.outputs.push_back(answer);
        if admission.is_new {
            self.consider_late(slot);
            self.consider_gathering(now);
            self.evaluate(now);
        }
    }

    /// Names a host for what the operator did not ask for, each once and no more than a screenful.
    pub(super) fn tell_of(&mut self, host: &HostName, what: &str) {
        if self.told.len() < TOLD_MAX && self.told.insert(host.clone()) {
            self.outputs.push_back(Output::Notice(format!("{host} {what}")));
        }
    }

    fn refusal(&self, join: &Join) -> Option<JoinVerdict> {
        let is_listed = match &self.config.expect {
            Expect::Names(names) => names.binary_search(&join.host).is_ok(),
            Expect::Count(_) | Expect::Any => true,
        };
        if !(join.version_min..=join.version_max).contains(&VERSION) {
            Some(JoinVerdict::VersionUnsupported)
        } else if !is_listed {
            Some(JoinVerdict::NotExpected)
        } else if self.phase >= Phase::Activating && self.roster.find(&join.host).is_none() {
            Some(JoinVerdict::Closing)
        } else {
            None
        }
    }

    fn on_have(&mut self, now: Timestamp, from: SocketAddr, have: &Have) {
        if !self.roster.on_heard(now, from, have.slot, have.nonce) {
            return;
        }
        if self.roster.on_have(have) {
            let (nonce, slot) = (have.nonce, have.slot);
            let ack = JoinAck { nonce, slot, verdict: JoinVerdict::Accepted, have_seen: true };
            self.tell_host(slot, Message::JoinAck(ack));
        }
    }

    fn on_need(&mut self, now: Timestamp, from: SocketAddr, need: &Need) {
        if !self.roster.on_heard(now, from, need.slot, need.nonce) {
            return;
        }
        self.observe_rtt(now, need.echo_us, need.held);
        self.needs += 1;
        let mut has_raised = false;
        for (block, want) in &need.wants {
            has_raised |= self.on_want(now, need.slot, *block, *want);
        }
        if has_raised {
            self.schedule.request_more();
            self.timers.arm_earlier(TimerName::Advertise, now + ADVERTISE_DELAY);
        }
    }

    /// Whether S rose.
    fn on_want(&mut self, now: Timestamp, slot: Slot, block: BlockIndex, want: u32) -> bool {
        if !self.may_ask(slot, block) {
            return false;
        }
        let loss = self.loss_for(&self.roster.hosts()[slot.0 as usize]);
        let Some(target) = self.schedule.target(block, want, loss) else { return false };
        let is_granted = self.may_spend(now, slot, block, target);
        if is_granted {
            self.schedule.raise(block, target, slot);
            let is_preamble = self.geometry.space_of(block) == Space::Preamble;
            self.has_preamble_needs |= is_preamble && self.phase == Phase::Preamble;
        }
        is_granted
    }

    fn on_rate(&mut self, now: Timestamp, from: SocketAddr, rate: &Rate) {
        if self.roster.on_heard(now, from, rate.slot, rate.nonce)
            && self.audience.serves(rate.slot, &self.roster.hosts()[rate.slot.0 as usize])
        {
            // Whoever is served apart asks for no more than its memory holds; what it has no room
            // for was sent for another.
            let is_fleet = self.audience == Audience::Fleet;
            let overrun_ppm = if is_fleet { rate.overrun_ppm } else { 0 };
            self.brake.on_report(now, &Rate { overrun_ppm, ..*rate });
        }
    }

    fn on_status(&mut self, now: Timestamp, from: SocketAddr, status: &Status) {
        if !self.roster.on_heard(now, from, status.slot, status.nonce) {
            return;
        }
        self.observe_rtt(now, status.echo_us, status.held);
        self.roster.on_status(now, status);
        if let Some(alarm) = &status.alarm {
            self.on_alarm(status.slot, alarm);
        }
        if status.phase == HostPhase::Failed {
            let host = &self.roster.hosts()[status.slot.0 as usize];
            let (name, why) = (host.name.clone(), fault_line(host.fault, host.detail()));
            self.tell_of(&name, &format!("failed: {why}"));
        }
        self.evaluate(now);
    }

    // PROTOCOL 7.9: it lives and cannot be asked.
    fn on_solicit(&mut self, now: Timestamp, from: SocketAddr, solicit: &Solicit) {
        let Ok(slot) = self.roster.slot_of(&solicit.host) else { return };
        if self.roster.on_heard(now, from, slot, solicit.nonce) {
            self.note_fault(slot, solicit.nonce, Fault::NoData, solicit.reason.line());
        }
    }

    fn on_activated(&mut self, now: Timestamp, from: SocketAddr, activated: &Activated) {
        let (slot, nonce) = (activated.slot, activated.nonce);
        let is_ours = activated.release == self.config.announce.release;
        if !self.roster.on_heard(now, from, slot, nonce) || !is_ours {
            return;
        }
        let phase = match activated.outcome {
            Outcome::Done => HostPhase::Active,
            Outcome::Failed => HostPhase::Failed,
        };
        self.note_fault(slot, nonce, activated.fault, &activated.detail);
        self.roster.on_answer(now, activated, phase);
        self.evaluate(now);
    }

    fn note_fault(&mut self, slot: Slot, nonce: BootNonce, fault: Fault, detail: &str) {
        if let Some(mut host) = self.roster.host_mut(slot, nonce) {
            host.fault = fault;
            host.set_detail(detail);
        }
    }

    /// One round trip: the time since the echoed datagram went out, less what the host kept it.
    fn observe_rtt(&mut self, now: Timestamp, echo_us: u64, held: Duration) {
        if echo_us > 0 {
            let sent = Timestamp::from_micros(echo_us);
            self.grtt.observe(now.since(sent).saturating_sub(held));
        }
    }
}
