//! Models, parts, shards, generations, and search over them.
//!
//! Data flow through this room: a [`part`] brings descriptors, a [`model`] turns them into codes, a
//! [`shard`] keeps the codes, a [`manifest`] names the shards that are one index, a [`snapshot`] of
//! it answers queries.
#![doc = include_str!("../../docs/shard-format.md")]

pub mod coarse;
mod commit;
pub mod container;
pub mod diffuse;
pub mod encoder;
mod engine;
pub mod error;
pub mod expand;
pub mod filter;
mod floats;
pub mod hash;
pub mod inspect;
pub mod keys;
mod level;
pub mod manifest;
pub mod model;
mod order;
pub mod outside;
pub mod packed;
pub mod part;
pub mod range;
mod ranked;
pub mod refine;
pub mod rejected;
pub mod search;
pub mod shard;
pub mod snapshot;
pub mod spec;
pub mod storage;
pub mod vectors;
pub mod whitening;

#[cfg(test)]
mod storm;

pub use diffuse::{Diffusion, MAX_DIFFUSION_CANDIDATES};
pub use encoder::{Encoded, Encoder, EncoderScratch};
pub use engine::{ScanCounts, Scratch};
pub use error::{Error, ErrorCode, FileTrouble, Result};
pub use expand::{Expansion, ExpansionMethod};
pub use filter::{Cancel, Filter, Name, RowFilter};
pub use floats::Floats;
pub use hash::{Hash, Hasher};
pub use level::simd;

pub use inspect::{Inspection, inspect};
pub use manifest::{Dba, Generation, IndexDir, NewGeneration, ShardEntry};
pub use model::{Metric, Model, ModelParts};
pub use part::{
    Attributes, CodeForm, CodeRows, Dtype, Part, PartImage, PartKind, PartRow, PartSummary,
    PartWriter, SealedPart,
};
pub use range::{MAX_NORM, MIN_NORM, out_of_range};
pub use refine::{REFINE_KSUB, RefineKind, Refinement};
pub use rejected::{Rejected, RejectedWriter};
pub use search::Hit;
pub use shard::{Shard, ShardBuilder, ShardMeta};
pub use snapshot::{
    RangeResult, Row, SearchParams, SearchResult, ShardFailure, Snapshot, StageTimes,
};
pub use spec::{
    Combine, CropFirst, DescriptorSpec, Form, Grid, Head, InputConvention, NetworkSpec, Pooling,
    Precision, ResizeFilter,
};
pub use storage::{LocalStorage, Storage};
pub use vectors::{Checks, RefusedRows, VectorFile, VectorFormat, VectorWriter};
pub use whitening::Whitening;
