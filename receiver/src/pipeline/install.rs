//! The installer of one session: what takes long and happens once.
//!
//! It looks what the store has, opens the partial image once the preamble is known, finishes and
//! stages it, and switches. It ends when the session's work is dropped or cancelled; a partial
//! image is kept.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use common::bundle::{FrameKind, Preamble};
use common::digest::Digest;
use common::geometry::Space;
use common::id::{BlockIndex, FrameIndex};
use common::wire::Fault;
use tracing::warn;

use super::work::finish_if_complete;
use super::{Work, runs, watch};
use crate::keeper::Keeper;
use crate::session::StoreEvent;
use crate::store::{Holdings, Offer, Partial, StoreError};

/// An image that another session has open is waited for: a superseded session lets go of it as soon
/// as its workers are through.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Why a release that was gone back from is not switched to.
const HELD: &str = "held by a local rollback: send a newer release, or fanhost activate there";
/// Between two attempts.
const BUSY_RETRY: Duration = Duration::from_millis(20);

/// What the installer is to do.
pub enum Order {
    /// The preamble is complete.
    Prepare {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether the symbols that gave them were proven.
        is_proven: bool,
    },
    /// Every frame is in its place.
    Finish,
    /// Switch `current`.
    Activate,
    /// The session is over.
    Cancel,
}

/// Tells what the store has of the release, then works off orders until there are no more.
pub fn run(keeper: &Arc<dyn Keeper>, work: &Weak<Work>, orders: &Receiver<Order>, image: &Digest) {
    let Some(holds_image) = work.upgrade().map(|work| look_up(keeper, &work, image)) else {
        return;
    };
    while let Ok(order) = orders.recv() {
        let Some(work) = work.upgrade() else { return };
        let result = match order {
            Order::Prepare { bytes, is_proven } => prepare(keeper, &work, &bytes, holds_image)
                .or_else(|failure| doubt(&work, is_proven, failure)),
            Order::Finish => finish(keeper, &work),
            Order::Activate => activate(keeper, &work),
            Order::Cancel => {
                drop(take_partial(&work));
                work.hold(None);
                return;
            }
        };
        if let Err((fault, detail)) = result {
            work.tell(StoreEvent::Failed { fault, detail });
        }
    }
}

/// Whether the image is held; the daemon, which touches no disk, is told of all that is.
fn look_up(keeper: &Arc<dyn Keeper>, work: &Arc<Work>, image: &Digest) -> bool {
    let holdings = match keeper.holdings(&work.app, &work.release, image) {
        Ok(holdings) => holdings,
        Err(error) => {
            work.tell_held(Holdings::default());
            let (fault, detail) = failure(&error);
            work.tell(StoreEvent::Failed { fault, detail });
            return false;
        }
    };
    work.tell_held(holdings);
    // PROTOCOL 8.5.
    if holdings.is_bad && !work.is_forced {
        let detail = format!(
            "{}: this release was found bad here before (fanhost releases says why); fanfare send \
             --force has it taken nevertheless",
            work.app
        );
        work.tell(StoreEvent::Failed { fault: Fault::MarkedBad, detail });
    } else if holdings.release {
        work.tell(StoreEvent::Staged);
        if holdings.is_current {
            if let Some(progress) = watch::look(&**keeper, work, 0) {
                watch::tell(work, &progress);
                watch::watch(keeper, work, 0);
            }
            work.tell(StoreEvent::Switched);
        } else if holdings.is_held && work.may_switch {
            // PROTOCOL 8.6: a host that would not switch in the end says so at once.
            work.tell(StoreEvent::Failed { fault: Fault::Held, detail: HELD.into() });
        }
    }
    holdings.image
}

type Failure = (Fault, String);

fn failure(error: &StoreError) -> Failure {
    (error.fault(), error.to_string())
}

/// A preamble that was forged looks like a wrong one. Unless its symbols were proven it is asked
/// for again (PROTOCOL 6.10).
fn doubt(work: &Work, is_proven: bool, failure: Failure) -> Result<(), Failure> {
    if is_proven || failure.0 != Fault::VerifyFailed {
        return Err(failure);
    }
    warn!("{}: {}; it may be forged, and is asked for again", work.app, failure.1);
    for block in work.geometry.space_blocks(Space::Preamble).map(BlockIndex) {
        work.tell(StoreEvent::Suspect { block, symbols: Vec::new() });
    }
    Ok(())
}

