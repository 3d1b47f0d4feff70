//! The client of the encoder service.

use std::error::Error as _;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use ocelli_proto::status::{Code, describe, reason, root_cause};
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use ocelli_proto::v1::encoder_service_client::EncoderServiceClient;
use ocelli_service::client::{Connection, SecureChannel};
use ocelli_service::observe::propagate;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::config::EncoderConfig;
use crate::error::{Error, Result};

/// How long the encoder may take to tell its descriptor spec.
const SPEC_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an image waits for an encoder that still reads its network. After that, its client gets
/// an error and may ask again.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the encoder is asked again whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(200);

/// A connection to one encoder service; made when it is first needed and again whenever it breaks.
#[derive(Clone, Debug)]
pub struct EncoderClient {
    url: String,
    connection: Arc<Connection>,
    timeout: Duration,
    /// Whether the encoder has answered since it was last not ready.
    ready: Arc<AtomicBool>,
}

/// The pause before a waiting image is sent to an overloaded encoder again.
const OVERLOAD_INTERVAL: Duration = Duration::from_millis(50);

impl EncoderClient {
    /// A client of the encoder of `config`, which must have a URL. Must be called on a tokio
    /// runtime.
    ///
    /// # Errors
    /// A malformed URL; certificates or a token that cannot be read.
    pub fn new(config: &EncoderConfig) -> anyhow::Result<EncoderClient> {
        // The connection is lazy: without this check, the first query would find a malformed URL.
        let connection = Connection::new(&config.url, config.security()).context("encoder")?;
        Ok(EncoderClient {
            url: config.url.clone(),
            connection: Arc::new(connection),
            timeout: Duration::from_millis(config.timeout_ms),
            ready: Arc::default(),
        })
    }

    /// Looks at the files of certificates and token each `interval`, for ever.
    pub async fn watch(self, interval: Duration) {
        self.connection.watch(interval).await;
    }

    fn client(&self) -> EncoderServiceClient<SecureChannel> {
        EncoderServiceClient::new(self.connection.channel())
    }

    /// The URL of the encoder.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits while the encoder still reads its network, until `deadline` and [`READY_TIMEOUT`] at
    /// most. Other errors of the encoder show in the next call.
    async fn until_ready(&self, deadline: Option<Instant>) -> Result<()> {
        let patience = Instant::now() + READY_TIMEOUT;
        let end = deadline.map_or(patience, |deadline| deadline.min(patience));
        let mut told = false;
        while !self.ready.load(Ordering::Relaxed) {
            match self.spec().await {
                Err(error) if error.reason == ErrorReason::NotReady => {
                    if Instant::now() + READY_INTERVAL >= end {
                        return Err(error);
                    }
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!(
                            url = self.url,
                            "an image waits: the encoder still reads its network"
                        );
                    }
                    tokio::time::sleep(READY_INTERVAL).await;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// [`EncoderClient::encode`] for one of many images of a request that was admitted. It waits
    /// for an overloaded encoder until `deadline`.
    ///
    /// # Errors
    /// As [`EncoderClient::encode`].
    pub async fn encode_patiently(
        &self,
        image: v1::EncodeRequest,
        deadline: Instant,
    ) -> Result<v1::EncodeResponse> {
        loop {
            match self.encode(image.clone(), Some(deadline)).await {
                Err(error)
                    if error.reason == ErrorReason::Overloaded
                        && Instant::now() + OVERLOAD_INTERVAL < deadline =>
                {
                    tokio::time::sleep(OVERLOAD_INTERVAL).await;
                }
                done => return done,
            }
        }
    }

    /// Encodes one image. The time until `deadline` travels with the request. It waits some seconds
    /// for an encoder that still reads its network.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the encoder cannot be reached, takes longer than configured, or is
    /// not ready yet ([`ErrorReason::NotReady`]: ask again later); [`Code::DeadlineExceeded`];
    /// errors of the encoder, under the same code ([`Code::InvalidArgument`] for bytes that are not
    /// an image).
    pub async fn encode(
        &self,
        image: v1::EncodeRequest,
        deadline: Option<Instant>,
    ) -> Result<v1::EncodeResponse> {
        self.until_ready(deadline).await?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = match left {
            Some(left) if left < self.timeout => Limit { time: left, code: Code::DeadlineExceeded },
            _ => Limit { time: self.timeout, code: Code::Unavailable },
        };
        let mut request = Request::new(image);
        request.set_timeout(limit.time);
        let mut client = self.client();
        let span = tracing::debug_span!("encode", otel.kind = "client");
        let call = async {
            propagate(request.metadata_mut());
            self.answer(limit, client.encode(request)).await
        };
        call.instrument(span).await
    }

    /// The descriptor spec of the encoder.
    ///
    /// # Errors
    /// As [`EncoderClient::encode`].
    pub async fn spec(&self) -> Result<v1::GetSpecResponse> {
        let limit = Limit { time: SPEC_TIMEOUT, code: Code::Unavailable };
        let mut client = self.client();
        self.answer(limit, client.get_spec(v1::GetSpecRequest {})).await
    }

    async fn answer<T>(
        &self,
        limit: Limit,
        call: impl Future<Output = std::result::Result<Response<T>, Status>>,
    ) -> Result<T> {
        match tokio::time::timeout(limit.time, call).await {
            Ok(Ok(response)) => {
                self.ready.store(true, Ordering::Relaxed);
                Ok(response.into_inner())
            }
            Ok(Err(status)) => Err(self.error(limit, &status)),
            Err(_) => Err(self.too_late(limit)),
        }
    }

    fn error(&self, limit: Limit, status: &Status) -> Error {
        if reason(status).0 == ErrorReason::NotReady {
            self.ready.store(false, Ordering::Relaxed);
            let message = format!("the encoder at {} is not ready: {}", self.url, status.message());
            return Error::new(Code::Unavailable, message).because(ErrorReason::NotReady);
        }
        let code = match status.code() {
            // The limit travels with the request: the timer of the encoder, or of tonic, may be a
            // moment faster than ours.
            tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => return self.too_late(limit),
            // A status with a source was made here, for a connection that failed.
            _ if status.source().is_some() => Code::Unavailable,
            // The encoder refuses this server's token; the client cannot change that.
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Code::Internal,
            code => Code::from_grpc(code),
        };
        let message = match code {
            Code::Unavailable => {
                let cause = status.source().map_or_else(|| describe(status), root_cause);
                format!("the encoder at {} cannot be reached: {cause}", self.url)
            }
            _ => format!("the encoder at {}: {}", self.url, describe(status)),
        };
        let error = Error::new(code, message);
        match reason(status).0 {
            ErrorReason::Overloaded => error.because(ErrorReason::Overloaded),
            _ => error,
        }
    }

    fn too_late(&self, limit: Limit) -> Error {
        let ms = limit.time.as_millis();
        let message = format!("the encoder at {} did not answer within {ms} ms", self.url);
        Error::new(limit.code, message)
    }
}

/// How long a call may take, and the code of the error if it takes longer. The code tells whether
/// the client's time is over or the encoder is too slow.
#[derive(Clone, Copy, Debug)]
struct Limit {
    time: Duration,
    code: Code,
}
