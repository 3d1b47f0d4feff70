//! Attributes of hits and images.

use std::sync::Arc;

use ocelli_index::Row;
use ocelli_index::attributes::{Column, Value};
use ocelli_proto::status::Code;

use super::{KEYS_AT_A_TIME, LeafHit, Reading, Root};
use crate::error::Result;
use crate::leaf::{Described, ImageName};
use crate::options::Options;

/// The number of values that are read between two checks of their bytes. With texts of the largest
/// size they have 32 MiB.
const VALUES_AT_A_TIME: usize = 1 << 13;

impl Root {
    /// The columns of these names, in their order and each once; `*` stands for all. Where a shard
    /// could not be opened and `allow_partial` is true, names that no other shard knows are left
    /// out.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a name that no column has, with those that there are, and
    /// where shards disagree on the type of a column. The error of a shard that could not be
    /// opened, if it may have the column.
    pub fn columns(&self, names: &[String], allow_partial: bool) -> Result<Arc<[Column]>> {
        let mut leaves = self.leaves.iter();
        let Some(first) = leaves.next().filter(|_| !names.is_empty()) else {
            return Ok(Arc::default());
        };
        let mut schema = first.schema()?;
        for leaf in leaves {
            Arc::make_mut(&mut schema).merge(&*leaf.schema()?)?;
        }
        let Some(missing) = self.leaves.iter().find_map(|leaf| leaf.missing()) else {
            return Ok(schema.select(names)?.into());
        };
        let is_known = |name: &&String| *name == "*" || schema.meant(name).is_some();
        let known = Vec::from_iter(names.iter().filter(is_known).cloned());
        if known.len() < names.len() && !allow_partial {
            return Err(missing);
        }
        Ok(schema.select(&known)?.into())
    }

    /// The vector of an image, and its values of `columns` or their error.
    ///
    /// # Errors
    /// As [`Root::vector_of`].
    pub fn describe(&self, image: &ImageName, columns: &[Column]) -> Result<Described> {
        let (leaf, row) = self.find(image)?;
        let vector = self.noted(leaf.vector_at(row))?;
        let values = match columns {
            [] => None,
            columns => leaf.values_at(&[row], columns).pop(),
        };
        Ok((vector, values.map_or_else(|| Ok(Vec::new()), |values| self.noted(values))))
    }

    /// For each column that `options` ask for, the values of `hits`. If a partial answer is
    /// allowed, a shard with damaged attributes goes into `reading`.
    ///
    /// # Errors
    /// [`Code::OutOfRange`] as soon as the values have no room; a damaged shard.
    pub(super) fn read_attributes(
        &self,
        hits: &[LeafHit],
        options: &Options,
        reading: &mut Reading,
    ) -> Result<Vec<Vec<Option<Value>>>> {
        let (columns, room) = (&options.attributes, options.room);
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let null = room.bytes(None);
        reading.bytes += hits.len().saturating_mul(columns.len()).saturating_mul(null);
        room.check(reading.bytes)?;
        let mut read = vec![vec![None; hits.len()]; columns.len()];
        let at_a_time = (VALUES_AT_A_TIME / columns.len()).clamp(1, KEYS_AT_A_TIME);
        for (number, leaf) in self.leaves.iter().enumerate() {
            let places: Vec<usize> = (0..hits.len()).filter(|&hit| hits[hit].0 == number).collect();
            for places in places.chunks(at_a_time) {
                options.check_cancelled()?;
                let rows: Vec<Row> = places.iter().map(|&hit| hits[hit].1.row).collect();
                let values = leaf.values_at(&rows, columns);
                for ((&place, row), values) in places.iter().zip(&rows).zip(values) {
                    match self.noted(values) {
                        Ok(values) => {
                            let bytes = values.iter().map(|of| room.bytes(of.as_ref()) - null);
                            reading.bytes += bytes.sum::<usize>();
                            read.iter_mut().zip(values).for_each(|(of, value)| of[place] = value);
                        }
                        Err(error)
                            if options.search.allow_partial && error.code == Code::DataLoss =>
                        {
                            reading.lost.insert(leaf.shard_name(*row), error.message);
                        }
                        Err(error) => return Err(error),
                    }
                }
                room.check(reading.bytes)?;
            }
        }
        Ok(read)
    }
}
