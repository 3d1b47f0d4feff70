//! Commits of generations that the caller puts together.

use super::change::{Change, CommitOptions};
use crate::base::error::Result;
use crate::generations::{Dba, Generation, IndexDir, NewGeneration};

impl IndexDir {
    /// Writes a new generation and makes it current, if the current one is still `expected` (a
    /// number, or `None` for an index without one). Its number is the largest that exists + 1, also
    /// after a rollback. Its files are opened and compared with each other before.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] if another generation became current meanwhile;
    /// [`crate::Error::Invalid`] if the model is not there, or two rows that are not deleted have
    /// one id or one key; [`crate::Error::Misplaced`] if a shard is not the one that `new` names;
    /// what opening model and shards gives. The earlier generation is then still current.
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
