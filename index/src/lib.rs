//! Models, parts, shards, generations, and search over them.
//!
//! Data flow through this room: a [`part`] brings descriptors, a [`model`] turns them into codes, a
//! [`shard`] keeps the codes, a [`generations`] directory names the shards that are one index, a
//! [`Snapshot`] of it answers queries.

pub mod base;
pub mod files;
pub mod foreign;
pub mod generations;
pub mod inspect;
pub mod model;
pub mod part;
pub mod rejected;
pub mod rerank;
pub mod search;
pub mod shard;
pub mod spec;
pub mod vectors;
pub mod whitening;

#[cfg(test)]
mod testing;

pub use base::error::{Error, ErrorCode, FileTrouble, Result};
pub use base::hash::{Hash, Hasher};
pub use base::level::simd;
pub use base::named::as_text;
pub use base::names::{MAX_KEY_BYTES, check_id, check_key};
pub use base::range::{MAX_NORM, MIN_NORM, out_of_range};
pub use files::floats::Floats;
pub use files::{container, keys, packed};
pub use generations::storage::{LocalStorage, Storage};
pub use generations::{Dba, Generation, IndexDir, NewGeneration};
pub use inspect::{Inspection, inspect};
pub use model::fine::{FINE_KSUB, FineCodec, FineKind};
pub use model::row_encoder::{Encoded, RowEncoder, RowEncoderScratch};
pub use model::{Metric, Model, ModelParts};
pub use part::{
    Attributes, CodeForm, CodeRows, Dtype, Part, PartImage, PartKind, PartRow, PartSummary,
    PartWriter, SealedPart,
};
pub use rejected::{Rejected, RejectedWriter};
pub use rerank::diffuse::{Diffusion, MAX_DIFFUSION_CANDIDATES};
pub use rerank::expand::{Expansion, ExpansionMethod, augment};
pub use search::cancel::Cancel;
pub use search::engine::{ScanCounts, Scratch};
pub use search::filter::{Filter, Name, RowFilter};
pub use search::hit::{Hit, Row};
pub use search::params::{RangeResult, SearchParams, SearchResult, ShardFailure};
pub use search::snapshot::Snapshot;
pub use search::stages::{Stage, StageTimes};
pub use shard::{Shard, ShardBuilder, ShardEntry, ShardMeta};
pub use spec::{
    Combine, CropFirst, DescriptorSpec, Form, Grid, Head, InputConvention, NetworkSpec, Pooling,
    Precision, ResizeFilter,
};
pub use vectors::{Checks, RefusedRows, VectorFile, VectorFormat, VectorWriter};
pub use whitening::Whitening;
