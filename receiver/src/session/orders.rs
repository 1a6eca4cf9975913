//! ACTIVATE, CANCEL and STOP, and the acknowledgement of the first (PROTOCOL 8).

use common::time::Timestamp;
use common::wire::{Activated, Activation, Fault, HostPhase, Message, Order, Outcome};

use super::phase::Step;
use super::{Ending, Output, Session, TimerName, Via};

/// Which of the three orders a datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// Switch to the staged release.
    Activate,
    /// Do not switch; the session is over.
    Cancel,
    /// The session is over.
    Stop,
}

/// The activation order that a host obeys and acknowledges.
#[derive(Debug, Default)]
pub struct Orders {
    issue: Option<u32>,
}

impl Session {
    /// An order of the sender.
    pub fn handle_order(
        &mut self,
        now: Timestamp,
        via: Via,
        seq: u32,
        kind: OrderKind,
        order: &Order,
    ) {
        self.on_heard(now);
        // PROTOCOL 2.9: an order to a single host is part of no stream.
        if via != Via::Own {
            self.reporting.observe(via, [seq]);
        }
        if order.release != self.release {
            return self.drops.increment(common::drops::DropReason::NotForUs);
        }
        // PROTOCOL 4.13: an order issued before one that was obeyed is late news.
        if self.orders.issue.is_some_and(|issue| order.issue < issue) {
            return self.drops.increment(common::drops::DropReason::Stale);
        }
        match kind {
            OrderKind::Activate => self.on_activate(now, order),
            OrderKind::Cancel => self.outputs.push_back(Output::Ended(Ending::Cancelled)),
            OrderKind::Stop => self.outputs.push_back(Output::Ended(Ending::Stopped)),
        }
    }

    fn on_activate(&mut self, now: Timestamp, order: &Order) {
        // PROTOCOL 8.1.
        if self.activation == Activation::Hold {
            return self.drops.increment(common::drops::DropReason::NotForUs);
        }
        self.orders.issue = Some(order.issue);
        match self.phase {
            HostPhase::Staged => self.switch(),
            HostPhase::Active | HostPhase::Failed => self.acknowledge(now),
            // PROTOCOL 8.3. Switching takes a moment, and a host that has not staged has nothing to
            // switch to.
            _ => {}
        }
    }

    pub(super) fn on_staged(&mut self, now: Timestamp) {
        self.advance(Step::Staged);
        if self.activation == Activation::Each {
            self.switch();
        }
        self.hasten_status(now);
    }

    fn switch(&mut self) {
        self.advance(Step::Switch);
        self.outputs.push_back(Output::Switch);
    }

    pub(super) fn on_switched(&mut self, now: Timestamp) {
        self.advance(Step::Switched);
        self.acknowledge(now);
    }

    pub(super) fn on_failed(&mut self, now: Timestamp, fault: Fault, detail: String) {
        self.advance(Step::GaveUp);
        (self.fault, self.detail) = (fault, detail);
        if self.orders.issue.is_some() {
            self.acknowledge(now);
        }
        self.hasten_status(now);
    }

    /// A host's end is news; a lone answer between sweeps costs nothing, and the sweep repeats it.
    pub(super) fn hasten_status(&mut self, now: Timestamp) {
        if self.timers.is_armed(TimerName::StatusSlot) {
            return;
        }
        let spread = self.draw_spread();
        self.timers.arm(TimerName::StatusSlot, now + spread);
    }

    fn acknowledge(&mut self, now: Timestamp) {
        // One answer at a time: an order repeated meanwhile does not hasten it, or a fleet would
        // answer the faster the longer it is asked.
        if !self.timers.is_armed(TimerName::Acknowledge) {
            let spread = self.draw_spread();
            self.timers.arm(TimerName::Acknowledge, now + spread);
        }
    }

    pub(super) fn send_activated(&mut self, now: Timestamp) {
        let Some(slot) = self.slot else { return };
        let outcome = match self.phase {
            HostPhase::Active => Outcome::Done,
            _ => Outcome::Failed,
        };
        let (nonce, release, detail) = (self.facts.nonce, self.release, self.detail.clone());
        let fault = if outcome == Outcome::Done { Fault::None } else { self.fault };
        let issue = self.orders.issue.unwrap_or(0);
        let trial = self.trial(now);
        let activated = Activated { slot, nonce, release, issue, outcome, fault, detail, trial };
        self.send(Message::Activated(activated));
    }
}
