//! The cost of training.

use super::Shape;
use super::rates::{BOOK_NS, CHOICE_NS, FIRST_NS, NEAR_NS, READ_NS};
use crate::train::{TrainOptions, comparisons, is_cross_fitted};

/// Residuals that codebooks are learned from, for each codeword.
const ROWS_PER_WORD: u64 = 256;
/// What k-means remembers of a row: its list and its distance, its list before, its place.
const ASSIGNED_BYTES: f64 = 24.0;
/// The program itself, with what its threads need.
const PROGRAM_BYTES: f64 = 64e6;
/// The numbers of the 256 centroids near one.
const NEIGHBOURS_BYTES: f64 = 1024.0;

/// Rows for each list that k-means looks at: of more it takes a sample.
const ROWS_PER_LIST: u64 = 256;

/// The cost of training a model.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct TrainCost {
    /// Time by the clock, in seconds.
    pub seconds: f64,
    /// Time of all cores together, in seconds.
    pub core_seconds: f64,
    /// Largest memory, in bytes.
    pub memory_bytes: u64,
}

/// The cost of training a model of `shape` without OPQ and finer codes on so many rows, in `niter`
/// iterations, on `threads` cores.
pub fn train(shape: &Shape, rows: u64, niter: u64, threads: u64) -> TrainCost {
    let options = TrainOptions {
        nlist: shape.nlist as usize,
        niter: niter as usize,
        ..TrainOptions::default()
    };
    let met = comparisons(rows as usize, shape.d as usize, &options);
    let coarse_ns =
        (met.all + met.centroids) * FIRST_NS + met.near * NEAR_NS + met.choices * CHOICE_NS;
    let coordinates = (ROWS_PER_WORD * shape.ksub).min(rows) as f64 * shape.d as f64;
    let words = shape.ksub as f64 * niter as f64;
    let books_ns = coordinates * (shape.nlist as f64 * FIRST_NS + words * BOOK_NS);
    let read_ns = rows as f64 * shape.dim as f64 * READ_NS;
    let core_seconds = (coarse_ns + books_ns + read_ns) / 1e9;
    // The rows and those of a half, or of a sample; where each belongs; neighbours of the
    // centroids.
    let seen = shape.nlist.saturating_mul(ROWS_PER_LIST);
    let more = if is_cross_fitted(rows as usize, &options) {
        rows / 2
    } else if seen < rows {
        seen
    } else {
        0
    };
    let floats = (rows + more) as f64 * shape.dim as f64;
    let assigned = rows as f64 * ASSIGNED_BYTES;
    let neighbours = met.choices.min(1.0) * shape.nlist as f64 * NEIGHBOURS_BYTES;
    let memory = PROGRAM_BYTES + 4.0 * floats + assigned + neighbours + shape.model_bytes();
    TrainCost {
        seconds: core_seconds / threads.max(1) as f64,
        core_seconds,
        memory_bytes: memory as u64,
    }
}
