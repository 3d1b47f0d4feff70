//! A list of a shard, as all queries that scan it see it.

use std::ops::Range;

use ocelli_vector::prefetch_all;
use ocelli_vector::scan::{List, Scalars};
use ocelli_vector::score::Rows;

use super::Target;
use crate::base::error::Result;
use crate::shard::{ListEntry, ListRows};

/// A list of a shard, its bytes proven.
#[derive(Clone, Copy)]
pub(super) struct ShardList<'a> {
    pub number: u32,
    pub entry: ListEntry,
    pub codes: &'a [u8],
    pub centroid: &'a [f32],
    scalars: Option<&'a [u8]>,
}

impl<'a> ShardList<'a> {
    /// # Errors
    /// [`crate::Error::Corrupt`].
    #[inline(always)]
    pub fn of(target: &Target<'a>, number: u32) -> Result<Self> {
        let Target { shard, model, .. } = *target;
        let ListRows { entry, codes, scalars } = shard.list_rows(number)?;
        // A scan fetches the next list's codes, but needs its scalars, a line for each block, all
        // at once.
        scalars.iter().for_each(|scalars| prefetch_all(scalars));
        Ok(Self { number, entry, codes, centroid: model.centroid(number), scalars })
    }

    /// Rows in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.entry.len as usize
    }

    /// The byte of each row that its L2 term is made of, where the metric has one.
    #[inline]
    pub fn terms(&self) -> Option<&'a [u8]> {
        self.scalars
    }

    /// Rows `range` as the scan wants them, the first of them at the start of a block; `factor` is
    /// the query's ([`Scalars::factor`]), `next` what it will scan after them.
    #[inline]
    pub fn blocks(
        &self,
        columns: usize,
        range: Range<usize>,
        factor: u16,
        next: &'a [u8],
    ) -> List<'a> {
        List {
            codes: &self.codes[range.start * columns..],
            len: range.len(),
            scalars: self.scalars.map(|bytes| Scalars { bytes: &bytes[range], factor }),
            next,
        }
    }

    /// Rows at `places` as they are scored; `base` is the centroid's part of the query's score.
    #[inline]
    pub fn rows(&self, base: f32, places: &'a [u32]) -> Rows<'a> {
        Rows { codes: self.codes, len: self.len(), centroid: self.centroid, base, places }
    }
}
