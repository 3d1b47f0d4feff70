//! A leaf: search in the shards of one snapshot.

use std::sync::Arc;

use ocelli_index::attributes::{Column, Schema, Value};
use ocelli_index::{
    Name, RangeResult, Row, ScanCounts, Scratch, SearchParams, SearchResult, Snapshot,
};

use crate::error::{Error, Result};
use crate::options::Options;

/// An image of the index, as a client names it.
pub use ocelli_index::Name as ImageName;

/// The work of a leaf for a query, for `Explain`.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// The lists that were scanned, best first: their number, the centroid's part of a score, rows.
    pub lists: Vec<(u32, f32, u64)>,
    /// The codes that were looked at, and those that were scored.
    pub counts: ScanCounts,
    /// The number of rows that the filter allows, if it allows only some.
    pub allowed: Option<u64>,
    /// Whether each allowed row was scored, whatever list it is in.
    pub direct: bool,
    /// The instruction level of the kernels.
    pub simd: &'static str,
}

/// Values of a row, one for each column that is wanted; `None` for null.
pub type Values = Vec<Option<Value>>;

/// The vector of an image, (dim,), and the values of the columns that were asked for, or the error
/// of reading them.
pub type Described = (Vec<f32>, Result<Values>);

/// The holder of some shards, as the root sees it. All methods block: they are called on compute
/// threads only, with the buffers of the thread.
pub trait Leaf: Send + Sync {
    /// The name of the shard of `row`, for reports of damage.
    fn shard_name(&self, row: Row) -> String;

    /// The row of an image. `None` if no shard of this leaf has it.
    ///
    /// # Errors
    /// A damaged shard.
    fn row_of(&self, image: &ImageName) -> Result<Option<Row>>;

    /// The vector of a row, (dim,), in the space of descriptors: as stored, or reconstructed from
    /// its code.
    ///
    /// # Errors
    /// A damaged shard.
    fn vector_at(&self, row: Row) -> Result<Vec<f32>>;

    /// The columns of attributes, without those that only a shard has that is not open
    /// ([`Leaf::missing`]).
    ///
    /// # Errors
    /// Shards that disagree on the type of a column.
    fn schema(&self) -> Result<Arc<Schema>>;

    /// The error of a shard that could not be opened, if there is one.
    fn missing(&self) -> Option<Error>;

    /// The values of `columns` of each of `rows`, or the error of a damaged shard for each.
    fn values_at(&self, rows: &[Row], columns: &[Column]) -> Vec<Result<Values>>;

    /// The vectors of rows, (dim,) each, or the error of a damaged shard for each.
    ///
    /// # Errors
    /// A damaged model.
    fn vectors_at(&self, rows: &[Row]) -> Result<Vec<Result<Vec<f32>>>>;

    /// The best rows for each of the descriptors `x`, (n, dim): best first, ties by smaller id.
    ///
    /// # Errors
    /// A damaged shard, unless `options` allow a partial answer.
    fn search_shards(
        &self,
        x: &[f32],
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<Vec<SearchResult>>;

    /// The rows for the descriptor `x`, (dim,), that are at least as good as `threshold`, at most
    /// k.
    ///
    /// # Errors
    /// As [`Leaf::search_shards`].
    fn range_shards(
        &self,
        x: &[f32],
        threshold: f32,
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<RangeResult>;

    /// The plan of a search of `x`, (dim,). The counts are those of the searches with these buffers
    /// since the last call.
    ///
    /// # Errors
    /// As [`Leaf::search_shards`].
    fn explain(&self, x: &[f32], options: &Options, scratch: &mut Scratch) -> Result<Explained>;

    /// The key of one row; empty if it has none.
    ///
    /// # Errors
    /// A damaged shard.
    fn key_of(&self, row: Row) -> Result<String>;
}

/// The engine's parameters for a search of `snapshot`.
fn params(snapshot: &Snapshot, options: &Options) -> Result<SearchParams> {
    let filter = options.filter.as_ref().map(|filter| filter.rows(snapshot)).transpose()?;
    Ok(SearchParams { filter, ..options.search.clone() })
}

impl Leaf for Snapshot {
    fn shard_name(&self, row: Row) -> String {
        Snapshot::shard_name(self, row)
            .map_or_else(|| format!("shard {}", row.shard), str::to_owned)
    }

    fn row_of(&self, image: &ImageName) -> Result<Option<Row>> {
        Ok(match image {
            Name::Id(id) => self.find_id(*id)?,
            Name::Key(key) => self.find_key(key)?,
        })
    }

    fn vector_at(&self, row: Row) -> Result<Vec<f32>> {
        Ok(self.vector(row)?)
    }

    fn missing(&self) -> Option<Error> {
        Snapshot::missing(self).next().map(|shard| shard.error.into())
    }

    fn schema(&self) -> Result<Arc<Schema>> {
        Ok(Snapshot::schema(self)?)
    }

    fn values_at(&self, rows: &[Row], columns: &[Column]) -> Vec<Result<Values>> {
        self.values(rows, columns).into_iter().map(|values| Ok(values?)).collect()
    }

    fn vectors_at(&self, rows: &[Row]) -> Result<Vec<Result<Vec<f32>>>> {
        let vectors = self.vectors(rows.iter().copied())?;
        Ok(vectors.into_iter().map(|vector| Ok(vector?)).collect())
    }

    fn search_shards(
        &self,
        x: &[f32],
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<Vec<SearchResult>> {
        let params = params(self, options)?;
        if x.len() == self.model().parts().dim {
            return Ok(vec![self.search_with(x, &params, scratch)?]);
        }
        Ok(self.search_batch(x, &params, scratch)?)
    }

    fn range_shards(
        &self,
        x: &[f32],
        threshold: f32,
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<RangeResult> {
        Ok(self.search_range(x, threshold, &params(self, options)?, scratch)?)
    }

    fn explain(&self, x: &[f32], options: &Options, scratch: &mut Scratch) -> Result<Explained> {
        let params = params(self, options)?;
        let filter = params.filter.as_ref();
        let direct = self.is_direct(&params);
        Ok(Explained {
            lists: match direct {
                true => Vec::new(),
                false => self.probed_lists(x, &params, scratch)?,
            },
            counts: scratch.take_counts(),
            allowed: filter.and_then(|filter| filter.allowed()),
            direct,
            simd: scratch.level(),
        })
    }

    fn key_of(&self, row: Row) -> Result<String> {
        Ok(self.key(row)?)
    }
}
