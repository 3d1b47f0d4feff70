//! What waits for the compute threads: images in the order of their arrival, each with its cost.
//!
//! Whether an image is let in is decided once, when it arrives, and only by what others have
//! waiting: where nothing waits it is let in, whatever it costs. An image whose client goes away
//! leaves the queue at once, with its bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_proto::status::Code;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Metrics, Reply, Request, ServiceError};

/// Share of the newest measurement in the rate of a thread.
const NEWEST: f64 = 0.2;
/// Bounds of the time after which a refused client is told to try again.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// An image that waits.
pub(super) struct Job {
    pub(super) request: Arc<Request>,
    pub(super) queued: Instant,
    pub(super) reply: oneshot::Sender<Reply>,
    ticket: u64,
    pub(super) pixels: u64,
}

impl Job {
    /// Whether somebody still waits for the answer.
    pub(super) fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }
}

/// The largest load that the queue holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Threads that take images from it.
    pub(super) workers: usize,
    /// Images.
    pub(super) images: usize,
    /// Pixels for the network, of all images together; one that is alone may have more.
    pub(super) pixels: u64,
}

/// The images that wait.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    room: Room,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// For the network, of all that wait.
    pixels: u64,
    tickets: u64,
    closed: bool,
    /// Pixels a second of one thread, decoding included; none before the first image is done.
    rate: Option<f64>,
}

impl Queue {
    pub(super) fn new(room: Room, metrics: Metrics) -> Queue {
        Queue { state: Mutex::default(), arrived: Condvar::new(), room, metrics }
    }

    /// Lets an image of `pixels` in, for a client that waits `time_left`. The image leaves when the
    /// place is dropped.
    ///
    /// # Errors
    /// `ResourceExhausted`, with the time after which to try again, when what others have waiting
    /// fills the queue or takes longer than the client waits.
    pub(super) fn enter(
        &self,
        request: Arc<Request>,
        pixels: u64,
        time_left: Option<Duration>,
    ) -> Result<Place<'_>, ServiceError> {
        let mut state = self.state.lock();
        self.check(&state, pixels, time_left)?;
        let (reply, answer) = oneshot::channel();
        let ticket = state.tickets;
        state.tickets += 1;
        state.pixels += pixels;
        state.waiting.push_back(Job { request, queued: Instant::now(), reply, ticket, pixels });
        self.metrics.entered();
        drop(state);
        self.arrived.notify_one();
        Ok(Place { queue: self, ticket, answer })
    }

    fn check(
        &self,
        state: &State,
        pixels: u64,
        time_left: Option<Duration>,
    ) -> Result<(), ServiceError> {
        if state.closed {
            return Err(ServiceError::new(Code::Internal, "the compute threads are gone"));
        }
        let images = state.waiting.len();
        if images == 0 {
            return Ok(());
        }
        let wait = state.rate.map(|rate| {
            let seconds = state.pixels as f64 / (rate * self.room.workers as f64);
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
        });
        let message = if images >= self.room.images {
            format!("{images} images are waiting already, the limit (max_queued)")
        } else if state.pixels.saturating_add(pixels) > self.room.pixels {
            format!(
                "{images} images with {} pixels for the network are waiting already, and this one \
                 has {pixels}: more than {}, which are max_queued = {} images at the server's own \
                 sizes",
                state.pixels, self.room.pixels, self.room.images
            )
        } else if let (Some(wait), Some(left)) = (wait, time_left)
            && wait > left
        {
            format!(
                "{images} images that wait already take about {} ms, and the request has {} ms \
                 left",
                wait.as_millis(),
                left.as_millis()
            )
        } else {
            return Ok(());
        };
        let [least, most] = RETRY_AFTER;
        let retry_after = Some(wait.unwrap_or(least).clamp(least, most));
        Err(ServiceError { retry_after, ..ServiceError::new(Code::ResourceExhausted, message) })
    }

    /// Waits for an image, and takes along what else is waiting, as far as a batch goes: a server
    /// that is idle answers at once, one that is not fills its batches. None when there will be no
    /// more.
    pub(super) fn take(&self, batch: usize) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.closed;
        self.arrived.wait_while(&mut state, nothing);
        if state.closed {
            return None;
        }
        let count = batch.clamp(1, state.waiting.len().max(1)).min(state.waiting.len());
        let taken: Vec<Job> = state.waiting.drain(..count).collect();
        state.pixels -= taken.iter().map(|job| job.pixels).sum::<u64>();
        let wanted = taken.iter().filter(|job| job.wanted()).count();
        self.metrics.taken(taken.len(), wanted);
        Some(taken)
    }

    /// Notes that a thread made `pixels` in `time`.
    pub(super) fn measured(&self, pixels: u64, time: Duration) {
        let newest = pixels as f64 / time.as_secs_f64().max(1e-6);
        let mut state = self.state.lock();
        let rate = state.rate.map_or(newest, |rate| rate + NEWEST * (newest - rate));
        state.rate = Some(rate.max(1.0));
    }

    /// Ends the threads: what waits is given up.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.clear();
        state.pixels = 0;
        drop(state);
        self.arrived.notify_all();
    }

    /// Images that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

