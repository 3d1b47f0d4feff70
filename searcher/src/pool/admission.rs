//! A request at the pool: judged once, as a whole, by what others have queued.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocelli_index::Scratch;
use ocelli_proto::status::Code;
use tokio::sync::{Notify, oneshot};
use tracing::Span;

use super::{Job, Queue, Shared, Work};
use crate::error::{Error, Result};

/// The part of the queue that the further jobs of one request may fill: one half, so that others
/// find room.
const SHARE: u32 = 2;

/// What the pool knows of a request. Changed under the queue's lock or by a [`Place`] that goes.
#[derive(Debug, Default)]
struct Request {
    admitted: AtomicBool,
    /// Its places.
    waiting: AtomicUsize,
    /// Told of each place that becomes free.
    left: Notify,
}

/// A request, which has one job or many (a batch, a stream). Clones are the same request.
///
/// It is admitted or refused with its first place, by what others have queued. Its further jobs are
/// never refused: they join the queue while that is not too full, and else wait outside of it until
/// one of the request's own jobs has left it. So a request always gets on, and never waits for
/// itself.
#[derive(Clone)]
pub struct Admission {
    shared: Arc<Shared>,
    request: Arc<Request>,
}

/// The right to put one job into the queue.
#[derive(Debug)]
pub struct Place(Arc<Request>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.left.notify_one();
    }
}

impl Admission {
    pub(super) fn new(shared: Arc<Shared>) -> Admission {
        Admission { shared, request: Arc::default() }
    }

    /// Judges the request now, if it was not judged yet: before work that a refusal would throw
    /// away.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`] when the queue is full or too slow.
    pub fn admit(&self) -> Result<()> {
        self.judge(&mut self.shared.lock())
    }

    fn judge(&self, queue: &mut Queue) -> Result<()> {
        if !self.request.admitted.load(Ordering::SeqCst) {
            self.shared.admit(queue).map_err(|full| self.shared.refusal(full))?;
            self.request.admitted.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// A place for the request's next job: at once for the first, as soon as there is room for a
    /// further one.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`] for the first, as [`Self::admit`]; none after that.
    pub async fn place(&self) -> Result<Place> {
        while !self.take_place()? {
            self.request.left.notified().await;
        }
        Ok(Place(Arc::clone(&self.request)))
    }

    fn take_place(&self) -> Result<bool> {
        let mut queue = self.shared.lock();
        self.judge(&mut queue)?;
        let waiting = &self.request.waiting;
        let room = waiting.load(Ordering::SeqCst) == 0 || self.shared.room(&queue, SHARE).is_ok();
        if room {
            waiting.fetch_add(1, Ordering::SeqCst);
        }
        Ok(room)
    }

    /// Runs `job` on a thread of the pool, or on the runtime's if it is short; answers with its
    /// result and the time that it waited.
    ///
    /// If this future is dropped (the client went away, the deadline passed) before the job has
    /// begun, the job is dropped unrun; its place is free when a thread passes it by.
    ///
    /// # Errors
    /// [`Code::Internal`] if the job panics, which ends nothing but the job.
    pub async fn run<T: Send + 'static>(
        &self,
        place: Place,
        work: Work,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<(T, Duration)> {
        let queued = Instant::now();
        let (sender, receiver) = oneshot::channel();
        let (call, wait) = (Span::current(), tracing::debug_span!("queue"));
        let run = Box::new(move |scratch: &mut Scratch| {
            drop(wait);
            let _call = call.entered();
            if sender.is_closed() {
                return false;
            }
            let waited = queued.elapsed();
            // An error means that nobody waits any more.
            let _ = sender.send((job(scratch), waited));
            true
        });
        self.queue(run, place, queued, work);
        receiver
            .await
            .map_err(|_| Error::new(Code::Internal, "the search failed; the server's log says why"))
    }

    /// Puts a job into the queue and has somebody look at it.
    fn queue(
        &self,
        run: Box<dyn FnOnce(&mut Scratch) -> bool + Send>,
        place: Place,
        queued: Instant,
        work: Work,
    ) {
        let short = self.shared.is_short(work);
        let helps;
        {
            let mut queue = self.shared.lock();
            let (queries, ahead) = (work.queries as u64, queue.queries);
            queue.queries += queries;
            helps = short && queue.helpers < self.shared.threads;
            queue.helpers += usize::from(helps);
            queue.jobs.push_back(Job { run, queued, queries, ahead, short, place });
        }
        if helps {
            tokio::spawn(Arc::clone(&self.shared).help());
        } else if !short {
            self.shared.wake.notify_one();
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("request", &self.request).finish_non_exhaustive()
    }
}
