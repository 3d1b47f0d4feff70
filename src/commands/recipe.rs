//! Flags that decide a model, for the commands that train or plan to.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_indexer::config::{self, MetricChoice};
use ocelli_indexer::{BoxError, CoarseKmeans, FineCodes, OpqRows, Recipe, TrainOptions};
use ocelli_quantizer::OpqOptions;

/// Everything that decides a model but its rows, and the threads.
#[derive(Args)]
pub struct RecipeArgs {
    /// Coarse centroids (inverted lists); 0: one per 1,000 training rows, rounded down to a power
    /// of two, 1 to 65536 [default: 0]
    #[arg(long)]
    pub nlist: Option<usize>,
    /// Sub-quantizers; divides the dimension (that of the PCA, if there is one) [default: 32]
    #[arg(long)]
    pub m: Option<usize>,
    /// Bits of each sub-quantizer's codeword: 8 (a byte) or 4 (half a byte) [default: 8]
    #[arg(long)]
    pub bits: Option<usize>,
    /// Keep the first D coordinates, at unit length again; 0: all [default: 8 for each byte of a
    /// code, of whitened descriptors that have more and get no finer codes]
    #[arg(long, value_name = "D")]
    pub dim: Option<usize>,
    /// Reduce to so many dimensions by PCA first; 0: no PCA [default: 0]
    #[arg(long, value_name = "D")]
    pub pca: Option<usize>,
    /// Divide vectors by their norm again after PCA and OPQ [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub renormalize: Option<bool>,
    /// Training of coarse centroids [default: auto]
    #[arg(long, value_enum)]
    pub coarse: Option<CoarseKmeans>,
    /// Metric of the search [default: auto]
    #[arg(long, value_enum)]
    pub metric: Option<MetricChoice>,
    /// Learn a rotation (OPQ), after the PCA if there is one [default: if descriptors are not
    /// whitened]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub opq: Option<bool>,
    /// Rounds of OPQ [default: 20]
    #[arg(long, value_name = "N")]
    pub opq_niter: Option<usize>,
    /// k-means iterations [default: 25]
    #[arg(long, value_name = "N")]
    pub niter: Option<usize>,
    /// Seed of sampling and k-means [default: 1234]
    #[arg(long)]
    pub seed: Option<u32>,
    /// Rows to train on at most, drawn at random; 0: all [default: 1000000]
    #[arg(long, value_name = "N")]
    pub max_rows: Option<usize>,
    /// How the best of a scan are scored again: from finer codes, pq and its bytes a vector (pq32,
    /// pq64), sq8 (a byte a dimension), f16 (the vectors in half precision); by the cosine, without
    /// further bytes; or none [default: cosine for codes of up to 16 bytes of a network's
    /// descriptors, otherwise none]
    #[arg(long, value_name = "KIND")]
    pub fine_codes: Option<FineCodes>,
    /// Keep this model as it is and learn only its finer codes
    #[arg(
        long,
        value_name = "MODEL",
        requires = "fine_codes",
        conflicts_with_all = ["nlist", "m", "dim", "metric", "opq", "opq_niter", "max_rows"]
    )]
    pub base: Option<PathBuf>,
    /// Train even on too few rows
    #[arg(long)]
    pub force: bool,
}

impl RecipeArgs {
    /// The recipe: flags, else what the configuration says.
    pub fn recipe(&self, threads: Option<usize>, config: &config::Train) -> Result<Recipe> {
        let fine_codes = self.fine_codes.unwrap_or_default();
        let train = TrainOptions {
            nlist: self.nlist.unwrap_or(config.nlist),
            m: self.m.unwrap_or(config.m),
            ksub: ksub_of(self.bits.unwrap_or(config.bits))?,
            dim: self.dim.or(config.dim),
            finer: fine_codes.adds_bytes(),
            pca: self.pca.unwrap_or(config.pca),
            renormalize: self.renormalize.unwrap_or(config.renormalize),
            coarse: self.coarse.unwrap_or(config.coarse),
            metric: self.metric.unwrap_or(config.metric).metric(),
            opq: self.opq.or(config.opq.opq()),
            opq_niter: self.opq_niter.unwrap_or(config.opq_niter),
            niter: self.niter.unwrap_or(config.niter),
            seed: self.seed.unwrap_or(config.seed),
            threads: threads.unwrap_or(config.threads),
            max_rows: self.max_rows.unwrap_or(config.max_rows),
            force: self.force,
        };
        Ok(Recipe { train, fine_codes })
    }
}

/// Learns the rotation of OPQ with FAISS.
pub fn learn_opq(rows: OpqRows<'_>) -> Result<Vec<f32>, BoxError> {
    let OpqRows { x, d, m, niter, threads } = rows;
    let options = OpqOptions { niter, ..OpqOptions::default() };
    Ok(ocelli_quantizer::opq(x, d, m, threads, &options)?)
}

fn ksub_of(bits: usize) -> Result<usize> {
    match bits {
        4 | 8 => Ok(1 << bits),
        other => bail!("bits of a codeword: expected 8 or 4, found {other}"),
    }
}
