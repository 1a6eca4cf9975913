//! What a run cost and how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use common::time::Timestamp;
use common::wire::{Message, Need};

/// Counts over a whole run.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// JOINs that hosts sent.
    pub joins: u64,
    /// NEEDs that hosts sent.
    pub needs: u64,
    /// NEEDs in the millisecond with the most of them.
    pub needs_peak: u64,
    /// STATUSes that hosts sent.
    pub statuses: u64,
    /// Feedback lost for want of room in a queue or in the sender's socket.
    pub overflows: u64,
    /// Polls that were answered by a NEED for one block, for the block with the most of them.
    pub rounds: u32,
    /// From the start until the last host had staged, as far as hosts have.
    pub staged: Duration,
    /// Hosts that have staged.
    pub staged_hosts: usize,
    millisecond: (u64, u64),
    asked: BTreeMap<u32, (u32, u32)>,
}

impl Account {
    /// A host sent `message`.
    pub(super) fn on_feedback(&mut self, now: Timestamp, message: &Message) {
        match message {
            Message::Join(_) => self.joins += 1,
            Message::Status(_) => self.statuses += 1,
            Message::Need(need) => self.on_need(now, need),
            _ => {}
        }
    }

    fn on_need(&mut self, now: Timestamp, need: &Need) {
        self.needs += 1;
        let millisecond = now.as_micros() / 1000;
        let count = if self.millisecond.0 == millisecond { self.millisecond.1 + 1 } else { 1 };
        self.millisecond = (millisecond, count);
        self.needs_peak = self.needs_peak.max(count);
        for (block, _) in &need.wants {
            let (poll, rounds) = self.asked.entry(block.0).or_default();
            if need.poll > *poll {
                (*poll, *rounds) = (need.poll, *rounds + 1);
                self.rounds = self.rounds.max(*rounds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{BlockIndex, BootNonce, Slot};

    #[test]
    fn needs_are_counted_by_the_millisecond_and_rounds_by_the_poll() {
        let mut account = Account::default();
        for (micros, poll, block) in [(900, 1, 7), (1000, 1, 7), (1999, 2, 7), (2000, 2, 8)] {
            let wants = vec![(BlockIndex(block), 9)];
            let (slot, nonce, held) = (Slot(0), BootNonce(0), Duration::ZERO);
            let need = Need { slot, nonce, poll, echo_us: 0, held, wants };
            account.on_feedback(Timestamp::from_micros(micros), &Message::Need(need));
        }
        assert_eq!((account.needs, account.needs_peak, account.rounds), (4, 2, 2));
    }
}
