//! What a worker does with a block: decode, cut into units, verify, decompress, verify, write.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use common::bundle::{Preamble, decode_frame, verify_chunks};
use common::fec::Decoder;
use common::geometry::Space;
use common::id::{BlockIndex, ChunkIndex};

use super::fragments::{Joined, Piece};
use super::install::Order;
use super::units::{Unit, units};
use super::{Assembly, Job, PreambleBytes, Work};
use crate::session::StoreEvent;
use crate::store::Partial;

/// Stored chunks are written together up to this many bytes: enough for one system call, and little
/// enough that they are still in the processor's cache from having been verified.
const RUN_BYTES: usize = 256 << 10;

/// One worker's own memory.
#[derive(Default)]
pub struct Worker {
    decoder: Decoder,
    raw: Vec<u8>,
}

/// Why a block's bytes came to nothing.
enum Trouble {
    /// A digest was wrong, and these blocks are to blame.
    Spoiled(Vec<BlockIndex>),
    /// The store refused; the session has been told.
    Store,
}

impl Worker {
    /// Takes one block through.
    pub fn run(&mut self, job: Job) {
        let Job { work, block, mut assembly } = job;
        if work.is_cancelled() {
            return work.release(assembly, StoreEvent::Spoiled(block));
        }
        if assembly.decode(&mut self.decoder).is_err() {
            return work.release(assembly, StoreEvent::Spoiled(block));
        }
        match work.geometry.space_of(block) {
            Space::Preamble => take_preamble(&work, block, assembly),
            Space::Payload => self.take_payload(&work, block, assembly),
        }
    }

    fn take_payload(&mut self, work: &Arc<Work>, block: BlockIndex, mut assembly: Assembly) {
        let Some(preamble) = park_or_plan(work, block, &mut assembly) else { return };
        let span = work.geometry.span(block);
        let intake = Intake {
            work,
            preamble: &preamble,
            block,
            range: span.offset..span.offset + u64::from(span.bytes),
            bytes: assembly.source(span.bytes as usize),
            is_proven: assembly.is_proven(),
            run: None,
            trouble: None,
        };
        match intake.run(&mut self.raw) {
            Ok(()) => work.release(assembly, StoreEvent::Consumed(block)),
            Err(Trouble::Store) => work.release(assembly, StoreEvent::Spoiled(block)),
            Err(Trouble::Spoiled(blamed)) => blame(work, block, assembly, &blamed),
        }
        finish_if_complete(work);
    }
}

/// Blocks were wrong, of which `block` has just been decoded. Where its symbols were not proven
/// they go back: most of them are true, and digests will tell which (PROTOCOL 6.10).
fn blame(work: &Work, block: BlockIndex, assembly: Assembly, blamed: &[BlockIndex]) {
    match (blamed.contains(&block), assembly.is_proven()) {
        (false, _) => work.release(assembly, StoreEvent::Consumed(block)),
        (true, is_proven) => {
            work.fragments.lock().unwrap_or_else(PoisonError::into_inner).withdraw(block);
            match is_proven {
                true => work.release(assembly, StoreEvent::Spoiled(block)),
                false => work.give_back(block, assembly),
            }
        }
    }
    for other in blamed.iter().filter(|other| **other != block) {
        work.tell(StoreEvent::Suspect { block: *other, symbols: Vec::new() });
    }
}

/// One decoded block of the payload on its way into the image.
struct Intake<'a> {
    work: &'a Work,
    preamble: &'a Preamble,
    block: BlockIndex,
    /// Where the block lies in the payload.
    range: Range<u64>,
    bytes: &'a [u8],
    /// Whether all symbols that gave it were proven.
    is_proven: bool,
    /// Verified chunks that are not yet written.
    run: Option<Run>,
    /// One bad unit does not keep the block's others from being written.
    trouble: Option<Trouble>,
}

/// Consecutive stored chunks that lie end to end in the block.
struct Run {
    first: ChunkIndex,
    count: u32,
    bytes: Range<usize>,
}

