//! Security of a server: TLS, client certificates and bearer tokens.
//!
//! [`SecurityConfig`] is the table `security` of a role's configuration. A server that other
//! machines reach must have TLS and either tokens or client certificates, unless its configuration
//! has `insecure = true`. All files are watched: new contents are in use without a restart. No
//! token, key or hash of one gets into a log.

mod admins;
mod authorize;
mod end;
mod expiry;
pub(crate) mod files;
mod rate;
mod tls;
mod tokens;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use tonic::service::Routes;

use admins::Admins;
use authorize::Gate;
pub use expiry::Certificates;
use expiry::Reminder;
use files::Watched;
pub(crate) use tls::{Tls, incoming};
use tokens::Tokens;
pub use tokens::{Role, TokenArgs};

/// Table `security` of a role's configuration. An empty path means that there is no file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityConfig {
    /// Whether an address beyond loopback may be served without TLS or without authentication.
    pub insecure: bool,
    /// PEM file of the server's certificate and its chain; empty: no TLS.
    pub tls_cert: PathBuf,
    /// PEM file of the certificate's private key.
    pub tls_key: PathBuf,
    /// PEM file of the authorities that must have signed client certificates; empty: clients need
    /// none.
    pub tls_client_ca: PathBuf,
    /// File of the names in client certificates that give the role `admin`. Empty: without tokens,
    /// no certificate gives it; with tokens, the tokens alone decide.
    pub admins_file: PathBuf,
    /// File of the tokens that the server accepts. Empty, and without client certificates: every
    /// client may do everything.
    pub tokens_file: PathBuf,
    /// The log warns from this many days before the end of a certificate; 0: never.
    pub expiry_warning_days: u32,
    /// The time between two looks at the files, in milliseconds.
    pub reload_interval_ms: u64,
}

const DAY: Duration = Duration::from_secs(86_400);

/// A checked [`SecurityConfig`] with its files read. The default has no security and serves
/// loopback addresses only.
#[derive(Clone, Debug, Default)]
pub struct Security {
    tls: Option<Arc<Tls>>,
    tokens: Option<Arc<Watched<Tokens>>>,
    admins: Option<Arc<Watched<Admins>>>,
    client_certificates: bool,
    insecure: bool,
    expiry_warning: Duration,
    reload_interval: Duration,
}

impl Security {
    /// Reads certificates and tokens.
    ///
    /// # Errors
    /// Settings that contradict each other, a file that is missing or holds something else, a key
    /// that is not the certificate's.
    pub fn open(config: &SecurityConfig) -> Result<Security> {
        let given = |path: &PathBuf| !path.as_os_str().is_empty();
        let [cert, key, client_ca] = [&config.tls_cert, &config.tls_key, &config.tls_client_ca];
        let [admins_file, tokens_file] = [&config.admins_file, &config.tokens_file];
        ensure!(
            given(cert) == given(key),
            "security.tls_cert is {cert:?} and security.tls_key {key:?}; expected both or neither"
        );
        ensure!(
            given(cert) || !given(client_ca),
            "security.tls_client_ca demands client certificates; expected tls_cert and tls_key \
             beside it"
        );
        ensure!(
            given(client_ca) || !given(admins_file),
            "security.admins_file names client certificates; expected tls_client_ca beside it"
        );
        ensure!(
            config.reload_interval_ms >= 1,
            "security.reload_interval_ms is 0; expected at least 1"
        );
        let client_ca = given(client_ca).then_some(client_ca.as_path());
        let open_tls = || Ok::<_, anyhow::Error>(Arc::new(tls::open(cert, key, client_ca)?));
        let open_tokens = || Ok::<_, anyhow::Error>(Arc::new(Tokens::open(tokens_file)?));
        let open_admins = || Ok::<_, anyhow::Error>(Arc::new(Admins::open(admins_file)?));
        Ok(Security {
            tls: given(cert).then(open_tls).transpose()?,
            tokens: given(tokens_file).then(open_tokens).transpose()?,
            admins: given(admins_file).then(open_admins).transpose()?,
            client_certificates: client_ca.is_some(),
            insecure: config.insecure,
            expiry_warning: DAY * config.expiry_warning_days,
            reload_interval: Duration::from_millis(config.reload_interval_ms),
        })
    }

    /// Checks that an address that other machines reach has TLS and a check of its clients.
    ///
    /// # Errors
    /// The message names what is missing, and how to serve without it.
    pub(crate) fn allows(&self, address: SocketAddr) -> Result<()> {
        if self.insecure || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let missing = match (&self.tls, self.tokens.is_some() || self.client_certificates) {
            (Some(_), true) => return Ok(()),
            (None, true) => "TLS (security.tls_cert and tls_key)",
            (Some(_), false) => {
                "tokens (security.tokens_file) or client certificates (security.tls_client_ca)"
            }
            (None, false) => {
                "TLS (security.tls_cert and tls_key) and tokens (security.tokens_file)"
            }
        };
        bail!(
            "{address} can be reached from other machines; expected {missing}, or --insecure \
             (security.insecure = true) where the network itself is trusted"
        );
    }

    /// TLS for [`incoming`]; `None`: connections are plain.
    pub(crate) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// A metric of the ends of the certificates.
    pub fn certificates(&self) -> Certificates {
        Certificates(self.tls.clone())
    }

    /// `routes` behind the check of tokens and client certificates, if there are any.
    pub(crate) fn protect(&self, routes: Routes) -> Routes {
        match Gate::new(self.tokens.clone(), self.client_certificates, self.admins.clone()) {
            None => routes,
            Some(gate) => gate.protect(routes),
        }
    }

    /// Looks at the files from time to time, for ever.
    pub(crate) async fn watch(self) {
        if self.tls.is_none() && self.tokens.is_none() {
            return;
        }
        let mut reminder = Reminder::default();
        loop {
            if let Some(tls) = &self.tls {
                reminder.look(&tls.get().ends, self.expiry_warning);
            }
            tokio::time::sleep(self.reload_interval).await;
            let Security { tls, tokens, admins, .. } = self.clone();
            let look = move || {
                tls.iter().for_each(|files| files.look());
                tokens.iter().for_each(|file| file.look());
                admins.iter().for_each(|file| file.look());
            };
            // A panic was logged; the next look comes.
            let _ = tokio::task::spawn_blocking(look).await;
        }
    }
}
