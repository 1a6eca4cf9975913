//! STATUS: where one host stands, in its own time slot of a sweep.
//!
//! ```text
//!  16         20          28          32                36                 40
//!  +----------+-----------+-----------+-----------------+------------------+
//!  | slot u32 | nonce u64 | sweep u32 | blocks_done u32 | blocks_total u32 |
//!  +----------+-----------+-----------+-----------------+------------------+
//!  | received u32 | lost u32 | kernel_drops u32 | dropped_blocks u32 | backlog_kib u32 |
//!  40             44         48                 52                   56                60
//!  | echo_us u64 | held u32 | fault u16 | phase u8 | detail: length u8, text | extensions
//!  60            68         72          74         75
//! ```
//!
//! All counters are totals of the session so far (PROTOCOL 4.10).

use std::time::Duration;

use super::cursor::{Reader, Writer, wire_numbers};
use super::{Fault, WireError, assert_control_fits, tlv};
use crate::id::{BootNonce, Slot};

/// Longest explanation of a fault.
pub const DETAIL_BYTES_MAX: u8 = 200;

const _: () = assert_control_fits(59 + 1 + DETAIL_BYTES_MAX as usize);

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
    /// Bytes that wait for its disk, in KiB.
    pub backlog_kib: u32,
    /// What is wrong, if anything.
    pub fault: Fault,
    /// What is wrong, in words: at most [`DETAIL_BYTES_MAX`] bytes are sent. Print it through
    /// [`super::escaped`].
    pub detail: String,
    /// The `sent_at_us` of the poll that it answers.
    pub echo_us: u64,
    /// Time between that poll and this datagram.
    pub held: Duration,
}

impl Status {
    /// Parses the body.
    ///
    /// # Errors
    /// When it is not complete, or a value or its text is not allowed.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let message = Self {
            slot: reader.read()?,
            nonce: reader.read()?,
            sweep: reader.read()?,
            blocks_done: reader.read()?,
            blocks_total: reader.read()?,
            received: reader.read()?,
            lost: reader.read()?,
            kernel_drops: reader.read()?,
            dropped_blocks: reader.read()?,
            backlog_kib: reader.read()?,
            echo_us: reader.read()?,
            held: reader.read()?,
            fault: reader.read()?,
            phase: reader.read()?,
            detail: reader.text(DETAIL_BYTES_MAX.into())?,
        };
        tlv::skip_unknown(reader)?;
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
            .put(self.backlog_kib)
            .put((self.echo_us, self.held))
            .put((self.fault, self.phase))
            .text(&self.detail, DETAIL_BYTES_MAX);
    }
}
