//! Rows of a file on their way into a part.

/// A row that will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    /// Its number in the file.
    pub(super) row: usize,
    /// Why.
    pub(super) reason: String,
}

/// Some rows of a file, one after another.
#[derive(Debug)]
pub(super) struct Rows {
    /// Number of the first in the file.
    pub(super) first: usize,
    /// How many there are.
    pub(super) n: usize,
    /// Vectors, (n, dim).
    pub(super) x: Vec<f32>,
    /// Ids, (n,), where they were asked for.
    pub(super) ids: Option<Vec<u64>>,
    /// Keys, (n,), where they were asked for.
    pub(super) keys: Option<Vec<String>>,
    /// Those that will not do, ascending, each once. What stands above for them means nothing.
    pub(super) bad: Vec<BadRow>,
}
