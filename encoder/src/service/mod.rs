//! The encoder service: one image in, one descriptor out.
//!
//! [`Encoder`] holds the compute threads and the queue before them; [`grpc`] is the thin adapter to
//! `ocelli.v1.EncoderService`; [`serve`] runs both until it is told to stop.

mod cost;
pub mod grpc;
mod in_work;
mod metrics;
mod pool;
mod queue;
mod serve;
mod slot;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::{DescriptorSpec, ErrorCode};
use ocelli_pictures::{ImageError, PixelBox, ViewOptions};
use ocelli_proto::limits::{IMAGE_SIZES_PX, MAX_IMAGE_SIZES};
use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;

use crate::pipeline::Pipeline;
use in_work::InWork;
pub use metrics::Metrics;
use pool::Pool;
pub use serve::{ServeOptions, serve};
pub use slot::Slot;

/// What becomes of a request.
type Reply = Result<Answer, ServiceError>;

/// Why a request was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// What a client must know to react.
    pub code: Code,
    /// One line for people.
    pub message: String,
    /// The same for programs.
    pub reason: ErrorReason,
    /// The field of the request that is to blame; empty if none is.
    pub field: &'static str,
    /// When the same request may be sent again, where that may help.
    pub retry_after: Option<Duration>,
}

impl ServiceError {
    fn new(code: Code, message: impl Into<String>) -> Self {
        let reason = match code {
            Code::InvalidArgument => ErrorReason::FieldInvalid,
            Code::ResourceExhausted => ErrorReason::Overloaded,
            Code::DeadlineExceeded => ErrorReason::Deadline,
            Code::DataLoss => ErrorReason::FileDamaged,
            Code::FailedPrecondition => ErrorReason::State,
            _ => ErrorReason::Internal,
        };
        ServiceError { code, message: message.into(), reason, field: "", retry_after: None }
    }

    /// Something is wrong with a field of the request.
    fn field(field: &'static str, message: impl Into<String>) -> Self {
        ServiceError { field, ..ServiceError::new(Code::InvalidArgument, message) }
    }
}

impl From<ImageError> for ServiceError {
    fn from(error: ImageError) -> Self {
        let message = format!("image: {error}");
        match error {
            // Resizing fails for reasons of ours; everything else is wrong with the request.
            ImageError::Resize { .. } => ServiceError::new(Code::Internal, message),
            ImageError::Box(_) => ServiceError::field("box", message),
            _ => ServiceError {
                reason: ErrorReason::ImageRefused,
                ..ServiceError::field("data", message)
            },
        }
    }
}

impl From<crate::Error> for ServiceError {
    fn from(error: crate::Error) -> Self {
        let code = match error.code() {
            ErrorCode::InvalidArgument => Code::InvalidArgument,
            ErrorCode::NotFound => Code::NotFound,
            ErrorCode::FailedPrecondition => Code::FailedPrecondition,
            ErrorCode::DataLoss => Code::DataLoss,
            ErrorCode::Aborted => Code::Aborted,
            ErrorCode::Cancelled => Code::DeadlineExceeded,
            _ => Code::Internal,
        };
        ServiceError::new(code, error.to_string())
    }
}

/// One image to encode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The image file's bytes.
    pub data: Vec<u8>,
    /// The part of the image that is encoded, in stored pixels.
    pub bbox: Option<PixelBox>,
    /// Longest sides in pixels; empty: those of the spec.
    pub sizes: Vec<u32>,
}

/// A descriptor and where the time went.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The descriptor, (dim,), unit L2 norm.
    pub values: Vec<f32>,
    /// Whether the request named other sizes than the spec's.
    pub sizes_differ: bool,
    /// Waiting for a compute thread.
    pub queue_time: Duration,
    /// Decoding and resizing.
    pub decode_time: Duration,
    /// Network, pooling and whitening.
    pub compute_time: Duration,
}

/// Encodes images on threads of its own.
pub struct Encoder {
    pool: Pool,
    spec: DescriptorSpec,
    metrics: Metrics,
    max_stream_images: usize,
}

/// Options of an [`Encoder`].
#[derive(Clone, Copy, Debug)]
pub struct EncoderOptions {
    /// Compute threads.
    pub workers: usize,
    /// Requests that pass the network together, at most.
    pub batch: usize,
    /// Requests that may wait for a thread.
    pub max_queued: usize,
    /// Pixels that the network may see for one request, all sizes together.
    pub max_request_pixels: u64,
    /// Images of one stream that are answered at a time.
    pub max_stream_images: usize,
}

