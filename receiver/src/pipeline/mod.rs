//! From symbols to a staged release, on threads beside the socket thread.
//!
//! Workers decode blocks, verify and decompress frames, verify chunks and write; one installer for
//! each session opens the partial image, finishes it, stages and switches. Nothing here knows the
//! network. Invariant: a byte is decompressed only after its frame's digest was right, and written
//! only after its chunk's was.
#![expect(clippy::disallowed_methods, reason = "the workers are threads of the data path")]

mod assembly;
mod fragments;
mod install;
mod manners;
mod units;
mod watch;
mod work;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;

use common::bundle::Preamble;
use common::digest::Digest;
use common::geometry::{Geometry, PreambleLengths, Space};
use common::id::{AppName, BlockIndex, FrameIndex, ReleaseId, SessionId};
use common::net::Waker;
use tracing::warn;

use crate::keeper::{Claim, Keeper};
use crate::session::StoreEvent;
use crate::store::{Holdings, Partial};

pub use assembly::Assembly;
use fragments::Fragments;
use install::Order;
pub use manners::{IoClass, Manners, WORKERS_MAX, take_process_rank};

/// What the threads tell the socket thread.
#[derive(Debug)]
pub enum Report {
    /// What the store has of a session's release: the first report of each.
    Held(SessionId, Holdings),
    /// Something for the session.
    Event(SessionId, StoreEvent),
    /// An assembly's memory, for the next block.
    Recycled(Assembly),
    /// A block whose bytes were wrong, with the symbols that it was put together from.
    Suspect(SessionId, BlockIndex, Assembly),
}

/// The worker pool of a process.
pub struct Pipeline {
    keeper: Arc<dyn Keeper>,
    manners: Manners,
    jobs: Sender<Job>,
    reports: Receiver<Report>,
    outbox: Outbox,
}

/// One block on its way through a worker.
struct Job {
    work: Arc<Work>,
    block: BlockIndex,
    assembly: Assembly,
}

/// The way back to the socket thread.
#[derive(Clone)]
struct Outbox {
    reports: Sender<Report>,
    waker: Waker,
}

impl Outbox {
    fn send(&self, report: Report) {
        // The socket thread ends last; if it is gone there is nobody to tell.
        let _ = self.reports.send(report);
        self.waker.wake();
    }
}

/// Everything that the threads share about one session.
pub struct Work {
    session: SessionId,
    app: AppName,
    release: ReleaseId,
    lengths: PreambleLengths,
    geometry: Geometry,
    is_forced: bool,
    may_switch: bool,
    is_cancelled: AtomicBool,
    is_finishing: AtomicBool,
    backlog_bytes: AtomicU64,
    preamble: Mutex<PreambleBytes>,
    prepared: OnceLock<Arc<Preamble>>,
    /// Taken when the image is finished; `None` before and after.
    partial: RwLock<Option<Partial>>,
    /// Payload blocks that came before the plan.
    parked: Mutex<Vec<(BlockIndex, Assembly)>>,
    fragments: Mutex<Fragments>,
    orders: Sender<Order>,
    jobs: Sender<Job>,
    outbox: Outbox,
    /// What the release will take, set aside from its preamble until it is staged.
    reservation: Mutex<Option<Claim>>,
}

/// The preamble while it is being put together.
struct PreambleBytes {
    bytes: Vec<u8>,
    missing_blocks: u32,
    /// Whether the symbols of all blocks so far were proven.
    is_proven: bool,
}

impl PreambleBytes {
    /// Nothing yet.
    fn new(geometry: &Geometry) -> Self {
        let missing_blocks = geometry.space_blocks(Space::Preamble).len() as u32;
        let bytes = vec![0; geometry.preamble_bytes() as usize];
        Self { bytes, missing_blocks, is_proven: true }
    }
}

/// What a session brings to the pipeline.
#[derive(Debug, Clone)]
pub struct Task {
    /// The session.
    pub session: SessionId,
    /// The app.
    pub app: AppName,
    /// The release that the preamble must describe.
    pub release: ReleaseId,
    /// Its image.
    pub image: Digest,
    /// How the preamble is cut into parts.
    pub lengths: PreambleLengths,
    /// How the session is cut.
    pub geometry: Geometry,
    /// It is taken even if it was found bad here.
    pub is_forced: bool,
    /// Whether the session may come to the switch; else it only stages.
    pub may_switch: bool,
}

