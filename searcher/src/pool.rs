//! The search threads behind a bounded queue, apart from the threads that speak gRPC. The pools of
//! tokio and rayon have no bounds, and tower's limits count requests instead of their time.
//!
//! A short query costs as much as the two changes of threads to a search thread and back. So a task
//! on a gRPC thread runs it (`help`). Before the first short query and after every few, the
//! task lets the sockets be read. Short and long queries share the queue and its limits.
//!
//! A query that would wait too long is refused at once. It is judged by the number of waiting jobs,
//! by the time that they will take (estimated from earlier jobs), and by how long the first of them
//! has waited. A refusal costs little, and a late answer costs as much as one in time. So the
//! number of useful answers stays the same, however many queries come.
//!
//! A request is judged once, as a whole, by the jobs of other requests ([`Admission`]). None of its
//! jobs is refused later.

mod admission;
mod help;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use ocelli_index::Scratch;
use ocelli_proto::status::Code;
use parking_lot::{Condvar, Mutex, MutexGuard};

pub use self::admission::{Admission, Place};
use crate::error::{Error, Result};

/// The limit that keeps a query out of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The number of waiting jobs.
    Places,
    /// The time of waiting.
    Time,
}

/// The size of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The queries of the job.
    pub queries: usize,
    /// The approximate number of codes that they scan; `usize::MAX` if it is unknown.
    pub codes: usize,
}

impl Work {
    /// A job of `queries` queries whose number of codes is unknown.
    pub fn unknown(queries: usize) -> Work {
        Work { queries, codes: usize::MAX }
    }
}

/// The most codes of a short job: about 400 µs of scanning.
const SHORT_CODES: usize = 512 << 10;
/// If queries take longer than this on average, no query is short, however few its codes: shards
/// may be read from a disk, for example.
const SHORT_NS: u64 = 500_000;

/// The niceness of search threads: they come after gRPC threads if there are too few cores.
const SEARCH_NICE: i32 = 5;

/// Jobs that may wait for each thread, unless configured: 20 ms of work at a server's highest rate.
/// So neither a burst nor a pause of the machine counts as overload.
const QUEUED_PER_THREAD: usize = 256;

/// Jobs that may wait for each thread from the first refusal until the queue is empty: enough for
/// the time between two looks. A longer queue that never empties does not answer more queries. It
/// answers them later, and their data leaves the caches meanwhile.
const QUEUED_WHILE_SHEDDING: usize = 32;

/// The most queries of one job of a batch. With more, other queries wait longer; with fewer, fewer
/// lists are in the caches already.
const PART: usize = 512;

/// The approximate time of one job of a batch: other queries wait that long for it.
const PART_TIME: Duration = Duration::from_millis(100);

/// The queries of a batch's first jobs, while the time of a query is not known.
const FIRST_PART: usize = 16;

/// From this number of queries before it on, a job's wait shows how fast the queue moves.
const TELLING: u64 = 8;

struct Job {
    /// Runs the job. False if nobody waits for it any more and it did nothing.
    run: Box<dyn FnOnce(&mut Scratch) -> bool + Send>,
    queued: Instant,
    queries: u64,
    /// The queries that were waiting when the job came.
    ahead: u64,
    short: bool,
    /// The job's place among those of its request; dropped when the job leaves the queue.
    place: Place,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The queries of all jobs.
    queries: u64,
    running: usize,
    /// The number of tasks that run short jobs.
    helpers: usize,
    /// The end of the last of them.
    helped: Option<Instant>,
    /// The last time that one of them found that others want its core.
    crowded: Option<Instant>,
    /// Whether a job was left to the threads that were running then.
    left: bool,
    /// Whether a request was refused since the queue was last empty.
    shedding: bool,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: usize,
    max_queued: usize,
    max_wait: Duration,
    /// The time of one query in nanoseconds, an average of the last few dozens.
    query_ns: AtomicU64,
    /// How long a job waited for each query before it, in nanoseconds, averaged alike. It is more
    /// than the time of a query if the cores do other work, such as gRPC.
    wait_ns: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// How long a new job would wait.
    fn expected_wait(&self, queue: &Queue) -> Duration {
        let searching = self.query_ns.load(Ordering::Relaxed) / self.threads as u64;
        let waiting = self.wait_ns.load(Ordering::Relaxed);
        Duration::from_nanos(queue.queries.saturating_mul(searching.max(waiting)))
    }

    /// Whether there is room for one more job. A request that has jobs in the queue may fill
    /// 1/`share` of it, so that others find room.
    fn room(&self, queue: &Queue, share: u32) -> std::result::Result<(), Full> {
        let room = match queue.shedding {
            true => self.max_queued.min(QUEUED_WHILE_SHEDDING.saturating_mul(self.threads)),
            false => self.max_queued,
        };
        let room = room / share as usize;
        if queue.jobs.len() + queue.running >= self.threads.saturating_add(room) {
            return Err(Full::Places);
        }
        let late = |job: &Job| job.queued.elapsed() > self.max_wait;
        let long = self.expected_wait(queue) > self.max_wait / share;
        if long || queue.jobs.front().is_some_and(late) {
            return Err(Full::Time);
        }
        Ok(())
    }

    /// Judges a request that has nothing in the queue.
    fn admit(&self, queue: &mut Queue) -> std::result::Result<(), Full> {
        // With an empty queue, shedding must not begin: nothing would end it.
        self.room(queue, 1).inspect_err(|_| queue.shedding = !queue.jobs.is_empty())
    }

