//! Compute threads behind a bounded queue, apart from the threads that speak gRPC.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use ocelli_proto::status::Code;
use tokio::sync::oneshot;

use super::{Answer, EncoderOptions, Metrics, Request, ServiceError};
use crate::error::Error;
use crate::job::panic_text;
use crate::network::set_torch_threads;
use crate::pipeline::{NetworkSeconds, Pipeline, Wanted};
use crate::views::{Resizer, ViewOptions, decode, views};

type Reply = Result<Answer, ServiceError>;

/// The threads and the way to them. Dropped, it lets the threads end after what is queued.
pub(super) struct Pool {
    queue: SyncSender<Job>,
    max_queued: usize,
    metrics: Metrics,
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
        options: EncoderOptions,
        metrics: &Metrics,
    ) -> crate::Result<Self> {
        let EncoderOptions { workers, batch, max_queued, .. } = options;
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
                batch: batch.max(1),
                metrics: metrics.clone(),
            };
            let jobs = Arc::clone(&jobs);
            thread::Builder::new()
                .name(format!("encode-{number}"))
                .spawn(move || worker.run(&jobs))
                .map_err(|e| Error::invalid(format!("cannot start thread {number}: {e}")))?;
        }
        Ok(Pool { queue, max_queued, metrics: metrics.clone() })
    }

    /// Queues a request and waits for its answer. Dropped while it waits, the request never runs.
    pub(super) async fn run(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let job = Job { request, queued: Instant::now(), reply };
        // Before it is there to be taken, or the queue would count less than none for a moment.
        self.metrics.entered();
        self.queue.try_send(job).map_err(|e| {
            self.metrics.taken(1, 0);
            match e {
                TrySendError::Full(_) => {
                    let message =
                        format!("{} images are waiting already, the limit", self.max_queued);
                    ServiceError::new(Code::ResourceExhausted, message)
                }
                TrySendError::Disconnected(_) => {
                    ServiceError::new(Code::Internal, "the compute threads are gone")
                }
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
    batch: usize,
    metrics: Metrics,
}

/// An image before the network: its views, whether they have other sizes than the spec's, and the time that
/// it took.
struct Seen {
    views: Vec<RgbImage>,
    sizes_differ: bool,
    decode_time: Duration,
}

impl Worker {
    fn run(mut self, jobs: &Mutex<Receiver<Job>>) {
        set_torch_threads(1);
        while let Some(taken) = self.take(jobs) {
            let images = taken.len();
            // Without those whose clients went away while they waited.
            let jobs: Vec<Job> = taken.into_iter().filter(|job| !job.reply.is_closed()).collect();
            self.metrics.taken(images, jobs.len());
            let begun = Instant::now();
            let requests: Vec<&Request> = jobs.iter().map(|job| &job.request).collect();
            // A panic must not take the thread along.
            let answers =
                catch_unwind(AssertUnwindSafe(|| self.answer(&requests))).unwrap_or_else(|panic| {
                    self.resizer = Resizer::new();
                    let message = format!("the encoder panicked: {}", panic_text(panic.as_ref()));
                    let error = ServiceError::new(Code::Internal, message);
                    jobs.iter().map(|_| Err(error.clone())).collect()
                });
            for (job, mut answer) in jobs.into_iter().zip(answers) {
                if let Ok(answer) = &mut answer {
                    answer.queue_time = begun - job.queued;
                }
                // An error means that nobody waits any more.
                let _ = job.reply.send(answer);
            }
        }
    }

    /// Waits for a request, and takes along what else is waiting, as far as a batch goes: a server that is
    /// idle answers at once, one that is not fills its batches. None when there will be no more.
    fn take(&self, jobs: &Mutex<Receiver<Job>>) -> Option<Vec<Job>> {
        // Nothing panics while the lock is held, so a poisoned one is as good.
        let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = vec![jobs.recv().ok()?];
        taken.extend(jobs.try_iter().take(self.batch.saturating_sub(1)));
        Some(taken)
    }

    /// An answer to each request.
    fn answer(&mut self, requests: &[&Request]) -> Vec<Reply> {
        let seen: Vec<Result<Seen, ServiceError>> =
            requests.iter().map(|request| self.see(request)).collect();
        let views: Vec<&[RgbImage]> =
            seen.iter().flatten().map(|seen| seen.views.as_slice()).collect();
        let begun = Instant::now();
        let mut seconds = NetworkSeconds::default();
        let made = self.pipeline.encode(&views, Wanted::Descriptor, self.batch, &mut seconds);
        let compute_time = begun.elapsed();
        let (mut made, failed) = match made {
            Ok(made) => (made.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(ServiceError::from(error))),
        };
        let missing = || ServiceError::new(Code::Internal, "no answer for an image");
        seen.into_iter()
            .map(|seen| {
                let Seen { sizes_differ, decode_time, .. } = seen?;
                let values = match made.next() {
                    Some(values) => values?,
                    None => return Err(failed.clone().unwrap_or_else(missing)),
                };
                let queue_time = Duration::ZERO;
                Ok(Answer { values, sizes_differ, queue_time, decode_time, compute_time })
            })
            .collect()
    }

    fn see(&mut self, request: &Request) -> Result<Seen, ServiceError> {
        let begun = Instant::now();
        let spec_sizes = &self.view_options.sizes;
        let sizes = if request.sizes.is_empty() { spec_sizes } else { &request.sizes };
        let decoded = decode(&request.data, self.view_options.max_pixels)?;
        let views =
            views(&decoded, request.bbox.as_ref(), sizes, &self.view_options, &mut self.resizer)?;
        Ok(Seen { views, sizes_differ: sizes != spec_sizes, decode_time: begun.elapsed() })
    }
}
