//! Attributes of rows in columns, for hits that carry them.

use std::sync::Arc;

use super::Snapshot;
use crate::attributes::{Column, Columns, Schema, Value};
use crate::base::error::Result;
use crate::search::hit::Row;
use crate::shard::Shard;

/// A shard and the numbers that some columns have in it, where it has them.
struct Found<'a> {
    shard: &'a Shard,
    columns: Option<(&'a Columns, Vec<Option<usize>>)>,
}

impl<'a> Found<'a> {
    fn new(shard: &'a Shard, wanted: &[Column]) -> Self {
        let number = |columns: &Columns, wanted: &Column| columns.column(&wanted.name);
        let numbers = |columns: &'a Columns| {
            (columns, wanted.iter().map(|wanted| number(columns, wanted)).collect())
        };
        Self { shard, columns: shard.columns().map(numbers) }
    }

    /// The values of a row, one for each column.
    fn values(&self, ordinal: u32, wanted: usize) -> Result<Vec<Option<Value>>> {
        let Some((columns, numbers)) = &self.columns else { return Ok(vec![None; wanted]) };
        let (file, slot) = (self.shard.file(), self.shard.slot(ordinal)?);
        let value = |number: &Option<usize>| match number {
            Some(number) => columns.value(file, slot, *number),
            None => Ok(None),
        };
        let values = numbers.iter().map(value).collect::<Result<Vec<_>>>()?;
        self.shard.intact()?;
        Ok(values)
    }
}

impl Snapshot {
    /// The columns of the index: those of its shards, by name, but for shards that could not be
    /// opened ([`Self::missing`]).
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] if a column has another type in another shard.
    pub fn schema(&self) -> Result<Arc<Schema>> {
        let merge = || {
            let mut schema = Schema::default();
            for shard in self.shards() {
                if let Some(columns) = shard.columns() {
                    schema.merge(columns.schema())?;
                }
            }
            Ok(Arc::new(schema))
        };
        self.schema.get_or_init(merge).clone()
    }

    /// Values of `columns`, which [`Schema::select`] gave for [`Self::schema`], of each of `rows`:
    /// one for each column, `None` for null. Only the blocks in which the rows lie are read.
    ///
    /// # Errors
    /// For each row, [`crate::Error::Corrupt`] and [`crate::Error::NotFound`].
    pub fn values(&self, rows: &[Row], columns: &[Column]) -> Vec<Result<Vec<Option<Value>>>> {
        let mut found: Vec<(u32, Found<'_>)> = Vec::new();
        let mut values = |row: &Row| {
            let at = match found.iter().position(|(shard, _)| *shard == row.shard) {
                Some(at) => at,
                None => {
                    found.push((row.shard, Found::new(self.shard_of(*row)?, columns)));
                    found.len() - 1
                }
            };
            found[at].1.values(row.ordinal, columns.len())
        };
        rows.iter().map(&mut values).collect()
    }
}
