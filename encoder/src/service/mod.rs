//! The encoder service: one image in, one descriptor out.
//!
//! [`Encoder`] holds the compute threads and the queue before them; [`grpc`] is the thin adapter to
//! `ocelli.v1.EncoderService`; [`serve`] runs both until it is told to stop.

pub mod grpc;
mod metrics;
mod pool;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result as AnyResult;
use ocelli_index::{DescriptorSpec, ErrorCode};
use ocelli_proto::connections::{Connections, ConnectionsConfig};
use ocelli_proto::observe::{Endpoint, MetricsConfig, Rpc};
use ocelli_proto::security::{Security, SecurityConfig};
use ocelli_proto::server::{Server, shutdown_signal};
use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::pipeline::Pipeline;
use crate::views::{ImageError, PixelBox, ViewOptions};
pub use metrics::Metrics;
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
    /// The same for programs.
    pub reason: ErrorReason,
    /// The field of the request that is to blame; empty if none is.
    pub field: &'static str,
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
        ServiceError { code, message: message.into(), reason, field: "" }
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
            ImageError::Box { .. } => ServiceError::field("box", message),
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
    stopping: watch::Sender<bool>,
}

/// How an [`Encoder`] runs.
#[derive(Clone, Copy, Debug)]
pub struct EncoderOptions {
    /// Compute threads.
    pub workers: usize,
    /// Requests that pass the network together, at most.
    pub batch: usize,
    /// Requests that may wait for a thread.
    pub max_queued: usize,
    /// Images of one stream that are answered at a time.
    pub max_stream_images: usize,
}

impl Encoder {
    /// Starts the threads, each with a pipeline of its own over the same weights, and a queue before them.
    /// A thread that takes a request takes along what else waits, up to a batch in all; those of equal shape
    /// pass the network together.
    ///
    /// # Errors
    /// `Torch` if the pipeline cannot be cloned; `Invalid` without a worker or a thread.
    pub fn start(
        pipeline: &Pipeline,
        view_options: &ViewOptions,
        options: EncoderOptions,
    ) -> crate::Result<Self> {
        let metrics = Metrics::new(options.workers);
        let pool = Pool::start(pipeline, view_options, options, &metrics)?;
        Ok(Encoder {
            pool,
            metrics,
            spec: pipeline.spec().clone(),
            max_stream_images: options.max_stream_images.max(1),
            stopping: watch::Sender::new(false),
        })
    }

    /// Ends the reading of streams: what was read is still answered.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether the service wants traffic.
    #[must_use]
    pub fn ready(&self) -> bool {
        !*self.stopping.borrow()
    }

    /// Counters and times of images.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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
        let result = match (check_sizes(&request.sizes), time_left) {
            (Err(error), _) => Err(error),
            (Ok(()), None) => self.pool.run(request).await,
            (Ok(()), Some(limit)) => {
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
}

fn check_sizes(sizes: &[u32]) -> Result<(), ServiceError> {
    let refuse = |message| Err(ServiceError::field("sizes", message));
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
    /// Threads, batches and queue.
    pub encoder: EncoderOptions,
    /// The largest request in bytes.
    pub max_message_bytes: usize,
    /// Time for running requests to end at shutdown.
    pub drain_timeout: Duration,
    /// The endpoint for Prometheus.
    pub metrics: MetricsConfig,
    /// What is taken in of connections and bodies.
    pub connections: ConnectionsConfig,
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
    let certificates = security.certificates();
    let connections = Connections::new(&options.connections, options.max_message_bytes)?;
    let server = Server::bind(&options.listen).await?.secured(security)?;
    let endpoint = Endpoint::bind(&options.metrics).await?;
    let (pipeline, view_options) = open()?;
    let encoder = Arc::new(Encoder::start(&pipeline, &view_options, options.encoder)?);
    tracing::info!(spec = %encoder.spec().hash(), device = %pipeline.network().device(), workers = options.encoder.workers, "ready");
    let mut registry = Registry::default();
    let rpc = Rpc::register(&mut registry);
    encoder.metrics().register(&mut registry);
    registry.register_collector(Box::new(certificates));
    if let Some(endpoint) = endpoint {
        let encoder = Arc::clone(&encoder);
        let connections = connections.clone();
        tokio::spawn(endpoint.serve(registry, connections, move || encoder.ready()));
    }
    let routes = grpc::routes(Arc::clone(&encoder), options.max_message_bytes);
    let stop = async {
        stop.await;
        encoder.stop();
    };
    server.announce()?;
    let server = server.observed(rpc, None).limited(connections);
    server.serve(routes, &grpc::SERVICE_NAMES, options.drain_timeout, stop).await
}
