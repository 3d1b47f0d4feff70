//! The file of a generation: what it names, and its checksum.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::base::versioned::Format;
use crate::shard::ShardEntry;

/// Version of the format that is read and written.
const FORMAT: u32 = 1;

/// One immutable set of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Version of this file's format: 1.
    pub format: u32,
    /// Number, 1 or more.
    pub number: u64,
    /// The generation that it was made from.
    pub parent: Option<u64>,
    /// Model of all its shards.
    pub model: Hash,
    /// The shards, in plan order.
    pub shards: Vec<ShardEntry>,
    /// Shard name to the hash that names its file under `tombstones/`.
    pub tombstones: BTreeMap<String, Hash>,
    /// Hash that names the newest file of the delete log under `deletes/`.
    pub deletes: Option<Hash>,
    /// Smallest id that was never given out.
    pub next_id: u64,
    /// Augmentation of the descriptors before they were coded; `None`, and then not in the file, if
    /// there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dba: Option<Dba>,
    /// The command that made it; not in the file where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
}

/// The command that made a generation, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeBy {
    /// Name of the command, such as `add`.
    pub command: String,
    /// Settings of the command, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Milliseconds since 1970-01-01 UTC by the clock of the machine that committed; 0: not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub time_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Generation {
    /// Generation `number` and its checksum, as the file at `path` has them in `json`.
    ///
    /// # Errors
    /// [`Error::NewerVersion`]; [`Error::Corrupt`], also for another number.
    pub fn from_file(path: &Path, number: u64, json: &[u8]) -> Result<(Self, Hash)> {
        let corrupt = |what: String| Error::corrupt(path, what);
        // A later version may have fields that this one does not know.
        if let Ok(Versioned { generation }) = serde_json::from_slice(json) {
            generation.check(path, FORMAT)?;
        }
        let Sealed { generation, checksum } =
            serde_json::from_slice(json).map_err(|error| corrupt(error.to_string()))?;
        let found = checksum_of(&generation)?;
        if found != checksum || generation.number != number {
            let what =
                format!("checksum {found}, expected {checksum}; number {}", generation.number);
            return Err(corrupt(what));
        }
        generation.check().map_err(corrupt)?;
        Ok((generation, checksum))
    }

    /// The line that CURRENT has where this generation is current.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what JSON cannot hold.
    pub fn line(&self) -> Result<String> {
        Ok(format!("{} {}", self.number, checksum_of(self)?))
    }

    /// Rows of its shards, deleted ones included.
    pub fn rows(&self) -> u64 {
        self.shards.iter().map(|shard| shard.rows).sum()
    }

    /// The entry of the shard of this name.
    pub fn shard(&self, name: &str) -> Option<&ShardEntry> {
        self.shards.iter().find(|shard| shard.name == name)
    }

    /// The objects of its shards and of their deleted rows, each with its SHA-256.
    ///
    /// # Errors
    /// Those of [`names::shard`].
    pub fn objects(&self) -> Result<Vec<(String, Hash)>> {
        let mut objects = Vec::with_capacity(self.shards.len() + self.tombstones.len());
        for shard in &self.shards {
            objects.push((names::shard(&shard.name)?, shard.checksum));
        }
        objects.extend(self.tombstones.values().map(|hash| (names::tombstones(hash), *hash)));
        Ok(objects)
    }

    /// Whether the generation's own entries agree, or what is wrong with them.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.shards.iter().find(|shard| !names.insert(&shard.name)) {
            return Err(format!("shard {} is named twice", twice.name));
        }
        match self.tombstones.keys().find(|&name| !names.contains(name)) {
            Some(name) => Err(format!("tombstones of {name}, which is none of its shards")),
            None => Ok(()),
        }
    }
}

/// Database-side augmentation of a generation ([`crate::rerank::expand::augment`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dba {
    /// Nearest rows that went into each row, at least 1.
    pub k: u32,
    /// Whether these are the exact nearest; else those that an index of plain codes found.
    pub exact: bool,
}

/// The contents of a new generation; its number follows from those that exist.
#[derive(Clone, Debug)]
pub struct NewGeneration {
    /// Model of all its shards.
    pub model: Hash,
    /// The shards, in plan order; their files are under `shards/`.
    pub shards: Vec<ShardEntry>,
    /// See [`Generation::tombstones`].
    pub tombstones: BTreeMap<String, Hash>,
    /// See [`Generation::deletes`].
    pub deletes: Option<Hash>,
    /// See [`Generation::next_id`].
    pub next_id: u64,
}

/// The version of a generation's file.
#[derive(Deserialize)]
struct Versioned {
    generation: Format,
}

/// The generation as it is in its file, with a checksum over the rest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    pub(super) generation: Generation,
    /// SHA-256 of the generation as compact JSON.
    pub(super) checksum: Hash,
}

/// Checksum of a generation: SHA-256 of its compact JSON.
pub(super) fn checksum_of(generation: &Generation) -> Result<Hash> {
    let json =
        serde_json::to_vec(generation).map_err(|e| Error::invalid(format!("generation: {e}")))?;
    Ok(Hash::of(&json))
}
