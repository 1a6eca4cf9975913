//! STATUS: where one host stands, in its own time slot of a sweep.
//!
//! ```text
//!  16         20          28          32                36                 40
//!  +----------+-----------+-----------+-----------------+------------------+
//!  | slot u32 | nonce u64 | sweep u32 | blocks_done u32 | blocks_total u32 |
//!  +----------+-----------+-----------+-----------------+------------------+
//!  | received u32 | lost u32 | kernel_drops u32 | dropped_blocks u32 | wasted u32 |
//!  40             44         48                 52                   56           60
//!  | backlog_kib u32 |
//!  60                64
//!  | echo_us u64 | held u32 | fault u16 | phase u8 | is_catching_up u8 | detail: length u8, text |
//!  64            72         76          78         79                  80   extensions behind it
//! ```
//!
//! All counters are totals of the session so far (PROTOCOL 4.10).

use std::time::Duration;

use super::alarm::{ALARM, Alarm};
use super::cursor::{Reader, Writer, wire_numbers};
use super::trial::TRIAL;
use super::{Fault, Trial, WireError, assert_control_fits, tlv};
use crate::id::{BootNonce, Slot};

/// Longest explanation of a fault.
pub const DETAIL_BYTES_MAX: u8 = 200;

const _: () = assert_control_fits(64 + 1 + DETAIL_BYTES_MAX as usize);

wire_numbers! {
    /// How far a host has come with the release.
    HostPhase {
        /// In the roster.
        Joined = 1 "joined",
        /// Has symbols, not all blocks.
        Receiving = 2 "receiving",
        /// Has every block; digests are checked.
        Verifying = 3 "verifying",
        /// The image is verified and durable.
        Received = 4 "received",
        /// It is put in place.
        Staging = 5 "staging",
        /// Ready to switch.
        Staged = 6 "staged",
        /// Switching.
        Activating = 7 "activating",
        /// `current` is this release.
        Active = 8 "active",
        /// Given up; the fault says why.
        Failed = 9 "failed",
    }
}

/// A host's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// The sweep that it answers, zero where it reports unasked.
    pub sweep: u32,
    /// How far it is.
    pub phase: HostPhase,
    /// Blocks complete.
    pub blocks_done: u32,
    /// Blocks of the session.
    pub blocks_total: u32,
    /// Datagrams of the session that arrived.
    pub received: u32,
    /// Datagrams of the session that did not.
    pub lost: u32,
    /// Datagrams that its kernel dropped for want of buffer.
    pub kernel_drops: u32,
    /// Unfinished blocks that it gave up for want of memory.
    pub dropped_blocks: u32,
    /// Symbols that arrived and came to nothing: thrown away for want of memory, alone or with
    /// their block, or handed on in a block that came back spoiled.
    pub wasted: u32,
    /// Bytes that wait for its disk, in KiB.
    pub backlog_kib: u32,
    /// Whether it knows that it is a straggler and listens to the group of those.
    pub is_catching_up: bool,
    /// What is wrong, if anything.
    pub fault: Fault,
    /// What is wrong, in words: at most [`DETAIL_BYTES_MAX`] bytes are sent. Print it through
    /// [`super::escaped`].
    pub detail: String,
    /// The `sent_at_us` of the poll that it answers.
    pub echo_us: u64,
    /// Time between that poll and this datagram.
    pub held: Duration,
    /// How the release does there, where somebody asks.
    pub trial: Option<Trial>,
    /// What somebody else sent it, if anything.
    pub alarm: Option<Alarm>,
}

