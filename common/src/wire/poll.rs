//! POLL: what has been sent of which blocks, and whose turn it is to report.
//!
//! ```text
//!  16       20             28        32           36               40        41        43
//!  +--------+--------------+---------+------------+----------------+---------+---------+
//!  | id u32 | sent_at_us   | grtt u32| backoff u32| group_size u32 | sweep   | count   |
//!  +--------+--------------+---------+------------+----------------+---------+---------+
//!  | count times: block u32, sent u32, announced u32               |
//!  | where sweep is 1: id u32, slot u32, count u16,                |
//!  |   count times: first slot u32, last slot u32                  | extensions
//!  +---------------------------------------------------------------+
//! ```
//!
//! Asks for NEEDs about the listed blocks and, with a sweep, for STATUS from the listed slots
//! (PROTOCOL 4.4).

use std::time::Duration;

use super::cursor::{Field, Reader, Writer};
use super::{SIGNATURE_BYTES, WireError, assert_control_fits, tlv};
use crate::id::{BlockIndex, Slot};
use crate::limits;

/// Blocks in one poll: the last three windows, and as many older raised ones.
pub const POLL_BLOCKS_MAX: usize = 90;
/// Slot ranges in one poll.
pub const POLL_RANGES_MAX: usize = 64;
/// Bytes of both lists together, so that a poll fits into [`super::CONTROL_BYTES_MAX`].
pub const POLL_LIST_BYTES_MAX: usize = POLL_BLOCKS_MAX * BlockCount::BYTES;

/// How far one block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCount {
    /// The block.
    pub block: BlockIndex,
    /// Transmissions that have left the sender.
    pub sent: u32,
    /// S: transmissions announced.
    pub announced: u32,
}

/// A round of status reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// Number of the sweep, echoed by STATUS.
    pub id: u32,
    /// Length of one slot.
    pub slot: Duration,
    /// Slots that report, first and last of each range included, at most [`POLL_RANGES_MAX`]; slots
    /// beyond the largest roster are refused, so that sums of slots stay small.
    pub ranges: Vec<(Slot, Slot)>,
}

/// The sender's question to all hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// Number of the poll, echoed by NEED.
    pub id: u32,
    /// The sender's clock, echoed by NEED and STATUS.
    pub sent_at_us: u64,
    /// Round-trip time of the group.
    pub grtt: Duration,
    /// Interval that the NEEDs are spread over.
    pub backoff: Duration,
    /// Number of hosts that the suppression reckons with.
    pub group_size: u32,
    /// Blocks in question, at most [`POLL_BLOCKS_MAX`].
    pub blocks: Vec<BlockCount>,
    /// Who reports its status.
    pub sweep: Option<Sweep>,
}

const FIXED_BYTES: usize = 27;
const SWEEP_FIXED_BYTES: usize = 10;
const RANGE_BYTES: usize = 8;

const _: () =
    assert_control_fits(FIXED_BYTES + SWEEP_FIXED_BYTES + POLL_LIST_BYTES_MAX + SIGNATURE_BYTES);

impl Poll {
    /// Ranges that fit into a poll beside `blocks` blocks.
    pub fn ranges_max(blocks: usize) -> usize {
        let left = POLL_LIST_BYTES_MAX.saturating_sub(blocks * BlockCount::BYTES);
        (left / RANGE_BYTES).min(POLL_RANGES_MAX)
    }

    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, a list is too long or a range ends before it begins.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let (id, sent_at_us) = reader.read()?;
        let (grtt, backoff) = reader.read()?;
        let group_size = reader.read()?;
        let has_sweep = reader.read::<bool>()?;
        let blocks = reader.list::<BlockCount>(POLL_BLOCKS_MAX)?;
        let sweep = if has_sweep { Some(Sweep::read(&mut reader, blocks.len())?) } else { None };
        tlv::skip_unknown(reader)?;
        Ok(Self { id, sent_at_us, grtt, backoff, group_size, blocks, sweep })
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    /// When there are too many blocks or ranges.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer
            .put((self.id, self.sent_at_us))
            .put((self.grtt, self.backoff))
            .put(self.group_size)
            .put(self.sweep.is_some())
            .list(&self.blocks, POLL_BLOCKS_MAX);
        if let Some(sweep) = &self.sweep {
            writer
                .put((sweep.id, sweep.slot))
                .list(&sweep.ranges, Self::ranges_max(self.blocks.len()));
        }
    }
}

impl Sweep {
    /// Whether `slot` is asked to report.
    pub fn has_slot(&self, slot: Slot) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }

    fn read(reader: &mut Reader<'_>, blocks: usize) -> Result<Self, WireError> {
        let (id, slot) = reader.read()?;
        let ranges = reader.list::<(Slot, Slot)>(Poll::ranges_max(blocks))?;
        let is_range = |(first, last): &(Slot, Slot)| {
            first <= last && (last.0 as usize) < limits::ROSTER_HOSTS_MAX
        };
        if !ranges.iter().all(is_range) {
            return Err(WireError::Range);
        }
        Ok(Self { id, slot, ranges })
    }
}

