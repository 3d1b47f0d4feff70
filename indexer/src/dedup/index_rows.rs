//! The rows of a join with the facts that the steps behind it ask for.

use std::path::PathBuf;
use std::sync::Arc;

use ocelli_index::attributes::names;
use ocelli_index::{Column, Row, Schema, Snapshot, Value};

use super::edge::RowNumber;
use super::pairs::RowSet;
use super::rows::{Facts, Rows};
use crate::Result;

/// Finds the image files of rows.
pub trait Places: Sync {
    /// The file of a row by its key: of the index (`of` 0) or of the other one (`of` 1). None where
    /// no file is known.
    fn path(&self, of: usize, key: &str) -> Option<PathBuf>;
}

/// No row has a file.
#[derive(Clone, Copy, Debug)]
pub struct NoPlaces;

impl Places for NoPlaces {
    fn path(&self, _: usize, _: &str) -> Option<PathBuf> {
        None
    }
}

/// Facts that each row may have, in the order in which `row_facts` takes them.
const FACTS: [&str; 7] = [
    names::BYTES,
    names::WIDTH,
    names::HEIGHT,
    names::MODIFIED_MS,
    names::CAPTURED_MS,
    names::SHA256,
    names::PIXEL_BOX,
];

/// The rows of a join.
pub struct IndexRows<'a> {
    rows: &'a RowSet,
    schema: Arc<Schema>,
    places: &'a dyn Places,
}

impl<'a> IndexRows<'a> {
    /// The rows, whose files are where `places` says.
    ///
    /// # Errors
    /// Shards that disagree about columns.
    pub fn new(rows: &'a RowSet, places: &'a dyn Places) -> Result<Self> {
        Ok(Self { rows, schema: rows.all().schema()?, places })
    }

    /// Facts of a row of which the values of [`FACTS`] are known.
    fn row_facts(&self, number: RowNumber, values: Vec<Option<Value>>) -> Result<Facts> {
        let (all, row) = (self.rows.all(), self.rows.row(number));
        let key = all.key(row)?;
        let of = usize::from(number >= self.rows.own_count());
        let path = if key.is_empty() { None } else { self.places.path(of, &key) };
        let mut values = values.into_iter();
        let mut next = || values.next().flatten();
        let number = |value: Option<Value>| match value {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        };
        let bytes = number(next()).and_then(|bytes| bytes.try_into().ok());
        let width = number(next()).and_then(|width| width.try_into().ok());
        let height = number(next()).and_then(|height| height.try_into().ok());
        let (modified_ms, captured_ms) = (number(next()), number(next()));
        let sha256 = match next() {
            Some(Value::Bytes32(hash)) => Some(hash),
            _ => None,
        };
        let is_part = next().is_some();
        let columns = values.collect();
        Ok(Facts {
            id: all.id(row)?,
            key,
            path,
            bytes,
            width,
            height,
            modified_ms,
            captured_ms,
            sha256,
            is_part,
            columns,
        })
    }

    /// The row that `find` finds in an index; with two of them in the one that `old` says, or else
    /// in the new one first.
    fn find(
        &self,
        old: Option<bool>,
        find: impl Fn(&Snapshot) -> ocelli_index::Result<Option<Row>>,
    ) -> Result<Option<RowNumber>> {
        let indexes = self.rows.indexes();
        let row = match (indexes, old) {
            ([own, other], Some(old)) => {
                // Shards of the index come before those of the other one.
                let (index, shift) = if old { (other, own.shards().len()) } else { (own, 0) };
                find(index)?.map(|row| Row { shard: row.shard + shift as u32, ..row })
            }
            _ => find(self.rows.all())?,
        };
        Ok(row.map(|row| self.rows.number(row)))
    }
}

impl Rows for IndexRows<'_> {
    fn rows(&self) -> u64 {
        self.rows.count()
    }

    fn is_old(&self, row: RowNumber) -> bool {
        self.rows.is_old(self.rows.row(row))
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn facts(&self, rows: &[RowNumber], columns: &[String]) -> Result<Vec<Facts>> {
        let wanted: Vec<Option<&Column>> = FACTS
            .iter()
            .copied()
            .chain(columns.iter().map(String::as_str))
            .map(|name| self.schema.find(name))
            .collect();
        let found: Vec<Column> = wanted.iter().copied().flatten().cloned().collect();
        let places: Vec<Row> = rows.iter().map(|&row| self.rows.row(row)).collect();
        let values = self.rows.all().values(&places, &found);
        let facts = |(&row, values): (&RowNumber, ocelli_index::Result<Vec<Option<Value>>>)| {
            let mut values = values?.into_iter();
            // Columns that the index lacks are null in each row.
            let all = wanted.iter().map(|column| column.and_then(|_| values.next().flatten()));
            self.row_facts(row, all.collect())
        };
        rows.iter().zip(values).map(facts).collect()
    }

    fn row_of_key(&self, key: &str, old: Option<bool>) -> Result<Option<RowNumber>> {
        self.find(old, |index| index.find_key(key))
    }

    fn row_of_id(&self, id: u64, old: Option<bool>) -> Result<Option<RowNumber>> {
        self.find(old, |index| index.find_id(id))
    }
}
