//! ACTIVATED: a host obeyed an ACTIVATE, or could not.
//!
//! ```text
//!  16         20          28             60          64          66           67
//!  +----------+-----------+--------------+-----------+-----------+------------+
//!  | slot u32 | nonce u64 | release (32) | issue u32 | fault u16 | outcome u8 |
//!  +----------+-----------+--------------+-----------+-----------+------------+
//!  | detail: length u8, text | extensions
//!  +-------------------------+
//! ```
//!
//! Sent for every repetition of the order that the host hears (PROTOCOL 4.14).

use super::cursor::{Reader, Writer, wire_numbers};
use super::status::DETAIL_BYTES_MAX;
use super::{Fault, Trial, WireError, assert_control_fits};
use crate::id::{BootNonce, ReleaseId, Slot};

const _: () = assert_control_fits(51 + 1 + DETAIL_BYTES_MAX as usize);

wire_numbers! {
    /// What became of an order.
    Outcome {
        /// `current` is the release.
        Done = 1 "done",
        /// It is not; the fault says why.
        Failed = 2 "failed",
    }
}

/// A host's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// The release of the order.
    pub release: ReleaseId,
    /// The number of the order.
    pub issue: u32,
    /// Whether it switched.
    pub outcome: Outcome,
    /// Why not.
    pub fault: Fault,
    /// Why not, in words: at most [`DETAIL_BYTES_MAX`] bytes are sent. Print it through
    /// [`super::escaped`].
    pub detail: String,
    /// How the release does there, where somebody asks.
    pub trial: Option<Trial>,
}

impl Activated {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or a value or its text is not allowed.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let mut message = Self {
            slot: reader.read()?,
            nonce: reader.read()?,
            release: reader.read()?,
            issue: reader.read()?,
            fault: reader.read()?,
            outcome: reader.read()?,
            detail: reader.text(DETAIL_BYTES_MAX.into())?,
            trial: None,
        };
        message.trial = Trial::find(reader)?;
        Ok(message)
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.slot, self.nonce))
            .put((self.release, self.issue))
            .put((self.fault, self.outcome))
            .text(&self.detail, DETAIL_BYTES_MAX);
        self.trial.iter().for_each(|trial| trial.emit(out));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;
    use crate::digest::Digest;

    fn activated(outcome: Outcome, fault: Fault, detail: &str) -> Activated {
        Activated {
            slot: Slot(17),
            nonce: BootNonce(0x1122_3344_5566_7788),
            release: ReleaseId(Digest::from_bytes([0x5a; 32])),
            issue: 3,
            outcome,
            fault,
            detail: detail.to_owned(),
            trial: None,
        }
    }

    #[test]
    fn activated_matches_golden_bytes() {
        let golden = "
            00000011                                   ; slot
            1122334455667788                           ; nonce
            5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a           ; release
            5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a
            00000003                                   ; issue
            000d                                       ; fault
            02                                         ; outcome
            05 4542555359                              ; detail
        ";
        assert_golden(&activated(Outcome::Failed, Fault::SwitchFailed, "EBUSY"), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&activated(Outcome::Done, Fault::None, "x"));
    }

    #[test]
    fn every_field_at_its_limits() {
        let most = Activated {
            slot: Slot(u32::MAX),
            nonce: BootNonce(u64::MAX),
            issue: u32::MAX,
            ..activated(Outcome::Failed, Fault::Internal, &"x".repeat(200))
        };
        assert_round_trip(&most);
        assert_eq!(refusal(&most, 66, &[0]), Some(WireError::Value));
        assert_eq!(refusal(&most, 66, &[3]), Some(WireError::Value));
        assert_eq!(refusal(&most, 67, &[201]), Some(WireError::Text));
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (slot, nonce, issue, release) in any::<(u32, u64, u32, [u8; 32])>(),
            (outcome, fault) in (any_of(Outcome::ALL), any_of(Fault::ALL)),
            detail in any_text(DETAIL_BYTES_MAX),
        ) {
            let (slot, nonce) = (Slot(slot), BootNonce(nonce));
            let release = ReleaseId(Digest::from_bytes(release));
            let trial = None;
            let sent = Activated { slot, nonce, release, issue, outcome, fault, detail, trial };
            assert_round_trip(&sent);
        }
    }
}
