//! The simulated store of a host: when blocks are decoded and written, when the image is staged.

use std::time::Duration;

use common::time::Timestamp;
use common::units::Bitrate;

/// Decoding a block with one worker: 3.5 ms measured, and what lies around it. Nothing that a host
/// does with a symbol has a consequence earlier than this.
pub(super) const DECODE: Duration = Duration::from_millis(4);
/// Making the image durable; as long again for mounting it. It is not read back.
pub(super) const STAGING: Duration = Duration::from_millis(5);
/// Reading the preamble and opening the partial image.
const PREPARING: Duration = Duration::from_millis(1);
/// The same with claims of a partial image, which are hashed again before they are offered.
const REHASHING: Duration = Duration::from_millis(100);

/// The worker and the disk of one host.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    /// What the disk writes; `None`: more than any network brings.
    pub(super) disk: Option<Bitrate>,
    worker_free: Timestamp,
    disk_free: Timestamp,
    waiting_bytes: u64,
    pub(super) is_prepared: bool,
    pub(super) has_staged: bool,
}

impl Store {
    /// A store whose disk writes at `disk`.
    pub(super) fn new(disk: Option<Bitrate>) -> Self {
        Self { disk, ..Self::default() }
    }

    /// A block of `bytes` is handed on: when it is decoded and written.
    pub(super) fn take(&mut self, now: Timestamp, bytes: u64) -> Timestamp {
        self.waiting_bytes += bytes;
        self.worker_free = self.worker_free.max(now) + DECODE;
        let writing = self.disk.map_or(Duration::ZERO, |disk| disk.time_for(bytes));
        self.disk_free = self.disk_free.max(self.worker_free) + writing;
        self.disk_free
    }

    /// A block of `bytes` is written.
    pub(super) fn written(&mut self, bytes: u64) {
        self.waiting_bytes -= bytes;
    }

    /// KiB handed on and not yet written.
    pub(super) fn backlog_kib(&self) -> u32 {
        u32::try_from(self.waiting_bytes / 1024).unwrap_or(u32::MAX)
    }

    /// How long preparing takes once the preamble is there.
    pub(super) fn preparing(holds_frames: bool) -> Duration {
        if holds_frames { REHASHING } else { PREPARING }
    }
}
