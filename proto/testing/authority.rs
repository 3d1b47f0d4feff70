//! Certificates for tests; the tests of other rooms take in this file, too.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority, and certificates of it for this machine.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(Authority(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Writes its own certificate.
    pub fn write(&self, path: PathBuf) -> Result<PathBuf> {
        std::fs::write(&path, self.0.pem())?;
        Ok(path)
    }

    /// Writes a certificate `NAME.pem` and its key `NAME.key`.
    pub fn issue(&self, folder: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let certificate = params.signed_by(&key, &self.0)?;
        let files = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem())?;
        std::fs::write(&files.1, key.serialize_pem())?;
        Ok(files)
    }
}
