//! The compute pool: threads of its own for the searches, off the async threads, behind a bounded queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use ocelli_proto::status::Code;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, Result};

/// Threads for computation and the places before them.
#[derive(Debug)]
pub struct Pool {
    threads: rayon::ThreadPool,
    /// One permit for each job that runs or waits.
    places: Arc<Semaphore>,
    max_queued: usize,
}

impl Pool {
    /// A pool of `threads` (0: one per core) with room for `max_queued` jobs that wait.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn new(threads: usize, max_queued: usize) -> Result<Pool> {
        let threads = match threads {
            0 => available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("search-{number}"))
            .build()
            .map_err(|error| {
                let message = format!("{threads} search threads cannot be started: {error}");
                Error::new(Code::Internal, message)
            })?;
        let places = threads.saturating_add(max_queued).min(Semaphore::MAX_PERMITS);
        Ok(Pool { threads: pool, places: Arc::new(Semaphore::new(places)), max_queued })
    }

    /// Runs `job` on a thread of the pool; answers with its result and the time that it waited.
    ///
    /// If this future is dropped (the client went away, the deadline passed) before the job has
    /// begun, the job is dropped unrun; its place is free when a thread passes it by.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`] at once when the queue is full; [`Code::Internal`] if the job
    /// panics, which ends nothing but the job.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Duration)> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let message = format!("{} queries are waiting already, the limit", self.max_queued);
            return Err(Error::new(Code::ResourceExhausted, message));
        };
        let queued = Instant::now();
        let (sender, receiver) = oneshot::channel();
        self.threads.spawn_fifo(move || {
            if sender.is_closed() {
                return;
            }
            let waited = queued.elapsed();
            // A panic must not take the other queries along; without a result the sender is dropped
            // and the waiting side hears of it.
            let result = catch_unwind(AssertUnwindSafe(job));
            // Before the answer: whoever has it may ask again at once and must find the place free.
            drop(place);
            if let Ok(result) = result {
                // An error means that nobody waits any more.
                let _ = sender.send((result, waited));
            }
        });
        receiver
            .await
            .map_err(|_| Error::new(Code::Internal, "the search failed; the server's log says why"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// One thread, one waiting place. A job that blocks the thread makes every state reachable without
    /// sleeping: the next job waits, the one after it is refused; the one whose future is dropped is
    /// passed by.
    #[tokio::test]
    async fn a_full_queue_refuses_and_an_abandoned_job_never_runs() -> Result<()> {
        let pool = Arc::new(Pool::new(1, 1)?);
        let (release, blocked) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let blocker = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(move || {
                    let _ = started.send(());
                    let _ = blocked.recv();
                })
                .await
            }
        });
        has_started.await.expect("the blocking job starts");

        let runs = Arc::new(AtomicUsize::new(0));
        let count = |runs: &Arc<AtomicUsize>| {
            let runs = Arc::clone(runs);
            move || runs.fetch_add(1, Ordering::SeqCst)
        };
        let mut waiting = Box::pin(pool.run(count(&runs)));
        let refused = tokio::select! {
            biased;
            _ = &mut waiting => panic!("the only thread is blocked"),
            refused = pool.run(count(&runs)) => refused,
        };
        assert_eq!(refused.expect_err("the queue is full").code, Code::ResourceExhausted);
        drop(waiting);
        release.send(()).expect("the blocking job waits");
        blocker.await.expect("no panic")?;

        // FIFO: when this one has run, the abandoned one has been passed by.
        pool.run(count(&runs)).await?;
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_query_only() -> Result<()> {
        let pool = Pool::new(1, 1)?;
        let error = pool.run(|| panic!("a bug")).await.map(|((), _)| ());
        assert_eq!(error.expect_err("the job panics").code, Code::Internal);
        assert_eq!(pool.run(|| 7).await?.0, 7);
        Ok(())
    }
}
