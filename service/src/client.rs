//! Connects to a server: with or without TLS, a client certificate and a bearer token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::role::read_at_most;
use crate::security::files::{self, Watched};

/// The largest certificate, key or token file in bytes. A larger file is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The files for a connection. An empty path means that there is no file.
#[derive(Clone, Debug, Default)]
pub struct ClientSecurity {
    /// PEM file of the authorities that may have signed the server's certificate; demanded by
    /// https.
    pub tls_ca: PathBuf,
    /// PEM file of a certificate of the client's own, with its chain.
    pub tls_cert: PathBuf,
    /// PEM file of its private key.
    pub tls_key: PathBuf,
    /// File that holds a bearer token, in one line.
    pub token_file: PathBuf,
}

/// A channel that sends a token with each request, if there is one.
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
    /// The server at `url` (`http://HOST:PORT` or `https://HOST:PORT`), and the token for it.
    ///
    /// # Errors
    /// Another scheme, files that do not match the scheme, files that are missing or cannot be
    /// parsed.
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
        let place = self.token_file.display();
        let text = String::from_utf8(read(&self.token_file)?).ok();
        let text = text.with_context(|| format!("{place}: expected a token, found other bytes"))?;
        let token = token(&text).map_err(|error| anyhow!("{place}, {error}"))?;
        // The parser's own message would repeat the token.
        let value = format!("Bearer {token}").parse().ok();
        let mut value: MetadataValue<Ascii> =
            value.with_context(|| format!("{place}: expected a token"))?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

/// The token in a file's text: one line. Only blanks and line ends may follow it.
///
/// # Errors
/// The line and its fault, without any part of the token.
fn token(text: &str) -> Result<&str, String> {
    let mut lines = text.split('\n').map(|line| line.trim_matches([' ', '\t', '\r']));
    let token = lines.next().unwrap_or_default();
    if token.is_empty() {
        return Err("line 1: expected a token, found an empty line".to_owned());
    }
    let odd = |(_, c): &(usize, char)| !c.is_ascii_graphic();
    if let Some((at, c)) = token.chars().enumerate().find(odd) {
        let (at, c) = (at + 1, c.escape_unicode());
        return Err(format!(
            "line 1: expected a token of visible ASCII, found {c} as character {at}"
        ));
    }
    match lines.position(|line| !line.is_empty()) {
        None => Ok(token),
        Some(line) => {
            Err(format!("line {}: expected nothing behind the token of line 1", line + 2))
        }
    }
}

/// A connection that is made when it is first needed, again when it breaks, and again when its
/// files change.
#[derive(Debug)]
pub struct Connection(Watched<SecureChannel>);

impl Connection {
    /// A connection to the server at `url`. Must be called on a tokio runtime, which then drives
    /// the connection.
    ///
    /// # Errors
    /// As [`ClientSecurity::endpoint`].
    pub fn new(url: &str, security: ClientSecurity) -> Result<Connection> {
        let paths = [&security.tls_ca, &security.tls_cert, &security.tls_key, &security.token_file];
        let paths =
            paths.into_iter().filter(|path| !path.as_os_str().is_empty()).cloned().collect();
        for secret in [&security.tls_key, &security.token_file] {
            files::warn_if_readable_by_others(secret);
        }
        let url = url.to_owned();
        Ok(Connection(Watched::open("certificates and token of a client", paths, move |_| {
            let (endpoint, bearer) = security.endpoint(&url)?;
            Ok(InterceptedService::new(endpoint.connect_lazy(), bearer))
        })?))
    }

    /// The present connection.
    pub fn channel(&self) -> SecureChannel {
        SecureChannel::clone(&self.0.get())
    }

    /// Looks at the files each `interval`, for ever. Running calls stay on their connection.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        if self.0.paths().is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(interval).await;
            let this = Arc::clone(&self);
            // A panic was logged; the next look comes.
            let _ = tokio::task::spawn_blocking(move || this.0.look()).await;
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MAX_FILE_BYTES).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_of_visible_characters() {
        for right in ["ocelli_0a", "ocelli_0a\n", "ocelli_0a\r\n", " ocelli_0a \n\n \n"] {
            assert_eq!(token(right), Ok("ocelli_0a"), "{right:?}");
        }
        for (wrong, expected) in [
            ("", "line 1: expected a token, found an empty line"),
            ("\nsecret", "line 1: expected a token, found an empty line"),
            ("secret\n\nmore", "line 3: expected nothing behind the token of line 1"),
            (
                "sec\u{1b}ret",
                "line 1: expected a token of visible ASCII, found \\u{1b} as character 4",
            ),
            ("sec\rret", "line 1: expected a token of visible ASCII, found \\u{d} as character 4"),
            ("sec ret", "line 1: expected a token of visible ASCII, found \\u{20} as character 4"),
            ("secrét", "line 1: expected a token of visible ASCII, found \\u{e9} as character 5"),
        ] {
            assert_eq!(token(wrong), Err(expected.to_owned()), "{wrong:?}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let token_file = folder.path().join("web.token");
        std::fs::write(&token_file, "secret\nsecret\n").expect("a file");
        let security = ClientSecurity { token_file, ..Default::default() };
        let error = security.endpoint("http://127.0.0.1:1").expect_err("two lines");
        let error = format!("{error:#}");
        assert!(error.contains("web.token, line 2: expected nothing"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
