//! Makes and judges indexes: whitening, training, building, import, export, evaluation.
//!
//! The steps, in the order of their use:
//!
//! 1. [`learn_whitening`] on region vectors of photos;
//! 2. [`train`] a model on whitened vectors, and [`train_fine_codec`] for finer codes under it;
//! 3. [`build`] an index of descriptors under the model;
//! 4. [`evaluate`] the result against ground truth.
//!
//! [`import`] takes vectors from files of other programs, and indexes of FAISS; [`export`] writes
//! an index as FAISS or programs for Parquet read it. None of this links FAISS. OPQ is the one step
//! of [`train`] that needs it: callers hand over a [`LearnOpq`], and `ocelli-quantizer` has one.
//!
//! # Example
//!
//! From vectors to an index that is searched:
//!
//! ```
//! use ocelli_index::{DescriptorSpec, Dtype, Part, PartKind, PartWriter, SearchParams, Snapshot};
//! use ocelli_indexer::{BuildOptions, OnDuplicate, TrainOptions, build, no_opq, silent, train};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("waves.part");
//! let wave = |i: usize| -> Vec<f32> { (1..=8).map(|j| ((i * j) as f32 * 0.01).sin()).collect() };
//!
//! // A part: 1,000 vectors of 8 dimensions, each with a key.
//! let spec = DescriptorSpec::foreign("waves", 8)?;
//! let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec)?;
//! for i in 0..1000 {
//!     part.push(&format!("wave {i}"), None, &wave(i))?;
//! }
//! part.finish()?;
//! let parts = [Part::open(&path)?];
//!
//! // A model: codes of 4 bytes, 8 sub-quantizers of 4 bits.
//! let options = TrainOptions { m: 8, ksub: 16, ..TrainOptions::default() };
//! let (model, _report) = train(&parts, &options, &no_opq, &silent)?;
//!
//! // An index of two shards.
//! let index = folder.path().join("index");
//! let options = BuildOptions {
//!     shards: 2,
//!     threads: 0,
//!     dba: 0,
//!     on_duplicate: OnDuplicate::Stop,
//!     memory_budget_bytes: 0,
//! };
//! let report = build(&parts, &model, &index, &options, &silent)?;
//! assert_eq!((report.rows, report.shards), (1000, 2));
//!
//! let snapshot = Snapshot::open(&index, None)?;
//! let hits = snapshot.search(&wave(500), &SearchParams { k: 10, ..Default::default() })?.hits;
//! assert_eq!(hits.len(), 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod collection;
pub mod config;
pub mod dedup;
pub mod doctor;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod kmeans;
pub mod lifecycle;
pub mod memory;

mod build;
mod dba;
mod dimension;
mod encode_images;
mod error;
mod fine;
mod html;
mod least;
mod near;
mod numbering;
mod pack;
mod parquet_out;
mod pca;
mod photo_file;
mod progress;
mod recipe;
mod sample;
mod sort;
mod threads;
mod train;
mod whiten;

pub use build::{BuildOptions, BuildReport, OnDuplicate, build, build_as, build_without};
pub use dba::EXACT_ROWS;
pub use dimension::{DEFAULT_CODE_BYTES, DIMS_PER_BYTE, MOST_DIMS_PER_BYTE, dim_for_codes};
pub use encode_images::{EncodedImages, encode_images};
pub use error::{BoxError, Error, Result};
pub use fine::{COSINE_BYTES, FineChoice, FineOptions, FineReport, train_fine_codec};
pub use pack::{PackPackage, PackPieces, PackReport, PackWeights, create_pack};
pub use progress::{Progress, ProgressFn, silent};
pub use recipe::{FineCodes, Recipe, RecipeReport};
pub use train::{
    CoarseKmeans, KSUB, LearnOpq, MAX_AUTO_NLIST, MAX_FLAT_NLIST, OpqRows, ROWS_PER_AUTO_LIST,
    ROWS_PER_CENTROID, TrainOptions, TrainReport, auto_nlist, no_opq, train,
};
pub use whiten::{WhitenCovariance, WhitenOptions, WhitenReport, learn_whitening};
