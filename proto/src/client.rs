//! How a client reaches a server: plainly or by TLS, with a certificate of its own, with a bearer token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::role::read_at_most;
use crate::security::files::Watched;

/// Largest certificate, key or token file in bytes; a larger one is a wrong name.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What a client trusts and shows. Empty paths stand for nothing.
#[derive(Clone, Debug, Default)]
pub struct ClientSecurity {
    /// PEM file of the authorities that may have signed the server's certificate; demanded by https.
    pub tls_ca: PathBuf,
    /// PEM file of a certificate of the client's own, with its chain.
    pub tls_cert: PathBuf,
    /// PEM file of its private key.
    pub tls_key: PathBuf,
    /// File whose first line is a bearer token.
    pub token_file: PathBuf,
}

/// A channel that shows a token, where there is one.
pub type SecureChannel = InterceptedService<Channel, Bearer>;

/// Puts the token into every request.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Bearer(…)" } else { "Bearer(none)" })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl ClientSecurity {
    /// The server at `url` (`http://HOST:PORT` or `https://HOST:PORT`), and the token to show there.
    ///
    /// # Errors
    /// Another scheme, files that do not go with it, files that are missing or hold something else.
    pub fn endpoint(&self, url: &str) -> Result<(Endpoint, Bearer)> {
        let place = || format!("{url:?}: expected http://HOST:PORT or https://HOST:PORT");
        let tls = url.starts_with("https://");
        ensure!(tls || url.starts_with("http://"), place());
        let given = |path: &PathBuf| !path.as_os_str().is_empty();
        let any = given(&self.tls_ca) || given(&self.tls_cert) || given(&self.tls_key);
        ensure!(tls || !any, "{url:?} is not encrypted: expected https:// beside certificates");
        ensure!(
            given(&self.tls_cert) == given(&self.tls_key),
            "expected a client's certificate and its key, or neither"
        );
        let mut endpoint =
            Endpoint::from_shared(url.to_owned()).with_context(place)?.tcp_nodelay(true);
        if tls {
            ensure!(
                given(&self.tls_ca),
                "{url:?}: expected a file of the authorities that may have signed its certificate"
            );
            let authorities = Certificate::from_pem(read(&self.tls_ca)?);
            let mut config = ClientTlsConfig::new().ca_certificate(authorities);
            if given(&self.tls_cert) {
                let identity = Identity::from_pem(read(&self.tls_cert)?, read(&self.tls_key)?);
                config = config.identity(identity);
            }
            endpoint = endpoint.tls_config(config).with_context(|| format!("TLS to {url}"))?;
        }
        Ok((endpoint, self.bearer()?))
    }

    fn bearer(&self) -> Result<Bearer> {
        if self.token_file.as_os_str().is_empty() {
            return Ok(Bearer(None));
        }
        let expected = || format!("{}: expected a token", self.token_file.display());
        let text = String::from_utf8(read(&self.token_file)?).ok().with_context(expected)?;
        let token = text.lines().next().unwrap_or_default().trim();
        ensure!(!token.is_empty(), expected());
        // The parser's own message would repeat the token.
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().ok().with_context(expected)?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

/// A connection that is made when it is first needed, again whenever it breaks, and anew when the files behind it
/// change.
#[derive(Debug)]
pub struct Connection(Watched<SecureChannel>);

impl Connection {
    /// To the server at `url`. Called on a tokio runtime, which the connection will live on.
    ///
    /// # Errors
    /// As [`ClientSecurity::endpoint`].
    pub fn new(url: &str, security: ClientSecurity) -> Result<Connection> {
        let paths = [&security.tls_ca, &security.tls_cert, &security.tls_key, &security.token_file];
        let paths =
            paths.into_iter().filter(|path| !path.as_os_str().is_empty()).cloned().collect();
        let url = url.to_owned();
        Ok(Connection(Watched::open("certificates and token of a client", paths, move |_| {
            let (endpoint, bearer) = security.endpoint(&url)?;
            Ok(InterceptedService::new(endpoint.connect_lazy(), bearer))
        })?))
    }

    /// The connection as it is at present.
    pub fn channel(&self) -> SecureChannel {
        SecureChannel::clone(&self.0.get())
    }

    /// Looks at the files each `interval` for ever. Calls that run go on where they began.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        if self.0.paths().is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(interval).await;
            let this = Arc::clone(&self);
            // A panic in there was logged; the next look comes.
            let _ = tokio::task::spawn_blocking(move || this.0.look()).await;
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MAX_FILE_BYTES).with_context(|| format!("cannot read {}", path.display()))
}
