//! What can be made of the current generation where files of it are lost and no backup has them.
//!
//! - Tombstones come again from the delete log, and a file of the delete log from the tombstones of
//!   two generations. Each is named by its SHA-256, which proves that it is what was lost.
//! - A file of the delete log that nothing proves is left behind: a new log begins with all rows
//!   that are known to be deleted. No row of the index changes.
//! - A shard that is lost is left out; the others stay.
//! - A later generation whose file is lost keeps every change from the index, since ids that it
//!   gave must not be given again: a new generation takes note of them.
//!
//! Nothing comes into the index that its current generation does not name, and no deleted row comes
//! back: where it is not known which rows are deleted, nothing is done. A current generation that
//! is lost itself is no matter of a recovery, but of a backup or a way back.

mod log;
mod shards;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocelli_index::{
    Change, DeletedRow, Generation, Hash, IndexDir, NewGeneration, Shard, ShardEntry,
    hash_of_tombstones,
};
use roaring::RoaringBitmap;
use serde::Serialize;

use super::change::{commit_by, open_current};
use super::remains::{Remains, unless_lost};
use crate::{Error, Result};

/// Report of a recovery, carried out or not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RecoverReport {
    /// The index directory.
    pub index: PathBuf,
    /// Whether it was carried out.
    pub applied: bool,
    /// The generation that it is made from: the current one.
    pub base: u64,
    /// The generation that is current afterwards, where it was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Rows that are lost with their shards.
    pub rows_lost: u64,
    /// The steps, in one line each; none where there is nothing to recover.
    pub steps: Vec<String>,
    /// What is lost all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
}

/// A shard that stays.
struct Kept {
    entry: ShardEntry,
    shard: Shard,
    dead: RoaringBitmap,
}

/// A recovery that can be carried out.
pub(super) struct Plan {
    dir: IndexDir,
    base: Generation,
    kept: Vec<Kept>,
    /// Sets of deleted rows that are written again, each proven.
    tombstones: Vec<RoaringBitmap>,
    /// Files of the delete log that are written again, each proven, and the one that begins a new
    /// log.
    files: Vec<(Option<Hash>, Vec<DeletedRow>)>,
    /// The newest file of the delete log.
    deletes: Option<Hash>,
    next_id: u64,
    /// Whether a new generation is needed; else the current one stays.
    new: bool,
    pub(super) report: RecoverReport,
}

/// Finds what can be recovered; with `quick`, shards are opened, and their bytes are not proven.
///
/// # Errors
/// A current generation that is lost; a set of deleted rows that no other file holds; no shard that
/// is left; files of a later version of Ocelli, or that the operating system does not give.
pub(super) fn plan(root: &Path, quick: bool) -> Result<Plan> {
    let dir = IndexDir::open(root)?;
    if let Some(lost) = dir.lost_current()? {
        let which = lost.number.map_or_else(
            || "CURRENT is lost".to_owned(),
            |number| format!("generation {number}, which CURRENT names, is lost"),
        );
        return Err(Error::Invalid(format!(
            "{}: {which}: expected a current generation that can be read; `ocelli doctor` says \
             which backup has it, or which generation to go back to",
            root.display()
        )));
    }
    let (dir, base) = open_current(root)?;
    let remains = Remains::read(&dir)?;
    let model = dir.model(&base.model, None)?;
    let report =
        RecoverReport { index: root.to_owned(), base: base.number, ..RecoverReport::default() };
    let mut plan = Plan {
        report,
        kept: Vec::new(),
        tombstones: Vec::new(),
        files: Vec::new(),
        deletes: base.deletes,
        next_id: base.next_id,
        new: false,
        base,
        dir,
    };
    let known = plan.read_log(&remains)?;
    plan.keep_shards(&remains, &model, &known, quick)?;
    let shards = plan.kept.iter().map(|kept| &kept.shard);
    plan.dir.require_codecs(&plan.base.model, shards)?;
    plan.mend_log(&known)?;
    plan.note_ids(&remains)?;
    Ok(plan)
}

impl Plan {
    /// Takes note of ids that lost generations gave. These are above the current one: it was gone
    /// back to, or they never became current.
    fn note_ids(&mut self, remains: &Remains) -> Result<()> {
        let later = |&number: &u64| number > self.base.number;
        let lost: Vec<u64> = remains.damaged.iter().copied().filter(later).collect();
        for number in &lost {
            self.report.steps.push(format!(
                "a new generation takes note of the ids that generation {number} gave, as far as \
                 shards and the delete log tell them; its file cannot be read, and keeps every \
                 change from the index"
            ));
            self.report.loses.push(format!(
                "the way to generation {number}, which was rolled back from, or never became \
                 current"
            ));
        }
        if !lost.is_empty() {
            self.new = true;
            self.next_id = self.next_id.max(remains.given(None)?.1);
        } else if self.new {
            self.next_id = self.dir.next_id(Some(&self.base))?;
        }
        Ok(())
    }

    /// Carries the plan out.
    ///
    /// # Errors
    /// Another change that came first; files that cannot be written. The index is then as it was,
    /// but for files that are whole again.
    pub(super) fn apply(mut self) -> Result<RecoverReport> {
        for set in &self.tombstones {
            self.dir.put_tombstones(set)?;
        }
        for (before, rows) in &self.files {
            self.dir.put_delete_rows(*before, rows)?;
        }
        self.report.applied = true;
        self.report.generation = Some(self.base.number);
        if self.new {
            let names = self.kept.iter().map(|kept| &kept.entry.name);
            let tombstones: BTreeMap<String, Hash> = names
                .filter_map(|name| Some((name.clone(), *self.base.tombstones.get(name)?)))
                .collect();
            let new = NewGeneration {
                model: self.base.model,
                shards: self.kept.iter().map(|kept| kept.entry.clone()).collect(),
                tombstones,
                deletes: self.deletes,
                next_id: self.next_id,
            };
            let change =
                Change::Replace { parent: Some(self.base.number), new, dba: self.base.dba };
            let settings = [("base", self.base.number.to_string())];
            let committed = self.dir.commit_change(&change, &commit_by("recover", &settings))?;
            self.report.generation = Some(committed.generation.number);
        }
        Ok(self.report)
    }
}

/// Makes of the current generation of the index at `root`, of which files are lost, what can be
/// made of it, and with `apply` makes that current; else it only says what it would do. An index
/// that is sound stays as it is.
///
/// # Errors
/// A current generation that is lost; deleted rows of which no file tells; no shard that is left;
/// files of a later version of Ocelli, or that the operating system does not give; another change
/// that came first. The index stays as it was.
pub fn recover(root: &Path, apply: bool) -> Result<RecoverReport> {
    let plan = plan(root, false)?;
    match apply {
        true => plan.apply(),
        false => Ok(plan.report),
    }
}

/// Whether a set of deleted rows is the one that a generation names.
fn is_named(set: &RoaringBitmap, hash: &Hash) -> bool {
    hash_of_tombstones(set).is_ok_and(|found| found == *hash)
}

/// The error of what nothing can be made of.
fn nothing_left(root: &Path, what: &str) -> Error {
    Error::Invalid(format!(
        "{}: {what}; `ocelli doctor` says which backup has it, or which generation to go back to",
        root.display()
    ))
}
