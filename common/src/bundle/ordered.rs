//! One function over a stream of items, on several threads, results in order, memory bounded.
//!
//! Not here: what the function does; packing compresses with it, verifying decodes.
//!
//! Invariant: at most `2 × threads + 2` items are anywhere between the source and the consumer, so
//! one slow item holds the rest back instead of piling it up. The order of results is that of the
//! items, whatever the threads do.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What a worker hands on: an item's number and result, or `None` when the worker panicked.
type Done<R, E> = Option<(u64, Result<R, E>)>;

/// Draws `items` on one thread, runs a worker of `new_worker` over them on each of `threads`, and
/// gives the results in order to `consume` on the calling thread.
///
/// # Errors
/// The first error in order of items, of the source, a worker or the consumer; the rest is dropped.
///
/// # Panics
/// When the source, a worker or the consumer panics.
pub fn map_in_order<I, R, E, W>(
    threads: NonZeroUsize,
    items: impl Iterator<Item = Result<I, E>> + Send,
    new_worker: impl Fn() -> W + Sync,
    mut consume: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    R: Send,
    E: Send,
    W: FnMut(I) -> Result<R, E>,
{
    let threads = threads.get();
    let (permit, permits) = sync_channel(2 * threads + 2);
    let (job, jobs) = sync_channel(threads);
    let (done, results) = channel();
    let jobs = Arc::new(Mutex::new(jobs));
    thread::scope(|scope| {
        // Every end belongs to the threads that use it, so that whoever stops first stops the
        // others: a queue whose readers are gone takes nothing more.
        let results = results;
        let permits = permits;
        let new_worker = &new_worker;
        for _ in 0..threads {
            let (jobs, done) = (Arc::clone(&jobs), PanicNotice(done.clone()));
            scope.spawn(move || work(&jobs, new_worker(), &done));
        }
        drop(jobs);
        scope.spawn(move || feed(items, &permit, &job, &PanicNotice(done)));
        in_order(&results, &permits, &mut consume)
    })
}

/// Tells the consumer that a thread died, which would otherwise wait for its result for ever.
struct PanicNotice<R, E>(Sender<Done<R, E>>);

impl<R, E> Drop for PanicNotice<R, E> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(None);
        }
    }
}

fn feed<I, R, E>(
    items: impl Iterator<Item = Result<I, E>>,
    permit: &SyncSender<()>,
    job: &SyncSender<(u64, I)>,
    done: &PanicNotice<R, E>,
) {
    let mut items = items;
    for number in 0.. {
        // The permit comes first: an item that nobody may hold yet is not drawn.
        if permit.send(()).is_err() {
            return;
        }
        let is_taken = match items.next() {
            Some(Ok(item)) => job.send((number, item)).is_ok(),
            Some(Err(error)) => {
                let _ = done.0.send(Some((number, Err(error))));
                false
            }
            None => false,
        };
        if !is_taken {
            return;
        }
    }
}

fn work<I, R, E>(
    jobs: &Mutex<Receiver<(u64, I)>>,
    mut worker: impl FnMut(I) -> Result<R, E>,
    done: &PanicNotice<R, E>,
) {
    loop {
        // Its own statement, so that the lock is not held while the item is worked on.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, item)) = next else { return };
        if done.0.send(Some((number, worker(item)))).is_err() {
            return;
        }
    }
}

fn in_order<R, E>(
    results: &Receiver<Done<R, E>>,
    permits: &Receiver<()>,
    consume: &mut impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    while let Ok(done) = results.recv() {
        // The scope raises the panic again when it joins the thread.
        let Some((number, result)) = done else { return Ok(()) };
        waiting.insert(number, result);
        while let Some(result) = waiting.remove(&next) {
            consume(result?)?;
            next += 1;
            let _ = permits.recv();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const THREADS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    fn items(count: u32) -> impl Iterator<Item = Result<u32, u32>> + Send {
        (0..count).map(Ok)
    }

    #[test]
    fn results_come_in_the_order_of_their_items() {
        let mut seen = Vec::new();
        let worker = || |item: u32| if item.is_multiple_of(7) { spin(item) } else { Ok(item) };
        map_in_order(THREADS, items(1000), worker, |item| {
            seen.push(item);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[expect(clippy::disallowed_methods, reason = "a worker that takes its time")]
    fn spin(item: u32) -> Result<u32, u32> {
        thread::sleep(std::time::Duration::from_micros(200));
        Ok(item)
    }

    #[test]
    fn no_more_than_the_bound_are_held_at_once() {
        let held = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let items = (0..200).map(|item| {
            most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            Ok::<u32, u32>(item)
        });
        map_in_order(
            THREADS,
            items,
            || spin,
            |_| {
                held.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            },
        )
        .unwrap();
        assert!(most.into_inner() <= 2 * THREADS.get() + 2);
    }

    #[test]
    fn the_first_error_in_order_ends_it_wherever_it_comes_from() {
        let failing = |item: u32| if item >= 20 { Err(item) } else { Ok(item) };
        assert_eq!(map_in_order(THREADS, items(1000), || failing, |_| Ok(())), Err(20));
        let source = (0..1000).map(failing);
        assert_eq!(map_in_order(THREADS, source, || Ok, |_: u32| Ok(())), Err(20));
        let consume = |item| failing(item).map(drop);
        assert_eq!(map_in_order(THREADS, items(1000), || Ok, consume), Err(20));
    }

    #[test]
    fn an_early_end_never_leaves_the_source_waiting() {
        // Method: many short runs in which the consumer gives up while every queue is full.
        for round in 0..2000 {
            let consume = |item| if item == round % 9 { Err(item) } else { Ok(()) };
            let ended = map_in_order(THREADS, items(1000), || Ok, consume);
            assert_eq!(ended, Err(round % 9));
        }
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_worker_that_panics_ends_it_instead_of_hanging() {
        let worker = |item: u32| -> Result<u32, u32> {
            assert!(item != 5, "on purpose");
            Ok(item)
        };
        let _ = map_in_order(THREADS, items(1000), || worker, |_| Ok(()));
    }
}
