//! Reads blocks from the bundle and builds their repair symbols, ahead of the socket thread.
//!
//! The payload is checked against the frame table once before the first block is read: a damaged
//! bundle is refused before a host has received a byte of it. The number of blocks held at a time
//! is the session's affair (it asks for at most [`crate::session::PREPARED_BLOCKS_MAX`]).

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use common::bundle::{BundleError, BundleFile};
use common::fec::Encoder;
use common::geometry::{Geometry, Space};
use common::id::BlockIndex;
use common::net::Waker;

use super::SendError;

/// A block's symbols end to end: source symbols, padded, then repair symbols.
pub type Symbols = Box<[u8]>;

/// What the workers have to say.
pub enum Prepared {
    /// A block is ready.
    Block(BlockIndex, Symbols),
    /// The bundle is damaged or cannot be read.
    Failed(BundleError),
}

/// The workers, and the ways to and from them. They end when this is dropped.
pub struct Preparers {
    jobs: Sender<(BlockIndex, Option<Symbols>)>,
    results: Receiver<Prepared>,
    spare: Vec<Symbols>,
}

struct Shared {
    bundle: Arc<BundleFile>,
    preamble: Vec<u8>,
    geometry: Geometry,
    jobs: Mutex<Receiver<(BlockIndex, Option<Symbols>)>>,
    is_checked: Mutex<bool>,
}

impl Preparers {
    /// Starts the workers; `waker` is rung for each result.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        bundle: Arc<BundleFile>,
        geometry: Geometry,
        waker: &Waker,
    ) -> Result<Self, SendError> {
        let (jobs, queue) = channel();
        let (done, results) = channel();
        let (preamble, _) = bundle.preamble_bytes();
        let is_checked = Mutex::new(false);
        let jobs_shared = Mutex::new(queue);
        let shared = Shared { bundle, preamble, geometry, jobs: jobs_shared, is_checked };
        let shared = Arc::new(shared);
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(4);
        for index in 0..threads {
            let (shared, done, waker) = (Arc::clone(&shared), done.clone(), waker.clone());
            thread::Builder::new()
                .name(format!("prepare-{index}"))
                .spawn(move || work(&shared, &done, &waker))
                .map_err(SendError::Resources)?;
        }
        Ok(Self { jobs, results, spare: Vec::new() })
    }

    /// Asks for a block.
    pub fn ask(&mut self, block: BlockIndex) {
        // The workers live as long as this; a failed send follows a failure already reported.
        let _ = self.jobs.send((block, self.spare.pop()));
    }

    /// The next result, if there is one.
    pub fn take(&self) -> Option<Prepared> {
        self.results.try_recv().ok()
    }

    /// Gives a block's memory back for the next one.
    pub fn recycle(&mut self, symbols: Symbols) {
        self.spare.push(symbols);
    }
}

fn work(shared: &Shared, done: &Sender<Prepared>, waker: &Waker) {
    if let Err(error) = check_payload(shared) {
        let _ = done.send(Prepared::Failed(error));
        return waker.wake();
    }
    let mut encoder = Encoder::default();
    loop {
        let job = shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, memory)) = job else { return };
        let result = match prepare(shared, &mut encoder, block, memory) {
            Ok(symbols) => Prepared::Block(block, symbols),
            Err(error) => Prepared::Failed(shared.bundle.read_failed(error)),
        };
        let is_over = done.send(result).is_err();
        waker.wake();
        if is_over {
            return;
        }
    }
}

/// The first worker checks with all cores, the others wait for it.
fn check_payload(shared: &Shared) -> Result<(), BundleError> {
    let mut is_checked = shared.is_checked.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_checked {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        shared.bundle.verify_payload(threads, |_| {})?;
        *is_checked = true;
    }
    Ok(())
}

fn prepare(
    shared: &Shared,
    encoder: &mut Encoder,
    block: BlockIndex,
    memory: Option<Symbols>,
) -> io::Result<Symbols> {
    let geometry = &shared.geometry;
    let span = geometry.span(block);
    let symbol_bytes = usize::from(geometry.symbol_bytes());
    let source_bytes = usize::from(span.source_symbols) * symbol_bytes;
    let total = source_bytes + usize::from(geometry.repair_symbols()) * symbol_bytes;
    let mut symbols = memory
        .filter(|memory| memory.len() == total)
        .unwrap_or_else(|| vec![0; total].into_boxed_slice());
    let (source, repair) = symbols.split_at_mut(source_bytes);
    let (bytes, padding) = source.split_at_mut(span.bytes as usize);
    match span.space {
        Space::Preamble => {
            bytes.copy_from_slice(&shared.preamble[span.offset as usize..][..span.bytes as usize]);
        }
        Space::Payload => shared.bundle.read_payload_at(span.offset, bytes)?,
    }
    padding.fill(0);
    encoder
        .encode(source, symbol_bytes, repair)
        .expect("the geometry keeps the counts within the code's limits");
    Ok(symbols)
}
