//! The options of a query, checked and with the defaults filled in.

use std::sync::Arc;

use ocelli_index::attributes::Column;
use ocelli_index::{Diffusion, ErrorCode, Expansion, Filter, RowFilter, SearchParams, Snapshot};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::limit::Room;

/// The checked options of a query, for the root and the leaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The parameters of the engine. Each leaf adds its own rows for [`Options::filter`].
    pub search: SearchParams,
    /// The images that may be found.
    pub filter: Option<Arc<NameFilter>>,
    /// Only hits that are at least as good.
    pub threshold: Option<f32>,
    /// The expansion of the query before it is answered.
    pub expansion: Option<Expansion>,
    /// The diffusion that ranks the best hits again.
    pub diffusion: Option<Diffusion>,
    /// Whether hits carry their keys.
    pub with_keys: bool,
    /// The columns whose values hits carry.
    pub attributes: Arc<[Column]>,
    /// The room for their values.
    pub room: Room,
}

impl Options {
    /// The number of searches: 1, and 1 more for each round of expansion.
    pub fn searches(&self) -> u32 {
        1 + self.expansion.map_or(0, |expansion| expansion.rounds as u32)
    }

    /// Checks that somebody still waits for the answer.
    ///
    /// # Errors
    /// [`Code::DeadlineExceeded`](ocelli_proto::status::Code::DeadlineExceeded) if nobody does.
    pub fn check_cancelled(&self) -> Result<()> {
        match &self.search.cancel {
            Some(cancel) => Ok(cancel.check()?),
            None => Ok(()),
        }
    }
}

/// A filter by ids, keys and attributes, and the rows of each snapshot that it allows. The rows are
/// looked up once for all searches of a request: the parts of a batch, the rounds of an expansion.
#[derive(Debug)]
pub struct NameFilter {
    names: Filter,
    /// By the snapshot's address. A request holds its snapshots as long as its options.
    rows: Mutex<Vec<(usize, Arc<RowFilter>)>>,
}

impl NameFilter {
    /// A filter by `names`.
    pub fn new(names: Filter) -> NameFilter {
        NameFilter { names, rows: Mutex::default() }
    }

    /// The rows of `snapshot` that this filter allows. A second caller waits for the first.
    ///
    /// # Errors
    /// A damaged shard; a predicate that does not fit the columns of the index.
    pub fn rows(&self, snapshot: &Snapshot) -> Result<Arc<RowFilter>> {
        let address = std::ptr::from_ref(snapshot).addr();
        let mut known = self.rows.lock();
        if let Some((_, rows)) = known.iter().find(|(of, _)| *of == address) {
            return Ok(Arc::clone(rows));
        }
        let found = snapshot.resolve(&self.names).map_err(|error| match error.code() {
            // Columns are those of a snapshot, so that a predicate is judged here.
            ErrorCode::InvalidArgument => Error::from(error).at("options.filter.predicate"),
            _ => error.into(),
        });
        let rows = Arc::new(found?);
        known.push((address, Arc::clone(&rows)));
        Ok(rows)
    }
}
