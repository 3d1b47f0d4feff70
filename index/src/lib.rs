//! The index: its files, how they are written, and how they are searched.
//!
//! A [`Model`] turns vectors into short codes. A [`Shard`] is an immutable file of codes. A
//! [`Generation`] names the shards that are one index, and an [`IndexDir`] is the folder that holds
//! generations, models and shards. A [`Snapshot`] is one opened generation; it answers queries.
//!
//! # Example
//!
//! ```
//! use std::collections::BTreeMap;
//! use ocelli_index::*;
//!
//! # let folder = tempfile::tempdir()?;
//! // Two lists, and codes of one byte. A real model is trained.
//! let model = Model::from_parts(ModelParts {
//!     spec: DescriptorSpec::foreign("example", 2)?, metric: Metric::L2,
//!     mean: None, rotation: None, renormalize: false, dim: 2, d: 2,
//!     nlist: 2, coarse: vec![0.0, 0.0, 4.0, 4.0].into(),
//!     m: 1, ksub: 16, codebooks: (0..32).map(|i| i as f32 / 16.0).collect(),
//!     training: BTreeMap::new(),
//! })?;
//! let dir = IndexDir::create(folder.path())?;
//! dir.put_model(&model)?;
//! let mut shard = ShardBuilder::new(&model);
//! shard.push(1, "near.jpg", &[0.1, 0.2])?;
//! shard.push(2, "far.jpg", &[4.0, 5.0])?;
//! let shards = vec![dir.put_shard(shard, Hash::of(b"plan"), 0)?];
//! let (model, tombstones) = (model.hash(), BTreeMap::new());
//! dir.commit(None, NewGeneration { model, shards, tombstones, deletes: None, next_id: 3 })?;
//!
//! let snapshot = Snapshot::open(folder.path(), None)?;
//! let hits = snapshot.search(&[0.0, 0.0], &SearchParams::default())?.hits;
//! assert_eq!(snapshot.key(hits[0].row)?, "near.jpg");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/random_vectors.rs` is a whole program.
//!
//! # Modules
//!
//! Each uses those above it and none below it.
//!
//! | module | what is in it |
//! |---|---|
//! | [`base`] | errors, hashes, the rules for ids, keys and vectors |
//! | [`spec`] | descriptor specs: what decides the meaning of a descriptor |
//! | [`foreign`] | files that other programs wrote |
//! | [`files`] | the container of all files, and the format on disk |
//! | [`vectors`], [`whitening`] | files of vectors, files of a whitening |
//! | [`rejected`] | the list of the rows that a job left out |
//! | [`attributes`] | facts of rows in columns, and filters on them |
//! | [`model`] | transform, lists, codes, finer codes |
//! | [`pack`] | a network's name, whitenings and models in one file |
//! | [`part`] | vectors or codes with their keys, on their way to a shard |
//! | [`shard`] | immutable files of codes |
//! | [`generations`] | the index directory, its storage, commits |
//! | [`plan`] | what a job will do, and what its tasks leave behind |
//! | [`search`] | snapshots and queries |
//! | [`rerank`] | query expansion, augmentation, diffusion |
//! | [`inspect`](mod@inspect) | what is in a file or an index, for people |

pub mod attributes;
pub mod base;
pub mod files;
pub mod foreign;
pub mod generations;
pub mod inspect;
pub mod model;
pub mod pack;
pub mod part;
pub mod plan;
pub mod rejected;
pub mod rerank;
pub mod search;
pub mod shard;
pub mod spec;
pub mod vectors;
pub mod whitening;

pub use attributes::{
    Column, ColumnType, Columns, Comparison, Literal, Predicate, Schema, SectionWriter, Value,
};
pub use base::error::{Error, ErrorCode, FileTrouble, Result};
pub use base::hash::{Hash, Hasher};
pub use base::level::simd;
pub use base::named::{as_optional_text, as_text};
pub use base::names::{MAX_KEY_BYTES, check_id, check_key};
pub use base::range::{MAX_NORM, MIN_NORM, out_of_range};
pub use base::times::{BuildSeconds, BuildStage, BuildTimes};
pub use base::versioned::parse_versioned;
pub use files::floats::Floats;
pub use files::{container, keys, packed};
pub use generations::change::{
    Change, CommitOptions, Committed, Gate, NameList, NameListBuilder, NameRef, Names, RowCounts,
    Source,
};
pub use generations::deletes::{Cause, DeleteFile, DeletedRow, file_before, hash_of_deletes};
pub use generations::erased::Erasure;
pub use generations::garbage::{Alone, Garbage, GarbageObject, Held, Keep};
pub use generations::names as object_names;
pub use generations::recover::{LostCurrent, WayBack};
pub use generations::storage::{ERASED, FOLDERS, LocalStorage, ObjectFacts, Storage, Version};
pub use generations::{Dba, Generation, IndexDir, MadeBy, NewGeneration, hash_of_tombstones};
pub use inspect::{Inspection, inspect};
pub use model::fine::{FINE_KSUB, FineCodec, FineKind};
pub use model::groups::Met;
pub use model::row_encoder::{Encoded, RowEncoder, RowEncoderScratch};
pub use model::{Metric, Model, ModelParts};
pub use pack::{
    NetworkCard, NewPack, Pack, PackCard, PackVariant, Threshold, TrainedOn, VariantCard,
};
pub use part::{
    Attributes, CodeForm, CodeRows, Dtype, Part, PartImage, PartKind, PartRow, PartSummary,
    PartWriter, SealedPart,
};
pub use plan::{
    BuildJob, CompactJob, DedupIndex, DedupJob, EncodeJob, Estimate, Job, JobSettings, MadeModel,
    MadePairs, Mode, Plan, PlanFile, PlanInput, PlanMark, TaskRecord, TrainJob, WorkArea,
    task_number,
};
pub use rejected::{Rejected, RejectedWriter};
pub use rerank::diffuse::{Diffusion, MAX_DIFFUSION_CANDIDATES};
pub use rerank::expand::{Expansion, ExpansionMethod, augment};
pub use search::cancel::Cancel;
pub use search::engine::{JoinCounts, ScanCounts, Scratch, Sharing};
pub use search::filter::{Filter, Name, RowFilter};
pub use search::hit::{Hit, Row};
pub use search::join::{Ceiling, JoinPlan, Pair, Seeking};
pub use search::params::{RangeResult, SearchParams, SearchResult, ShardFailure};
pub use search::snapshot::{Proof, Snapshot};
pub use search::stages::{Stage, StageTimes};
pub use shard::{NewRow, Shard, ShardBuilder, ShardEntry, ShardMeta, Spill, key_hash64};
pub use spec::{
    Combine, CropFirst, DescriptorSpec, Form, Grid, Head, InputConvention, Layer, NetworkSpec,
    Pooling, Precision, ResizeFilter,
};
pub use vectors::{Checks, RefusedRows, VectorFile, VectorFormat, VectorWriter, read_npy_texts};
pub use whitening::Whitening;
