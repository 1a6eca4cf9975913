//! What the sender multicasts, in the order in which it arrives.
//!
//! There is one copy of every train and message, whatever the number of hosts: each host reads on
//! from where it stands, and what all have read is forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use common::geometry::Geometry;
use common::id::SessionId;
use common::time::Timestamp;
use common::wire::{Message, SymbolHeader};

use super::fabric::Mask;
use super::payload;

/// Symbols that travel together.
#[derive(Debug)]
pub(super) struct Train {
    pub(super) session: SessionId,
    pub(super) headers: Vec<SymbolHeader>,
    /// The datagrams behind the headers; none where payload is left out.
    pub(super) datagrams: Vec<Vec<u8>>,
    /// The highest window that one of its blocks belongs to.
    pub(super) window: u32,
    /// Made by somebody else than the sender: the bytes behind the headers are false.
    pub(super) is_forged: bool,
}

impl Train {
    pub(super) fn new(
        geometry: &Geometry,
        session: SessionId,
        headers: Vec<SymbolHeader>,
        datagrams: Vec<Vec<u8>>,
    ) -> Self {
        let windows = headers.iter().map(|header| geometry.window_of(header.block));
        let window = windows.max().unwrap_or(0);
        Self { session, headers, datagrams, window, is_forged: false }
    }

    /// The same with false bytes.
    pub(super) fn forged(
        geometry: &Geometry,
        session: SessionId,
        headers: Vec<SymbolHeader>,
    ) -> Self {
        Self { is_forged: true, ..Self::new(geometry, session, headers, Vec::new()) }
    }

    /// The datagrams that are `damaged` on the way are refused at the end of it.
    pub(super) fn assert_damage_is_found(&self, damaged: Mask) {
        for (index, datagram) in self.datagrams.iter().enumerate() {
            if damaged >> index & 1 == 1 {
                // Any bit will do; the sequence number picks one.
                payload::assert_refused_when_damaged(datagram, self.headers[index].seq as usize);
            }
        }
    }
}

/// What travels.
#[derive(Debug)]
pub(super) enum Packet {
    Train(Train),
    /// A message with its session and sequence number.
    Control(SessionId, u32, Message),
}

/// Whom a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every host.
    All,
    /// Those that listen to the stragglers' group.
    Stragglers,
    /// One host.
    Host(usize),
}

/// A packet and its fate on the links that hosts share.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it arrives where nothing delays it.
    pub(super) at: Timestamp,
    pub(super) reach: Reach,
    pub(super) packet: Arc<Packet>,
    /// What the link of each rack loses of it; empty where rack links lose nothing.
    pub(super) rack_losses: Vec<Mask>,
}

impl Entry {
    /// Whether a session may answer it, or let it change when it answers: everything but symbols of
    /// a window whose beginning the host knows.
    pub(super) fn may_be_answered(&self, known_window: u32) -> bool {
        match &*self.packet {
            Packet::Train(train) => train.window > known_window,
            Packet::Control(..) => true,
        }
    }
}

/// The packets that some host has still to read.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Number of the first one.
    first: u64,
    entries: VecDeque<Entry>,
}

impl Stream {
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    /// The entry with number `index`, once it was sent.
    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get((index - self.first) as usize)
    }

    /// Number of the first entry that arrives after `now`.
    pub(super) fn after(&self, now: Timestamp) -> u64 {
        self.first + self.entries.partition_point(|entry| entry.at <= now) as u64
    }

    /// Forgets what arrived until `now`.
    pub(super) fn forget_until(&mut self, now: Timestamp) {
        let read = self.entries.partition_point(|entry| entry.at <= now);
        self.entries.drain(..read);
        self.first += read as u64;
    }

    /// What is still there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}
