//! Rows in memory, for tests.

use ocelli_index::Schema;

use super::edge::{Edge, Label, RowNumber, ScoredBy};
use super::rows::{Facts, Rows};
use crate::Result;

/// Rows whose facts are known; the first `old` are old.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) facts: Vec<Facts>,
    pub(crate) old: u64,
    pub(crate) schema: Schema,
}

impl Table {
    fn find(&self, old: Option<bool>, is_it: impl Fn(&Facts) -> bool) -> Option<RowNumber> {
        let is_wanted = |row: RowNumber| old.is_none_or(|old| old == (row < self.old));
        let rows = (0..self.facts.len()).rev().map(|row| row as RowNumber);
        rows.filter(|&row| is_wanted(row)).find(|&row| is_it(&self.facts[row as usize]))
    }
}

impl Rows for Table {
    fn rows(&self) -> u64 {
        self.facts.len() as u64
    }

    fn is_old(&self, row: RowNumber) -> bool {
        row < self.old
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn facts(&self, rows: &[RowNumber], columns: &[String]) -> Result<Vec<Facts>> {
        assert!(rows.is_sorted());
        let one = |&row: &RowNumber| {
            let facts = &self.facts[row as usize];
            let value = |name: &String| {
                let at = self.schema.columns().iter().position(|column| column.name == *name);
                facts.columns.get(at.unwrap()).cloned().flatten()
            };
            Facts { columns: columns.iter().map(value).collect(), ..facts.clone() }
        };
        Ok(rows.iter().map(one).collect())
    }

    fn row_of_key(&self, key: &str, old: Option<bool>) -> Result<Option<RowNumber>> {
        Ok(self.find(old, |facts| facts.key == key))
    }

    fn row_of_id(&self, id: u64, old: Option<bool>) -> Result<Option<RowNumber>> {
        Ok(self.find(old, |facts| facts.id == id))
    }
}

/// An edge that was scored from vectors.
pub(crate) fn edge(a: RowNumber, b: RowNumber, score: f32, label: Label) -> Edge {
    let scored_by = ScoredBy::Vectors;
    Edge { a, b, score, scored_by, label, phash_distance: None, agreement: None }
}