impl Encoder {
    /// Starts the threads, each with a pipeline of its own over the same weights, and a queue
    /// before them. A thread that takes a request takes along what else waits, up to a batch in
    /// all; those of equal shape pass the network together. Dropped, it waits for its threads,
    /// which end at the next image or size.
    ///
    /// # Errors
    /// `Torch` if the pipeline cannot be cloned; `Invalid` without a worker or a thread.
    pub fn start(
        pipeline: &Pipeline,
        view_options: &ViewOptions,
        options: EncoderOptions,
    ) -> crate::Result<Self> {
        Self::counting(pipeline, view_options, options, Metrics::new(options.workers))
    }

    /// [`start`](Encoder::start) with metrics that are known to a registry already.
    fn counting(
        pipeline: &Pipeline,
        view_options: &ViewOptions,
        options: EncoderOptions,
        metrics: Metrics,
    ) -> crate::Result<Self> {
        let pool = Pool::start(pipeline, view_options, options, &metrics)?;
        Ok(Encoder {
            pool,
            metrics,
            spec: pipeline.spec().clone(),
            max_stream_images: options.max_stream_images.max(1),
        })
    }

    /// Counters and times of images.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The spec of the descriptors that this service returns.
    #[must_use]
    pub fn spec(&self) -> &DescriptorSpec {
        &self.spec
    }

    /// Encodes one image. `time_left` is what the client still gives; when it is over, or when this
    /// future is dropped, the request leaves the queue, or ends at the next image or size.
    ///
    /// # Errors
    /// `InvalidArgument` (sizes out of range or too many pixels in all, no image, a box outside
    /// it), `ResourceExhausted` (the queue is full, or too long for the client),
    /// `DeadlineExceeded`, `Internal`.
    pub async fn encode(
        &self,
        request: Request,
        time_left: Option<Duration>,
    ) -> Result<Answer, ServiceError> {
        self.encode_beside(request, time_left, None).await
    }

    /// [`encode`](Encoder::encode) for an image of a stream that has others in work.
    async fn encode_beside(
        &self,
        request: Request,
        time_left: Option<Duration>,
        in_work: Option<&InWork>,
    ) -> Reply {
        let arrival = Instant::now();
        let result = match (check_sizes(&request.sizes), time_left) {
            (Err(error), _) => Err(error),
            (Ok(()), None) => self.run(request, None, in_work).await,
            (Ok(()), Some(limit)) => {
                // tonic's own timer says CANCELLED at `limit`; a millisecond earlier it is ours.
                let ours = arrival + limit.saturating_sub(Duration::from_millis(1));
                let run = self.run(request, Some(ours), in_work);
                tokio::time::timeout_at(ours.into(), run).await.unwrap_or_else(|_| {
                    let message = format!("the request's {} ms are over", limit.as_millis());
                    Err(ServiceError::new(Code::DeadlineExceeded, message))
                })
            }
        };
        self.metrics.answered(&result);
        match &result {
            Ok(answer) => tracing::debug!(
                queue_us = answer.queue_time.as_micros() as u64,
                decode_us = answer.decode_time.as_micros() as u64,
                compute_us = answer.compute_time.as_micros() as u64,
                "encoded"
            ),
            Err(error) if error.code == Code::Internal => tracing::error!(%error, "not encoded"),
            Err(error) => tracing::debug!(code = ?error.code, %error, "not encoded"),
        }
        result
    }

    async fn run(
        &self,
        request: Request,
        deadline: Option<Instant>,
        in_work: Option<&InWork>,
    ) -> Reply {
        let request = Arc::new(request);
        let enter = || {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            self.pool.enter(&request, left)
        };
        match in_work {
            None => enter()?.answer().await,
            Some(in_work) => {
                let (place, _counted) = in_work.enter(enter).await?;
                place.answer().await
            }
        }
    }
}

fn check_sizes(sizes: &[u32]) -> Result<(), ServiceError> {
    let refuse = |message| Err(ServiceError::field("sizes", message));
    if sizes.len() > MAX_IMAGE_SIZES {
        return refuse(format!("sizes: at most {MAX_IMAGE_SIZES}, found {}", sizes.len()));
    }
    match sizes.iter().find(|px| !IMAGE_SIZES_PX.contains(px)) {
        None => Ok(()),
        Some(px) => refuse(format!(
            "sizes: expected {} to {}, found {px}",
            IMAGE_SIZES_PX.start(),
            IMAGE_SIZES_PX.end()
        )),
    }
}