impl Pipeline {
    /// Starts the workers; `waker` is rung for each report.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(keeper: Arc<dyn Keeper>, manners: Manners, waker: Waker) -> io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let (sender, reports) = channel();
        let outbox = Outbox { reports: sender, waker };
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..manners.workers.get() {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                if let (0, Err(error)) = (index, manners.adopt()) {
                    warn!("the disk is not left to others first: ioprio_set: {error}");
                }
                let mut worker = work::Worker::default();
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    worker.run(job);
                }
            })?;
        }
        Ok(Self { keeper, manners, jobs, reports, outbox })
    }

    /// Takes a session on; its installer starts, and looks what the store has.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn begin(&self, task: Task) -> io::Result<Arc<Work>> {
        let (orders, queue) = channel();
        let work = Arc::new(Work {
            session: task.session,
            app: task.app,
            release: task.release,
            lengths: task.lengths,
            geometry: task.geometry,
            is_forced: task.is_forced,
            may_switch: task.may_switch,
            is_cancelled: AtomicBool::new(false),
            is_finishing: AtomicBool::new(false),
            backlog_bytes: AtomicU64::new(0),
            preamble: Mutex::new(PreambleBytes::new(&task.geometry)),
            prepared: OnceLock::new(),
            partial: RwLock::new(None),
            parked: Mutex::new(Vec::new()),
            fragments: Mutex::new(Fragments::default()),
            orders,
            jobs: self.jobs.clone(),
            outbox: self.outbox.clone(),
            reservation: Mutex::new(None),
        });
        let (keeper, installed, manners) =
            (Arc::clone(&self.keeper), Arc::downgrade(&work), self.manners);
        thread::Builder::new().name("installer".to_owned()).spawn(move || {
            // The first worker has told where it cannot be done.
            let _ = manners.adopt();
            install::run(&keeper, &installed, &queue, &task.image);
        })?;
        Ok(work)
    }

    /// The next report, if there is one.
    pub fn take(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }
}

impl Work {
    /// Hands a block with enough symbols on.
    pub fn submit(self: &Arc<Self>, block: BlockIndex, assembly: Assembly) {
        self.backlog_bytes.fetch_add(assembly.bytes() as u64, Ordering::Relaxed);
        let _ = self.jobs.send(Job { work: Arc::clone(self), block, assembly });
    }

    /// Switches `current` to the staged release.
    pub fn activate(&self) {
        let _ = self.orders.send(Order::Activate);
    }

    /// The session is over: what is still queued is thrown away, a partial image is kept.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        let _ = self.orders.send(Order::Cancel);
    }

    /// Bytes handed on and not yet consumed.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes.load(Ordering::Relaxed)
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Keeps what was set aside for this release, and gives back what was before.
    fn hold(&self, claim: Option<Claim>) {
        *self.reservation.lock().unwrap_or_else(PoisonError::into_inner) = claim;
    }

    fn tell_held(&self, holdings: Holdings) {
        self.outbox.send(Report::Held(self.session, holdings));
    }

    fn tell(&self, event: StoreEvent) {
        self.outbox.send(Report::Event(self.session, event));
    }

    /// A block whose bytes were wrong goes back to the socket thread with its symbols.
    fn give_back(&self, block: BlockIndex, assembly: Assembly) {
        self.backlog_bytes.fetch_sub(assembly.bytes() as u64, Ordering::Relaxed);
        self.outbox.send(Report::Suspect(self.session, block, assembly));
    }

    /// A block's memory goes back to the socket thread, and what became of it to the session.
    fn release(&self, assembly: Assembly, event: StoreEvent) {
        self.backlog_bytes.fetch_sub(assembly.bytes() as u64, Ordering::Relaxed);
        self.outbox.send(Report::Recycled(assembly));
        self.tell(event);
    }
}

/// Runs of consecutive indices.
fn runs(mut frames: impl Iterator<Item = FrameIndex>) -> Vec<(FrameIndex, u32)> {
    let mut runs: Vec<(FrameIndex, u32)> =
        frames.next().map(|first| (first, 1)).into_iter().collect();
    for frame in frames {
        match runs.last_mut() {
            Some((first, count)) if first.0 + *count == frame.0 => *count += 1,
            _ => runs.push((frame, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_frames_are_told_in_runs() {
        let frames = [0, 1, 2, 5, 7, 8].map(FrameIndex);
        let expected = vec![(FrameIndex(0), 3), (FrameIndex(5), 1), (FrameIndex(7), 2)];
        assert_eq!(runs(frames.into_iter()), expected);
        assert!(runs(std::iter::empty()).is_empty());
    }
}
