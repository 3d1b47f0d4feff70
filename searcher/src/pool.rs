//! The threads that search, apart from those that speak gRPC, behind a bounded queue.
//!
//! Whoever would wait too long is refused at once: by the number of jobs that wait, or by the time that
//! these will take, as those before them took. A refusal costs little, an answer that comes too late costs as
//! much as one that is in time: so goodput stays where it is however many queries come.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use ocelli_index::Scratch;
use ocelli_proto::status::Code;
use tokio::sync::oneshot;
use tracing::Span;

use crate::error::{Error, Result};

/// What a thread does with a job that it takes from the queue.
enum Take<'a> {
    Run(&'a mut Scratch),
    /// It has waited for too long.
    Refuse,
}

struct Job {
    run: Box<dyn FnOnce(Take<'_>) + Send>,
    queued: Instant,
    queries: u64,
    /// Whether it runs however long it has waited.
    admitted: bool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Queries in them.
    queries: u64,
    running: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: usize,
    max_queued: usize,
    max_wait: Duration,
    /// Time of one query in nanoseconds, averaged over the last few dozens.
    query_ns: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a job that comes now would wait.
    fn expected_wait(&self, queue: &Queue) -> Duration {
        let query_ns = self.query_ns.load(Ordering::Relaxed);
        Duration::from_nanos(queue.queries.saturating_mul(query_ns) / self.threads as u64)
    }

    fn learn(&self, took: Duration, queries: u64) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / queries.max(1);
        let before = self.query_ns.load(Ordering::Relaxed);
        // Races lose a sample, which matters to nobody.
        let weighted = before.saturating_mul(31).saturating_add(took) / 32;
        self.query_ns.store(if before == 0 { took } else { weighted }, Ordering::Relaxed);
    }