impl Status {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or a value or its text is not allowed.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let mut message = Self {
            slot: reader.read()?,
            nonce: reader.read()?,
            sweep: reader.read()?,
            blocks_done: reader.read()?,
            blocks_total: reader.read()?,
            received: reader.read()?,
            lost: reader.read()?,
            kernel_drops: reader.read()?,
            dropped_blocks: reader.read()?,
            wasted: reader.read()?,
            backlog_kib: reader.read()?,
            echo_us: reader.read()?,
            held: reader.read()?,
            fault: reader.read()?,
            phase: reader.read()?,
            is_catching_up: reader.read()?,
            detail: reader.text(DETAIL_BYTES_MAX.into())?,
            trial: None,
            alarm: None,
        };
        tlv::walk(reader, |kind, value| {
            let value = Reader::new(value);
            match kind {
                TRIAL => message.trial = Some(Trial::parse(value)?),
                ALARM => message.alarm = Some(Alarm::parse(value)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(message)
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.slot, self.nonce))
            .put(self.sweep)
            .put((self.blocks_done, self.blocks_total))
            .put((self.received, self.lost))
            .put((self.kernel_drops, self.dropped_blocks))
            .put((self.wasted, self.backlog_kib))
            .put((self.echo_us, self.held))
            .put((self.fault, self.phase))
            .put(self.is_catching_up)
            .text(&self.detail, DETAIL_BYTES_MAX);
        self.trial.iter().for_each(|trial| trial.emit(out));
        self.alarm.iter().for_each(|alarm| alarm.emit(out));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn status(detail: &str) -> Status {
        Status {
            slot: Slot(17),
            nonce: BootNonce(0x1122_3344_5566_7788),
            sweep: 2,
            phase: HostPhase::Failed,
            blocks_done: 10,
            blocks_total: 20,
            received: 10_000,
            lost: 100,
            kernel_drops: 1,
            dropped_blocks: 3,
            wasted: 4,
            backlog_kib: 512,
            is_catching_up: true,
            fault: Fault::DiskFull,
            detail: detail.to_owned(),
            echo_us: 77,
            held: Duration::from_millis(3),
            trial: None,
            alarm: None,
        }
    }

    #[test]
    fn status_matches_golden_bytes() {
        let golden = "
            00000011            ; slot
            1122334455667788    ; nonce
            00000002            ; sweep
            0000000a 00000014   ; blocks done, total
            00002710 00000064   ; received, lost
            00000001 00000003   ; kernel drops, dropped blocks
            00000004 00000200   ; wasted, backlog
            000000000000004d    ; echo
            00000bb8            ; held
            0001                ; fault
            09 01               ; phase, catches up
            09                  ; bytes of the detail
            332f3420c384e282ac  ; 3/4 and two characters of two and three bytes
        ";
        assert_golden(&status("3/4 \u{c4}\u{20ac}"), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&status("no space"));
    }

    #[test]
    fn every_field_at_its_limits() {
        let most = Status {
            slot: Slot(u32::MAX),
            nonce: BootNonce(u64::MAX),
            sweep: u32::MAX,
            phase: HostPhase::Joined,
            blocks_done: u32::MAX,
            blocks_total: u32::MAX,
            received: u32::MAX,
            lost: u32::MAX,
            kernel_drops: u32::MAX,
            dropped_blocks: u32::MAX,
            wasted: u32::MAX,
            backlog_kib: u32::MAX,
            is_catching_up: false,
            fault: Fault::Internal,
            detail: "x".repeat(200),
            echo_us: u64::MAX,
            held: Duration::from_micros(u32::MAX.into()),
            trial: None,
            alarm: None,
        };
        assert_round_trip(&most);
        assert_eq!(refusal(&most, 78, &[0]), Some(WireError::Value));
        assert_eq!(refusal(&most, 78, &[10]), Some(WireError::Value));
        assert_eq!(refusal(&most, 79, &[2]), Some(WireError::Value));
        assert_eq!(refusal(&most, 80, &[201]), Some(WireError::Text));
        assert_eq!(refusal(&most, 81, &[0xff]), Some(WireError::Text));
        for phase in HostPhase::ALL {
            assert_round_trip(&Status { phase: *phase, ..status("") });
        }
    }

    #[test]
    fn a_longer_explanation_is_cut_and_says_so() {
        let euros = "\u{20ac}".repeat(100);
        for (sent, kept) in [
            ("x".repeat(300), format!("{}…", "x".repeat(197))),
            (format!("x{euros}"), format!("x{}…", &euros[..195])),
            ("nine byte".repeat(30), format!("{}nine…", "nine byte".repeat(21))),
        ] {
            assert_eq!(Status::parse(&emitted(&status(&sent))).unwrap().detail, kept);
        }
    }

    #[test]
    fn a_fault_of_a_newer_host_still_counts() {
        let mut body = emitted(&status(""));
        body[76 - 16..78 - 16].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(Status::parse(&body).unwrap().fault, Fault::Internal);
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (slot, nonce, sweep, echo_us) in any::<(u32, u64, u32, u64)>(),
            (blocks_done, blocks_total, received, lost) in any::<(u32, u32, u32, u32)>(),
            (kernel_drops, dropped_blocks, wasted, backlog_kib) in any::<(u32, u32, u32, u32)>(),
            (phase, fault) in (any_of(HostPhase::ALL), any_of(Fault::ALL)),
            is_catching_up in any::<bool>(),
            detail in any_text(DETAIL_BYTES_MAX),
            held in any_micros(),
        ) {
            let (slot, nonce) = (Slot(slot), BootNonce(nonce));
            assert_round_trip(&Status {
                slot, nonce, sweep, phase, blocks_done, blocks_total, received, lost, kernel_drops,
                dropped_blocks, wasted, backlog_kib, is_catching_up, fault,
                detail, echo_us, held, trial: None, alarm: None,
            });
        }
    }
}
