//! One call to a running server.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use ocelli_proto::status::{describe, root_cause};
use ocelli_proto::tonic::service::interceptor::InterceptedService;
use ocelli_proto::tonic::{Code, Request, Response, Status};
use ocelli_service::client::{ClientSecurity, SecureChannel};
use ocelli_service::role::runtime;

/// Which server is asked, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct RemoteArgs {
    /// The searcher to ask.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:7070")]
    server: String,
    /// PEM file of the authorities that may have signed the certificate of an https:// server.
    #[arg(long, global = true, value_name = "FILE", env = "OCELLI_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// PEM file of a certificate to show to the server.
    #[arg(long, global = true, value_name = "FILE", env = "OCELLI_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, global = true, value_name = "FILE", env = "OCELLI_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// File that holds a token to show to the server, in one line.
    #[arg(long, global = true, value_name = "FILE", env = "OCELLI_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How long to wait for the answer, in milliseconds.
    #[arg(long, global = true, value_name = "MS", default_value_t = 60_000)]
    timeout_ms: u64,
}

/// A request that carries the time that its client waits.
pub fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

impl RemoteArgs {
    /// Connects (to `http://HOST:PORT`, `https://HOST:PORT`, or `HOST:PORT`), calls, and waits for
    /// the answer: all of it within the timeout, which the call gets, too.
    ///
    /// # Errors
    /// One line: the address that cannot be reached and why, or the server's status and message.
    pub fn ask<T>(
        &self,
        call: impl AsyncFnOnce(SecureChannel, Duration) -> Result<Response<T>, Status>,
    ) -> Result<T> {
        let timeout = Duration::from_millis(self.timeout_ms);
        let url = match self.server.contains("://") {
            true => self.server.clone(),
            false => format!("http://{}", self.server),
        };
        let (endpoint, bearer) = self.security().endpoint(&url).context("server")?;
        let runtime =
            runtime(|| tokio::runtime::Builder::new_current_thread().enable_all().build())?;
        let begun = Instant::now();
        let too_late =
            || anyhow!("the server at {url} did not answer within {} ms", timeout.as_millis());
        let ask = async {
            let channel = endpoint.connect().await.map_err(|error| {
                anyhow!("cannot reach the server at {url}: {}", root_cause(&error))
            })?;
            match call(InterceptedService::new(channel, bearer), timeout).await {
                Ok(response) => Ok(response.into_inner()),
                // tonic's timer, a moment faster than ours.
                Err(status)
                    if status.code() == Code::Cancelled && begun.elapsed() * 2 > timeout =>
                {
                    Err(too_late())
                }
                // A server that wants a certificate ends a connection without one.
                Err(status) if status.code() == Code::Cancelled => Err(anyhow!(
                    "the server at {url} ended the connection; it may want a client certificate \
                     (--tls-cert, --tls-key)"
                )),
                Err(status) => match status.source() {
                    Some(source) => Err(anyhow!("the server at {url}: {}", root_cause(source))),
                    None => Err(anyhow!("the server at {url}: {}", describe(&status))),
                },
            }
        };
        runtime.block_on(async {
            match tokio::time::timeout(timeout, ask).await {
                Ok(answer) => answer,
                Err(_) => Err(too_late()),
            }
        })
    }

    fn security(&self) -> ClientSecurity {
        let path = |given: &Option<PathBuf>| given.clone().unwrap_or_default();
        ClientSecurity {
            tls_ca: path(&self.tls_ca),
            tls_cert: path(&self.tls_cert),
            tls_key: path(&self.tls_key),
            token_file: path(&self.token_file),
        }
    }
}