impl Field for BlockCount {
    const BYTES: usize = 12;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { block: reader.read()?, sent: reader.read()?, announced: reader.read()? })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(self.block).put(self.sent).put(self.announced);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    const MOST_BLOCK: BlockCount =
        BlockCount { block: BlockIndex(u32::MAX), sent: u32::MAX, announced: u32::MAX };

    fn poll(blocks: usize, ranges: Option<usize>) -> Poll {
        let slot = Duration::from_micros(u32::MAX.into());
        let sweep =
            |count| Sweep { id: u32::MAX, slot, ranges: vec![(Slot(99_999), Slot(99_999)); count] };
        Poll {
            id: u32::MAX,
            sent_at_us: u64::MAX,
            grtt: slot,
            backoff: slot,
            group_size: u32::MAX,
            blocks: vec![MOST_BLOCK; blocks],
            sweep: ranges.map(sweep),
        }
    }

    #[test]
    fn poll_matches_golden_bytes() {
        let message = Poll {
            id: 9,
            sent_at_us: 0x0102_0304_0506_0708,
            grtt: Duration::from_millis(2),
            backoff: Duration::from_millis(20),
            group_size: 10_000,
            blocks: vec![BlockCount { block: BlockIndex(4), sent: 1024, announced: 1030 }],
            sweep: Some(Sweep {
                id: 2,
                slot: Duration::from_micros(50),
                ranges: vec![(Slot(0), Slot(7)), (Slot(9), Slot(9))],
            }),
        };
        let golden = "
            00000009                    ; id
            0102030405060708            ; sent at
            000007d0 00004e20           ; grtt, backoff
            00002710                    ; group size
            01                          ; with a sweep
            0001                        ; count
            00000004 00000400 00000406  ; block, sent, announced
            00000002 00000032           ; sweep, slot length
            0002                        ; count
            00000000 00000007           ; first, last slot
            00000009 00000009
        ";
        assert_golden(&message, golden);
    }

    #[test]
    fn every_prefix_is_refused() {
        assert_prefixes_refused(&poll(2, None));
        assert_prefixes_refused(&poll(2, Some(3)));
    }

    #[test]
    fn every_field_at_its_limits() {
        let least = Poll {
            id: 0,
            sent_at_us: 0,
            grtt: Duration::ZERO,
            backoff: Duration::ZERO,
            group_size: 0,
            blocks: vec![],
            sweep: None,
        };
        assert_round_trip(&least);
        assert_round_trip(&poll(POLL_BLOCKS_MAX, Some(0)));
        assert_round_trip(&poll(47, Some(POLL_RANGES_MAX)));
        let full = poll(POLL_BLOCKS_MAX, None);
        assert_eq!(refusal(&full, 41, &[0, 91]), Some(WireError::TooMany));
        assert_eq!(refusal(&full, 40, &[2]), Some(WireError::Value));
    }

    #[test]
    fn blocks_and_ranges_share_the_room_of_one_datagram() {
        assert_eq!(Poll::ranges_max(0), 64);
        assert_eq!(Poll::ranges_max(47), 64);
        assert_eq!(Poll::ranges_max(48), 63);
        assert_eq!(Poll::ranges_max(89), 1);
        assert_eq!(Poll::ranges_max(90), 0);
        let full = poll(89, Some(1));
        assert_round_trip(&full);
        assert_eq!(refusal(&full, 43 + 89 * 12 + 8, &[0, 2]), Some(WireError::TooMany));
    }

    // PROTOCOL 4.4
    #[test]
    fn a_range_of_slots_neither_ends_before_it_begins_nor_beyond_the_largest_roster() {
        let mut message = poll(0, Some(1));
        assert_eq!(refusal(&message, 57, &[0; 4]), Some(WireError::Range));
        assert_eq!(refusal(&message, 57, &[0, 1, 0x86, 0xa0]), Some(WireError::Range));
        let sweep = message.sweep.as_mut().unwrap();
        sweep.ranges = vec![(Slot(3), Slot(5)), (Slot(9), Slot(9))];
        let asked: Vec<u32> = (0..12).filter(|slot| sweep.has_slot(Slot(*slot))).collect();
        assert_eq!(asked, [3, 4, 5, 9]);
    }

    fn any_sweep() -> impl Strategy<Value = Sweep> {
        let range =
            (0..100_000u32, 0..100_000u32).prop_map(|(a, b)| (Slot(a.min(b)), Slot(a.max(b))));
        (any::<u32>(), any_micros(), proptest::collection::vec(range, 0..=64))
            .prop_map(|(id, slot, ranges)| Sweep { id, slot, ranges })
    }

    proptest! {
        #[test]
        fn generated_values_come_back(
            (id, sent_at_us, group_size) in any::<(u32, u64, u32)>(),
            (grtt, backoff) in (any_micros(), any_micros()),
            counts in proptest::collection::vec(any::<(u32, u32, u32)>(), 0..=POLL_BLOCKS_MAX),
            mut sweep in proptest::option::of(any_sweep()),
        ) {
            if let Some(sweep) = &mut sweep {
                sweep.ranges.truncate(Poll::ranges_max(counts.len()));
            }
            let count = |(block, sent, announced)| {
                BlockCount { block: BlockIndex(block), sent, announced }
            };
            let blocks = counts.into_iter().map(count).collect();
            assert_round_trip(&Poll { id, sent_at_us, grtt, backoff, group_size, blocks, sweep });
        }
    }
}