    /// The error of a refusal.
    fn refusal(&self, full: Full) -> Error {
        Error::new(
            Code::ResourceExhausted,
            match full {
                Full::Places => {
                    let limit = self.max_queued;
                    format!("too many queries are waiting already; there is room for {limit}")
                }
                Full::Time => {
                    let limit = self.max_wait.as_millis();
                    format!("the query would wait for more than {limit} ms, the limit")
                }
            },
        )
    }

    fn is_short(&self, work: Work) -> bool {
        work.codes <= SHORT_CODES && self.query_ns.load(Ordering::Relaxed) <= SHORT_NS
    }

    /// Runs jobs on a thread until the pool is dropped.
    fn work(&self) {
        let mut scratch = Scratch::default();
        let mut queue = self.lock();
        loop {
            if queue.running < self.threads
                && let Some(job) = queue.pop(|_| true)
            {
                queue = self.run(job, &mut scratch, queue).0;
                continue;
            }
            if queue.closed && queue.jobs.is_empty() {
                return;
            }
            // If jobs wait, as many run as may. The first of them to end looks at `left`.
            queue.left |= !queue.jobs.is_empty();
            self.wake.wait(&mut queue);
        }
    }

    /// Runs a job that was taken from `queue`, which is unlocked meanwhile. True if the job did its
    /// work.
    fn run<'a>(
        &'a self,
        job: Job,
        scratch: &mut Scratch,
        queue: MutexGuard<'a, Queue>,
    ) -> (MutexGuard<'a, Queue>, bool) {
        drop(queue);
        let Job { run, queued, queries, ahead, place, .. } = job;
        // A job that waits outside of the queue may join it.
        drop(place);
        let start = Instant::now();
        // A panic must not end other queries. Without a result, the sender is dropped, and the
        // waiting side gets an error.
        let ran = catch_unwind(AssertUnwindSafe(|| run(scratch)));
        if ran.is_err() {
            *scratch = Scratch::default();
        }
        let ran = ran.unwrap_or(true);
        if ran {
            learn(&self.query_ns, start.elapsed(), queries);
        }
        if ahead >= TELLING {
            learn(&self.wait_ns, start.duration_since(queued), ahead);
        }
        let mut queue = self.lock();
        queue.running -= 1;
        (queue, ran)
    }

    /// Wakes a thread for the jobs that were left to the running threads.
    fn hand_over(&self, queue: &mut Queue) {
        if std::mem::take(&mut queue.left) && !queue.jobs.is_empty() {
            self.wake.notify_one();
        }
    }
}

impl Queue {
    /// Takes the first job off the queue to run it, if it `fits`.
    fn pop(&mut self, fits: impl FnOnce(&Job) -> bool) -> Option<Job> {
        let job = self.jobs.pop_front_if(|job| fits(job))?;
        self.queries -= job.queries;
        self.running += 1;
        self.shedding &= !self.jobs.is_empty();
        Some(job)
    }
}

/// Moves an average of times by one that `parts` took.
fn learn(average_ns: &AtomicU64, took: Duration, parts: u64) {
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / parts.max(1);
    let before = average_ns.load(Ordering::Relaxed);
    // A race may lose a sample, which does no harm.
    let weighted = before.saturating_mul(31).saturating_add(took) / 32;
    average_ns.store(if before == 0 { took } else { weighted }, Ordering::Relaxed);
}

/// Search threads and their queue.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool of `threads` (0: one per core) with room for `max_queued` waiting jobs (0:
    /// `QUEUED_PER_THREAD` for each thread), none of which should wait longer than `max_wait`.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn new(threads: usize, max_queued: usize, max_wait: Duration) -> Result<Pool> {
        let threads = match threads {
            0 => available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let max_queued = match max_queued {
            0 => QUEUED_PER_THREAD.saturating_mul(threads),
            given => given,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            threads,
            max_queued,
            max_wait,
            query_ns: AtomicU64::new(0),
            wait_ns: AtomicU64::new(0),
        });
        let pool = Pool { shared };
        for number in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new().name(format!("search-{number}"));
            let work = move || {
                // On Linux, this sets the niceness of this thread alone. Under overload, gRPC
                // threads must be able to refuse requests in time. If the system refuses it, the
                // niceness stays the same.
                let _ = rustix::process::nice(SEARCH_NICE);
                shared.work();
            };
            thread.spawn(work).map_err(|error| {
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

    /// Whether a new query would be admitted. This is cheap: it is asked before a request is read.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admits(&self) -> std::result::Result<(), Full> {
        self.shared.admit(&mut self.shared.lock())
    }

    /// The error of a refusal.
    pub fn refusal(&self, full: Full) -> Error {
        self.shared.refusal(full)
    }

    /// A new request, not judged yet.
    pub fn admission(&self) -> Admission {
        Admission::new(Arc::clone(&self.shared))
    }

    /// The number of queries of one job, of a batch of `queries`: about `PART_TIME` of work by
    /// the average of late, `PART` at most, and few enough that every thread has work.
    pub fn part(&self, queries: usize) -> usize {
        let lately = match self.shared.query_ns.load(Ordering::Relaxed) {
            0 => FIRST_PART,
            ns => usize::try_from(PART_TIME.as_nanos() / u128::from(ns)).unwrap_or(PART),
        };
        lately.min(queries.div_ceil(self.shared.threads)).clamp(1, PART)
    }

    /// [`Admission::run`] of a request that has one job.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`] at once when the queue is full or too slow; those of
    /// [`Admission::run`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<(T, Duration)> {
        let admission = self.admission();
        admission.run(admission.place().await?, work, job).await
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

#[cfg(test)]
mod tests;
