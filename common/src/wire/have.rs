//! HAVE: frames of the plan that a host holds already, verified.
//!
//! ```text
//!  16         20          28         30          32          34
//!  +----------+-----------+----------+-----------+-----------+--------------------------------+
//!  | slot u32 | nonce u64 | part u16 | parts u16 | count u16 | count × (first u32, count u32) |
//!  +----------+-----------+----------+-----------+-----------+--------------------------------+
//! ```
//!
//! Sent once the preamble is known, in parts where the list is long; repeated until a JOIN-ACK says
//! that all were seen (PROTOCOL 4.8).

use super::cursor::{Reader, Writer};
use super::{WireError, assert_control_fits, tlv};
use crate::id::{BootNonce, FrameIndex, Slot};

/// Ranges in one HAVE.
pub const HAVE_RANGES_MAX: usize = 128;
/// Parts of one host's list: half a million ranges, every other frame of the largest payload.
pub const HAVE_PARTS_MAX: u16 = 4096;

const _: () = assert_control_fits(18 + 8 * HAVE_RANGES_MAX);

/// A part of a host's list of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    /// The host.
    pub slot: Slot,
    /// Its process.
    pub nonce: BootNonce,
    /// Which part this is, from zero.
    pub part: u16,
    /// Number of parts, at least one.
    pub parts: u16,
    /// First frame and number of frames of each run, at most [`HAVE_RANGES_MAX`].
    pub frames: Vec<(FrameIndex, u32)>,
}

impl Have {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, its list is too long, or a run or the part is none.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (slot, nonce) = reader.read()?;
        let (part, parts) = reader.read::<(u16, u16)>()?;
        if parts > HAVE_PARTS_MAX {
            return Err(WireError::TooMany);
        }
        let frames = reader.list::<(FrameIndex, u32)>(HAVE_RANGES_MAX)?;
        let is_run = |(first, count): &(FrameIndex, u32)| {
            *count > 0 && first.0.checked_add(*count).is_some()
        };
        if part >= parts || !frames.iter().all(is_run) {
            return Err(WireError::Range);
        }
        tlv::skip_unknown(reader)?;
        Ok(Self { slot, nonce, part, parts, frames })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When there are too many runs.
    pub fn emit(&self, out: &mut Vec<u8>) {
        Writer::new(out)
            .put((self.slot, self.nonce))
            .put((self.part, self.parts))
            .list(&self.frames, HAVE_RANGES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    fn have(part: u16, parts: u16, frames: Vec<(FrameIndex, u32)>) -> Have {
        Have { slot: Slot(17), nonce: BootNonce(0x1122_3344_5566_7788), part, parts, frames }
    }

    #[test]
    fn have_matches_golden_bytes() {
        let golden = "
            00000011            ; slot
            1122334455667788    ; nonce
            0001 0003           ; part, parts
            0002                ; count
            00000000 00000028   ; first, count
            00000101 00000001
        ";
        assert_golden(&have(1, 3, vec![(FrameIndex(0), 40), (FrameIndex(257), 1)]), golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&have(0, 1, vec![(FrameIndex(1), 2); 3]));
    }

    #[test]
    fn every_field_at_its_limits() {
        assert_round_trip(&have(0, 1, vec![]));
        let runs = vec![(FrameIndex(u32::MAX - 1), 1); HAVE_RANGES_MAX];
        let most = have(HAVE_PARTS_MAX - 1, HAVE_PARTS_MAX, runs);
        assert_round_trip(&most);
        assert_eq!(refusal(&most, 30, &[0x10, 0x01]), Some(WireError::TooMany));
        assert_eq!(refusal(&most, 32, &[0, 129]), Some(WireError::TooMany));
    }

    #[test]
    fn parts_and_runs_that_are_none_are_refused() {
        let one = have(0, 1, vec![(FrameIndex(5), 6)]);
        let range = Some(WireError::Range);
        assert_eq!(refusal(&one, 28, &[0, 1]), range, "part beyond the parts");
        assert_eq!(refusal(&one, 30, &[0, 0]), range, "no parts");
        assert_eq!(refusal(&one, 38, &[0, 0, 0, 0]), range, "an empty run");
        assert_eq!(
            refusal(&one, 34, &[0xff, 0xff, 0xff, 0xfa]),
            range,
            "a run past the last index"
        );
        assert_eq!(refusal(&one, 34, &[0xff, 0xff, 0xff, 0xf9]), None);
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (slot, nonce) in any::<(u32, u64)>(),
            (parts, part) in (1..=HAVE_PARTS_MAX).prop_flat_map(|parts| (Just(parts), 0..parts)),
            runs in proptest::collection::vec((any::<u32>(), 1..=u32::MAX), 0..=128),
        ) {
            let run = |(first, count): (u32, u32)| {
                (FrameIndex(first), count.min(u32::MAX - first))
            };
            let frames = runs.into_iter().map(run).filter(|(_, count)| *count > 0).collect();
            let (slot, nonce) = (Slot(slot), BootNonce(nonce));
            assert_round_trip(&Have { slot, nonce, part, parts, frames });
        }
    }
}
