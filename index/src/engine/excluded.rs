//! Rows that a search must not find: deleted ones, and what a query's own filter leaves out.
//!
//! The scan knows rows by their place in a list, so sets are turned into a bit a row, list by list, when
//! a list is first scanned.

use std::sync::OnceLock;

use roaring::RoaringBitmap;

use crate::error::Result;
use crate::shard::{ListEntry, Shard};

/// Deleted rows of a shard. Ordinals become bits of a list when that list is first touched, and stay.
#[derive(Debug)]
pub(crate) struct Deleted {
    ordinals: RoaringBitmap,
    /// Of each list: a bit a row, or nothing where no row of it is deleted.
    lists: Vec<OnceLock<Option<Box<[u64]>>>>,
}

impl Deleted {
    pub fn new(ordinals: RoaringBitmap, nlist: usize) -> Self {
        let mut lists = Vec::new();
        lists.resize_with(nlist, OnceLock::new);
        Self { ordinals, lists }
    }

    /// The deleted ordinals.
    pub fn ordinals(&self) -> &RoaringBitmap {
        &self.ordinals
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
        Ok(cell.get_or_init(|| any.then(|| bits.into_boxed_slice())).as_deref())
    }
}

/// All that leaves rows out of one shard's answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Excluded<'a> {
    pub deleted: Option<&'a Deleted>,
}

impl Excluded<'_> {
    /// Writes a bit a row of the list to `out`, set where the row is left out. False, and nothing useful in
    /// `out`, where none is.
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
        let Some(deleted) = self.deleted else { return Ok(false) };
        let Some(bits) = deleted.list(shard, list, entry)? else { return Ok(false) };
        out.clear();
        out.extend_from_slice(bits);
        Ok(true)
    }
}
