//! A leaf: search in the shards of one snapshot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ocelli_index::{
    Cancel, Filter, Name, RangeResult, Row, RowFilter, ScanCounts, Scratch, SearchParams,
    SearchResult, Snapshot,
};

use crate::error::Result;

/// An image of the index, as a client names it.
pub use ocelli_index::Name as ImageName;

/// How a leaf searches: what another machine could be told as well.
#[derive(Clone, Debug)]
pub struct LeafParams {
    /// Number of hits.
    pub k: usize,
    /// Lists scanned in each shard.
    pub nprobe: usize,
    /// Candidates scored again by finer codes; 0 for none.
    pub refine: usize,
    /// Whether some shards may fail.
    pub allow_partial: bool,
    /// Shards that are known to fail, by name, each with what was found: they are not asked. None
    /// unless some may fail.
    pub without: Arc<BTreeMap<String, String>>,
    /// Which images may be found.
    pub filter: Option<Arc<LeafFilter>>,
    /// Ends the search when nobody waits for it.
    pub cancel: Cancel,
}

/// A filter, and which rows of a snapshot it allows. These are looked up once for all searches of a
/// request: the parts of a batch, the rounds of an expansion.
#[derive(Debug)]
pub struct LeafFilter {
    names: Filter,
    /// By the snapshot's address, which a request holds as long as its parameters.
    rows: Mutex<Vec<(usize, Arc<RowFilter>)>>,
}

impl LeafFilter {
    /// The filter that `names` are.
    pub fn new(names: Filter) -> LeafFilter {
        LeafFilter { names, rows: Mutex::default() }
    }

    /// The rows of `snapshot`. Whoever comes second waits for the first.
    fn of(&self, snapshot: &Snapshot) -> Result<Arc<RowFilter>> {
        let address = std::ptr::from_ref(snapshot).addr();
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rows)) = known.iter().find(|(of, _)| *of == address) {
            return Ok(Arc::clone(rows));
        }
        let rows = Arc::new(snapshot.resolve(&self.names)?);
        known.push((address, Arc::clone(&rows)));
        Ok(rows)
    }
}

/// What a leaf did for a query.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// Lists that were scanned, best first: number, the centroid's part of a score, rows.
    pub lists: Vec<(u32, f32, u64)>,
    /// Codes looked at and scored.
    pub counts: ScanCounts,
    /// Rows that the filter allows, where it allows only some.
    pub allowed: Option<u64>,
    /// Whether each of them was scored, whatever list it is in.
    pub direct: bool,
    /// Instructions of the kernels.
    pub simd: &'static str,
}

/// What a root asks of the holder of some shards. Blocking: called on compute threads only, with
/// the buffers of the thread.
pub trait Leaf: Send + Sync {
    /// Name of the shard of `row`, for reports of damage.
    fn shard_name(&self, row: Row) -> String;

    /// The vector of an image, (dim,), in the space of descriptors: as stored, or reconstructed
    /// from its code. None if no shard of this leaf has the image.
    ///
    /// # Errors
    /// A damaged shard.
    fn vector_of(&self, image: &ImageName) -> Result<Option<Vec<f32>>>;

    /// The vectors of rows, (dim,) each; for each, what is wrong with it: a damaged shard.
    ///
    /// # Errors
    /// A damaged model.
    fn vectors_at(&self, rows: &[Row]) -> Result<Vec<Result<Vec<f32>>>>;

    /// The best rows for each of the descriptors `x`, (n, dim): best first, ties by smaller id.
    ///
    /// # Errors
    /// A damaged shard, unless `params` allow a partial answer.
    fn search_shards(
        &self,
        x: &[f32],
        params: &LeafParams,
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
        params: &LeafParams,
        scratch: &mut Scratch,
    ) -> Result<RangeResult>;

    /// What a search of `x`, (dim,), does; the counts are those of the searches with these buffers
    /// since this was last asked.
    ///
    /// # Errors
    /// As [`Leaf::search_shards`].
    fn explain(&self, x: &[f32], params: &LeafParams, scratch: &mut Scratch) -> Result<Explained>;

    /// The key of one row; empty if it has none.
    ///
    /// # Errors
    /// A damaged shard.
    fn key_of(&self, row: Row) -> Result<String>;
}

/// The engine's parameters for a search of this snapshot.
fn engine_params(snapshot: &Snapshot, params: &LeafParams) -> Result<SearchParams> {
    let filter = params.filter.as_ref().map(|filter| filter.of(snapshot)).transpose()?;
    Ok(SearchParams {
        k: params.k,
        nprobe: params.nprobe,
        refine: params.refine,
        allow_partial: params.allow_partial,
        without: Arc::clone(&params.without),
        filter,
        cancel: Some(params.cancel.clone()),
    })
}

impl Leaf for Snapshot {
    fn shard_name(&self, row: Row) -> String {
        Snapshot::shard_name(self, row)
            .map_or_else(|| format!("shard {}", row.shard), str::to_owned)
    }

    fn vector_of(&self, image: &ImageName) -> Result<Option<Vec<f32>>> {
        let row = match image {
            Name::Id(id) => self.find_id(*id)?,
            Name::Key(key) => self.find_key(key)?,
        };
        Ok(row.map(|row| self.vector(row)).transpose()?)
    }

    fn vectors_at(&self, rows: &[Row]) -> Result<Vec<Result<Vec<f32>>>> {
        let vectors = self.vectors(rows.iter().copied())?;
        Ok(vectors.into_iter().map(|vector| Ok(vector?)).collect())
    }

    fn search_shards(
        &self,
        x: &[f32],
        params: &LeafParams,
        scratch: &mut Scratch,
    ) -> Result<Vec<SearchResult>> {
        let params = engine_params(self, params)?;
        if x.len() == self.model().parts().dim {
            return Ok(vec![self.search_with(x, &params, scratch)?]);
        }
        Ok(self.search_batch(x, &params, scratch)?)
    }

    fn range_shards(
        &self,
        x: &[f32],
        threshold: f32,
        params: &LeafParams,
        scratch: &mut Scratch,
    ) -> Result<RangeResult> {
        Ok(self.search_range(x, threshold, &engine_params(self, params)?, scratch)?)
    }

    fn explain(&self, x: &[f32], params: &LeafParams, scratch: &mut Scratch) -> Result<Explained> {
        let params = engine_params(self, params)?;
        let filter = params.filter.as_ref();
        let direct = filter.is_some_and(|filter| filter.is_direct());
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
