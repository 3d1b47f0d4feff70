//! Changes of an index. Each becomes a generation by compare-and-swap.
//!
//! The rules are in [`ocelli_index::Change`]: every generation comes to be by
//! [`IndexDir::commit_change`](ocelli_index::IndexDir::commit_change).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use ocelli_index::{Change, CommitOptions, Committed, Names, RowCounts, Source};
use ocelli_index::{Generation, IndexDir, MadeBy, Snapshot};
use serde::Serialize;

use crate::{Error, Result};

/// The record of a command in the generation that it makes, with the time of this machine.
pub fn made_by(command: &str, settings: &[(&str, String)]) -> MadeBy {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    MadeBy {
        command: command.to_owned(),
        settings: settings.collect::<BTreeMap<_, _>>(),
        time_ms: now_ms(),
    }
}

/// Milliseconds since 1970 by the clock of this machine; 0 if it is set before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// Options of a commit by this command.
pub(super) fn commit_by<'a>(command: &str, settings: &[(&str, String)]) -> CommitOptions<'a> {
    CommitOptions { made_by: Some(made_by(command, settings)), gate: None }
}

/// The index at `dir` and its current generation.
pub(super) fn open_current(dir: &Path) -> Result<(IndexDir, Generation)> {
    let index = IndexDir::open(dir)?;
    let current = index.current()?.ok_or_else(|| {
        Error::Invalid(format!(
            "{}: the index has no generation yet; make one by `ocelli build`",
            dir.display()
        ))
    })?;
    Ok((index, current))
}

/// The newest generation whose files can all be opened.
fn newest_sound(index: &IndexDir) -> Result<Option<u64>> {
    let opens = |number: &u64| Snapshot::open_in(index, Some(*number)).is_ok();
    Ok(index.generations()?.into_iter().rev().find(opens))
}

/// The result of [`rollback`].
#[derive(Clone, Debug, Serialize)]
pub struct RollbackReport {
    /// The index directory.
    pub index: PathBuf,
    /// The generation that was current.
    pub from: u64,
    /// The generation whose rows are the index again.
    pub to: u64,
    /// The generation that is current now: `to`, or a new one where rows stay deleted.
    pub generation: u64,
    /// Rows of `to` that stay deleted, since they were deleted after it.
    pub kept_deleted: u64,
}

/// Goes back to the generation `to`, or to the one that the current one was made from. Rows that
/// were deleted since stay deleted, unless `undo_deletes`.
///
/// Where CURRENT is lost, or names a generation that cannot be read, the newest generation that can
/// be opened becomes current first, so that its deletes stay in force.
///
/// # Errors
/// No such generation; one that holds erased rows; another change that came first.
pub fn rollback(dir: &Path, to: Option<u64>, undo_deletes: bool) -> Result<RollbackReport> {
    let index = IndexDir::open(dir)?;
    if !matches!(index.current(), Ok(Some(_)))
        && let Some(newest) = newest_sound(&index)?
    {
        index.recover_current(newest)?;
        if to.is_none_or(|to| to == newest) {
            return Ok(RollbackReport {
                index: dir.to_owned(),
                from: newest,
                to: newest,
                generation: newest,
                kept_deleted: 0,
            });
        }
    }
    let (index, current) = open_current(dir)?;
    let from = current.number;
    let to = to.or(current.parent).ok_or_else(|| {
        Error::Invalid(format!(
            "{}: generation {from} was made from no other; say which by --to",
            dir.display()
        ))
    })?;
    let change = Change::Rollback { expected: from, to, undo_deletes };
    let committed =
        index.commit_change(&change, &commit_by("rollback", &[("to", to.to_string())]))?;
    Ok(RollbackReport {
        index: dir.to_owned(),
        from,
        to,
        generation: committed.generation.number,
        kept_deleted: committed.rows.carried,
    })
}
