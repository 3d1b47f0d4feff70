//! The configuration of the server; `default.toml` documents every key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use ocelli_index::MAX_DIFFUSION_CANDIDATES;
use ocelli_service::client::ClientSecurity;
use ocelli_service::connections::ConnectionsConfig;
use ocelli_service::observe::{MetricsConfig, TracesConfig};
use ocelli_service::role::{self, LogConfig};
use ocelli_service::security::SecurityConfig;
use serde::Deserialize;

/// The commented default configuration, as `ocelli-searcher config` prints it.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// Prefix of the environment variables, without the underscore that follows it.
pub const ENV_PREFIX: &str = "OCELLI_SEARCHER";

/// The largest number of search threads: more than any machine needs, fewer than it can start.
const MAX_THREADS: usize = 1024;

/// The longest time limit: a day.
const MAX_TIME_MS: u64 = 86_400_000;

/// The configuration of the server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: String,
    /// Search threads; 0 is one per core.
    pub threads: usize,
    /// Queries that may wait for a search thread.
    pub max_queued: usize,
    /// How long a query may wait for a search thread, in milliseconds.
    pub max_queue_ms: u64,
    /// The longest time of a request, in milliseconds.
    pub max_time_ms: u64,
    /// The largest k that a request may have.
    pub max_k: u32,
    /// The k of a request without one.
    pub default_k: u32,
    /// The nprobe of a request without one.
    pub default_nprobe: u32,
    /// The number of candidates scored again for a request without one, if the index has finer
    /// codes.
    pub default_refine_candidates: u32,
    /// The largest number of candidates scored again.
    pub max_refine_candidates: u32,
    /// The most queries of a batch, and images of `GetVectors`.
    pub max_batch: usize,
    /// The most hits of a range search.
    pub max_range_hits: u32,
    /// The most bytes of the attributes of a range search's hits, in memory.
    pub max_range_bytes: usize,
    /// The most names in each set of a filter.
    pub max_filter_names: usize,
    /// The most hits that go into an expanded query.
    pub max_expansion_k: u32,
    /// The most hits that a diffusion ranks.
    pub max_diffusion_candidates: u32,
    /// Queries of one stream that are answered at a time.
    pub max_stream_queries: usize,
    /// Requests of one connection that are answered at a time.
    pub max_concurrent_requests: u32,
    /// The largest message in bytes, request or answer.
    pub max_message_bytes: usize,
    /// A request that takes this long or longer is logged as slow, in milliseconds; 0: none is.
    pub slow_query_ms: u64,
    /// The time for running requests to end at shutdown, in milliseconds.
    pub drain_timeout_ms: u64,
    /// The time between two looks for another current generation, in milliseconds; 0: never.
    pub watch_ms: u64,
    /// Whether all bytes of a generation are read and checked before it answers.
    pub warm: bool,
    /// Index directories by name.
    pub indexes: BTreeMap<String, PathBuf>,
    /// The encoder service.
    pub encoder: EncoderConfig,
    /// Limits of connections and bodies.
    pub connections: ConnectionsConfig,
    /// TLS and tokens.
    pub security: SecurityConfig,
    /// The endpoint for Prometheus.
    pub metrics: MetricsConfig,
    /// Traces.
    pub traces: TracesConfig,
    /// Logs.
    pub log: LogConfig,
}

/// The encoder service for queries by image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// The encoder's address as an http or https URL; empty for none.
    pub url: String,
    /// How long one image may take, in milliseconds.
    pub timeout_ms: u64,
    /// PEM file of the authorities that may have signed the encoder's certificate.
    pub tls_ca: PathBuf,
    /// PEM file of the certificate for the encoder.
    pub tls_cert: PathBuf,
    /// PEM file of that certificate's key.
    pub tls_key: PathBuf,
    /// File with the token for the encoder.
    pub token_file: PathBuf,
}

impl EncoderConfig {
    /// The files for the connection to the encoder.
    pub fn security(&self) -> ClientSecurity {
        ClientSecurity {
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            token_file: self.token_file.clone(),
        }
    }
}

impl Config {
    /// Reads the defaults, `file` and the environment (`OCELLI_SEARCHER_…`), in this order.
    ///
    /// # Errors
    /// A missing file, unknown keys, values of the wrong type; the message names layer and key.
    pub fn load(file: Option<&Path>) -> Result<Config> {
        role::load_config(DEFAULT_TOML, file, ENV_PREFIX)
    }

