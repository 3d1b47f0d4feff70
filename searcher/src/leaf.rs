//! A leaf: search in the shards of one snapshot.

use ocelli_index::{Row, SearchParams, SearchResult, Snapshot};

use crate::error::Result;

/// An image of the index, as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageName {
    /// By id, below 2^63.
    Id(u64),
    /// By key.
    Key(String),
}

/// What a root asks of the holder of some shards. Blocking: called on compute threads only.
pub trait Leaf: Send + Sync {
    /// Name of the shard of `row`, for reports of damage.
    fn shard_name(&self, row: Row) -> String;

    /// The vector of an image, (dim,), in the space of descriptors: as stored, or reconstructed from
    /// its code. None if no shard of this leaf has the image.
    ///
    /// # Errors
    /// A damaged shard.
    fn vector_of(&self, image: &ImageName) -> Result<Option<Vec<f32>>>;

    /// The best rows for the descriptor `x`, (dim,), best first, ties by smaller id.
    ///
    /// # Errors
    /// A damaged shard, unless `params` allow a partial answer.
    fn search_shards(&self, x: &[f32], params: &SearchParams) -> Result<SearchResult>;

    /// The key of one row; empty if it has none.
    ///
    /// # Errors
    /// A damaged shard.
    fn key_of(&self, row: Row) -> Result<String>;
}

impl Leaf for Snapshot {
    fn shard_name(&self, row: Row) -> String {
        let shard = self.generation().shards.get(row.shard as usize);
        shard.map_or_else(|| format!("shard {}", row.shard), |shard| shard.name.clone())
    }

    fn vector_of(&self, image: &ImageName) -> Result<Option<Vec<f32>>> {
        let row = match image {
            ImageName::Id(id) => self.find_id(*id)?,
            ImageName::Key(key) => self.find_key(key)?,
        };
        Ok(row.map(|row| self.vector(row)).transpose()?)
    }

    fn search_shards(&self, x: &[f32], params: &SearchParams) -> Result<SearchResult> {
        Ok(self.search(x, params)?)
    }

    fn key_of(&self, row: Row) -> Result<String> {
        Ok(self.key(row)?)
    }
}
