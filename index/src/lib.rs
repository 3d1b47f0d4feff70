//! Models, parts, shards, generations, and search over them.
//!
//! Data flow through this room: a [`part`] brings descriptors, a [`model`] turns them into codes, a
//! [`shard`] keeps the codes, a [`manifest`] names the shards that are one index, a [`snapshot`] of it
//! answers queries.
#![doc = include_str!("../../docs/shard-format.md")]

pub mod container;
pub mod error;
pub mod hash;
pub mod keys;
pub mod packed;
pub mod part;
pub mod spec;
pub mod whitening;

pub use error::{Error, ErrorCode, Result};
pub use hash::{Hash, Hasher};
pub use part::{Dtype, Part, PartKind, PartSummary, PartWriter};
pub use spec::{
    DescriptorSpec, Form, Grid, InputConvention, NetworkSpec, Pooling, ResizeFilter,
};
pub use whitening::Whitening;
