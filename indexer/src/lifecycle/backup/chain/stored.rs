//! The file of a backup: a list of all files, without what other files of the chain say.

use std::path::Path;

use ocelli_index::{Error as IndexError, Hash, parse_versioned};
use serde::{Deserialize, Serialize};

use super::super::BackupFile;
use super::generations::Listed;
use crate::Result;

/// Version of the format.
pub(super) const FORMAT: u32 = 2;

/// A backup as it is in its file. Its size does not grow with the number of generations: these have
/// their numbers and hashes in the names of their files, and they name shards, tombstones and the
/// delete log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) format: u32,
    pub(super) index: Hash,
    pub(super) number: u64,
    /// The generation that was current.
    pub(super) generation: u64,
    /// The line in CURRENT.
    pub(super) current: String,
    /// The generations; none in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generations: Option<Listed>,
    /// Models and erasures; in format 1 the generations too.
    pub(super) listed: Vec<BackupFile>,
    /// Format 1: sizes of the files that the generations name, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sizes: Vec<u64>,
    pub(super) time_ms: u64,
}

impl Stored {
    /// The list of backup `number` by the JSON in its file at `path`.
    pub(super) fn parse(path: &Path, number: u64, json: &[u8]) -> Result<Self> {
        let corrupt = |what: String| IndexError::corrupt(path, what);
        let stored: Self = parse_versioned(path, json, FORMAT)?;
        if stored.number != number {
            return Err(corrupt(format!("backup {}, expected {number}", stored.number)).into());
        }
        if let Some(listed) = &stored.generations {
            listed.check().map_err(corrupt)?;
        }
        Ok(stored)
    }
}
