//! Opens the indexes of a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_index::IndexDir;
use ocelli_proto::v1::ErrorReason;
use tokio::sync::watch;

use super::report::SlowLog;
use super::{Searcher, Slot};
use crate::config::Config;
use crate::encoder_client::EncoderClient;
use crate::pool::Pool;

/// The pause before an encoder that is not ready is asked again.
const NOT_READY_INTERVAL: Duration = Duration::from_secs(1);

impl Searcher {
    /// Opens every index of `config`; this blocks. An index that cannot be opened fails alone, if
    /// another one can be opened. Must be called on a tokio runtime, which then drives the
    /// connection to the encoder.
    ///
    /// # Errors
    /// A configuration out of range; a folder that is not an index directory; no index that can be
    /// opened.
    pub fn open(config: &Config) -> Result<Searcher> {
        config.check()?;
        let indexes = open_indexes(config)?;
        let encoder = match config.encoder.url.as_str() {
            "" => None,
            _ => Some(EncoderClient::new(&config.encoder)?),
        };
        Ok(Searcher {
            indexes,
            encoder,
            config: config.clone(),
            pool: Arc::new(Pool::new(
                config.threads,
                config.max_queued,
                Duration::from_millis(config.max_queue_ms),
            )?),
            metrics: Arc::default(),
            slow: SlowLog::new(config.slow_query_ms),
            in_flight: Arc::default(),
            draining: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
        })
    }

    /// Watches the files of the connection to the encoder, for ever.
    pub async fn watch_encoder(self: Arc<Self>, interval: Duration) {
        if let Some(encoder) = self.encoder.clone() {
            encoder.watch(interval).await;
        }
    }

    /// Asks the encoder for its descriptor spec and logs a warning for every index with another
    /// spec: queries by image would fail there. An encoder that does not answer is a warning, too.
    /// This waits for an encoder that still reads its network.
    pub async fn compare_encoder(&self) {
        let Some(encoder) = &self.encoder else { return };
        let url = encoder.url();
        let mut spec = encoder.spec().await;
        while matches!(&spec, Err(error) if error.reason == ErrorReason::NotReady) {
            tokio::time::sleep(NOT_READY_INTERVAL).await;
            spec = encoder.spec().await;
        }
        let made = match spec {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(url, %error, "the encoder does not answer yet");
                return;
            }
        };
        for index in self.indexes.values().filter_map(Slot::current) {
            let expected = index.spec.to_string();
            if made.spec_hash == expected {
                tracing::info!(
                    url,
                    index = index.name,
                    "the encoder makes this index's descriptors"
                );
            } else {
                tracing::warn!(
                    url,
                    index = index.name,
                    expected,
                    found = made.spec_hash,
                    found_spec = made.spec_text,
                    "THE ENCODER MAKES OTHER DESCRIPTORS THAN THIS INDEX HAS: queries by image fail"
                );
            }
        }
    }
}

/// A slot for each index of `config`.
fn open_indexes(config: &Config) -> Result<BTreeMap<String, Slot>> {
    let mut slots = BTreeMap::new();
    let mut first = None;
    for (name, folder) in &config.indexes {
        let place = || format!("index {name} in {}", folder.display());
        // A wrong path is a mistake in the configuration and ends the start.
        IndexDir::open(folder).with_context(place)?;
        let (slot, error) = Slot::open(name, folder, config.warm);
        if let Some(error) = error {
            tracing::error!(
                index = name,
                folder = %folder.display(),
                %error,
                "the index cannot be opened: its queries fail until its files change"
            );
            first.get_or_insert(anyhow::Error::new(error).context(place()));
        }
        slots.insert(name.clone(), slot);
    }
    match first {
        Some(error) if slots.values().all(|slot| slot.current().is_none()) => Err(error),
        _ => Ok(slots),
    }
}
