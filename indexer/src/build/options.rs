//! Options of a build.

use ocelli_index::Model;

use super::rows::OnDuplicate;
use crate::Result;
use crate::dba::EXACT_ROWS;
use crate::memory::{Memory, cores};

/// Options of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Shards; the rows are split into so many ranges of equal length.
    pub shards: usize,
    /// Threads that encode; 0: one per core. The result does not depend on it.
    pub threads: usize,
    /// Nearest rows by which each descriptor is augmented before it is coded (DBA); 0: none.
    pub dba: usize,
    /// Treatment of a row whose key or id an earlier row has.
    pub on_duplicate: OnDuplicate,
    /// Memory that the build may take, in bytes; 0: as much as it needs. The result does not depend
    /// on it.
    pub memory_budget_bytes: usize,
}

impl BuildOptions {
    /// The shares of the budget of a build of so many rows, for the threads that will run.
    ///
    /// # Errors
    /// A budget that is too small, with the smallest that works.
    pub(crate) fn memory(&self, model: &Model, rows: usize) -> Result<Memory> {
        // The neighbours of all rows stay in memory, and their vectors where these are compared.
        let neighbours = match (self.dba, rows <= EXACT_ROWS) {
            (0, _) => 0,
            (k, true) => 4 * rows * (k + model.parts().dim),
            (k, false) => 4 * rows * k,
        };
        Memory::to_encode(self.memory_budget_bytes, model, cores(self.threads), neighbours)
    }
}
