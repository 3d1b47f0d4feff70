//! Options of a build.

use super::rows::OnDuplicate;

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
