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

    fn row_of_key(&self, key: &str) -> Result<Option<RowNumber>> {
        let found = self.facts.iter().rposition(|facts| facts.key == key);
        Ok(found.map(|row| row as u64))
    }

    fn row_of_id(&self, id: u64) -> Result<Option<RowNumber>> {
        Ok(self.facts.iter().rposition(|facts| facts.id == id).map(|row| row as u64))
    }
}

/// An edge that was scored from vectors.
pub(crate) fn edge(a: RowNumber, b: RowNumber, score: f32, label: Label) -> Edge {
    let scored_by = ScoredBy::Vectors;
    Edge { a, b, score, scored_by, label, phash_distance: None, agreement: None }
}
