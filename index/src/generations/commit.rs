//! Commits as the caller puts them together, and the shards that generations name.

use std::path::Path;

use super::change::{Change, CommitOptions};
use crate::base::error::{Error, Result};
use crate::generations::{Dba, Generation, IndexDir, NewGeneration};
use crate::model::Model;
use crate::shard::{Shard, ShardEntry};

impl IndexDir {
    /// Writes a new generation and makes it current, if the current one is still `expected` (a
    /// number, or `None` for an index without one). Its number is the largest that exists + 1, also
    /// after a rollback. Its files are opened and compared with each other before.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another generation became current meanwhile; [`Error::Invalid`] if
    /// the model is not there, or two rows that are not deleted have one id or one key;
    /// [`Error::Misplaced`] if a shard is not the one that `new` names; what opening model and
    /// shards gives. The earlier generation is then still current.
    pub fn commit(&self, expected: Option<u64>, new: NewGeneration) -> Result<Generation> {
        self.commit_augmented(expected, new, None)
    }

    /// [`Self::commit`] of a generation whose descriptors were augmented.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_augmented(
        &self,
        expected: Option<u64>,
        new: NewGeneration,
        dba: Option<Dba>,
    ) -> Result<Generation> {
        let change = Change::Replace { parent: expected, new, dba };
        Ok(self.commit_change(&change, &CommitOptions::default())?.generation)
    }
}

/// Opens the shard that a generation names, and compares it with the generation's entry.
///
/// # Errors
/// Those of [`Shard::open`]; [`Error::Misplaced`].
pub(crate) fn open_named(path: &Path, model: &Model, entry: &ShardEntry) -> Result<Shard> {
    // A file of another kind or model may be sound: it is only in the wrong place.
    let misplaced = |what, expected: String, found: String| Error::Misplaced {
        path: path.to_owned(),
        what,
        expected,
        found,
    };
    let shard = Shard::open(path, model).map_err(|error| match error {
        Error::WrongKind { expected, found, .. } => misplaced("kind", expected, found),
        Error::ModelMismatch { expected, found, .. } => {
            misplaced("model", expected.to_string(), found.to_string())
        }
        other => other,
    })?;
    let (meta, file) = (shard.meta(), shard.file());
    // The facts that people know come first, for the message; the seal decides.
    let facts = [
        ("plan", entry.plan.to_string(), meta.plan.to_string()),
        ("task", entry.task.to_string(), meta.task.to_string()),
        ("rows", entry.rows.to_string(), meta.rows.to_string()),
        ("bytes", entry.bytes.to_string(), file.bytes().to_string()),
        ("seal", entry.seal.to_string(), file.seal().to_string()),
    ];
    shard.intact()?;
    match facts.into_iter().find(|(_, expected, found)| expected != found) {
        Some((what, expected, found)) => Err(misplaced(what, expected, found)),
        None => Ok(shard),
    }
}