    /// Checks the ranges of the values, and that there is an index to serve.
    ///
    /// # Errors
    /// The first value that is out of range, with the range.
    pub fn check(&self) -> Result<()> {
        ensure!(
            !self.indexes.is_empty(),
            "no index to serve: give --index NAME=DIR, or [indexes] in the configuration file"
        );
        for name in self.indexes.keys() {
            check_index_name(name)?;
        }
        ensure!(
            self.threads <= MAX_THREADS,
            "threads is {}; expected at most {MAX_THREADS}",
            self.threads
        );
        ensure!(self.max_message_bytes >= 1, "max_message_bytes is 0; expected at least 1");
        ensure!(self.max_k >= 1, "max_k is {}; expected at least 1", self.max_k);
        ensure!(
            (1..=self.max_k).contains(&self.default_k),
            "default_k is {}; expected 1 to max_k, {}",
            self.default_k,
            self.max_k
        );
        let at_least_one = [
            ("max_queue_ms", self.max_queue_ms),
            ("max_time_ms", self.max_time_ms),
            ("max_batch", self.max_batch as u64),
            ("max_range_hits", self.max_range_hits.into()),
            ("max_range_bytes", self.max_range_bytes as u64),
            ("max_expansion_k", self.max_expansion_k.into()),
            ("max_diffusion_candidates", self.max_diffusion_candidates.into()),
            ("max_stream_queries", self.max_stream_queries as u64),
            ("max_concurrent_requests", self.max_concurrent_requests.into()),
        ];
        for (name, value) in at_least_one {
            ensure!(value >= 1, "{name} is 0; expected at least 1");
        }
        ensure!(
            self.max_time_ms <= MAX_TIME_MS,
            "max_time_ms is {}; expected at most {MAX_TIME_MS}",
            self.max_time_ms
        );
        ensure!(self.default_nprobe >= 1, "default_nprobe is 0; expected at least 1");
        ensure!(
            self.default_refine_candidates <= self.max_refine_candidates,
            "default_refine_candidates is {}; expected at most max_refine_candidates, {}",
            self.default_refine_candidates,
            self.max_refine_candidates
        );
        ensure!(
            self.max_diffusion_candidates as usize <= MAX_DIFFUSION_CANDIDATES,
            "max_diffusion_candidates is {}; expected at most {MAX_DIFFUSION_CANDIDATES}",
            self.max_diffusion_candidates
        );
        self.connections.check()?;
        ensure!(self.encoder.timeout_ms >= 1, "encoder.timeout_ms is 0; expected at least 1");
        Ok(())
    }
}

/// Checks that an index name can be written in every layer of the configuration.
///
/// # Errors
/// A name that is empty or has other characters than ASCII letters, digits, `-` and `_`.
pub fn check_index_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ensure!(
        !name.is_empty() && name.bytes().all(fits),
        "index name {name:?}: expected letters, digits, '-' and '_'"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use ocelli_index::{Diffusion, Expansion};
    use ocelli_proto::limits::{
        DEFAULT_MAX_MESSAGE_BYTES, IMAGE_SIZES_PX, MAX_EXPANSION_ROUNDS, MAX_IMAGE_SIZES, MAX_TERMS,
    };
    use ocelli_text::thousands;

    use super::*;

    #[test]
    fn the_default_file_is_complete_and_only_lacks_an_index() -> Result<()> {
        let mut config: Config =
            role::load_config_from(DEFAULT_TOML, None, ENV_PREFIX, std::iter::empty())?;
        let error = config.check().expect_err("nothing to serve");
        assert!(error.to_string().contains("--index"), "{error}");
        config.indexes.insert("paris".into(), "/x".into());
        config.check()?;
        assert_eq!(config.connections, ConnectionsConfig::default());
        assert_eq!(config.max_message_bytes, DEFAULT_MAX_MESSAGE_BYTES);
        config.default_k = config.max_k + 1;
        assert!(config.check().is_err());
        config.default_k = 1;
        config.default_refine_candidates = config.max_refine_candidates + 1;
        assert!(config.check().is_err());
        Ok(())
    }

    /// Comments of the wire contract name limits and defaults: they are the numbers of the default
    /// file and of the code. Each line here is a piece of a comment.
    #[test]
    fn the_wire_contract_names_the_numbers_of_the_code() -> Result<()> {
        let c: Config = role::load_config_from(DEFAULT_TOML, None, ENV_PREFIX, [])?;
        let (d, n) = (Diffusion::DEFAULT, |number: u32| thousands(number.into()));
        let sizes = IMAGE_SIZES_PX;
        let pieces = [
            format!("1 to the server's maximum ({} unless configured)", n(c.max_k)),
            format!("the server's default ({} unless configured)", c.default_k),
            format!("of its own ({} unless configured)", n(c.max_range_hits)),
            format!("the server's default ({} unless configured)", c.default_nprobe),
            format!("0 to the server's maximum ({} unless", n(c.max_refine_candidates)),
            format!("the server's default ({} unless", c.default_refine_candidates),
            format!("At most {} names unless configured", thousands(c.max_filter_names as u64)),
            format!("maximum ({} unless configured)", thousands(c.max_batch as u64)),
            format!("{} s unless configured", c.max_time_ms / 1000),
            format!("{} MiB unless configured", c.max_message_bytes >> 20),
            format!("{} unless configured", c.max_stream_queries),
            format!("at least 1, at most {MAX_TERMS}"),
            format!("({} unless configured). 0: {}.", c.max_expansion_k, Expansion::DEFAULT_K),
            format!("0 to 100. Absent: {}.", Expansion::DEFAULT_ALPHA),
            format!("1 to {MAX_EXPANSION_ROUNDS}. 0: {}.", Expansion::DEFAULT_ROUNDS),
            format!("({} unless configured)", n(c.max_diffusion_candidates)),
            format!("0: {}.", d.candidates),
            format!("graph. 0: {}.", d.neighbours),
            format!("begins. 0: {}.", d.query_neighbours),
            format!("0 to 100. Absent: {}.", d.gamma),
            format!("less than 1. Absent: {}.", d.alpha),
            format!("{} to {} each, at most {MAX_IMAGE_SIZES}.", sizes.start(), sizes.end()),
        ];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto/ocelli/v1");
        let mut comments = String::new();
        for file in ["search.proto", "expansion.proto", "diffusion.proto", "encoder.proto"] {
            for line in std::fs::read_to_string(folder.join(file))?.lines() {
                comments += line.trim().trim_start_matches("//");
            }
        }
        for piece in pieces {
            assert!(comments.contains(&piece), "no comment says {piece:?}");
        }
        Ok(())
    }
}
