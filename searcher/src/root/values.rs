//! Attributes of hits and images.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_index::Row;
use ocelli_index::attributes::{Column, Value};
use ocelli_proto::status::Code;

use super::{KEYS_AT_A_TIME, LeafHit, Root};
use crate::error::Result;
use crate::leaf::{ImageName, Values};
use crate::options::Options;

impl Root {
    /// The columns of these names, in their order and each once; `*` stands for all.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a name that no column has, with those that there are, and
    /// where shards disagree on the type of a column.
    pub fn columns(&self, names: &[String]) -> Result<Arc<[Column]>> {
        let mut leaves = self.leaves.iter();
        let Some(first) = leaves.next().filter(|_| !names.is_empty()) else {
            return Ok(Arc::default());
        };
        let mut schema = first.schema()?;
        for leaf in leaves {
            Arc::make_mut(&mut schema).merge(&*leaf.schema()?)?;
        }
        Ok(schema.select(names)?.into())
    }

    /// The values of `columns` of an image; nulls if no leaf has it.
    ///
    /// # Errors
    /// A damaged shard.
    pub fn values_of(&self, image: &ImageName, columns: &[Column]) -> Result<Values> {
        for leaf in &self.leaves {
            if let Some(row) = self.noted(leaf.row_of(image))?
                && let Some(values) = leaf.values_at(&[row], columns).pop()
            {
                return self.noted(values);
            }
        }
        Ok(vec![None; columns.len()])
    }

    /// For each column that `options` ask for, the values of `hits`. If a partial answer is
    /// allowed, a shard with damaged attributes goes into `lost`.
    pub(super) fn read_attributes(
        &self,
        hits: &[LeafHit],
        options: &Options,
        lost: &mut BTreeMap<String, String>,
    ) -> Result<Vec<Vec<Option<Value>>>> {
        let columns = &options.attributes;
        let mut read = vec![vec![None; hits.len()]; columns.len()];
        if columns.is_empty() {
            return Ok(read);
        }
        for (number, leaf) in self.leaves.iter().enumerate() {
            let places: Vec<usize> = (0..hits.len()).filter(|&hit| hits[hit].0 == number).collect();
            for places in places.chunks(KEYS_AT_A_TIME) {
                options.check_cancelled()?;
                let rows: Vec<Row> = places.iter().map(|&hit| hits[hit].1.row).collect();
                let values = leaf.values_at(&rows, columns);
                for ((&place, row), values) in places.iter().zip(&rows).zip(values) {
                    match self.noted(values) {
                        Ok(values) => {
                            read.iter_mut().zip(values).for_each(|(of, value)| of[place] = value);
                        }
                        Err(error)
                            if options.search.allow_partial && error.code == Code::DataLoss =>
                        {
                            lost.insert(leaf.shard_name(*row), error.message);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(read)
    }
}
