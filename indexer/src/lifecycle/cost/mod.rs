//! The cost of a model, an index and its searches: time, memory, disk and queries a second as
//! functions of their sizes.
//!
//! The formulas count the work that the code does; what a unit of it takes was measured once
//! (`rates`). `docs/scale.md` has the formulas in words, the measurements that the rates come
//! from, and predictions beside what was measured later. A prediction is no promise: another
//! processor or disk has other rates.

mod build;
mod rates;
mod search;
mod train;

use ocelli_index::{FineCodec, Metric, Model};

pub use build::{BuildCost, BuildSize, build};
pub use search::{SearchCost, search};
pub use train::{TrainCost, train};

/// The sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Dimension of a row.
    pub dim: u64,
    /// Dimension of its code: after PCA.
    pub d: u64,
    /// Inverted lists.
    pub nlist: u64,
    /// Sub-quantizers.
    pub m: u64,
    /// Codewords of each: 256 or 16.
    pub ksub: u64,
    /// Bytes of a row's finer code.
    pub fine_bytes: u64,
    /// Whether the metric is L2, which keeps a term of each row.
    pub has_terms: bool,
    /// Whether rows are rotated, by PCA or OPQ.
    pub is_rotated: bool,
}

impl Shape {
    /// The sizes of `model`.
    pub fn of(model: &Model) -> Self {
        let p = model.parts();
        Self {
            dim: p.dim as u64,
            d: p.d as u64,
            nlist: p.nlist as u64,
            m: p.m as u64,
            ksub: p.ksub as u64,
            fine_bytes: model.fine_codec().map_or(0, FineCodec::code_bytes) as u64,
            has_terms: p.metric == Metric::L2,
            is_rotated: p.rotation.is_some(),
        }
    }

    /// Bytes of a code to scan.
    fn code_bytes(&self) -> f64 {
        if self.ksub == 16 { self.m as f64 / 2.0 } else { self.m as f64 }
    }

    /// Memory of a model that encodes, in bytes: centroids in the file and as small integers,
    /// codebooks in three orders, the rotation, the table of lists.
    fn model_bytes(&self) -> f64 {
        let rotation = if self.is_rotated { 8 * self.d * self.dim } else { 0 };
        let books = 24 * self.ksub * self.d;
        (14 * self.nlist * self.d + 100 * self.nlist + books + rotation) as f64
    }
}
