//! RATE: what a sampled host sees of the network, for the sender's brake.
//!
//! ```text
//!  16         20          28             32             36                40
//!  +----------+-----------+--------------+--------------+-----------------+
//!  | slot u32 | nonce u64 | interval u32 | loss_ppm u32 | overrun_ppm u32 |
//!  +----------+-------+---+----------+---+--------------+-----------------+
//!  | kernel_drops u32 | delay_us u32 |
//!  +------------------+--------------+ 48
//! ```
//!
//! Figures of the interval alone, not totals (PROTOCOL 4.11).

use std::time::Duration;

use super::cursor::{Reader, Writer};
use super::{WireError, tlv};
use crate::id::{BootNonce, Slot};

/// All datagrams, in millionths.
pub const SHARE_PPM_MAX: u32 = 1_000_000;

/// A host's view of the last interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// Time that the figures are of.
    pub interval: Duration,
    /// Datagrams lost, in millionths of those sent, at most [`SHARE_PPM_MAX`].
    pub loss_ppm: u32,
    /// Symbols beyond what the host takes in, in millionths of the datagrams sent, at most
    /// [`SHARE_PPM_MAX`]: once half of its memory waits for its workers and its disk, those thrown
    /// away for want of memory and those by which more wait than before.
    pub overrun_ppm: u32,
    /// Datagrams that its kernel dropped for want of buffer.
    pub kernel_drops: u32,
    /// Delay above the smallest ever seen, in microseconds: queues that fill.
    pub delay_us: u32,
}

impl Rate {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete or a share is more than everything.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let message = Self {
            slot: reader.read()?,
            nonce: reader.read()?,
            interval: reader.read()?,
            loss_ppm: reader.read()?,
            overrun_ppm: reader.read()?,
            kernel_drops: reader.read()?,
            delay_us: reader.read()?,
        };
        if message.loss_ppm.max(message.overrun_ppm) > SHARE_PPM_MAX {
            return Err(WireError::Range);
        }
        tlv::skip_unknown(reader)?;
        Ok(message)
    }

    /// Appends the body to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.slot, self.nonce))
            .put((self.interval, self.loss_ppm))
            .put((self.overrun_ppm, self.kernel_drops))
            .put(self.delay_us);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn rate(loss_ppm: u32) -> Rate {
        Rate {
            slot: Slot(17),
            nonce: BootNonce(0x1122_3344_5566_7788),
            interval: Duration::from_millis(200),
            loss_ppm,
            overrun_ppm: 7,
            kernel_drops: 5,
            delay_us: 40,
        }
    }

    #[test]
    fn rate_matches_golden_bytes() {
        let golden = "
            00000011            ; slot
            1122334455667788    ; nonce
            00030d40            ; interval
            000005dc            ; loss
            00000007            ; overrun
            00000005            ; kernel drops
            00000028            ; delay
        ";
        assert_golden(&rate(1500), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&rate(1));
    }

    #[test]
    fn every_field_at_its_limits() {
        let most = Rate {
            slot: Slot(u32::MAX),
            nonce: BootNonce(u64::MAX),
            interval: Duration::from_micros(u32::MAX.into()),
            loss_ppm: 1_000_000,
            overrun_ppm: 1_000_000,
            kernel_drops: u32::MAX,
            delay_us: u32::MAX,
        };
        assert_round_trip(&most);
        assert_round_trip(&rate(0));
        for offset in [32, 36] {
            assert_eq!(refusal(&most, offset, &[0, 0x0f, 0x42, 0x41]), Some(WireError::Range));
        }
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (slot, nonce, kernel_drops, delay_us) in any::<(u32, u64, u32, u32)>(),
            (loss_ppm, overrun_ppm) in (0..=SHARE_PPM_MAX, 0..=SHARE_PPM_MAX),
            interval in any_micros(),
        ) {
            let (slot, nonce) = (Slot(slot), BootNonce(nonce));
            assert_round_trip(&Rate {
                slot, nonce, interval, loss_ppm, overrun_ppm, kernel_drops, delay_us,
            });
        }
    }
}
