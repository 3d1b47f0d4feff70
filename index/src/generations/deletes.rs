//! The delete log: which rows were deleted, when, and why.
//!
//! Tombstones name rows of shards; they go when a shard is compacted. The log outlives them, so
//! that a rebuild from the source, or a way back, does not bring deleted rows to life again. The
//! log is a chain of files, each named by the SHA-256 of its bytes: a line of JSON with the name of
//! the file before it, then a line for each row.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::{IndexDir, names};
use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, Hasher};
use crate::base::versioned::parse_versioned;
use crate::shard::Shard;

/// Version of the format that is read and written.
const FORMAT: u32 = 1;
/// Bytes read of a file of the log at once.
const PIECE_BYTES: usize = 1 << 20;

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
/// The first line of a file of the log.
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

/// Rows on their way into the delete log. Those of shards are read when they are written.
#[derive(Default)]
pub(super) struct NewDeletes {
    /// Files of another log, whose rows go over as they are, and the number of rows of each.
    pub of_files: Vec<(Hash, u64)>,
    /// Rows of shards by their ordinals, and why they go.
    pub of_shards: Vec<(Shard, RoaringBitmap, Cause)>,
}

impl NewDeletes {
    /// Number of rows.
    fn count(&self) -> u64 {
        let of_shards = self.of_shards.iter().map(|(_, ordinals, _)| ordinals.len());
        self.of_files.iter().map(|(_, rows)| rows).sum::<u64>() + of_shards.sum::<u64>()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

/// The hash that names a file of the delete log of these rows ([`IndexDir::put_delete_rows`]).
///
/// # Errors
/// [`Error::Invalid`] for rows that cannot be written.
pub fn hash_of_deletes(before: Option<Hash>, rows: &[DeletedRow]) -> Result<Hash> {
    Ok(Hash::of(&file_bytes(before, rows)?))
}

/// Bytes of a file of the delete log.
fn file_bytes(before: Option<Hash>, rows: &[DeletedRow]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_line(&mut bytes, &Head { format: FORMAT, before, rows: rows.len() as u64 })?;
    rows.iter().try_for_each(|row| write_line(&mut bytes, row))?;
    Ok(bytes)
}

/// The name of the file before one of the log at `path`, by its first line.
///
/// # Errors
/// [`Error::NewerVersion`]; [`Error::Corrupt`].
pub fn file_before(path: &Path, first_line: &[u8]) -> Result<Option<Hash>> {
    let head: Head = parse_versioned(path, first_line, FORMAT)?;
    Ok(head.before)
}

impl IndexDir {
    /// Writes a file of the delete log, and returns the hash that names it. A damaged object of
    /// that name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_delete_rows(&self, before: Option<Hash>, rows: &[DeletedRow]) -> Result<Hash> {
        let bytes = file_bytes(before, rows)?;
        let hash = Hash::of(&bytes);
        self.put_hashed(&names::deletes(&hash), &bytes)?;
        Ok(hash)
    }

    /// Writes a file of the delete log for generation `number`, and returns the hash that names it.
    pub(super) fn put_deletes(
        &self,
        before: Option<Hash>,
        new: &NewDeletes,
        number: u64,
    ) -> Result<Hash> {
        let mut file = self.storage.start("deletes", None)?;
        let (mut hasher, mut bytes) = (Hasher::new(), Vec::new());
        write_line(&mut bytes, &Head { format: FORMAT, before, rows: new.count() })?;
        let mut put = |row: &DeletedRow, bytes: &mut Vec<u8>| {
            write_line(bytes, row)?;
            if bytes.len() >= PIECE_BYTES {
                hasher.update(bytes);
                file.append(bytes)?;
                bytes.clear();
            }
            Ok::<(), Error>(())
        };
        for (hash, _) in &new.of_files {
            self.each_deleted(hash, |row| put(&row, &mut bytes))?;
        }
        for (shard, ordinals, cause) in &new.of_shards {
            for ordinal in ordinals {
                let (id, key) = (shard.id(ordinal)?, shard.key(ordinal)?);
                put(&DeletedRow { id, key, generation: number, cause: *cause }, &mut bytes)?;
            }
            shard.intact()?;
        }
        hasher.update(&bytes);
        file.append(&bytes)?;
        let hash = hasher.finish();
        file.publish(names::deletes(&hash).strip_prefix("deletes/"))?;
        Ok(hash)
    }

    /// Hands out the rows of a file of the delete log, which is proven before; a large file is not
    /// in memory as a whole. Returns the hash of the file before it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`]; [`Error::NewerVersion`]; those of `take`.
    pub fn each_deleted(
        &self,
        hash: &Hash,
        mut take: impl FnMut(DeletedRow) -> Result<()>,
    ) -> Result<Option<Hash>> {
        let name = names::deletes(hash);
        let path = self.root().join(&name);
        let mut hasher = Hasher::new();
        self.pieces(&name, |piece| {
            hasher.update(piece);
            Ok(())
        })?;
        let found = hasher.finish();
        if found != *hash {
            return Err(Error::corrupt(&path, format!("SHA-256 {found}, expected {hash}")));
        }
        let (mut head, mut rows, mut number) = (None, 0, 0);
        let mut line = |line: &[u8]| {
            number += 1;
            match &head {
                _ if line.is_empty() => Ok(()),
                None => {
                    head = Some(parse_versioned(&path, line, FORMAT)?);
                    Ok(())
                }
                Some(_) => {
                    rows += 1;
                    let corrupt =
                        |e: serde_json::Error| Error::corrupt(&path, format!("line {number}: {e}"));
                    take(serde_json::from_slice(line).map_err(corrupt)?)
                }
            }
        };
        let mut rest = Vec::new();
        self.pieces(&name, |piece| {
            let mut lines = piece.split(|&byte| byte == b'\n');
            let last = lines.next_back().unwrap_or_default();
            for ended in lines {
                rest.extend_from_slice(ended);
                line(&rest)?;
                rest.clear();
            }
            rest.extend_from_slice(last);
            Ok(())
        })?;
        line(&rest)?;
        let head: Head = head.ok_or_else(|| Error::corrupt(&path, "an empty file"))?;
        if rows != head.rows {
            let what = format!("{rows} rows, its first line says {}", head.rows);
            return Err(Error::corrupt(&path, what));
        }
        Ok(head.before)
    }

    /// Hands out an object from its beginning, piece by piece.
    fn pieces(&self, name: &str, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut at = 0;
        loop {
            let piece = self.storage.read_range(name, at..at + PIECE_BYTES as u64)?;
            let piece = piece.ok_or_else(|| {
                Error::io(&self.root().join(name), "read", io::ErrorKind::NotFound.into())
            })?;
            take(&piece)?;
            at += piece.len() as u64;
            if piece.len() < PIECE_BYTES {
                return Ok(());
            }
        }
    }

    /// A file of the delete log by its hash.
    ///
    /// # Errors
    /// As [`Self::each_deleted`].
    pub fn delete_file(&self, hash: &Hash) -> Result<DeleteFile> {
        let mut rows = Vec::new();
        let before = self.each_deleted(hash, |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(DeleteFile { before, rows })
    }

    /// Hashes of the files of a delete log whose newest file is `newest`, from the newest to the
    /// oldest. Each file is proven; its rows do not stay in memory.
    ///
    /// # Errors
    /// Each of them: as [`Self::each_deleted`]; the log ends after an error.
    pub fn delete_hashes(&self, newest: Option<Hash>) -> impl Iterator<Item = Result<Hash>> + '_ {
        let mut next = newest;
        std::iter::from_fn(move || {
            let hash = next.take()?;
            Some(self.each_deleted(&hash, |_| Ok(())).map(|before| {
                next = before;
                hash
            }))
        })
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

    /// Files of the delete log `of` that are not in the log `without`, oldest first, with the
    /// number of rows of each. Each log is given by its newest file.
    pub(super) fn deletes_between(
        &self,
        without: Option<Hash>,
        of: Option<Hash>,
    ) -> Result<Vec<(Hash, u64)>> {
        let count = |hash: Hash| {
            let mut rows = 0;
            self.each_deleted(&hash, |_| {
                rows += 1;
                Ok(())
            })?;
            Ok((hash, rows))
        };
        self.hashes_between(without, of)?.into_iter().rev().map(count).collect()
    }

    /// Files of the delete log `of` that are not in the log `without`, newest first.
    pub(super) fn hashes_between(
        &self,
        without: Option<Hash>,
        of: Option<Hash>,
    ) -> Result<Vec<Hash>> {
        if of.is_none() || of == without {
            return Ok(Vec::new());
        }
        let known: BTreeSet<Hash> = self.delete_hashes(without).collect::<Result<_>>()?;
        let mut hashes = Vec::new();
        for hash in self.delete_hashes(of) {
            let hash = hash?;
            if known.contains(&hash) {
                break;
            }
            hashes.push(hash);
        }
        Ok(hashes)
    }
}

/// Appends a line of JSON.
fn write_line(out: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, value)
        .map_err(|e| Error::invalid(format!("delete log: {e}")))?;
    out.push(b'\n');
    Ok(())
}
