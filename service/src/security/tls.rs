//! TLS for a listening socket, with certificates that can be replaced while it serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::end::{End, Purpose};
use super::files::{self, Watched};
use crate::connections::{Cause, Connections, Guarded};
use crate::linger::Lingering;

/// The least time that a handshake may take, however many other clients come.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(1);

/// The most handshakes at a time. A further client takes the place of a handshake that takes longer
/// than [`HANDSHAKE_PATIENCE`]; until there is one, it waits in the system's queue.
pub(super) const MAX_HANDSHAKES: usize = 256;

/// A connection after its handshake. [`Lingering`] is below TLS, because bytes after the end of TLS
/// belong to no message.
pub(crate) type Secured = Guarded<TlsStream<Lingering>>;

/// The parsed files of TLS.
pub(crate) struct Served {
    config: Arc<ServerConfig>,
    /// The ends of the certificates.
    pub(super) ends: Vec<End>,
}

/// The files of TLS, watched.
pub(crate) type Tls = Watched<Served>;

/// Reads the server's certificate with its chain, its private key, and, if client certificates are
/// demanded, their authorities. All files are PEM.
///
/// # Errors
/// A file that is missing or holds something else; a key that is not the certificate's.
pub(super) fn open(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Tls> {
    let paths: Vec<PathBuf> =
        [Some(cert), Some(key), client_ca].into_iter().flatten().map(Path::to_owned).collect();
    files::warn_if_readable_by_others(key);
    let names = paths.clone();
    Watched::open("certificates", paths, move |contents| served(&names, contents))
}

fn served(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<Served> {
    let mut files = paths.iter().map(PathBuf::as_path).zip(contents);
    let (cert_path, cert) = files.next().context("no certificate")?;
    let (key_path, key) = files.next().context("no key")?;
    let chain = certificates(cert, cert_path)?;
    let mut ends = Vec::from_iter(End::first(Purpose::Server, &chain, cert_path));
    // The parser's own message might quote the key.
    let key = PrivateKeyDer::from_pem_slice(key)
        .ok()
        .with_context(|| format!("{}: expected a private key in PEM", key_path.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS 1.2 and 1.3")?;
    let builder = match files.next() {
        None => builder.with_no_client_auth(),
        Some((path, authorities)) => {
            let place = || path.display().to_string();
            let mut roots = RootCertStore::empty();
            let authorities = certificates(authorities, path)?;
            ends.extend(End::first(Purpose::ClientCa, &authorities, path));
            for certificate in authorities {
                roots.add(certificate).with_context(place)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().with_context(place)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).with_context(|| {
        format!("certificate {} with the key {}", cert_path.display(), key_path.display())
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Served { config: Arc::new(config), ends })
}

fn certificates(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let found = found.with_context(|| path.display().to_string())?;
    ensure!(!found.is_empty(), "{}: expected certificates in PEM, found none", path.display());
    Ok(found)
}

/// The connections to `listener` after their handshakes, with the certificates of that moment.
/// Accepting ends when the stream is dropped. A slow or failing client does not delay others.
pub(crate) fn incoming(
    tls: Arc<Tls>,
    listener: TcpListener,
    connections: Connections,
) -> ReceiverStream<io::Result<Secured>> {
    let (ready, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        tokio::select! {
            () = accept(&tls, &listener, &connections, &ready) => {}
            () = ready.closed() => {}
        }
    });
    ReceiverStream::new(incoming)
}

async fn accept(
    tls: &Tls,
    listener: &TcpListener,
    connections: &Connections,
    ready: &mpsc::Sender<io::Result<Secured>>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let wanted = Arc::new(Notify::new());
    loop {
        let (socket, peer, place) = connections.door().accept(listener).await;
        let handshake = match Arc::clone(&handshakes).try_acquire_owned() {
            Ok(handshake) => handshake,
            Err(_) => {
                // Wakes the first handshake that has taken too long, or the first that will.
                wanted.notify_one();
                let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await else { return };
                handshake
            }
        };
        let shaking =
            TlsAcceptor::from(Arc::clone(&tls.get().config)).accept(Lingering::new(socket));
        let (ready, wanted) = (ready.clone(), Arc::clone(&wanted));
        let connections = connections.clone();
        tokio::spawn(async move {
            let crowded_out = async {
                tokio::time::sleep(HANDSHAKE_PATIENCE).await;
                wanted.notified().await;
            };
            let timeout = tokio::time::sleep(connections.handshake_timeout());
            let shaken = tokio::select! {
                shaken = shaking => shaken,
                () = timeout => Err(io::ErrorKind::TimedOut.into()),
                () = crowded_out => Err(io::Error::other("others need its place")),
            };
            drop(handshake);
            match shaken {
                Ok(stream) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let certificates = certificates.map(|chain| Arc::new(chain.to_vec()));
                    let stream = Guarded::new(stream, peer, certificates, place, &connections);
                    // An error means that the server has ended.
                    let _ = ready.send(Ok(stream)).await;
                }
                Err(error) => {
                    tracing::debug!(%peer, %error, "no TLS handshake");
                    place.cut_off(Cause::TlsHandshake, peer);
                }
            }
        });
    }
}
