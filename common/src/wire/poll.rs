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
use super::{WireError, assert_control_fits, tlv};
use crate::id::{BlockIndex, Slot};

/// Blocks in one poll: the last three windows, and as many older raised ones.
pub const POLL_BLOCKS_MAX: usize = 96;
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
    /// Slots that report, first and last of each range included, at most [`POLL_RANGES_MAX`].
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

const _: () = assert_control_fits(FIXED_BYTES + SWEEP_FIXED_BYTES + POLL_LIST_BYTES_MAX);

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
        if ranges.iter().any(|(first, last)| first > last) {
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
