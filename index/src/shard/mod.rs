//! Shards: immutable pieces of an index, written once and mapped.

mod builder;
pub(crate) mod fine_codes;
mod reader;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use crate::base::hash::Hash;

pub(crate) use builder::shard_name;
pub use builder::{NewRow, ShardBuilder, Spill};
pub use reader::{ListRows, Shard};

/// The shard's own scalar facts, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardMeta {
    /// Hash of the model it was built under.
    pub model: Hash,
    /// Hash of the plan that it is part of: the plan says which rows were built in which order.
    pub plan: Hash,
    /// Number of the task in that plan.
    pub task: u32,
    /// Vectors in it.
    pub rows: u32,
    /// Number of lists.
    pub nlist: u32,
    /// Sub-quantizers of a code.
    pub m: u32,
    /// Codewords of a sub-quantizer.
    pub ksub: u32,
    /// The way in which ids follow from ordinals.
    pub ids: IdEncoding,
    /// Bits of a packed ordinal.
    pub ordinal_bits: u32,
    /// Number of rows with a key.
    pub keyed: u32,
}

/// A shard of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// File name under `shards/`.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub checksum: Hash,
    /// Vectors in it.
    pub rows: u64,
    /// The plan that it was built by, which it names too.
    pub plan: Hash,
    /// Number of the task in that plan.
    pub task: u32,
    /// Hash that tells the file apart from others without reading all of it
    /// ([`crate::files::container::Reader::seal`]).
    pub seal: Hash,
}

/// The way in which ids follow from ordinals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum IdEncoding {
    /// id = base + ordinal. No section.
    Affine {
        /// Id of ordinal 0.
        base: u64,
    },
    /// id = base + packed number of `bits` bits.
    Packed {
        /// Smallest id.
        base: u64,
        /// Bits of a number.
        bits: u32,
    },
    /// One u64 a row.
    Raw,
}

/// Entry of the list table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ListEntry {
    /// First byte of the list's codes in the section, a multiple of 64.
    pub codes_offset: u64,
    /// Rows in the lists before this one.
    pub first: u32,
    /// Rows in this list.
    pub len: u32,
    /// L2: term of a row ≥ `scalar_min` + `scalar_step` · its byte. Zero for inner product.
    pub scalar_min: f32,
    /// The step of `scalar_min`'s bound.
    pub scalar_step: f32,
    /// Zero in version 1.
    pub reserved: u64,
}

/// Hash of a key in the key map.
fn key_hash(key: &str) -> u32 {
    (key_hash64(key.as_bytes()) >> 32) as u32
}

/// The whole hash of a key, of which the key map has the upper half.
pub(crate) fn key_hash64(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}
