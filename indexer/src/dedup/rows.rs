//! The facts of rows, and edges that are read again and again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ocelli_index::{Schema, Value};

use super::edge::{Edge, RowNumber};
use crate::Result;

/// Facts of a row. What is not known is None.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Id of the row.
    pub id: u64,
    /// Key of the row; empty if it has none.
    pub key: String,
    /// The image file.
    pub path: Option<PathBuf>,
    /// Size of the image file when it was encoded.
    pub bytes: Option<u64>,
    /// Stored width in pixels.
    pub width: Option<u32>,
    /// Stored height in pixels.
    pub height: Option<u32>,
    /// Modification time of the file when it was encoded, in milliseconds since 1970.
    pub modified_ms: Option<i64>,
    /// Capture time, in milliseconds since 1970.
    pub captured_ms: Option<i64>,
    /// SHA-256 of the file when it was encoded.
    pub sha256: Option<[u8; 32]>,
    /// Whether the row is a part of the photo, and not the whole.
    pub is_part: bool,
    /// Values of the columns that were asked for, in that order.
    pub columns: Vec<Option<Value>>,
}

impl Facts {
    /// Pixels of the photo.
    pub fn pixels(&self) -> Option<u64> {
        Some(u64::from(self.width?) * u64::from(self.height?))
    }

    /// The name of the row for people: its key, or `id 17`.
    pub fn name(&self) -> Cow<'_, str> {
        match self.key.is_empty() {
            true => Cow::Owned(format!("id {}", self.id)),
            false => Cow::Borrowed(&self.key),
        }
    }
}

/// The rows of a run.
pub trait Rows: Sync {
    /// Number of rows; each [`RowNumber`] is below it.
    fn rows(&self) -> u64;

    /// Whether the row was there before: it is of the other index of `--against`, or of the
    /// generation of `--since`. It is always kept.
    fn is_old(&self, row: RowNumber) -> bool;

    /// Columns of the user's own attributes.
    fn schema(&self) -> &Schema;

    /// Facts of `rows`, which ascend, in their order, with the values of `columns`.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn facts(&self, rows: &[RowNumber], columns: &[String]) -> Result<Vec<Facts>>;

    /// The row of a key, if there is one; with two indexes, that of the one that `old`
    /// says, or else that of the new one first.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn row_of_key(&self, key: &str, old: Option<bool>) -> Result<Option<RowNumber>>;

    /// The row of an id, if there is one; with two indexes, that of the one that `old`
    /// says, or else that of the new one first.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn row_of_id(&self, id: u64, old: Option<bool>) -> Result<Option<RowNumber>>;
}

/// Edges that can be read more than once, each unordered pair of rows once.
pub trait Edges: Sync {
    /// Hands out all edges, in ascending order of (a, b).
    ///
    /// # Errors
    /// Those of reading, and those of `take`, which end it.
    fn each(&self, take: &mut dyn FnMut(&Edge) -> Result<()>) -> Result<()>;
}

impl Edges for [Edge] {
    fn each(&self, take: &mut dyn FnMut(&Edge) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(take)
    }
}

impl Edges for Vec<Edge> {
    fn each(&self, take: &mut dyn FnMut(&Edge) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(take)
    }
}

/// Facts of rows that come in any order, each read once.
///
/// # Errors
/// Those of [`Rows::facts`].
pub(super) fn facts_of(
    rows: &dyn Rows,
    numbers: impl IntoIterator<Item = RowNumber>,
) -> Result<BTreeMap<RowNumber, Facts>> {
    let numbers: Vec<RowNumber> =
        numbers.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let facts = rows.facts(&numbers, &[])?;
    Ok(numbers.into_iter().zip(facts).collect())
}
