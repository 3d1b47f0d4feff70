//! The client of the encoder service.

use std::error::Error as _;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use ocelli_proto::client::{Connection, SecureChannel};
use ocelli_proto::observe::propagate;
use ocelli_proto::status::{Code, describe, root_cause};
use ocelli_proto::v1;
use ocelli_proto::v1::encoder_service_client::EncoderServiceClient;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::config::EncoderConfig;
use crate::error::{Error, Result};

/// How long the encoder may take to say what it makes.
const SPEC_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one encoder service; made when it is first needed and again whenever it breaks.
#[derive(Clone, Debug)]
pub struct EncoderClient {
    url: String,
    connection: Arc<Connection>,
    timeout: Duration,
}

impl EncoderClient {
    /// A client of the encoder that is configured, which has a URL. Called on a tokio runtime.
    ///
    /// # Errors
    /// A malformed URL; certificates or a token that cannot be read.
    pub fn new(config: &EncoderConfig) -> anyhow::Result<EncoderClient> {
        // The connection is lazy: a URL without its scheme would otherwise be noticed by the first query.
        let connection = Connection::new(&config.url, config.security()).context("encoder")?;
        Ok(EncoderClient {
            url: config.url.clone(),
            connection: Arc::new(connection),
            timeout: Duration::from_millis(config.timeout_ms),
        })
    }

    /// Looks at certificates and token each `interval` for ever.
    pub async fn watch(self, interval: Duration) {
        self.connection.watch(interval).await;
    }

    fn client(&self) -> EncoderServiceClient<SecureChannel> {
        EncoderServiceClient::new(self.connection.channel())
    }

    /// Where the encoder is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has one image encoded; what is left until `deadline` travels with it.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if the encoder cannot be reached or takes longer than configured;
    /// [`Code::DeadlineExceeded`]; what the encoder itself reports, under the same code
    /// ([`Code::InvalidArgument`] for no image).
    pub async fn encode(
        &self,
        image: v1::EncodeRequest,
        deadline: Option<Instant>,
    ) -> Result<v1::EncodeResponse> {
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

    /// What the encoder makes.
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
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.error(limit, &status)),
            Err(_) => Err(self.too_late(limit)),
        }
    }

    fn error(&self, limit: Limit, status: &Status) -> Error {
        let code = match status.code() {
            // The limit travels with the request: the other side's timer, or tonic's, may be a moment
            // faster than ours.
            tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => return self.too_late(limit),
            // A source means that the status was made here, from a connection that failed.
            _ if status.source().is_some() => Code::Unavailable,
            // It is this server's token that is refused: whoever asks can do nothing about it.
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
        Error::new(code, message)
    }

    fn too_late(&self, limit: Limit) -> Error {
        let ms = limit.time.as_millis();
        let message = format!("the encoder at {} did not answer within {ms} ms", self.url);
        Error::new(limit.code, message)
    }
}

/// How long a call may take, and what it is called when it takes longer: it matters whether the client's
/// time is over or the encoder is slower than it may be.
#[derive(Clone, Copy, Debug)]
struct Limit {
    time: Duration,
    code: Code,
}
