//! Certificates for tests; the tests of other rooms take in this file, too.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

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
        self.write_issued(folder, name, local()?)
    }

    /// [`Authority::issue`] for a certificate that ends at `end`, to the second.
    #[allow(dead_code, reason = "not every room asks for it")]
    pub fn issue_until(
        &self,
        folder: &Path,
        name: &str,
        end: SystemTime,
    ) -> Result<(PathBuf, PathBuf)> {
        let mut params = local()?;
        params.not_after = end.into();
        self.write_issued(folder, name, params)
    }

    /// [`Authority::issue`] for a client with this common name, and these DNS names and URIs (with
    /// `://`).
    #[allow(dead_code, reason = "not every room asks for it")]
    pub fn issue_named(
        &self,
        folder: &Path,
        name: &str,
        common: &str,
        names: &[&str],
    ) -> Result<(PathBuf, PathBuf)> {
        let mut params = CertificateParams::new(vec![])?;
        params.distinguished_name.push(DnType::CommonName, common);
        for name in names {
            let text = (*name).try_into()?;
            let uri = name.contains("://");
            params.subject_alt_names.push(if uri {
                SanType::URI(text)
            } else {
                SanType::DnsName(text)
            });
        }
        self.write_issued(folder, name, params)
    }

    fn write_issued(
        &self,
        folder: &Path,
        name: &str,
        params: CertificateParams,
    ) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        let files = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem())?;
        std::fs::write(&files.1, key.serialize_pem())?;
        Ok(files)
    }
}

fn local() -> Result<CertificateParams> {
    Ok(CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?)
}
