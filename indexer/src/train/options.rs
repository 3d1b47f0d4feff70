//! Options of a training, and their defaults.

use ocelli_index::{Metric, as_optional_text};
use serde::{Deserialize, Serialize};

use super::{CoarseKmeans, KSUB};

/// Options of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainOptions {
    /// Coarse centroids (inverted lists); 0: as many as [`super::auto_nlist`] says for the training
    /// rows.
    pub nlist: usize,
    /// Sub-quantizers; divides the dimension after the transform.
    pub m: usize,
    /// Codewords of each: 256 (a byte) or 16 (half a byte).
    pub ksub: usize,
    /// Keep the first so many coordinates of each vector, and divide them by their norm; 0: all.
    /// None: as many as suit the codes ([`dim_for_codes`](crate::dim_for_codes)), for descriptors
    /// whose coordinates are sorted by a whitening, without PCA and without finer codes.
    pub dim: Option<usize>,
    /// Whether the model will get finer codes: their bytes tell of more dimensions.
    pub finer: bool,
    /// Reduce to so many dimensions by PCA first; 0: no PCA.
    pub pca: usize,
    /// Divide by the norm again after the transform.
    pub renormalize: bool,
    /// The way in which coarse centroids are trained.
    pub coarse: CoarseKmeans,
    /// None: inner product for descriptors of a network, L2 for vectors from elsewhere.
    #[serde(with = "as_optional_text")]
    pub metric: Option<Metric>,
    /// Learn a rotation (OPQ), after the PCA if there is one. None: for descriptors of a
    /// network that are not whitened, where it was found to help.
    pub opq: Option<bool>,
    /// OPQ rounds.
    pub opq_niter: usize,
    /// k-means iterations.
    pub niter: usize,
    /// Seed of sample and k-means.
    pub seed: u32,
    /// Threads; 0: one per core. Without OPQ, which is FAISS's, the result does not depend on it.
    pub threads: usize,
    /// Rows to train on at most; 0: all.
    pub max_rows: usize,
    /// Train even on fewer than 39 different rows per codeword or coarse centroid.
    pub force: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            nlist: 0,
            m: 32,
            ksub: KSUB,
            dim: None,
            finer: false,
            pca: 0,
            renormalize: false,
            coarse: CoarseKmeans::Auto,
            metric: None,
            opq: None,
            opq_niter: 20,
            niter: 25,
            seed: 1234,
            threads: 0,
            max_rows: 1_000_000,
            force: false,
        }
    }
}

impl TrainOptions {
    /// Bytes of a code.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        if self.ksub == 16 { self.m.div_ceil(2) } else { self.m }
    }
}
