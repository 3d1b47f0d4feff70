//! The threads that search, apart from those that speak gRPC, behind a bounded queue.
//!
//! A short query is not worth two changes of threads, which cost as much as it does: a task beside those that speak
//! gRPC runs it, and lets everything come in that is there before it and after every few (`Shared::help`). The queue is the
//! same, and so is who is refused.
//!
//! Whoever would wait too long is refused at once: by the number of jobs that wait, or by the time that
//! these will take, as those before them took. A refusal costs little, an answer that comes too late costs as
//! much as one that is in time: so goodput stays where it is however many queries come.

use std::cell::RefCell;
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

/// Why a query cannot join the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many wait as may.
    Places,
    /// It would wait for too long.
    Time,
}

/// What a thread does with a job that it takes from the queue.
enum Take<'a> {
    Run(&'a mut Scratch),
    /// It has waited for too long.
    Refuse,
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

/// The most codes of a short job: about 50 µs of scanning.
const SHORT_CODES: usize = 64 << 10;
/// Where queries take longer than this on average, none is short, however few its codes: shards may be read from
/// a disk, say.
const SHORT_NS: u64 = 200_000;

/// How far threads that search stand back behind those that speak gRPC, where a core is short.
const SEARCH_NICE: i32 = 5;

/// Short jobs that are run between two looks at the sockets, where as many wait: a look costs half a search, and answers
/// go out together.
const JOBS_PER_LOOK: usize = 16;

/// Jobs that may wait for each thread, unless it is said: 20 ms of work where a server answers most, so that neither
/// a burst nor a pause of the machine is taken for overload.
const QUEUED_PER_THREAD: usize = 256;

/// The least number of queries before a job that tells how fast the queue moves.
const TELLING: u64 = 8;

struct Job {
    /// Whether it was run: nobody may be waiting for it any more.
    run: Box<dyn FnOnce(Take<'_>) -> bool + Send>,
    queued: Instant,
    queries: u64,
    /// Queries that were waiting when it came.
    ahead: u64,
    short: bool,
    /// Whether it runs however long it has waited.
    admitted: bool,
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
    /// How long a job waited for each query before it, in nanoseconds, averaged alike. More than a query takes
    /// itself where the cores have other things to do, such as to speak gRPC.
    wait_ns: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a job would wait behind so many queries.
    fn expected_wait(&self, queries: u64) -> Duration {
        let searching = self.query_ns.load(Ordering::Relaxed) / self.threads as u64;
        let waiting = self.wait_ns.load(Ordering::Relaxed);
        Duration::from_nanos(queries.saturating_mul(searching.max(waiting)))
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
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
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
        let start = Instant::now();
        let waited = start.duration_since(job.queued);
        let late = !job.admitted && waited > self.max_wait;
        let take = if late { Take::Refuse } else { Take::Run(scratch) };
        // A panic must not take the other queries along; without a result the sender is dropped
        // and the waiting side hears of it.
        let ran = catch_unwind(AssertUnwindSafe(|| (job.run)(take)));
        if ran.is_err() {
            *scratch = Scratch::default();
        }
        let ran = ran.unwrap_or(true);
        if ran && !late {
            learn(&self.query_ns, start.elapsed(), job.queries);
        }
        if job.ahead >= TELLING {
            learn(&self.wait_ns, waited, job.ahead);
        }
        let mut queue = self.lock();
        queue.running -= 1;
        (queue, ran)
    }

    /// Runs short jobs for as long as there are some, with the buffers of the thread that it happens to be on. Sockets
    /// are looked at before the first and after a few: what has arrived joins the queue, or is refused, before anybody searches.
    async fn help(self: Arc<Self>) {
        loop {
            tokio::task::yield_now().await;
            for _ in 0..JOBS_PER_LOOK {
                match self.help_once() {
                    Helped::Job => {}
                    Helped::LastJob => break,
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
    /// A pool of `threads` (0: one per core) with room for `max_queued` jobs that wait (0: 256 for each thread),
    /// none of them longer than `max_wait`.
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
                // Of this thread alone, on Linux: under overload, who speaks gRPC must get to refuse what is too
                // much, or requests run out of time before anybody looks at them. Refused, it is as before.
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

    /// Whether a query that came now, behind `arriving` others that are not in the queue yet, would be refused. Cheap:
    /// asked before a request is even read.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admits(&self, arriving: usize) -> std::result::Result<(), Full> {
        self.admit(&self.shared.lock(), arriving)
    }

    /// The error of a refusal.
    pub fn refusal(&self, full: Full) -> Error {
        Error::new(
            Code::ResourceExhausted,
            match full {
                Full::Places => {
                    format!("{} queries are waiting already, the limit", self.shared.max_queued)
                }
                Full::Time => {
                    let limit = self.shared.max_wait.as_millis();
                    format!("the query would wait for more than {limit} ms, the limit")
                }
            },
        )
    }

    fn admit(&self, queue: &Queue, arriving: usize) -> std::result::Result<(), Full> {
        let Shared { threads, max_queued, max_wait, .. } = *self.shared;
        if queue.jobs.len() + queue.running + arriving >= threads.saturating_add(max_queued) {
            return Err(Full::Places);
        }
        match self.shared.expected_wait(queue.queries + arriving as u64) > max_wait {
            true => Err(Full::Time),
            false => Ok(()),
        }
    }

    /// Runs `job` on a thread of the pool, or on the runtime's if it is short; answers with its result and the time that it
    /// waited.
    ///
    /// If this future is dropped (the client went away, the deadline passed) before the job has
    /// begun, the job is dropped unrun; its place is free when a thread passes it by.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`] at once when the queue is full or too slow, or later when the job has
    /// waited for too long all the same; [`Code::Internal`] if the job panics, which ends nothing but the job.
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<(T, Duration)> {
        self.queue(work, job, false).await
    }

    /// [`Pool::run`] for a further part of a request of which a part has run: it is never refused, since what
    /// was done would be lost.
    ///
    /// # Errors
    /// [`Code::Internal`] as [`Pool::run`].
    pub async fn run_on<T: Send + 'static>(
        &self,
        work: Work,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<(T, Duration)> {
        self.queue(work, job, true).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        work: Work,
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
                return false;
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
            true
        });
        let short = self.shared.is_short(work);
        let helps;
        {
            let mut queue = self.shared.lock();
            if !admitted {
                self.admit(&queue, 0).map_err(|full| self.refusal(full))?;
            }
            let (queries, ahead) = (work.queries as u64, queue.queries);
            queue.queries += queries;
            helps = short && queue.helpers < self.shared.threads;
            queue.helpers += usize::from(helps);
            queue.jobs.push_back(Job { run, queued, queries, ahead, short, admitted });
        }
        if helps {
            tokio::spawn(Arc::clone(&self.shared).help());
        } else if !short {
            self.shared.wake.notify_one();
        }
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
    use std::task::Poll;

    use super::*;

    /// For a thread, not for the task that brings it.
    const LONG_WORK: Work = Work { queries: 1, codes: usize::MAX };
    const SHORT_WORK: Work = Work { queries: 1, codes: 10 };
    const LONG: Duration = Duration::from_secs(60);

    /// Blocks the only thread of a pool; gives it free when the sender is used or dropped.
    async fn blocked(pool: &Arc<Pool>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (release, blocked) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let pool = Arc::clone(pool);
        let blocker = tokio::spawn(async move {
            let job = pool.run(LONG_WORK, move |_| {
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
        let mut waiting = Box::pin(pool.run(LONG_WORK, count(&runs)));
        let refused = tokio::select! {
            biased;
            _ = &mut waiting => panic!("the only thread is blocked"),
            refused = pool.run(LONG_WORK, count(&runs)) => refused,
        };
        assert_eq!(refused.expect_err("the queue is full").code, Code::ResourceExhausted);
        assert!(pool.admits(0).is_err());
        drop(waiting);
        drop(release);
        blocker.await.expect("no panic");

        // FIFO: when this one has run, the abandoned one has been passed by.
        while pool.admits(0).is_err() {
            tokio::task::yield_now().await;
        }
        pool.run(LONG_WORK, count(&runs)).await?;
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        Ok(())
    }

    /// Polls a future once.
    async fn poll_once<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> bool {
        std::future::poll_fn(|task| Poll::Ready(future.as_mut().poll(task).is_ready())).await
    }

    #[tokio::test]
    async fn a_short_job_runs_where_it_was_brought_and_a_long_one_does_not() -> Result<()> {
        let pool = Pool::new(1, 10, LONG)?;
        let here = thread::current().id();
        let ran_on = |_: &mut Scratch| thread::current().id();
        assert_eq!(pool.run(SHORT_WORK, ran_on).await?.0, here);
        assert_ne!(pool.run(LONG_WORK, ran_on).await?.0, here);
        // Where queries take long for whatever reason, those with few codes are not short either.
        pool.run(LONG_WORK, |_| thread::sleep(Duration::from_millis(30))).await?;
        assert_ne!(pool.run(SHORT_WORK, ran_on).await?.0, here);
        Ok(())
    }

    /// Short jobs run in their order, whoever brought them, and those that were given up do not run.
    #[tokio::test]
    async fn no_short_job_is_left_behind() -> Result<()> {
        let pool = Arc::new(Pool::new(1, 10, LONG)?);
        let order = Arc::new(Mutex::new(Vec::new()));
        let job = |number: usize| {
            let order = Arc::clone(&order);
            move |_: &mut Scratch| order.lock().expect("no panic").push(number)
        };
        let mut jobs: Vec<_> =
            (0..4).map(|number| Box::pin(pool.run(SHORT_WORK, job(number)))).collect();
        for job in &mut jobs {
            assert!(!poll_once(job).await);
        }
        assert_eq!((pool.jobs(), pool.shared.lock().helpers), (4, 1));
        drop(jobs.remove(1));
        drop(jobs.remove(0));
        while pool.jobs() > 0 {
            tokio::task::yield_now().await;
        }
        for job in jobs {
            tokio::time::timeout(LONG, job).await.expect("in time")?;
        }
        assert_eq!(*order.lock().expect("no panic"), [2, 3]);
        // The helper went away, and there is another one when it is needed.
        while pool.shared.lock().helpers > 0 {
            tokio::task::yield_now().await;
        }
        pool.run(SHORT_WORK, job(5)).await?;
        assert_eq!(*order.lock().expect("no panic"), [2, 3, 5]);
        Ok(())
    }

    /// A long job ends the help, and what comes after it is the thread's, in order.
    #[tokio::test]
    async fn short_jobs_behind_a_long_one_run_after_it() -> Result<()> {
        let pool = Arc::new(Pool::new(1, 100, LONG)?);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..60 {
            let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
            let work = if number % 5 == 3 { LONG_WORK } else { SHORT_WORK };
            tasks.push(tokio::spawn(async move {
                pool.run(work, move |_| order.lock().expect("no panic").push(number)).await
            }));
        }
        for task in tasks {
            tokio::time::timeout(LONG, task).await.expect("in time").expect("no panic")?;
        }
        assert_eq!(*order.lock().expect("no panic"), Vec::from_iter(0..60));
        Ok(())
    }

    #[tokio::test]
    async fn a_short_job_waits_for_the_long_one_that_runs() -> Result<()> {
        let pool = Arc::new(Pool::new(1, 10, LONG)?);
        let (release, blocker) = blocked(&pool).await;
        let mut short = Box::pin(pool.run(SHORT_WORK, |_| 3));
        for _ in 0..3 {
            assert!(!poll_once(&mut short).await);
        }
        drop(release);
        assert_eq!(tokio::time::timeout(LONG, short).await.expect("in time")?.0, 3);
        blocker.await.expect("no panic");
        Ok(())
    }

    /// What has waited longer than it may is refused, and not run.
    #[tokio::test]
    async fn a_job_that_waited_too_long_is_refused() -> Result<()> {
        let pool = Arc::new(Pool::new(1, 10, Duration::from_millis(20))?);
        let (release, blocker) = blocked(&pool).await;
        let mut late = Box::pin(pool.run(LONG_WORK, |_| panic!("it must not run")));
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
        let mut waiting = Box::pin(pool.run(LONG_WORK, |_| ()));
        let refused = tokio::select! {
            biased;
            _ = &mut waiting => panic!("the only thread is blocked"),
            refused = pool.run(LONG_WORK, |_| ()) => refused,
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
        let error = pool.run(LONG_WORK, |_| panic!("a bug")).await.map(|((), _)| ());
        assert_eq!(error.expect_err("the job panics").code, Code::Internal);
        assert_eq!(pool.run(LONG_WORK, |_| 7).await?.0, 7);
        Ok(())
    }
}
