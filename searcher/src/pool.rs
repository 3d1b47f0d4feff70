//! The threads that search, apart from those that speak gRPC, behind a bounded queue.
//!
//! A short query is not worth two changes of threads, which cost as much as it does: a task beside
//! those that speak gRPC runs it, and lets everything come in that is there before it and after
//! every few (`Shared::help`). The queue is the same, and so is who is refused.
//!
//! Whoever would wait too long is refused at once: by the number of jobs that wait, by the time
//! that these will take, as those before them took, or by how long the first of them waits already.
//! A refusal costs little, an answer that comes too late costs as much as one that is in time: so
//! goodput stays where it is however many queries come.
//!
//! A request is judged once, as a whole, by what others have queued ([`Admission`]); nothing of it
//! is refused later.

mod admission;

use std::cell::RefCell;
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

/// Why a query cannot join the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many wait as may.
    Places,
    /// It would wait for too long.
    Time,
}

/// How much a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Queries in it.
    pub queries: usize,
    /// Codes that they scan, about; `usize::MAX` where nobody knows.
    pub codes: usize,
}

impl Work {
    /// Some queries of whose work nothing is known.
    pub fn unknown(queries: usize) -> Work {
        Work { queries, codes: usize::MAX }
    }
}

/// The most codes of a short job: about 400 µs of scanning.
const SHORT_CODES: usize = 512 << 10;
/// Where queries take longer than this on average, none is short, however few its codes: shards may
/// be read from a disk, say.
const SHORT_NS: u64 = 500_000;

/// How far threads that search stand back behind those that speak gRPC, where a core is short.
const SEARCH_NICE: i32 = 5;

/// How long short jobs are run between two looks at the sockets, where several wait: a look costs
/// half a search, and answers go out together. With more, requests wait where admission does not
/// see them, until they are too old.
const BETWEEN_LOOKS: Duration = Duration::from_micros(500);

/// Jobs that may wait for each thread, unless it is said: 20 ms of work where a server answers
/// most, so that neither a burst nor a pause of the machine is taken for overload.
const QUEUED_PER_THREAD: usize = 256;

/// Jobs that may wait for each thread from the first refusal on until none waits: enough for the
/// time between two looks. A longer queue that does not end answers no more queries, only later
/// ones, and what they hold leaves the caches meanwhile.
const QUEUED_WHILE_SHEDDING: usize = 32;

/// The most queries of one job of a batch. More would keep other queries waiting for long, fewer
/// would find fewer lists that are warm already.
const PART: usize = 512;

/// The most time of one job of a batch, about: what others wait for it.
const PART_TIME: Duration = Duration::from_millis(100);

/// Queries of a batch's first jobs where nobody knows yet how long one takes.
const FIRST_PART: usize = 16;

/// The least number of queries before a job that tells how fast the queue moves.
const TELLING: u64 = 8;

struct Job {
    /// Whether it was run: nobody may be waiting for it any more.
    run: Box<dyn FnOnce(&mut Scratch) -> bool + Send>,
    queued: Instant,
    queries: u64,
    /// Queries that were waiting when it came.
    ahead: u64,
    short: bool,
    /// Its place among those of its request; dropped when the job leaves the queue.
    place: Place,
}

/// What a helper did.
enum Helped {
    /// It ran a job, and others wait.
    Job,
    /// It ran the last one.
    LastJob,
    /// There is none for it, and it is no helper any more.
    Done,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Queries in them.
    queries: u64,
    running: usize,
    /// Tasks that run short jobs.
    helpers: usize,
    /// Whether somebody left a job to those who ran at that time.
    left: bool,
    /// Whether somebody was refused since the queue was empty.
    shedding: bool,
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
    /// How long a job waited for each query before it, in nanoseconds, averaged alike. More than a
    /// query takes itself where the cores have other things to do, such as to speak gRPC.
    wait_ns: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// How long a job that comes now would wait.
    fn expected_wait(&self, queue: &Queue) -> Duration {
        let searching = self.query_ns.load(Ordering::Relaxed) / self.threads as u64;
        let waiting = self.wait_ns.load(Ordering::Relaxed);
        Duration::from_nanos(queue.queries.saturating_mul(searching.max(waiting)))
    }