impl Intake<'_> {
    fn run(mut self, raw: &mut Vec<u8>) -> Result<(), Trouble> {
        let (plan, chunks) = (&self.preamble.plan, &self.preamble.chunks);
        for unit in units(plan, chunks, self.range.clone()) {
            let here =
                unit.payload.start.max(self.range.start)..unit.payload.end.min(self.range.end);
            let place = self.place(&here);
            if here == unit.payload && unit.is_stored {
                self.extend_run(&unit, place);
                continue;
            }
            let outcome = match here == unit.payload {
                true => self.take_unit(&unit, &self.bytes[place], raw),
                false => self.take_piece(&unit, here.start, &self.bytes[place], raw),
            };
            self.note(outcome);
        }
        self.flush();
        self.trouble.map_or(Ok(()), Err)
    }

    /// Where a range of the payload lies in the block.
    fn place(&self, range: &Range<u64>) -> Range<usize> {
        let at = |offset: u64| (offset - self.range.start) as usize;
        at(range.start)..at(range.end)
    }

    fn note(&mut self, outcome: Result<(), Trouble>) {
        match (&mut self.trouble, outcome) {
            (_, Ok(())) | (Some(Trouble::Store), _) => {}
            (Some(Trouble::Spoiled(blamed)), Err(Trouble::Spoiled(more))) => blamed.extend(more),
            (trouble, Err(next)) => *trouble = Some(next),
        }
    }

    /// Verifies a stored chunk and adds it to those that are written together.
    fn extend_run(&mut self, unit: &Unit, place: Range<usize>) {
        let bytes = &self.bytes[place.clone()];
        if verify_chunks(&self.preamble.chunks, unit.first, unit.count, bytes).is_err() {
            return self.note(Err(Trouble::Spoiled(vec![self.block])));
        }
        match &mut self.run {
            // A gap of the image, or a chunk that was wrong, lies between those that do not meet.
            Some(run) if run.first.0 + run.count == unit.first.0 => {
                run.count += unit.count;
                run.bytes.end = place.end;
            }
            _ => {
                self.flush();
                self.run = Some(Run { first: unit.first, count: unit.count, bytes: place });
            }
        }
        if self.run.as_ref().is_some_and(|run| run.bytes.len() >= RUN_BYTES) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(run) = self.run.take() {
            let written = self.write(run.first, run.count, &self.bytes[run.bytes]);
            self.note(written);
        }
    }

    /// The part of a unit that reaches over the edge of the block.
    fn take_piece(
        &self,
        unit: &Unit,
        at: u64,
        piece: &[u8],
        raw: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let length = (unit.payload.end - unit.payload.start) as usize;
        let offset = (at - unit.payload.start) as usize;
        let fragments = || self.work.fragments.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = fragments().add(unit.first, length, self.block, offset, piece);
        match joined {
            Joined::Complete(sent, pieces) => match self.take_unit(unit, &sent, raw) {
                Err(Trouble::Spoiled(_)) => {
                    let blamed = self.to_blame(&pieces);
                    fragments().put_back(unit.first, sent, pieces, &blamed);
                    Err(Trouble::Spoiled(blamed))
                }
                result => {
                    fragments().recycle(sent);
                    result
                }
            },
            Joined::Waiting(lost) => {
                lost.into_iter().for_each(|block| self.work.tell(StoreEvent::Spoiled(block)));
                Ok(())
            }
        }
    }

    /// Who is to blame for a unit that several blocks gave: this one, unless its symbols were
    /// proven. Its bytes are still here; those of the others would all have to come again.
    fn to_blame(&self, pieces: &[Piece]) -> Vec<BlockIndex> {
        let others = pieces.iter().map(|piece| piece.block).filter(|other| *other != self.block);
        match self.is_proven {
            true => others.collect(),
            false => vec![self.block],
        }
    }

    /// Verifies a unit, decompresses it where it is compressed, and writes it.
    fn take_unit(&self, unit: &Unit, sent: &[u8], raw: &mut Vec<u8>) -> Result<(), Trouble> {
        let chunks = &self.preamble.chunks;
        let verified = if unit.is_stored {
            verify_chunks(chunks, unit.first, unit.count, sent).map(|()| sent)
        } else {
            let frame = self.preamble.plan.frame(unit.frame).expect("a unit of this plan");
            decode_frame(frame, sent, chunks, raw).map(|()| raw.as_slice())
        };
        match verified {
            Ok(raw) => self.write(unit.first, unit.count, raw),
            Err(_) => Err(Trouble::Spoiled(vec![self.block])),
        }
    }

    fn write(&self, first: ChunkIndex, count: u32, raw: &[u8]) -> Result<(), Trouble> {
        let partial = self.work.partial.read().unwrap_or_else(PoisonError::into_inner);
        // A finished image has no partial any more: the chunks were a repeat.
        let Some(partial) = partial.as_ref() else { return Ok(()) };
        partial.write(first, count, raw).map_err(|error| {
            let (fault, detail) = (error.fault(), error.to_string());
            self.work.tell(StoreEvent::Failed { fault, detail });
            Trouble::Store
        })
    }
}

/// The plan, if it is known; else the block waits for it.
fn park_or_plan(
    work: &Arc<Work>,
    block: BlockIndex,
    assembly: &mut Assembly,
) -> Option<Arc<Preamble>> {
    let mut parked = work.parked.lock().unwrap_or_else(PoisonError::into_inner);
    // Under the lock: the installer sets the plan and empties the list under it, too.
    let plan = work.prepared.get().cloned();
    if plan.is_none() {
        parked.push((block, std::mem::take(assembly)));
    }
    plan
}

fn take_preamble(work: &Work, block: BlockIndex, assembly: Assembly) {
    let span = work.geometry.span(block);
    let mut preamble = work.preamble.lock().unwrap_or_else(PoisonError::into_inner);
    let place = &mut preamble.bytes[span.offset as usize..][..span.bytes as usize];
    place.copy_from_slice(assembly.source(span.bytes as usize));
    preamble.is_proven &= assembly.is_proven();
    preamble.missing_blocks -= 1;
    if preamble.missing_blocks == 0 {
        let is_proven = preamble.is_proven;
        // Should it turn out to be forged, it is put together once more.
        let PreambleBytes { bytes, .. } =
            std::mem::replace(&mut *preamble, PreambleBytes::new(&work.geometry));
        let _ = work.orders.send(Order::Prepare { bytes, is_proven });
    }
    work.release(assembly, StoreEvent::Consumed(block));
}

/// Orders the end once, when all of the image is in its place.
pub fn finish_if_complete(work: &Work) {
    let partial = work.partial.read().unwrap_or_else(PoisonError::into_inner);
    let is_complete = partial.as_ref().is_some_and(Partial::is_complete);
    if is_complete && !work.is_finishing.swap(true, Ordering::Relaxed) {
        let _ = work.orders.send(Order::Finish);
    }
}
