//! Rows that a search must not find: deleted ones, and those that the query's filter leaves out.
//!
//! The scan knows rows by their place in a list, so sets are turned into a bit a row, list by list,
//! when a list is first scanned.

use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use crate::base::error::Result;
use crate::search::filter::ShardFilter;
use crate::shard::{ListEntry, Shard};

/// Deleted rows of a shard. Ordinals become bits of a list when that list is first touched, and
/// stay.
#[derive(Debug)]
pub(crate) struct Deleted {
    ordinals: RoaringBitmap,
    /// For each list a bit per row, or nothing if none of its rows is deleted.
    lists: Vec<OnceLock<Option<Arc<[u64]>>>>,
}

impl Deleted {
    pub fn new(ordinals: RoaringBitmap, nlist: usize) -> Self {
        let mut lists = Vec::new();
        lists.resize_with(nlist, OnceLock::new);
        Self { ordinals, lists }
    }

    /// More deleted rows of `shard` than `before` has. Lists of which no more rows are deleted keep
    /// their bits, so that the first searches after a deletion make no others.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn after(before: &Self, ordinals: RoaringBitmap, shard: &Shard) -> Result<Self> {
        let changed = &ordinals ^ &before.ordinals;
        let mut lists: Vec<_> = before.lists.clone();
        for ordinal in &changed {
            if let Some(list) = lists.get_mut(shard.list_of(ordinal)? as usize) {
                *list = OnceLock::new();
            }
        }
        Ok(Self { ordinals, lists })
    }

    /// The deleted ordinals.
    pub fn ordinals(&self) -> &RoaringBitmap {
        &self.ordinals
    }

    /// The slots of the deleted rows.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn slots(&self, shard: &Shard) -> Result<RoaringBitmap> {
        let mut out = RoaringBitmap::new();
        for list in 0..self.lists.len() as u32 {
            let entry = shard.list(list)?;
            let bits = self.list(shard, list, &entry)?.unwrap_or_default();
            let dead = (0..entry.len).filter(|&i| {
                bits.get(i as usize / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
            });
            out.extend(dead.map(|i| entry.first + i));
        }
        Ok(out)
    }

    fn list(&self, shard: &Shard, list: u32, entry: &ListEntry) -> Result<Option<&[u64]>> {
        let Some(cell) = self.lists.get(list as usize) else { return Ok(None) };
        if let Some(bits) = cell.get() {
            return Ok(bits.as_deref());
        }
        let mut bits = vec![0u64; (entry.len as usize).div_ceil(64)];
        let mut any = false;
        for i in 0..entry.len {
            if self.ordinals.contains(shard.ordinal(entry.first + i)?) {
                bits[i as usize / 64] |= 1 << (i % 64);
                any = true;
            }
        }
        Ok(cell.get_or_init(|| any.then(|| bits.into())).as_deref())
    }
}

/// All that leaves rows out of one shard's answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Excluded<'a> {
    pub deleted: Option<&'a Deleted>,
    pub filter: Option<&'a ShardFilter>,
}

impl Excluded<'_> {
    /// Writes a bit a row of the list to `out`, set where the row is left out. False, and nothing
    /// useful in `out`, where none is.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    #[inline]
    pub fn of_list(
        &self,
        shard: &Shard,
        list: u32,
        entry: &ListEntry,
        out: &mut Vec<u64>,
    ) -> Result<bool> {
        if self.deleted.is_none() && self.filter.is_none() {
            return Ok(false);
        }
        let deleted = match self.deleted {
            Some(deleted) => deleted.list(shard, list, entry)?,
            None => None,
        };
        let Some(filter) = self.filter else {
            out.clear();
            out.extend_from_slice(deleted.unwrap_or_default());
            return Ok(deleted.is_some());
        };
        let words = (entry.len as usize).div_ceil(64);
        out.clear();
        // With an allow set, all rows are left out at first; else none.
        out.resize(words, if filter.allow.is_some() { u64::MAX } else { 0 });
        let slots = entry.first..entry.first.saturating_add(entry.len);
        let place = |slot: u32| ((slot - entry.first) as usize / 64, (slot - entry.first) % 64);
        for slot in filter.allow.iter().flat_map(|allow| allow.range(slots.clone())) {
            let (word, bit) = place(slot);
            out[word] &= !(1 << bit);
        }
        for slot in filter.deny.range(slots.clone()) {
            let (word, bit) = place(slot);
            out[word] |= 1 << bit;
        }
        if let Some(deleted) = deleted {
            out.iter_mut().zip(deleted).for_each(|(out, dead)| *out |= dead);
        }
        Ok(true)
    }

    /// Whether no row of the list can be found, for the filter alone.
    #[inline]
    pub fn skips(&self, entry: &ListEntry) -> bool {
        let slots = entry.first..entry.first.saturating_add(entry.len);
        let allow = self.filter.and_then(|f| f.allow.as_deref());
        allow.is_some_and(|allow| allow.range_cardinality(slots) == 0)
    }
}
