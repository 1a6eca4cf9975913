//! What a worker does with a block: decode, cut into frames, verify, decompress, verify, write.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use common::bundle::{Preamble, verified_frame};
use common::fec::Decoder;
use common::geometry::Space;
use common::id::{BlockIndex, FrameIndex};

use super::fragments::Joined;
use super::install::Order;
use super::{Assembly, Job, Work};
use crate::session::StoreEvent;

/// One worker's own memory.
#[derive(Default)]
pub struct Worker {
    decoder: Decoder,
    raw: Vec<u8>,
}

/// Why a block's bytes came to nothing.
enum Trouble {
    /// A frame's digest was wrong: these blocks are needed again.
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
        let bytes = assembly.source(span.bytes as usize);
        let result = self.take_frames(work, &preamble, block, span.offset, bytes);
        match result {
            Ok(()) => work.release(assembly, StoreEvent::Consumed(block)),
            Err(Trouble::Store) => work.release(assembly, StoreEvent::Spoiled(block)),
            Err(Trouble::Spoiled(blocks)) => {
                work.release(assembly, StoreEvent::Spoiled(block));
                let others = blocks.into_iter().filter(|other| *other != block);
                others.for_each(|other| work.tell(StoreEvent::Spoiled(other)));
            }
        }
        finish_if_complete(work);
    }

    fn take_frames(
        &mut self,
        work: &Work,
        preamble: &Preamble,
        block: BlockIndex,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Trouble> {
        let plan = &preamble.plan;
        let end = offset + bytes.len() as u64;
        let first = plan.frame_at(offset).map_or(plan.len(), |frame| frame.0);
        let mut result = Ok(());
        for index in (first..plan.len()).map(FrameIndex) {
            let start = plan.payload_offset(index);
            if start >= end {
                break;
            }
            let frame = plan.frame(index).expect("an index below the plan's length");
            let whole = start..start + u64::from(frame.bytes);
            if whole.is_empty() {
                continue;
            }
            let here = whole.start.max(offset)..whole.end.min(end);
            let piece = &bytes[(here.start - offset) as usize..(here.end - offset) as usize];
            let outcome = if here == whole {
                self.take_frame(work, preamble, index, piece, &[block])
            } else {
                self.take_piece(work, preamble, index, &whole, block, here.start, piece)
            };
            // One bad frame does not keep the block's other frames from being written.
            result = result.and(outcome);
        }
        result
    }

    #[expect(clippy::too_many_arguments, reason = "where the piece lies takes three numbers")]
    fn take_piece(
        &mut self,
        work: &Work,
        preamble: &Preamble,
        index: FrameIndex,
        whole: &Range<u64>,
        block: BlockIndex,
        at: u64,
        piece: &[u8],
    ) -> Result<(), Trouble> {
        let (length, offset) = ((whole.end - whole.start) as usize, (at - whole.start) as usize);
        let joined = work
            .fragments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(index, length, block, offset, piece);
        match joined {
            Joined::Complete(sent, blocks) => {
                let result = self.take_frame(work, preamble, index, &sent, &blocks);
                work.fragments.lock().unwrap_or_else(PoisonError::into_inner).recycle(sent);
                result
            }
            Joined::Waiting(lost) => {
                lost.into_iter().for_each(|block| work.tell(StoreEvent::Spoiled(block)));
                Ok(())
            }
        }
    }

    fn take_frame(
        &mut self,
        work: &Work,
        preamble: &Preamble,
        index: FrameIndex,
        sent: &[u8],
        blocks: &[BlockIndex],
    ) -> Result<(), Trouble> {
        let frame = preamble.plan.frame(index).expect("an index below the plan's length");
        let Ok(raw) = verified_frame(frame, sent, &preamble.chunks, &mut self.raw) else {
            return Err(Trouble::Spoiled(blocks.to_vec()));
        };
        let partial = work.partial.read().unwrap_or_else(PoisonError::into_inner);
        // A finished image has no partial any more: the frame was a repeat.
        let Some(partial) = partial.as_ref() else { return Ok(()) };
        partial.write_frame(index, raw).map_err(|error| {
            let (fault, detail) = (error.fault(), error.to_string());
            work.tell(StoreEvent::Failed { fault, detail });
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
    preamble.missing_blocks -= 1;
    if preamble.missing_blocks == 0 {
        let bytes = std::mem::take(&mut preamble.bytes);
        let _ = work.orders.send(Order::Prepare(bytes));
    }
    work.release(assembly, StoreEvent::Consumed(block));
}

/// Orders the end once, when every frame is in its place.
pub fn finish_if_complete(work: &Work) {
    let partial = work.partial.read().unwrap_or_else(PoisonError::into_inner);
    let is_complete = partial.as_ref().is_some_and(crate::store::Partial::is_complete);
    if is_complete && !work.is_finishing.swap(true, Ordering::Relaxed) {
        let _ = work.orders.send(Order::Finish);
    }
}
