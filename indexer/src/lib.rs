//! Training, whitening, building and evaluation: everything that makes or judges an index, and the
//! only room that links FAISS.
//!
//! The steps, in the order of their use: [`learn_whitening`] on region vectors, [`train`] a model
//! on whitened ones, [`build`] an index of descriptors under it, [`evaluate`] the result.

pub mod config;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod kmeans;

mod build;
mod dba;
mod error;
mod fine;
mod near;
mod pca;
mod progress;
mod sample;
mod train;
mod whiten;

pub use build::{BuildOptions, BuildReport, OnDuplicate, build};
pub use dba::EXACT_ROWS;
pub use error::{BoxError, Error, Result};
pub use fine::{FineChoice, FineOptions, FineReport, train_fine_codec};
pub use progress::{Progress, ProgressFn, silent};
pub use train::{
    CoarseKmeans, KSUB, LearnOpq, MAX_AUTO_NLIST, MAX_FLAT_NLIST, OpqRows, ROWS_PER_AUTO_LIST,
    ROWS_PER_CENTROID, TrainOptions, TrainReport, auto_nlist, no_opq, train,
};
pub use whiten::{WhitenCovariance, WhitenOptions, WhitenReport, learn_whitening};
