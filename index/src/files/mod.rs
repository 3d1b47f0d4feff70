//! The files of an index: the one container that all of them use, and what lies in its sections.
//!
//! [`container`] writes and maps a file of sections with checksums. The other modules are what
//! several kinds of file have in common: the `meta` section, keys, packed numbers, arrays of
//! floats.
#![doc = include_str!("../../../docs/shard-format.md")]

pub mod container;
pub mod floats;
pub mod keys;
pub mod metadata;
pub mod packed;
