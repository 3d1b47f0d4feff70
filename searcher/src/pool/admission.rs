//! The admission of a request to the pool: it is judged once, as a whole, by the jobs of others.

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

/// The further jobs of one request may fill 1/`SHARE` of the queue, so that others find room.
const SHARE: u32 = 2;

/// The state of a request at the pool. It is changed under the queue's lock, or when a [`Place`] is
/// dropped.
#[derive(Debug, Default)]
struct Request {
    admitted: AtomicBool,
    /// The number of its places.
    waiting: AtomicUsize,
    /// Notified of each place that becomes free.
    left: Notify,
}

/// A request, which has one job or many (a batch, a stream). Clones are the same request.
///
/// It is admitted or refused with its first place, by the jobs of others. Its further jobs are
/// never refused. They join the queue if that is not too full; if it is, they wait outside until
/// one of the request's own jobs has left the queue. So a request always makes progress and never
/// waits for itself.
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

    /// Judges the request now, if it was not judged yet. Call it before work that a refusal would
    /// waste.
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

    /// A place for the request's next job. The first job has one at once, a further job as soon as
    /// there is room.
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

    /// Runs `job` on a thread of the pool, or on a thread of the runtime if it is short. Returns
    /// its result and the time that it waited.
    ///
    /// If this future is dropped before the job has begun (because the client went away or the
    /// deadline passed), the job never runs. Its place is free when a thread takes it off the
    /// queue.
    ///
    /// # Errors
    /// [`Code::Internal`] if the job panics. Other jobs go on.
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

    /// Puts a job into the queue and wakes a thread or a helper for it.
    fn queue(
        &self,
        run: Box<dyn FnOnce(&mut Scratch) -> bool + Send>,
        place: Place,
        queued: Instant,
        work: Work,
    ) {
        let short = self.shared.is_short(work);
        let (helps, watches);
        {
            let mut queue = self.shared.lock();
            let (queries, ahead) = (work.queries as u64, queue.queries);
            queue.queries += queries;
            helps = short && queue.helpers < self.shared.threads;
            queue.helpers += usize::from(helps);
            watches = Shared::watches(&queue, queued);
            queue.jobs.push_back(Job { run, queued, queries, ahead, short, place });
        }
        if helps {
            tokio::spawn(Arc::clone(&self.shared).help(watches));
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
