//! A thread for each processor, which do what keeps one busy.
//!
//! The runtime's own threads for what blocks are as many as there are requests at once, and each keeps memory of its own for
//! what it does: chunks decoded on all of them cost several times the memory, and are done no sooner.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped and nothing is left to do.
pub(crate) struct Workers {
    queue: mpsc::Sender<Work>,
    places: Semaphore,
    at_once: usize,
}

/// Whom chunks wait for on their way.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waits {
    /// While one does, another is worked at.
    ForTable,
    ForNobody,
}

impl Workers {
    /// Starts as many as there are processors. Errors: the machine's, that has no thread to give.
    pub(crate) fn start(waits: Waits) -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let at_once = match waits {
            Waits::ForTable => 2 * threads,
            Waits::ForNobody => threads + 1,
        };
        let (queue, waiting) = mpsc::channel::<Work>();
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..threads {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new().name(format!("chunks-{number}"));
            thread.spawn(move || {
                loop {
                    let next = waiting.lock().recv();
                    let Ok(work) = next else { return };
                    work();
                }
            })?;
        }
        Ok(Self { queue, places: Semaphore::new(at_once), at_once })
    }

    /// How many places there are.
    pub(crate) fn places(&self) -> usize {
        self.at_once
    }

    /// A place for a chunk whose records are in memory: work is done in the order in which it was asked for, so that chunks
    /// without number would all be half done.
    pub(crate) async fn place(&self) -> SemaphorePermit<'_> {
        self.places.acquire().await.expect("the semaphore is never closed")
    }

    /// Does work on one of them, in the order in which it was asked for.
    ///
    /// # Panics
    /// As the work does.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (give, take) = oneshot::channel();
        let work: Work = Box::new(move || {
            let done = std::panic::catch_unwind(AssertUnwindSafe(work));
            // Whoever asked may be gone.
            drop(give.send(done));
        });
        self.queue.send(work).expect("threads end after the queue");
        match take.await.expect("a thread answers, whatever the work does") {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn work_is_done_by_as_many_threads_as_there_are_processors() {
        let workers = Workers::start(Waits::ForTable).unwrap();
        let all = (0..200).map(|n| workers.run(move || (n, std::thread::current().id())));
        let done = futures::future::join_all(all).await;
        assert!(done.iter().map(|(n, _)| *n).eq(0..200));
        let threads: BTreeSet<String> = done.iter().map(|(_, thread)| format!("{thread:?}")).collect();
        assert!(threads.len() <= std::thread::available_parallelism().unwrap().get(), "{threads:?}");
    }

    #[tokio::test]
    async fn there_is_a_place_for_a_chunk_that_waits() {
        let threads = std::thread::available_parallelism().unwrap().get();
        for (waits, least) in [(Waits::ForTable, 2 * threads), (Waits::ForNobody, threads + 1)] {
            let workers = Workers::start(waits).unwrap();
            assert_eq!(workers.places(), least);
            let mut taken = Vec::new();
            for _ in 0..least {
                taken.push(workers.place().await);
            }
            assert!(workers.places.try_acquire().is_err(), "{waits:?}");
            drop(taken.pop());
            assert!(workers.places.try_acquire().is_ok(), "{waits:?}");
        }
    }

    #[tokio::test]
    async fn work_that_panics_panics_where_it_was_asked_for_and_the_thread_goes_on() {
        let workers = Arc::new(Workers::start(Waits::ForTable).unwrap());
        for _ in 0..20 {
            let asking = Arc::clone(&workers);
            let asked = tokio::spawn(async move { asking.run(|| panic!("of the work")).await });
            let panic = asked.await.unwrap_err().into_panic();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the work"));
        }
        assert_eq!(workers.run(|| 7).await, 7);
    }
}
