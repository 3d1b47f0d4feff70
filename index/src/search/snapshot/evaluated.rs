//! Filters by attributes that were evaluated for a snapshot, kept by their text.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::base::error::Result;
use crate::search::filter::RowFilter;

/// Most filters that are kept.
const MAX_FILTERS: usize = 64;
/// Most bytes of their bitmaps, but for the newest.
const MAX_BYTES: usize = 64 << 20;

/// A filter that is being evaluated, or was.
type Cell = Arc<OnceLock<Result<RowFilter>>>;

/// The last filters by attributes, newest last. One evaluation reads whole columns.
#[derive(Debug)]
pub(super) struct Evaluated {
    filters: Mutex<Vec<(String, Cell)>>,
    max_bytes: usize,
}

impl Default for Evaluated {
    fn default() -> Self {
        Self { filters: Mutex::default(), max_bytes: MAX_BYTES }
    }
}

impl Evaluated {
    /// The filter of a text, which `evaluate` makes unless it is known. Who asks meanwhile waits.
    ///
    /// # Errors
    /// Those of `evaluate`, which are not kept.
    pub fn get(
        &self,
        text: &str,
        evaluate: impl FnOnce() -> Result<RowFilter>,
    ) -> Result<RowFilter> {
        let cell = {
            let mut filters = self.filters.lock();
            let at = filters.iter().position(|(of, _)| of == text);
            let (of, cell) = match at {
                Some(at) => filters.remove(at),
                None => (text.to_owned(), Cell::default()),
            };
            filters.push((of, Arc::clone(&cell)));
            cell
        };
        let found = cell.get_or_init(evaluate).clone();
        let mut filters = self.filters.lock();
        if found.is_err() {
            filters.retain(|(_, known)| !Arc::ptr_eq(known, &cell));
        }
        let bytes = |(_, cell): &(String, Cell)| match cell.get() {
            Some(Ok(filter)) => bytes(filter),
            _ => 0,
        };
        while filters.len() > 1
            && (filters.len() > MAX_FILTERS
                || filters.iter().map(bytes).sum::<usize>() > self.max_bytes)
        {
            filters.remove(0);
        }
        found
    }
}

fn bytes(filter: &RowFilter) -> usize {
    let allow = filter.shards.iter().filter_map(|shard| shard.allow.as_ref());
    allow.map(|allow| allow.serialized_size()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error;
    use crate::search::filter::ShardFilter;

    fn filter(allow: impl Iterator<Item = u32>) -> RowFilter {
        let allow = Some(Arc::new(allow.collect()));
        let shards = vec![ShardFilter { allow, ..ShardFilter::default() }];
        let (allowed, list_rows, failed) = (None, None, Vec::new());
        RowFilter { shards, generation: 1, allowed, rows: 9, list_rows, failed, direct: 0 }
    }

    #[test]
    fn the_last_filters_are_kept_and_errors_are_not() {
        let evaluated = Evaluated::default();
        let get = |text: &str| {
            let mut asked = false;
            let found = evaluated.get(text, || {
                asked = true;
                Ok(filter(0..10))
            });
            found.unwrap();
            asked
        };
        assert!(get("a") && !get("a"));
        assert!(evaluated.get("bad", || Err(Error::invalid("x"))).is_err());
        assert!(get("bad") && !get("bad"));
        (0..MAX_FILTERS - 1).for_each(|i| assert!(get(&i.to_string())));
        assert!(!get("bad") && get("a"));
        // Every second slot of 2¹⁶ is 8 KiB of bits.
        let few = Evaluated { max_bytes: 20_000, ..Evaluated::default() };
        for text in ["a", "b", "c", "d"] {
            few.get(text, || Ok(filter((0..1 << 16).step_by(2)))).unwrap();
        }
        assert_eq!(few.filters.lock().len(), 2);
    }
}
