//! The configuration, as in `default.toml`. Callers load it.

use std::str::FromStr;

use clap::ValueEnum;
use ocelli_index::Metric;
use serde::{Deserialize, Deserializer, de};

use crate::{CoarseKmeans, WhitenCovariance};

/// The commented defaults.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// Prefix of the environment variables that override keys.
pub const ENV_PREFIX: &str = "OCELLI_INDEXER";

/// All keys of `default.toml`, where they are explained.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Logs.
    pub log: Log,
    /// Defaults of `whiten`.
    pub whiten: Whiten,
    /// Defaults of `train`.
    pub train: Train,
    /// Defaults of `build`.
    pub build: Build,
}

/// Table `log`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Level, or levels by target.
    pub filter: String,
    /// "text" or "json".
    pub format: String,
}

/// Table `whiten`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whiten {
    /// Output dimension, 0: by the photos.
    pub dim: usize,
    /// Power of the whitening; None ("auto"): by the photos.
    #[serde(deserialize_with = "auto_or")]
    pub power: Option<f64>,
    /// The vectors or differences whose covariance is whitened.
    pub covariance: WhitenCovariance,
}

impl Whiten {
    /// The dimension for [`crate::WhitenOptions`].
    pub fn dim(&self) -> Option<usize> {
        (self.dim > 0).then_some(self.dim)
    }
}

/// "auto" or a number, which comes as text from the environment.
fn auto_or<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + FromStr,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Auto<T> {
        Number(T),
        Text(String),
    }
    match Auto::deserialize(deserializer)? {
        Auto::Number(number) => Ok(Some(number)),
        Auto::Text(text) if text == "auto" => Ok(None),
        Auto::Text(text) => text.parse().map(Some).map_err(|_| {
            de::Error::custom(format!("expected \"auto\" or a number, found {text:?}"))
        }),
    }
}

/// Table `train`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Coarse centroids, 0: by the number of rows.
    pub nlist: usize,
    /// Sub-quantizers.
    pub m: usize,
    /// Bits of a sub-quantizer's codeword.
    pub bits: usize,
    /// First coordinates that are kept, 0: all; None ("auto"): as many as suit the codes.
    #[serde(deserialize_with = "auto_or")]
    pub dim: Option<usize>,
    /// Dimensions that a PCA reduces to, 0: none.
    pub pca: usize,
    /// Whether to normalise again after the transform.
    pub renormalize: bool,
    /// How coarse centroids are trained.
    pub coarse: CoarseKmeans,
    /// Metric of the search.
    pub metric: MetricChoice,
    /// Whether to learn a rotation.
    pub opq: OpqChoice,
    /// OPQ rounds.
    pub opq_niter: usize,
    /// k-means iterations.
    pub niter: usize,
    /// Seed.
    pub seed: u32,
    /// Threads, 0: one per core.
    pub threads: usize,
    /// Rows at most, 0: all.
    pub max_rows: usize,
}

/// Table `build`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Files that the index is split into.
    pub shards: usize,
    /// Threads, 0: one per core.
    pub threads: usize,
    /// Neighbours that augment each descriptor, 0: none.
    pub dba: usize,
}

/// Whether a rotation is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpqChoice {
    /// For descriptors of a network that are not whitened.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl OpqChoice {
    /// The choice for [`crate::TrainOptions`].
    pub fn opq(self) -> Option<bool> {
        match self {
            OpqChoice::Auto => None,
            OpqChoice::On => Some(true),
            OpqChoice::Off => Some(false),
        }
    }
}

/// A metric, or the choice by the vectors' origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MetricChoice {
    /// Inner product for descriptors of a network, L2 for vectors from elsewhere.
    #[default]
    Auto,
    /// Inner product.
    InnerProduct,
    /// Euclidean distance.
    L2,
}

impl MetricChoice {
    /// None for `Auto`.
    pub fn metric(self) -> Option<Metric> {
        match self {
            Self::Auto => None,
            Self::InnerProduct => Some(Metric::InnerProduct),
            Self::L2 => Some(Metric::L2),
        }
    }
}
