//! The encoder service: one image in, one descriptor out.
//!
//! [`Encoder`] holds the compute threads and the queue before them; [`grpc`] is the thin adapter to
//! `ocelli.v1.EncoderService`; [`serve`] runs both until it is told to stop.

pub mod grpc;
mod pool;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result as AnyResult;
use ocelli_index::{DescriptorSpec, ErrorCode};
use ocelli_proto::security::{Security, SecurityConfig};
use ocelli_proto::server::{Server, shutdown_signal};
use ocelli_proto::status::Code;

use crate::pipeline::Pipeline;
use crate::views::{ImageError, PixelBox, ViewOptions};
use pool::Pool;

/// Longest sides that a request may ask for, in pixels. Below 16 nothing is left of a feature map of
/// stride 16; at 4096 a network of stride 32 needs about 10 GB.
const SIZES_PX: std::ops::RangeInclusive<u32> = 16..=4096;

/// Sizes that a request may ask for at most.
const MAX_SIZES: usize = 8;

/// Why a request was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// What a client must know to react.
    pub code: Code,
    /// One line for people.
    pub message: String,
}

impl ServiceError {
    fn new(code: Code, message: impl Into<String>) -> Self {
        ServiceError { code, message: message.into() }
    }
}

impl From<ImageError> for ServiceError {
    fn from(error: ImageError) -> Self {
        // Resizing fails for reasons of ours; everything else is wrong with the image.
        let code = match error {
            ImageError::Resize { .. } => Code::Internal,
            _ => Code::InvalidArgument,
        };
        ServiceError::new(code, format!("image: {error}"))
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
}

impl Encoder {
    /// Starts `workers` threads, each with a pipeline of its own over the same weights, and a queue
    /// for `max_queued` requests before them. A thread that takes a request takes along what else waits,
    /// up to `batch` in all; those of equal shape pass the network together.
    ///
    /// # Errors
    /// `Torch` if the pipeline cannot be cloned; `Invalid` without a worker or a thread.
    pub fn start(
        pipeline: &Pipeline,
        view_options: &ViewOptions,
        workers: usize,
        batch: usize,
        max_queued: usize,
    ) -> crate::Result<Self> {
        let pool = Pool::start(pipeline, view_options, workers, batch, max_queued)?;
        Ok(Encoder { pool, spec: pipeline.spec().clone() })
    }

    /// What the descriptors mean.
    #[must_use]
    pub fn spec(&self) -> &DescriptorSpec {
        &self.spec
    }

    /// Encodes one image. `time_left` is what the client still gives; when it is over, or when this
    /// future is dropped, a request that has not begun is dropped.
    ///
    /// # Errors
    /// `InvalidArgument` (sizes out of range, no image, a box outside it), `ResourceExhausted` (the
    /// queue is full), `DeadlineExceeded`, `Internal`.
    pub async fn encode(
        &self,
        request: Request,
        time_left: Option<Duration>,
    ) -> Result<Answer, ServiceError> {
        let arrival = Instant::now();
        check_sizes(&request.sizes)?;
        let result = match time_left {
            None => self.pool.run(request).await,
            Some(limit) => {
                // tonic's own timer says CANCELLED at `limit`; a millisecond earlier it is ours.
                let ours = arrival + limit.saturating_sub(Duration::from_millis(1));
                tokio::time::timeout_at(ours.into(), self.pool.run(request)).await.unwrap_or_else(
                    |_| {
                        let message = format!("the request's {} ms are over", limit.as_millis());
                        Err(ServiceError::new(Code::DeadlineExceeded, message))
                    },
                )
            }
        };
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
}

fn check_sizes(sizes: &[u32]) -> Result<(), ServiceError> {
    let refuse = |message| Err(ServiceError::new(Code::InvalidArgument, message));
    if sizes.len() > MAX_SIZES {
        return refuse(format!("sizes: at most {MAX_SIZES}, found {}", sizes.len()));
    }
    match sizes.iter().find(|px| !SIZES_PX.contains(px)) {
        None => Ok(()),
        Some(px) => refuse(format!(
            "sizes: expected {} to {}, found {px}",
            SIZES_PX.start(),
            SIZES_PX.end()
        )),
    }
}

/// How the service runs.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Compute threads.
    pub workers: usize,
    /// Requests that pass the network together, at most.
    pub batch: usize,
    /// Requests that may wait for one.
    pub max_queued: usize,
    /// The largest request in bytes.
    pub max_message_bytes: usize,
    /// Time for running requests to end at shutdown.
    pub drain_timeout: Duration,
    /// TLS and tokens.
    pub security: SecurityConfig,
}

/// Serves until SIGTERM or SIGINT. `open` reads the network after the address is bound, so that a port
/// in use is known at once. Writes `listening on ADDRESS` to standard output when it is ready.
///
/// # Errors
/// A port in use, an address that is not secured as it must be, and what `open` returns.
pub async fn serve(
    options: ServeOptions,
    open: impl FnOnce() -> AnyResult<(Pipeline, ViewOptions)>,
) -> AnyResult<()> {
    let stop = shutdown_signal()?;
    let security = Security::open(&options.security)?;
    let server = Server::bind(&options.listen).await?.secured(security)?;
    let (pipeline, view_options) = open()?;
    let encoder = Encoder::start(
        &pipeline,
        &view_options,
        options.workers,
        options.batch,
        options.max_queued,
    )?;
    tracing::info!(spec = %encoder.spec().hash(), workers = options.workers, "ready");
    let routes = grpc::routes(Arc::new(encoder), options.max_message_bytes);
    server.announce()?;
    server.serve(routes, &grpc::SERVICE_NAMES, options.drain_timeout, stop).await
}
