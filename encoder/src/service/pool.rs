//! Compute threads behind a bounded queue, apart from the threads that speak gRPC.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use ocelli_proto::status::Code;
use tokio::sync::oneshot;

use super::{Answer, Request, ServiceError};
use crate::error::{Error, Result};
use crate::job::panic_text;
use crate::network::set_torch_threads;
use crate::pipeline::Pipeline;
use crate::views::{Resizer, ViewOptions, decode, views};

type Reply = std::result::Result<Answer, ServiceError>;

/// The threads and the way to them. Dropped, it lets the threads end after what is queued.
pub(super) struct Pool {
    queue: SyncSender<Job>,
    max_queued: usize,
}

struct Job {
    request: Request,
    queued: Instant,
    reply: oneshot::Sender<Reply>,
}

impl Pool {
    pub(super) fn start(
        pipeline: &Pipeline,
        view_options: &ViewOptions,
        workers: usize,
        max_queued: usize,
    ) -> Result<Self> {
        if workers == 0 || max_queued == 0 {
            let what = format!(
                "expected at least 1 worker and 1 queued request, found {workers} and {max_queued}"
            );
            return Err(Error::invalid(what));
        }
        let (queue, jobs) = sync_channel(max_queued);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..workers {
            let worker = Worker {
                pipeline: pipeline.try_clone()?,
                view_options: view_options.clone(),
                resizer: Resizer::new(),
            };
            let jobs = Arc::clone(&jobs);
            thread::Builder::new()
                .name(format!("encode-{number}"))
                .spawn(move || worker.run(&jobs))
                .map_err(|e| Error::invalid(format!("cannot start thread {number}: {e}")))?;
        }
        Ok(Pool { queue, max_queued })
    }

    /// Queues a request and waits for its answer. Dropped while it waits, the request never runs.
    pub(super) async fn run(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let job = Job { request, queued: Instant::now(), reply };
        self.queue.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => {
                let message = format!("{} images are waiting already, the limit", self.max_queued);
                ServiceError::new(Code::ResourceExhausted, message)
            }
            TrySendError::Disconnected(_) => {
                ServiceError::new(Code::Internal, "the compute threads are gone")
            }
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(ServiceError::new(Code::Internal, "a compute thread is gone")))
    }
}

struct Worker {
    pipeline: Pipeline,
    view_options: ViewOptions,
    resizer: Resizer,
}

impl Worker {
    fn run(mut self, jobs: &Mutex<Receiver<Job>>) {
        set_torch_threads(1);
        loop {
            // Nothing panics while the lock is held, so a poisoned one is as good.
            let taken = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { request, queued, reply }) = taken else { return };
            // The client went away while its request waited.
            if reply.is_closed() {
                continue;
            }
            // A panic must not take the thread along.
            let answer = catch_unwind(AssertUnwindSafe(|| self.answer(&request, queued)))
                .unwrap_or_else(|panic| {
                    self.resizer = Resizer::new();
                    let message = format!("the encoder panicked: {}", panic_text(panic.as_ref()));
                    Err(ServiceError::new(Code::Internal, message))
                });
            // An error means that nobody waits any more.
            let _ = reply.send(answer);
        }
    }

    fn answer(&mut self, request: &Request, queued: Instant) -> Reply {
        let begun = Instant::now();
        let spec_sizes = &self.view_options.sizes;
        let sizes = if request.sizes.is_empty() { spec_sizes } else { &request.sizes };
        let decoded = decode(&request.data, self.view_options.max_pixels)?;
        let views =
            views(&decoded, request.bbox.as_ref(), sizes, &self.view_options, &mut self.resizer)?;
        let seen = Instant::now();
        let values = self.pipeline.descriptor(&views)?;
        Ok(Answer {
            values,
            sizes_differ: sizes != spec_sizes,
            queue_time: begun - queued,
            decode_time: seen - begun,
            compute_time: seen.elapsed(),
        })
    }
}