    /// What each thread does until the pool is dropped.
    fn work(&self) {
        let mut scratch = Scratch::default();
        let mut queue = self.lock();
        loop {
            let Some(job) = queue.jobs.pop_front() else {
                if queue.closed {
                    return;
                }
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.queries -= job.queries;
            queue.running += 1;
            drop(queue);
            let start = Instant::now();
            let late = !job.admitted && start.duration_since(job.queued) > self.max_wait;
            let take = if late { Take::Refuse } else { Take::Run(&mut scratch) };
            // A panic must not take the other queries along; without a result the sender is dropped
            // and the waiting side hears of it.
            if catch_unwind(AssertUnwindSafe(|| (job.run)(take))).is_err() {
                scratch = Scratch::default();
            }
            if !late {
                self.learn(start.elapsed(), job.queries);
            }
            queue = self.lock();
            queue.running -= 1;
        }
    }
}

/// Threads for computation and the places before them.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool of `threads` (0: one per core) with room for `max_queued` jobs that wait, none of them longer
    /// than `max_wait`.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn new(threads: usize, max_queued: usize, max_wait: Duration) -> Result<Pool> {
        let threads = match threads {
            0 => available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            threads,
            max_queued,
            max_wait,
            query_ns: AtomicU64::new(0),
        });
        let pool = Pool { shared };
        for number in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new().name(format!("search-{number}"));
            thread.spawn(move || shared.work()).map_err(|error| {
                let message = format!("{threads} search threads cannot be started: {error}");
                Error::new(Code::Internal, message)
            })?;
        }
        Ok(pool)
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Jobs that run or wait.
    pub fn jobs(&self) -> usize {
        let queue = self.shared.lock();
        queue.jobs.len() + queue.running
    }

    /// Whether a query that came now would be refused. Cheap: asked before a request is even read.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`].
    pub fn admits(&self) -> Result<()> {
        self.admit(&self.shared.lock())
    }

    fn admit(&self, queue: &Queue) -> Result<()> {
        let Shared { threads, max_queued, max_wait, .. } = *self.shared;
        let message = if queue.jobs.len() + queue.running >= threads.saturating_add(max_queued) {
            format!("{max_queued} queries are waiting already, the limit")
        } else if self.shared.expected_wait(queue) > max_wait {
            format!("the query would wait for more than {} ms, the limit", max_wait.as_millis())
        } else {
            return Ok(());
        };
        Err(Error::new(Code::ResourceExhausted, message))
    }

    /// Runs `job`, which is `queries` queries, on a thread of the pool; answers with its result and the time
    /// that it waited.
    ///
    /// If this future is dropped (the client went away, the deadline passed) before the job has
    /// begun, the job is dropped unrun; its place is free when a thread passes it by.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`] at once when the queue is full or too slow, or later when the job has
    /// waited for too long all the same; [`Code::Internal`] if the job panics, which ends nothing but the job.
    pub async fn run<T: Send + 'static>(
        &self,
        queries: usize,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<(T, Duration)> {
        self.queue(queries, job, false).await
    }

    /// [`Pool::run`] for a further part of a request of which a part has run: it is never refused, since what
    /// was done would be lost.
    ///
    /// # Errors
    /// [`Code::Internal`] as [`Pool::run`].
    pub async fn run_on<T: Send + 'static>(
        &self,
        queries: usize,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<(T, Duration)> {
        self.queue(queries, job, true).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        queries: usize,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
        admitted: bool,
    ) -> Result<(T, Duration)> {
        let queued = Instant::now();
        let (sender, receiver) = oneshot::channel();
        let max_wait = self.shared.max_wait;
        let (call, wait) = (Span::current(), tracing::debug_span!("queue"));
        let run = Box::new(move |take: Take<'_>| {
            drop(wait);
            let _call = call.entered();
            if sender.is_closed() {
                return;
            }
            let waited = queued.elapsed();
            let result = match take {
                Take::Run(scratch) => Ok((job(scratch), waited)),
                Take::Refuse => {
                    let message = format!(
                        "the query has waited for {} ms; the limit is {}",
                        waited.as_millis(),
                        max_wait.as_millis()
                    );
                    Err(Error::new(Code::ResourceExhausted, message))
                }
            };
            // An error means that nobody waits any more.
            let _ = sender.send(result);
        });
        {
            let mut queue = self.shared.lock();
            if !admitted {
                self.admit(&queue)?;
            }
            let queries = queries as u64;
            queue.queries += queries;
            queue.jobs.push_back(Job { run, queued, queries, admitted });
        }
        self.shared.wake.notify_one();
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(Code::Internal, "the search failed; the server's log says why"))
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Blocks the only thread of a pool; gives it free when the sender is used or dropped.
    async fn blocked(pool: &Arc<Pool>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (release, blocked) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let pool = Arc::clone(pool);
        let blocker = tokio::spawn(async move {
            let job = pool.run(1, move |_| {
                let _ = started.send(());
                let _ = blocked.recv();
            });
            job.await.expect("the blocking job runs");
        });
        has_started.await.expect("the blocking job starts");
        (release, blocker)
    }

    /// One thread, one waiting place. A job that blocks the thread makes every state reachable without
    /// sleeping: the next job waits, the one after it is refused; the one whose future is dropped is
    /// passed by.
    #[tokio::test]
    async fn a_full_queue_refuses_and_an_abandoned_job_never_runs() -> Result<()> {
        let pool = Arc::new(Pool::new(1, 1, LONG)?);
        let (release, blocker) = blocked(&pool).await;
        let runs = Arc::new(AtomicUsize::new(0));
        let count = |runs: &Arc<AtomicUsize>| {
            let runs = Arc::clone(runs);
            move |_: &mut Scratch| runs.fetch_add(1, Ordering::SeqCst)
        };
        let mut waiting = Box::pin(pool.run(1, count(&runs)));
        let refused = tokio::select! {
            biased;
            _ = &mut waiting => panic!("the only thread is blocked"),
            refused = pool.run(1, count(&runs)) => refused,
        };
        assert_eq!(refused.expect_err("the queue is full").code, Code::ResourceExhausted);
        assert!(pool.admits().is_err());
        drop(waiting);
        drop(release);
        blocker.await.expect("no panic");

        // FIFO: when this one has run, the abandoned one has been passed by.
        while pool.admits().is_err() {
            tokio::task::yield_now().await;
        }
        pool.run(1, count(&runs)).await?;
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        Ok(())
    }

    /// What has waited longer than it may is refused, and not run.
    #[tokio::test]
    async fn a_job_that_waited_too_long_is_refused() -> Result<()> {
        let pool = Arc::new(Pool::new(1, 10, Duration::from_millis(20))?);
        let (release, blocker) = blocked(&pool).await;
        let mut late = Box::pin(pool.run(1, |_| panic!("it must not run")));
        tokio::select! {
            biased;
            _ = &mut late => panic!("the only thread is blocked"),
            () = tokio::time::sleep(Duration::from_millis(40)) => {}
        }
        drop(release);
        let refused: Result<((), Duration)> = late.await;
        assert_eq!(refused.expect_err("it waited 40 ms").code, Code::ResourceExhausted);
        blocker.await.expect("no panic");
        // The blocking job has taught the pool that queries take 40 ms: with one waiting, the next would
        // wait longer than 20 ms and is refused at once.
        let (release, blocker) = blocked(&pool).await;
        let mut waiting = Box::pin(pool.run(1, |_| ()));
        let refused = tokio::select! {
            biased;
            _ = &mut waiting => panic!("the only thread is blocked"),
            refused = pool.run(1, |_| ()) => refused,
        };
        let message = refused.expect_err("it would wait").message;
        assert!(message.contains("would wait"), "{message}");
        drop(release);
        blocker.await.expect("no panic");
        Ok(())
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_query_only() -> Result<()> {
        let pool = Pool::new(1, 1, LONG)?;
        let error = pool.run(1, |_| panic!("a bug")).await.map(|((), _)| ());
        assert_eq!(error.expect_err("the job panics").code, Code::Internal);
        assert_eq!(pool.run(1, |_| 7).await?.0, 7);
        Ok(())
    }
}