/// An image's place in the queue, then its answer.
pub(super) struct Place<'a> {
    queue: &'a Queue,
    ticket: u64,
    answer: oneshot::Receiver<Reply>,
}

impl Place<'_> {
    /// Waits for the answer.
    pub(super) async fn answer(mut self) -> Reply {
        let gone = || Err(ServiceError::new(Code::Internal, "a compute thread is gone"));
        (&mut self.answer).await.unwrap_or_else(|_| gone())
    }
}

impl Drop for Place<'_> {
    /// Takes the image out, if it still waits. One that a thread works at is given up there, since
    /// its answer's receiver goes with this.
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        // In the order of their tickets.
        let Ok(at) = state.waiting.binary_search_by_key(&self.ticket, |job| job.ticket) else {
            return;
        };
        if let Some(job) = state.waiting.remove(at) {
            state.pixels -= job.pixels;
            self.queue.metrics.taken(1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(images: usize, pixels: u64) -> Queue {
        Queue::new(Room { workers: 2, images, pixels }, Metrics::new(2))
    }

    fn enter(queue: &Queue, pixels: u64, left_ms: Option<u64>) -> Result<Place<'_>, ServiceError> {
        queue.enter(Arc::default(), pixels, left_ms.map(Duration::from_millis))
    }

    fn refusal(queue: &Queue, pixels: u64, left_ms: Option<u64>) -> ServiceError {
        match enter(queue, pixels, left_ms) {
            Ok(_) => panic!("it was let in"),
            Err(error) => error,
        }
    }

    /// What is alone is let in, whatever it costs; others are refused by number, by pixels, and by
    /// the time that what waits takes. Who goes away makes room at once.
    #[test]
    fn only_what_others_have_waiting_refuses() {
        let queue = queue(3, 1000);
        let huge = enter(&queue, 1_000_000, Some(1)).unwrap_or_else(|e| panic!("{e}"));
        let error = refusal(&queue, 1, None);
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(error.message.contains("1000000 pixels") && error.message.contains("max_queued"));
        assert_eq!(error.retry_after, Some(RETRY_AFTER[0]));
        drop(huge);

        let places: Vec<_> =
            (0..3).map(|_| enter(&queue, 300, None).unwrap_or_else(|e| panic!("{e}"))).collect();
        let error = refusal(&queue, 1, None);
        assert!(error.message.starts_with("3 images are waiting already"), "{error}");
        drop(places);

        // A thread makes 100 pixels a second, two of them 300 in 1.5 s.
        queue.measured(100, Duration::from_secs(1));
        let _first = enter(&queue, 300, Some(1)).unwrap_or_else(|e| panic!("{e}"));
        let error = refusal(&queue, 1, Some(1400));
        assert!(error.message.contains("1500 ms") && error.message.contains("1400 ms left"));
        assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
        assert!(enter(&queue, 1, Some(1600)).is_ok() && enter(&queue, 1, None).is_ok());
    }

    /// Jobs come in their order, a batch at a time, without those that were given up; closed, the
    /// queue gives nothing.
    #[test]
    fn jobs_are_taken_in_their_order() {
        let queue = queue(10, u64::MAX);
        let mut places: Vec<_> =
            (1..=5).map(|n| enter(&queue, n, None).unwrap_or_else(|e| panic!("{e}"))).collect();
        drop(places.remove(1));
        let pixels = |jobs: Vec<Job>| jobs.iter().map(|job| job.pixels).collect::<Vec<_>>();
        assert_eq!(queue.take(3).map(pixels), Some(vec![1, 3, 4]));
        // One that is taken is no longer the queue's.
        drop(places.remove(0));
        assert_eq!(queue.state.lock().pixels, 5);
        queue.close();
        assert!(queue.take(3).is_none());
        assert_eq!(refusal(&queue, 1, None).code, Code::Internal);
    }
}
