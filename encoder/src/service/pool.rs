//! Compute threads behind the queue, apart from the threads that speak gRPC.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use image::RgbImage;
use ocelli_network::NetworkSeconds;
use ocelli_network::set_torch_threads;
use ocelli_pictures::{Resizer, ViewOptions, decode, views};
use ocelli_proto::status::Code;
use ocelli_text::panic_text;

use super::cost::Prices;
use super::queue::{Job, Place, Queue, Room};
use super::{Answer, EncoderOptions, Metrics, Reply, Request, ServiceError};
use crate::error::Error;
use crate::pipeline::{Pipeline, Wanted};

/// The threads and the way to them. Dropped, it gives up what is queued and waits for the threads,
/// which end at the next image or size: nobody waits for what they compute.
pub(super) struct Pool {
    queue: Arc<Queue>,
    prices: Prices,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn start(
        pipeline: &Pipeline,
        view_options: &ViewOptions,
        options: EncoderOptions,
        metrics: &Metrics,
    ) -> crate::Result<Self> {
        let EncoderOptions { workers, batch, max_queued, max_request_pixels, .. } = options;
        if workers == 0 || max_queued == 0 {
            let what = format!(
                "expected at least 1 worker and 1 queued request, found {workers} and {max_queued}"
            );
            return Err(Error::invalid(what));
        }
        let prices = Prices::new(view_options, max_request_pixels);
        let pixels = prices.own().saturating_mul(max_queued as u64);
        let queue = Queue::new(Room { workers, images: max_queued, pixels }, metrics.clone());
        let mut pool = Pool { queue: Arc::new(queue), prices, threads: Vec::new() };
        for number in 0..workers {
            let worker = Worker {
                pipeline: pipeline.try_clone()?,
                view_options: view_options.clone(),
                resizer: Resizer::new(),
                batch: batch.max(1),
            };
            let queue = Arc::clone(&pool.queue);
            let thread = thread::Builder::new()
                .name(format!("encode-{number}"))
                .spawn(move || worker.run(&queue))
                .map_err(|e| Error::invalid(format!("cannot start thread {number}: {e}")))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Lets a request into the queue, for a client that waits `time_left`. Dropped, the place is
    /// free again.
    ///
    /// # Errors
    /// `InvalidArgument` for one that costs too much, `ResourceExhausted` when the queue has no
    /// room for it.
    pub(super) fn enter(
        &self,
        request: &Arc<Request>,
        time_left: Option<Duration>,
    ) -> Result<Place<'_>, ServiceError> {
        let pixels = self.prices.of(request)?;
        self.queue.enter(Arc::clone(request), pixels, time_left)
    }
}

#[cfg(test)]
impl Pool {
    /// Images that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // Its panics are caught where they happen.
            let _ = thread.join();
        }
    }
}

struct Worker {
    pipeline: Pipeline,
    view_options: ViewOptions,
    resizer: Resizer,
    batch: usize,
}

/// An image before the network: its views, whether they have other sizes than the spec's, and the
/// time that it took.
struct Seen {
    views: Vec<RgbImage>,
    sizes_differ: bool,
    decode_time: Duration,
}

impl Worker {
    fn run(mut self, queue: &Queue) {
        set_torch_threads(1);
        while let Some(taken) = queue.take(self.batch) {
            // Without those whose clients went away while they waited.
            let jobs: Vec<Job> = taken.into_iter().filter(Job::wanted).collect();
            let begun = Instant::now();
            // A panic must not take the thread along.
            let answers =
                catch_unwind(AssertUnwindSafe(|| self.answer(&jobs))).unwrap_or_else(|panic| {
                    self.resizer = Resizer::new();
                    let message = format!("the encoder panicked: {}", panic_text(panic.as_ref()));
                    let error = ServiceError::new(Code::Internal, message);
                    jobs.iter().map(|_| Err(error.clone())).collect()
                });
            // Work that was given up on its way says nothing of the rate.
            if !jobs.is_empty() && answers.iter().all(Result::is_ok) {
                let pixels = jobs.iter().map(|job| job.pixels).fold(0, u64::saturating_add);
                queue.measured(pixels, begun.elapsed());
            }
            for (job, mut answer) in jobs.into_iter().zip(answers) {
                if let Ok(answer) = &mut answer {
                    answer.queue_time = begun - job.queued;
                }
                // An error means that nobody waits any more.
                let _ = job.reply.send(answer);
            }
        }
    }

    /// An answer to each job. What nobody waits for any more ends at the next image or size.
    fn answer(&mut self, jobs: &[Job]) -> Vec<Reply> {
        let seen: Vec<Result<Seen, ServiceError>> = jobs.iter().map(|job| self.see(job)).collect();
        let (views, asked): (Vec<&[RgbImage]>, Vec<&Job>) = seen
            .iter()
            .zip(jobs)
            .filter_map(|(seen, job)| Some((seen.as_ref().ok()?.views.as_slice(), job)))
            .unzip();
        let wanted = |image: usize| asked.get(image).is_none_or(|job| job.wanted());
        let begun = Instant::now();
        let mut seconds = NetworkSeconds::default();
        let kind = Wanted::Descriptor;
        let made = self.pipeline.encode_while(&views, kind, self.batch, &mut seconds, &wanted);
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

    fn see(&mut self, job: &Job) -> Result<Seen, ServiceError> {
        let request = &job.request;
        let wanted = || if job.wanted() { Ok(()) } else { Err(Error::Cancelled) };
        wanted()?;
        let begun = Instant::now();
        let spec_sizes = &self.view_options.sizes;
        let sizes = if request.sizes.is_empty() { spec_sizes } else { &request.sizes };
        let decoded = decode(&request.data, self.view_options.max_pixels)?;
        let bbox = request.bbox.as_ref();
        // One size at a time; without any there is one view.
        let each: Vec<&[u32]> =
            if sizes.is_empty() { vec![&[]] } else { sizes.chunks(1).collect() };
        let mut all = Vec::with_capacity(each.len());
        for size in each {
            wanted()?;
            all.extend(views(&decoded, bbox, size, &self.view_options, &mut self.resizer)?);
        }
        let sizes_differ = sizes != spec_sizes;
        Ok(Seen { views: all, sizes_differ, decode_time: begun.elapsed() })
    }
}
