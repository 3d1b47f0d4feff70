//! The delete log: which rows were deleted, when, and why.
//!
//! Tombstones name rows of shards; they go when a shard is compacted. The log outlives them, so
//! that a rebuild from the source, or a way back, does not bring deleted rows to life again. The
//! log is a chain of files, each named by the SHA-256 of its bytes: a line of JSON with the name of
//! the file before it, then a line for each row.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::{IndexDir, names};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;

/// The reason for which a row was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody asked for it.
    Delete,
    /// Another row took its key or id.
    Upsert,
    /// Somebody asked for it, and that no file keeps it.
    Erase,
}

/// A row of the delete log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletedRow {
    /// Id of the row.
    pub id: u64,
    /// Key of the row; empty if it had none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The generation that was the first without the row.
    pub generation: u64,
    /// The reason.
    pub cause: Cause,
}

impl DeletedRow {
    /// Whether somebody asked that the row goes; else another one took its place.
    pub fn is_asked_for(&self) -> bool {
        self.cause != Cause::Upsert
    }
}

/// First line of a file of the log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    before: Option<Hash>,
    rows: u64,
}

/// A file of the delete log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteFile {
    /// The file before it.
    pub before: Option<Hash>,
    /// The rows that one change deleted.
    pub rows: Vec<DeletedRow>,
}

/// Keys and ids that a delete log names and no row bears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedNames {
    /// Keys.
    pub keys: HashSet<String>,
    /// Ids.
    pub ids: HashSet<u64>,
}

impl DeletedNames {
    /// Whether a row of this id and key was deleted. An empty key is none; so is an id of `None`.
    pub fn contains(&self, id: Option<u64>, key: &str) -> bool {
        (!key.is_empty() && self.keys.contains(key)) || id.is_some_and(|id| self.ids.contains(&id))
    }

    /// Whether there are no deleted names.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ids.is_empty()
    }
}

impl IndexDir {
    /// Writes a file of the delete log, and returns the hash that names it.
    pub(super) fn put_deletes(&self, before: Option<Hash>, rows: &[DeletedRow]) -> Result<Hash> {
        let json = |e: serde_json::Error| Error::invalid(format!("delete log: {e}"));
        let head = Head { format: 1, before, rows: rows.len() as u64 };
        let mut bytes = serde_json::to_vec(&head).map_err(json)?;
        bytes.push(b'\n');
        for row in rows {
            serde_json::to_writer(&mut bytes, row).map_err(json)?;
            bytes.push(b'\n');
        }
        let hash = Hash::of(&bytes);
        self.storage.create(&names::deletes(&hash), &bytes)?;
        Ok(hash)
    }

    /// A file of the delete log by its hash.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`]; [`Error::NewerVersion`].
    pub fn delete_file(&self, hash: &Hash) -> Result<DeleteFile> {
        let (path, bytes) = self.read_hashed(&names::deletes(hash), hash)?;
        let corrupt = |line: usize, e: serde_json::Error| {
            Error::corrupt(&path, format!("line {}: {e}", line + 1))
        };
        let mut lines = bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()).enumerate();
        let head = lines.next().map_or(&b""[..], |(_, line)| line);
        let head: Head = serde_json::from_slice(head).map_err(|e| corrupt(0, e))?;
        if head.format > 1 {
            return Err(Error::NewerVersion { path, found: head.format, supported: 1 });
        }
        let rows: Vec<DeletedRow> = lines
            .map(|(i, line)| serde_json::from_slice(line).map_err(|e| corrupt(i, e)))
            .collect::<Result<_>>()?;
        if rows.len() as u64 != head.rows {
            let what = format!("{} rows, its first line says {}", rows.len(), head.rows);
            return Err(Error::corrupt(&path, what));
        }
        Ok(DeleteFile { before: head.before, rows })
    }

    /// The files of a delete log whose newest file is `newest`, from the newest to the oldest, each
    /// with its hash.
    ///
    /// # Errors
    /// Each of them: as [`Self::delete_file`]; the log ends after an error.
    pub fn delete_log(
        &self,
        newest: Option<Hash>,
    ) -> impl Iterator<Item = Result<(Hash, DeleteFile)>> + '_ {
        let mut next = newest;
        std::iter::from_fn(move || {
            let hash = next.take()?;
            Some(self.delete_file(&hash).map(|file| {
                next = file.before;
                (hash, file)
            }))
        })
    }

    /// Rows of the delete log `of` that are not in the log `without`, oldest first. Each log is
    /// given by its newest file.
    pub(super) fn deletes_between(
        &self,
        without: Option<Hash>,
        of: Option<Hash>,
    ) -> Result<Vec<DeletedRow>> {
        if of.is_none() || of == without {
            return Ok(Vec::new());
        }
        let known: BTreeSet<Hash> =
            self.delete_log(without).map(|file| Ok(file?.0)).collect::<Result<_>>()?;
        let mut files = Vec::new();
        for file in self.delete_log(of) {
            let (hash, file) = file?;
            if known.contains(&hash) {
                break;
            }
            files.push(file);
        }
        Ok(files.into_iter().rev().flat_map(|file| file.rows).collect())
    }
}
