//! The end of certificates.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

/// The use of the certificates of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The server's own certificate and its chain.
    Server,
    /// The authorities of clients.
    ClientCa,
}

impl Purpose {
    /// The label in metrics and logs.
    pub(super) fn label(self) -> &'static str {
        match self {
            Purpose::Server => "server",
            Purpose::ClientCa => "client_ca",
        }
    }
}

/// The end of the certificate of a file that ends first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) purpose: Purpose,
    pub(super) file: PathBuf,
    /// The end in Unix seconds.
    pub(super) at: i64,
}

impl End {
    /// The earliest end of `certificates`, which are in `file`. `None` if no end can be read: TLS
    /// itself checks whether a certificate is valid.
    pub(super) fn first(
        purpose: Purpose,
        certificates: &[CertificateDer<'_>],
        file: &Path,
    ) -> Option<End> {
        let end = |certificate: &CertificateDer<'_>| {
            let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
            Some(parsed.validity().not_after.timestamp())
        };
        let at = certificates.iter().filter_map(end).min()?;
        Some(End { purpose, file: file.to_owned(), at })
    }
}
