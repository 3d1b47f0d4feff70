//! Rows that go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ocelli_index::{Cause, Generation, IndexDir, NameList, NameRef};
use serde::Serialize;

use super::backup::{Holding, holding};
use super::change::{Change, Committed, Names, commit_by, now_ms, open_current};
use super::compact::{check_shards, compact_shards};
use crate::memory::{Memory, keep_to};
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
    delete_listed(dir, &NameList::of(&names)?, erase, 0, progress)
}

/// [`delete`] of names that may be more than the memory holds ([`NameListBuilder::bounded`]), in
/// `memory_budget_bytes`; 0: as much as it needs.
///
/// [`NameListBuilder::bounded`]: ocelli_index::NameListBuilder::bounded
///
/// # Errors
/// Those of [`delete`]; a budget that is too small, with the smallest that works: the names of an
/// erasure must fit.
pub fn delete_listed(
    dir: &Path,
    names: &NameList,
    erase: bool,
    memory_budget_bytes: usize,
    progress: ProgressFn<'_>,
) -> Result<DeleteReport> {
    let (index, _) = open_current(dir)?;
    let needs = if erase { erasure_bytes(names)? } else { 0 };
    let budget = (memory_budget_bytes, needs);
    if erase {
        check_erasure(dir, budget)?;
    }
    let _limit = keep_to(memory_budget_bytes, needs, "the names that are erased")?;
    let (ids, keys) = names.given();
    let settings = [("ids", ids.to_string()), ("keys", keys.to_string())];
    let command = if erase { "delete --erase" } else { "delete" };
    let commit = commit_by(command, &settings);
    if !erase {
        let change = Change::DeleteListed { names: names.clone(), cause: Cause::Delete };
        return Ok(report(dir, index.commit_change(&change, &commit)?));
    }
    let mut all = names.to_names()?;
    // First, so that whoever is stopped here finds the record, and goes on.
    let erasure = index.find_erased(&all, now_ms())?;
    if memory_budget_bytes > 0 {
        check_shards(dir, &erasure.shards, budget)?;
    }
    index.put_erasure(&erasure)?;
    all.keys = erasure.keys.into_iter().collect();
    let change = Change::Delete { names: all.clone(), cause: Cause::Erase };
    let mut report = report(dir, index.commit_change(&change, &commit)?);
    report.erased = Some(erase_files(dir, &index, &all, budget, progress)?);
    report.generation = index.current()?.map_or(report.generation, |current| current.number);
    Ok(report)
}

/// Refuses a budget, of which so many bytes are taken already, in which no shard of the index can
/// be written again: an erasure would stop in the middle.
///
/// # Errors
/// A budget that is too small, with the smallest that works; an index without a generation.
pub fn check_erasure(dir: &Path, (budget_bytes, taken_bytes): (usize, usize)) -> Result<()> {
    if budget_bytes == 0 {
        return Ok(());
    }
    let (index, current) = open_current(dir)?;
    let model = index.model(&current.model, None)?;
    Memory::to_copy_beside(budget_bytes, &model, taken_bytes).map(drop)
}

fn report(dir: &Path, committed: Committed) -> DeleteReport {
    DeleteReport {
        index: dir.to_owned(),
        generation: committed.generation.number,
        deleted: committed.rows.deleted,
        missing: committed.rows.missing,
        missing_first: committed.missing_first,
        erased: None,
    }
}

/// Memory of the names of an erasure: in sets, as text, and in a list.
fn erasure_bytes(names: &NameList) -> Result<usize> {
    const COPIES: usize = 5;
    const NAME_BYTES: usize = 40;
    let mut bytes = 0;
    names.each(|_, name| {
        bytes += COPIES * NAME_BYTES;
        if let NameRef::Key(key) = name {
            bytes += COPIES * key.len();
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Writes the current generation's shards that hold rows of `names` again.
fn erase_files(
    dir: &Path,
    index: &IndexDir,
    names: &Names,
    budget: (usize, usize),
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
            let _held = index.hold()?;
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
        match compact_shards(dir, &here, budget, progress) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::fixture::{index, tree};
    use crate::silent;

    /// A budget that is too small for an erasure is refused before its record is written.
    #[test]
    fn an_erasure_that_does_not_fit_changes_nothing() {
        let (tmp, _) = index();
        let names = NameList::of(&Names { ids: vec![7], keys: Vec::new() }).unwrap();
        let before = tree(tmp.path());
        let erase = |mib: usize| delete_listed(tmp.path(), &names, true, mib << 20, &silent);
        let smallest = (1..100).find(|&mib| {
            let outcome = erase(mib);
            let ended = outcome.is_ok();
            assert!(ended || tree(tmp.path()) == before, "{mib} MiB: {outcome:?}");
            ended
        });
        assert!(smallest.is_some());
        assert!(tree(tmp.path()) != before);
    }
}
