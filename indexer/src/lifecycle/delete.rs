//! Rows that go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ocelli_index::{Cause, Generation, IndexDir};
use serde::Serialize;

use super::backup::{Holding, holding};
use super::change::{Change, Names, commit_by, now_ms, open_current};
use super::compact::compact_shards;
use crate::{Error, ProgressFn, Result};

/// Attempts to write shards again before an erasure gives up: each that fails means that another
/// change came between.
const ATTEMPTS: usize = 10;

/// The result of [`delete`].
#[derive(Clone, Debug, Serialize)]
pub struct DeleteReport {
    /// The index directory.
    pub index: PathBuf,
    /// The generation that is current now.
    pub generation: u64,
    /// Rows that were deleted.
    pub deleted: u64,
    /// Names that no row had.
    pub missing: u64,
    /// The first few of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_first: Vec<String>,
    /// Report of the erasure, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erased: Option<EraseReport>,
}

/// Report of an erasure: the files that held erased rows.
#[derive(Clone, Debug, Serialize)]
pub struct EraseReport {
    /// Shards that were written again without the rows.
    pub rewritten: usize,
    /// Shards that still hold rows of these names, by name: those of earlier generations.
    /// `ocelli gc --yes` removes them.
    pub held_by: Vec<String>,
    /// The generations that name such shards.
    pub generations: Vec<u64>,
    /// Backups that hold rows of these names, of all chains that the index knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<Holding>,
}

/// Deletes rows by id and key; names that no row has are counted. With `erase`, the shards that
/// held the rows are written again without them, and what else holds rows of these names is
/// recorded, so that `gc` removes it and backups that have it can be named.
///
/// # Errors
/// An index without a generation; damaged files; for an erasure, other changes that come between
/// again and again: it is then as far as it came, and goes on when it is run again.
pub fn delete(
    dir: &Path,
    names: Names,
    erase: bool,
    progress: ProgressFn<'_>,
) -> Result<DeleteReport> {
    let (index, _) = open_current(dir)?;
    let cause = if erase { Cause::Erase } else { Cause::Delete };
    let mut all = names.clone();
    if erase {
        // First, so that whoever is stopped here finds the record, and goes on.
        let erasure = index.find_erased(&names, now_ms())?;
        index.put_erasure(&erasure)?;
        all.keys = erasure.keys.into_iter().collect();
    }
    let settings = [("ids", names.ids.len().to_string()), ("keys", names.keys.len().to_string())];
    let change = Change::Delete { names: all.clone(), cause };
    let command = if erase { "delete --erase" } else { "delete" };
    let committed = index.commit_change(&change, &commit_by(command, &settings))?;
    let mut report = DeleteReport {
        index: dir.to_owned(),
        generation: committed.generation.number,
        deleted: committed.rows.deleted,
        missing: committed.rows.missing,
        missing_first: committed.missing_first,
        erased: None,
    };
    if erase {
        report.erased = Some(erase_files(dir, &index, &all, progress)?);
        report.generation = index.current()?.map_or(report.generation, |current| current.number);
    }
    Ok(report)
}

/// Writes the current generation's shards that hold rows of `names` again.
fn erase_files(
    dir: &Path,
    index: &IndexDir,
    names: &Names,
    progress: ProgressFn<'_>,
) -> Result<EraseReport> {
    let mut rewritten = 0;
    for _ in 0..ATTEMPTS {
        // Another compaction may have copied the rows meanwhile.
        let erasure = index.find_erased(names, now_ms())?;
        index.put_erasure(&erasure)?;
        let current = index.current()?;
        let here: BTreeSet<String> = current
            .iter()
            .flat_map(|current: &Generation| &current.shards)
            .filter(|shard| erasure.shards.contains(&shard.name))
            .map(|shard| shard.name.clone())
            .collect();
        if here.is_empty() {
            let mut generations = Vec::new();
            for number in index.generations()? {
                let shards = index.generation(number)?.shards;
                if shards.iter().any(|shard| erasure.shards.contains(&shard.name)) {
                    generations.push(number);
                }
            }
            let backups = holding(dir, &erasure.shards)?;
            let held_by = erasure.shards.into_iter().collect();
            return Ok(EraseReport { rewritten, held_by, generations, backups });
        }
        match compact_shards(dir, &here, progress) {
            Ok(report) => rewritten += report.merged,
            Err(Error::Index(ocelli_index::Error::Conflict { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Invalid(format!(
        "{}: other changes came between each time that the shards with the erased rows were \
         written again; the rows are deleted, and no search finds them; run the same command again \
         to erase them from the files too",
        dir.display()
    )))
}
