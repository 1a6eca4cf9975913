//! What a driver tells a host's session, and what the session wants of it: plain data.

use std::net::SocketAddr;

use common::id::{BlockIndex, BootNonce, FrameIndex, HostName, SymbolId};
use common::timers::Deadline;
use common::units::Bitrate;
use common::wire::{Alarm, Fault, JoinVerdict, KindSet, Message, Trial};

/// What this host is and holds when it meets a session; plain data from the driver.
#[derive(Debug, Clone)]
pub struct Facts {
    /// This host's name.
    pub host: HostName,
    /// Hash of the machine's identity.
    pub machine: u64,
    /// Chosen when the process started.
    pub nonce: BootNonce,
    /// Speed of the interface.
    pub link: Option<Bitrate>,
    /// Free bytes in the store.
    pub free_bytes: u64,
    /// The host's wall clock in Unix microseconds.
    pub clock_us: u64,
    /// Image kinds that this host can activate.
    pub kinds: KindSet,
    /// The release itself is in the store; nothing of the session's data is needed.
    pub holds_release: bool,
    /// The image is in the store; only the preamble is needed.
    pub holds_image: bool,
    /// A partial image with verified frames is in the store.
    pub holds_partial: bool,
    /// Blocks that may occupy memory at a time.
    pub block_slots: usize,
}

/// What the store's side of the host tells the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEvent {
    /// The preamble is verified and accepted. The host holds these frames, so nothing is needed of
    /// `held_blocks`.
    Prepared {
        /// Runs of verified frames: first and count.
        held: Vec<(FrameIndex, u32)>,
        /// Blocks whose bytes all belong to held frames.
        held_blocks: Vec<BlockIndex>,
    },
    /// The block's bytes were used; its memory is free.
    Consumed(BlockIndex),
    /// The block's bytes were wrong or thrown away; it is needed again.
    Spoiled(BlockIndex),
    /// The block's bytes were wrong, and nobody had proven the symbols that gave them.
    Suspect {
        /// The block.
        block: BlockIndex,
        /// Those of them that are still there.
        symbols: Vec<SymbolId>,
    },
    /// The image that JOIN told of turned out wrong; [`StoreEvent::Prepared`] follows.
    ImageSpoiled,
    /// The image is verified as a whole and durable.
    ImageDurable,
    /// The release is mounted or unpacked under its final name.
    Staged,
    /// `current` points at the release.
    Switched,
    /// The trial of the release has come so far; `detail` says why, where it did not do well.
    Trial {
        /// How far.
        trial: Trial,
        /// One line for people.
        detail: String,
    },
    /// It will not work.
    Failed {
        /// The cause, for the sender's table.
        fault: Fault,
        /// One line for people.
        detail: String,
    },
}

/// Counters from outside that STATUS and RATE carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meters {
    /// Datagrams that the kernel dropped because the socket's buffer was full.
    pub kernel_drops: u32,
    /// KiB received but not yet written.
    pub backlog_kib: u32,
    /// What somebody forged.
    pub alarm: Option<Alarm>,
}

/// Which way a datagram of the session came; each way is a stream of its own (PROTOCOL 2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// By the data group.
    Data,
    /// By the group of stragglers.
    CatchUp,
    /// To this host alone.
    Own,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The sender said STOP after everything was settled.
    Stopped,
    /// The sender or its operator cancelled.
    Cancelled,
    /// Nothing was heard of the sender for 8 s.
    SenderLost,
    /// The sender did not take this host.
    Refused(JoinVerdict),
    /// This host was told to stop, and has told the sender.
    Left,
}

/// What the session wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send to the announce's feedback address.
    Send(Message),
    /// Listen to this group, too.
    Listen(SocketAddr),
    /// Do this with what is kept.
    Kept(Kept),
    /// Switch `current` to the staged release.
    Switch,
    /// Renew the memberships of the data and the control group.
    Rejoin,
    /// The session is over; drop it.
    Ended(Ending),
    /// Nothing to do until then; `None`: only input can wake us.
    Idle(Option<Deadline>),
}

/// What is to be done with symbols and digests that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Throw away what the assembly of a block holds.
    Discard(BlockIndex),
    /// Hand the assembly of a block on for decoding: all its symbols are proven.
    HandOn(BlockIndex),
    /// Throw away the digests of a block.
    ForgetDigests(BlockIndex),
}
