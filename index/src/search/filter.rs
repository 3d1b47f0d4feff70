//! Filters: the rows that a query may find, by id or key, and by attributes.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::attributes::Predicate;
use crate::base::error::Error;

/// An image by one of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// An image by its id.
    Id(u64),
    /// An image by the user's key.
    Key(String),
}

/// The images that a query may find: those of `allow` where that is given, for which the predicate
/// is true where there is one, but none of `deny`. Names that no row has are passed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only these; none at all if it is empty.
    pub allow: Option<BTreeSet<Name>>,
    /// None of these.
    pub deny: BTreeSet<Name>,
    /// Only those with such attributes.
    pub predicate: Option<Predicate>,
}

/// Rows of one shard, by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardFilter {
    pub allow: Option<Arc<RoaringBitmap>>,
    pub deny: RoaringBitmap,
}

/// A [`Filter`] whose names were looked up in one snapshot ([`crate::Snapshot::resolve`]): it can
/// be used for any number of searches of that snapshot.
#[derive(Clone, Debug)]
pub struct RowFilter {
    pub(crate) shards: Vec<ShardFilter>,
    pub(crate) generation: u64,
    /// Allowed rows of all shards, where only some are allowed.
    pub(crate) allowed: Option<u64>,
    /// Rows of all shards.
    pub(crate) rows: u64,
    /// Allowed rows of each list, without those that are denied too, where a search may scan lists.
    pub(crate) list_rows: Option<Arc<[u32]>>,
    /// Shards whose attributes are damaged, each with what was found: they fail the searches that
    /// use the filter.
    pub(crate) failed: Vec<(String, Error)>,
    /// [`Self::DIRECT`]; tests have others.
    pub(crate) direct: u64,
}

/// The lists that a search wants, nearest first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reach {
    /// Lists at least, those without allowed rows counted.
    pub lists: usize,
    /// Allowed rows that the lists must hold.
    pub rows: u64,
}

impl RowFilter {
    /// Allowed sets up to this size are scored row by row, whatever list they are in: that takes
    /// about as long as to scan a few lists.
    pub const DIRECT: u64 = 4096;

    /// Scoring a row by itself costs as much as scanning this many rows of lists.
    const DIRECT_COST: u64 = 64;

    /// With a share s of the rows allowed, s to the power of minus this number times as many lists
    /// hold the same share of the nearest rows that are allowed (`docs/attributes.md`).
    const WIDENING: f64 = 0.55;

    /// Whether a search of `nprobe` of `nlist` lists scores each allowed row, whatever list it is
    /// in: where these are few, or where the lists to be scanned otherwise would cost more.
    pub fn is_direct(&self, nprobe: usize, nlist: usize) -> bool {
        let Some(allowed) = self.allowed else { return false };
        if allowed <= self.direct || self.direct == 0 {
            return allowed <= self.direct;
        }
        let lists = self.reach(nprobe, nlist, 0).map_or(nprobe, |reach| reach.lists);
        let scanned = self.rows / nlist.max(1) as u64 * lists as u64;
        allowed.saturating_mul(Self::DIRECT_COST) <= scanned
    }

    /// Rows that are allowed, where only some are; those that are denied too are counted.
    pub fn allowed(&self) -> Option<u64> {
        self.allowed
    }

    /// The lists of a search that would scan `nprobe` of `nlist` lists without the filter and wants
    /// `wanted` rows; `None` for no further.
    pub(crate) fn reach(&self, nprobe: usize, nlist: usize, wanted: u64) -> Option<Reach> {
        let allowed = self.allowed.filter(|_| self.list_rows.is_some())?;
        let least = nprobe.min(nlist);
        let share = (allowed as f64 / self.rows.max(1) as f64).clamp(f64::MIN_POSITIVE, 1.0);
        let lists = (least as f64 * share.powf(-Self::WIDENING)).min(nlist as f64);
        let rows = lists / nlist.max(1) as f64 * allowed as f64;
        let rows = (rows as u64).max(wanted).min(allowed);
        Some(Reach { lists: (lists.ceil() as usize).max(least), rows })
    }

    /// Cuts lists, nearest first, where they hold as many allowed rows as they must, and takes away
    /// those without any. False if they hold fewer.
    pub(crate) fn cut<T>(&self, lists: &mut Vec<(u32, T)>, reach: &Reach) -> bool {
        let rows_of = |list: u32| {
            let of = self.list_rows.as_ref().and_then(|rows| rows.get(list as usize));
            u64::from(of.copied().unwrap_or(0))
        };
        let mut rows = 0;
        let enough = lists.iter().zip(1..).find_map(|((list, _), n)| {
            rows += rows_of(*list);
            (rows >= reach.rows && n >= reach.lists).then_some(n)
        });
        lists.truncate(enough.unwrap_or(lists.len()));
        lists.retain(|(list, _)| rows_of(*list) > 0);
        enough.is_some()
    }
}