fn prepare(
    keeper: &Arc<dyn Keeper>,
    work: &Arc<Work>,
    bytes: &[u8],
    holds_image: bool,
) -> Result<(), Failure> {
    let refused = |error| (Fault::VerifyFailed, format!("the preamble is refused: {error}"));
    let signed = Preamble::signed(bytes, &work.lengths, work.release).map_err(refused)?;
    // PROTOCOL 8.7: before anything of it is parsed.
    keeper.vouch(&work.app, signed.manifest, signed.signatures).map_err(|error| failure(&error))?;
    let preamble = Preamble::parse(bytes, &work.lengths, work.release).map_err(refused)?;
    if preamble.plan.payload_bytes() != work.geometry.payload_bytes() {
        let line = "the plan has another length than the session announced";
        return Err((Fault::VerifyFailed, line.to_owned()));
    }
    let preamble = Arc::new(preamble);
    let offer = Offer::of(&preamble);
    match keeper.check(&work.app, &offer) {
        // PROTOCOL 8.6: a host that is held where it is may stage.
        Err(error) if error.fault() == Fault::Held && !work.may_switch => {}
        result => result.map_err(|error| failure(&error))?,
    }
    let claim = keeper.reserve(&work.app, &offer).map_err(|error| failure(&error))?;
    work.hold(Some(claim));
    if holds_image {
        let told = || work.tell(StoreEvent::ImageDurable);
        if keeper.stage_held(&work.app, &offer, &told).map_err(|error| failure(&error))? {
            work.hold(None);
            work.tell(StoreEvent::Staged);
            return Ok(());
        }
        work.tell(StoreEvent::ImageSpoiled);
    }
    let partial = begin(keeper, work, &preamble)?;
    let held = partial.held();
    let held_blocks = held_blocks(work, &preamble, &held);
    *work.partial.write().unwrap_or_else(PoisonError::into_inner) = Some(partial);
    // Gaps travel as nothing at all, and are held from the start.
    let named = held.into_iter().filter(|index| {
        preamble.plan.frame(*index).is_some_and(|frame| frame.kind != FrameKind::Zero)
    });
    work.tell(StoreEvent::Prepared { held: runs(named), held_blocks });
    unpark(work, preamble);
    finish_if_complete(work);
    Ok(())
}

/// Opens the partial image, waiting while a former session still has it.
fn begin(
    keeper: &Arc<dyn Keeper>,
    work: &Work,
    preamble: &Arc<Preamble>,
) -> Result<Partial, Failure> {
    let until = Instant::now() + BUSY_WAIT_MAX;
    loop {
        match keeper.begin(&work.app, Arc::clone(preamble)) {
            Err(error) if error.is_busy() && Instant::now() < until && !work.is_cancelled() => {
                std::thread::sleep(BUSY_RETRY);
            }
            result => return result.map_err(|error| failure(&error)),
        }
    }
}

/// The plan is known: blocks that came before it go to the workers.
fn unpark(work: &Arc<Work>, preamble: Arc<Preamble>) {
    let mut parked = work.parked.lock().unwrap_or_else(PoisonError::into_inner);
    // Only this thread sets it, and only for the one Prepare order of a session.
    let _ = work.prepared.set(preamble);
    for (block, assembly) in parked.drain(..) {
        work.backlog_bytes.fetch_sub(assembly.bytes() as u64, Ordering::Relaxed);
        work.submit(block, assembly);
    }
}

/// Blocks all of whose bytes belong to held frames.
fn held_blocks(work: &Work, preamble: &Preamble, held: &[FrameIndex]) -> Vec<BlockIndex> {
    let mut is_held = vec![false; preamble.plan.len() as usize];
    held.iter().for_each(|index| is_held[index.0 as usize] = true);
    let all_held = |block: &BlockIndex| {
        let span = work.geometry.span(*block);
        let end = span.offset + u64::from(span.bytes);
        let first = preamble.plan.frame_at(span.offset).map_or(0, |frame| frame.0);
        (first..preamble.plan.len())
            .take_while(|index| preamble.plan.payload_offset(FrameIndex(*index)) < end)
            .all(|index| is_held[index as usize])
    };
    work.geometry.space_blocks(Space::Payload).map(BlockIndex).filter(all_held).collect()
}

fn take_partial(work: &Work) -> Option<Partial> {
    work.partial.write().unwrap_or_else(PoisonError::into_inner).take()
}

fn finish(keeper: &Arc<dyn Keeper>, work: &Work) -> Result<(), Failure> {
    let Some(partial) = take_partial(work) else { return Ok(()) };
    let preamble = work.prepared.get().expect("a partial image has a plan");
    let told = || work.tell(StoreEvent::ImageDurable);
    let staged = keeper.stage_received(&work.app, &Offer::of(preamble), partial, &told);
    work.hold(None);
    staged.map_err(|error| failure(&error))?;
    // PROTOCOL 5.3: told only when the release is in place and durable.
    work.tell(StoreEvent::Staged);
    Ok(())
}

fn activate(keeper: &Arc<dyn Keeper>, work: &Arc<Work>) -> Result<(), Failure> {
    let known = keeper.progress(&work.app).ok().flatten();
    let after = known.map_or(0, |progress| progress.number);
    watch::watch(keeper, work, after);
    let done = keeper.activate(&work.app, work.release);
    if let Some(progress) = watch::look(&**keeper, work, after) {
        // PROTOCOL 8.6: whoever hears of the switch hears with it whether a verdict comes.
        watch::tell(work, &progress);
    }
    done.map_err(|error| failure(&error))?;
    work.tell(StoreEvent::Switched);
    // Old releases go after the switch is told; what cannot go is a complaint, not a failure.
    keeper.prune(&work.app).map_err(|error| failure(&error))
}
