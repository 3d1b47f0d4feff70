//! Opening what a configuration names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_index::{Refinement, Snapshot};

use super::{Limits, OpenIndex, Searcher};
use crate::config::Config;
use crate::encoder_client::EncoderClient;
use crate::pool::Pool;
use crate::root::Root;

impl Searcher {
    /// Opens every index of `config`, blocking. Called on a tokio runtime, which the connection to the
    /// encoder (made when it is first needed) will live on.
    ///
    /// # Errors
    /// A configuration out of range; an index that cannot be opened, named.
    pub fn open(config: &Config) -> Result<Searcher> {
        config.check()?;
        let mut indexes = BTreeMap::new();
        for (name, folder) in &config.indexes {
            let index = open_index(name, folder)
                .with_context(|| format!("index {name} in {}", folder.display()))?;
            indexes.insert(name.clone(), index);
        }
        let timeout = Duration::from_millis(config.encoder.timeout_ms);
        let encoder = match config.encoder.url.as_str() {
            "" => None,
            url => Some(EncoderClient::new(url, timeout)?),
        };
        Ok(Searcher {
            indexes,
            encoder,
            limits: Limits {
                max_k: config.max_k,
                default_k: config.default_k,
                default_nprobe: config.default_nprobe,
                default_refine: config.default_refine,
                max_refine: config.max_refine,
            },
            pool: Pool::new(config.threads, config.max_queued)?,
        })
    }

    /// Asks the encoder what it makes and logs a warning for every index whose spec differs: queries by
    /// image would fail there. An encoder that is not up yet is a warning too.
    pub async fn compare_encoder(&self) {
        let Some(encoder) = &self.encoder else { return };
        let url = encoder.url();
        let made = match encoder.spec().await {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(url, %error, "the encoder does not answer yet");
                return;
            }
        };
        for index in self.indexes.values() {
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
                    "THE ENCODER MAKES OTHER DESCRIPTORS THAN THIS INDEX HOLDS: queries by image will fail"
                );
            }
        }
    }
}

fn open_index(name: &str, folder: &Path) -> ocelli_index::Result<OpenIndex> {
    let snapshot = Snapshot::open(folder, None)?;
    let generation = snapshot.generation().number;
    let model = snapshot.model();
    let parts = model.parts();
    let spec = parts.spec.hash();
    tracing::info!(
        index = name,
        folder = %folder.display(),
        generation,
        rows = snapshot.rows(),
        shards = snapshot.generation().shards.len(),
        dim = parts.dim,
        nlist = parts.nlist,
        bytes_per_code = parts.m,
        finer_codes = snapshot.refinement().map(Refinement::name),
        model = %model.hash(),
        %spec,
        "index opened"
    );
    let (dim, nlist, metric) = (parts.dim, parts.nlist, parts.metric);
    let refined = snapshot.refinement().is_some();
    Ok(OpenIndex {
        name: name.to_owned(),
        generation,
        spec,
        dim,
        nlist,
        refined,
        metric,
        root: Arc::new(Root::new(vec![Arc::new(snapshot)], metric)),
    })
}