    /// Whether there is room for one more job. A request that has jobs in the queue may fill
    /// 1/`share` of it, so that others find room, too.
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
        // Where nobody waits, those who run leave no room at all: nothing would end it.
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

    /// What each thread does until the pool is dropped.
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
            // With jobs that wait, as many run as may: the first of them to end looks at this.
            queue.left |= !queue.jobs.is_empty();
            self.wake.wait(&mut queue);
        }
    }

    /// Runs a job that was taken from `queue`, which is free meanwhile; whether it was run.
    fn run<'a>(
        &'a self,
        job: Job,
        scratch: &mut Scratch,
        queue: MutexGuard<'a, Queue>,
    ) -> (MutexGuard<'a, Queue>, bool) {
        drop(queue);
        let Job { run, queued, queries, ahead, place, .. } = job;
        // What waits outside may come in.
        drop(place);
        let start = Instant::now();
        // A panic must not take the other queries along; without a result the sender is dropped
        // and the waiting side hears of it.
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

    /// Runs short jobs for as long as there are some, with the buffers of the thread that it
    /// happens to be on. Sockets are looked at before the first and after a few: what has arrived
    /// joins the queue, or is refused, before anybody searches.
    async fn help(self: Arc<Self>) {
        loop {
            // The first time, what is in the sockets is read; the second time, who was read has
            // been looked at.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let looked = Instant::now();
            loop {
                match self.help_once() {
                    Helped::Job if looked.elapsed() < BETWEEN_LOOKS => {}
                    Helped::Job | Helped::LastJob => break,
                    Helped::Done => return,
                }
            }
        }
    }

    /// Runs the first job, if it is short.
    fn help_once(&self) -> Helped {
        let mut queue = self.lock();
        SCRATCH.with_borrow_mut(|scratch| {
            let helps = loop {
                if queue.running >= self.threads {
                    queue.left |= !queue.jobs.is_empty();
                    break false;
                }
                // Jobs after a long one are for the thread that takes it.
                let Some(job) = queue.pop(|job| job.short) else { break false };
                let ran;
                (queue, ran) = self.run(job, scratch, queue);
                // One that was given up took no time.
                if ran {
                    break true;
                }
            };
            if !helps {
                queue.helpers -= 1;
            }
            self.hand_over(&mut queue);
            match (helps, queue.jobs.is_empty()) {
                (true, false) => Helped::Job,
                (true, true) => Helped::LastJob,
                (false, _) => Helped::Done,
            }
        })
    }

    /// Has a thread look at the jobs that others left to the one that ends here.
    fn hand_over(&self, queue: &mut Queue) {
        if std::mem::take(&mut queue.left) && !queue.jobs.is_empty() {
            self.wake.notify_one();
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Queue {
    /// Takes the first job off, if it is one that `fits`, to be run.
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
    // Races lose a sample, which matters to nobody.
    let weighted = before.saturating_mul(31).saturating_add(took) / 32;
    average_ns.store(if before == 0 { took } else { weighted }, Ordering::Relaxed);
}

/// Threads for computation and the places before them.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool of `threads` (0: one per core) with room for `max_queued` jobs that wait (0: 256 for
    /// each thread), none of them longer than `max_wait`.
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
                // Of this thread alone, on Linux: under overload, who speaks gRPC must get to
                // refuse what is too much, or requests run out of time before anybody looks at
                // them. Refused, it is as before.
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

    /// Whether a query that came now would be refused. Cheap: asked before a request is even read.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admits(&self) -> std::result::Result<(), Full> {
        self.shared.admit(&mut self.shared.lock())
    }

    /// The error of a refusal.
    pub fn refusal(&self, full: Full) -> Error {
        self.shared.refusal(full)
    }

    /// A request that comes now, not judged yet.
    pub fn admission(&self) -> Admission {
        Admission::new(Arc::clone(&self.shared))
    }

    /// How many of `queries` queries that belong together one job has: about [`PART_TIME`] of work,
    /// as queries took lately, [`PART`] at most, and work for every thread.
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
