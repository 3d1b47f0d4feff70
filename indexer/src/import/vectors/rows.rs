//! Rows of a file on their way into a part.

/// A row that is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Number of the row in the file, from 0.
    pub row: usize,
    /// The reason, in words.
    pub reason: String,
}

/// Some rows of a file, one after another.
#[derive(Debug)]
pub struct Rows {
    /// Number of the first row in the file, from 0.
    pub first: usize,
    /// Number of rows.
    pub n: usize,
    /// Vectors, `(n, dim)`; those of bad rows are undefined.
    pub x: Vec<f32>,
    /// Ids, `(n,)`, if they were asked for; those of bad rows are undefined.
    pub ids: Option<Vec<u64>>,
    /// Keys, `(n,)`, if they were asked for; those of bad rows are undefined.
    pub keys: Option<Vec<String>>,
    /// Attributes ([`ocelli_index::attributes::record`]), `(n,)`, if they were asked for; those of
    /// bad rows are undefined.
    pub records: Option<Vec<Vec<u8>>>,
    /// The bad rows, ascending, each once.
    pub bad: Vec<BadRow>,
}
