//! The account of a session: the outcome by policy, every host's line, the progress.

use std::time::Duration;

use common::geometry::Space;
use common::id::HostName;
use common::time::Timestamp;
use common::wire::{Activation, Fault, escaped};

use super::Session;
use super::host::Host;
use super::report::{Expect, HostReport, HostState, Outcome, Progress, WireReport};

impl Session {
    /// Hosts that must get there for a success.
    pub(super) fn required(&self) -> usize {
        let expected = self.config.expected().unwrap_or_else(|| self.roster.len());
        self.config.quorum.of(expected)
    }

    /// Whether enough hosts are where policy wants them.
    pub(super) fn reached(&self) -> Outcome {
        let is_there = |host: &&Host| match self.config.announce.activation {
            Activation::Hold => host.has_staged(),
            Activation::Together | Activation::Each => host.is_active(),
        };
        let count = self.roster.hosts().iter().filter(is_there).count();
        match (count >= self.required().max(1), &self.config.expect) {
            (false, _) => self.not_reached(count),
            (true, Expect::Any) => Outcome::Unstated,
            (true, _) => Outcome::Reached,
        }
    }

    /// Every host's line, by name: those who joined and the expected ones that never came.
    pub fn host_reports(&self) -> Vec<HostReport> {
        let mut reports: Vec<_> = self.roster.hosts().iter().map(|h| self.host_report(h)).collect();
        match &self.config.expect {
            Expect::Names(names) => {
                let is_absent = |name: &&HostName| self.roster.find(name).is_none();
                reports.extend(names.iter().filter(is_absent).map(|n| absent(n.to_string())));
            }
            Expect::Count(count) => {
                let missing = self.roster.len()..*count;
                reports.extend(missing.map(|index| absent(format!("(host {})", index + 1))));
            }
            Expect::Any => {}
        }
        reports.sort_by(|a, b| a.host.cmp(&b.host));
        reports
    }

    fn host_report(&self, host: &Host) -> HostReport {
        let (state, fault, reason) = match (host.twin(), host.is_lost) {
            (Some(twin), _) => {
                let line = format!("two hosts have this name: {} and {twin}", host.address);
                (HostState::Failed, Fault::NameCollision, line)
            }
            (None, true)
                if !host.is_active() || host.host_trial().is_some_and(|it| it.is_pending()) =>
            {
                let line = format!("silent since it was {}", host.phase);
                (HostState::Lost, host.fault, line)
            }
            _ if host.has_rolled_back() => {
                (HostState::RolledBack, host.fault, fault_line(host.fault, host.detail()))
            }
            _ => {
                let state = HostState::of_phase(host.phase);
                (state, host.fault, fault_line(host.fault, host.detail()))
            }
        };
        HostReport {
            host: host.name.to_string(),
            address: Some(host.address),
            state,
            fault,
            reason,
            seconds: host.phase_at.since(self.started_at).as_secs_f64(),
            received: host.received,
            lost: host.lost,
            kernel_drops: host.kernel_drops,
            dropped_blocks: host.dropped_blocks,
            straggler: host.straggling().map_or_else(String::new, |it| it.cause.to_string()),
            trial: host.trial().cloned(),
            alarm: host.alarm().copied(),
        }
    }

    /// What went over the wire.
    pub fn wire_report(&self) -> WireReport {
        let first = self.first_symbol_at.unwrap_or(self.last_symbol_at);
        WireReport {
            source_symbols: self.geometry.space_symbols(Space::Payload),
            sent_symbols: self.schedule.sent_symbols(Space::Payload),
            preamble_symbols: self.schedule.sent_symbols(Space::Preamble),
            catch_up_symbols: self.catch_up_symbols,
            needs: self.needs,
            hashes: self.hashes,
            bytes: self.wire_bytes,
            time: self.last_symbol_at.since(first),
        }
    }

    /// Counts bytes that the driver has sent.
    pub fn note_sent(&mut self, bytes: u64) {
        self.wire_bytes += bytes;
    }

    /// Time since the session began to listen.
    pub fn elapsed(&self, now: Timestamp) -> Duration {
        now.since(self.started_at)
    }

    /// How it goes.
    pub fn progress(&self) -> Progress {
        let hosts = self.roster.hosts();
        let count = |is: fn(&Host) -> bool| hosts.iter().filter(|host| is(host)).count();
        let total = f64::from(self.geometry.block_count().max(1));
        let present = hosts.iter().filter(|host| host.is_present());
        let mut shares: Vec<(f64, &HostName)> = present
            .map(|host| {
                let done = match host.has_staged() {
                    true => total,
                    false => host.blocks_so_far(&self.geometry),
                };
                (done / total, &host.name)
            })
            .collect();
        shares.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        let share = |index: usize| shares.get(index).map_or(0.0, |(share, _)| *share);
        let source = self.geometry.space_symbols(Space::Payload);
        let sent = self.schedule.sent_symbols(Space::Payload);
        Progress {
            phase: self.phase,
            joined: hosts.len(),
            expected: self.config.expected(),
            staged: count(Host::has_staged),
            active: count(Host::is_active),
            catching_up: self.catching_up(),
            failed: count(|host| !host.is_present()),
            sent: (sent as f64 / source.max(1) as f64).min(1.0),
            slowest: share(0),
            slowest_host: shares.first().map(|(_, name)| (*name).clone()),
            median: share(shares.len() / 2),
            repair_symbols: sent.saturating_sub(source),
            rate: self.pacer.rate(),
            bytes: self.wire_bytes,
        }
    }
}

fn absent(host: String) -> HostReport {
    HostReport {
        host,
        address: None,
        state: HostState::Absent,
        fault: Fault::None,
        reason: "never joined".to_owned(),
        seconds: 0.0,
        received: 0,
        lost: 0,
        kernel_drops: 0,
        dropped_blocks: 0,
        straggler: String::new(),
        trial: None,
        alarm: None,
    }
}

/// A host's own words where it gave any, safe to print (PROTOCOL 9.2).
pub(super) fn fault_line(fault: Fault, detail: &str) -> String {
    match (fault, detail) {
        (Fault::None, _) => String::new(),
        (fault, "") => fault.text().to_owned(),
        (_, detail) => escaped(detail).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PROTOCOL 9.2.
    #[test]
    fn a_hosts_words_cannot_command_a_terminal() {
        let line = fault_line(Fault::DiskFull, "no \x1b[2Jspace\n");
        assert!(!line.contains(char::is_control), "{line:?}");
        assert_eq!(fault_line(Fault::DiskFull, ""), Fault::DiskFull.text());
    }
}
