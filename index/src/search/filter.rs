//! Which rows a query may find, by id or key.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

/// An image by one of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// An image by its id.
    Id(u64),
    /// An image by the user's key.
    Key(String),
}

/// Which images a query may find: those of `allow` where that is given, but none of `deny`. Names
/// that no row has are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these; none at all if it is empty.
    pub allow: Option<BTreeSet<Name>>,
    /// None of these.
    pub deny: BTreeSet<Name>,
}

/// Rows of one shard, by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardFilter {
    pub allow: Option<RoaringBitmap>,
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
    /// [`Self::DIRECT`]; tests have others.
    pub(crate) direct: u64,
}

impl RowFilter {
    /// Allowed sets up to this size are scored row by row, whatever list they are in: that takes
    /// about as long as to scan a few lists.
    pub const DIRECT: u64 = 4096;

    /// Whether each allowed row is scored, whatever `nprobe` is.
    pub fn is_direct(&self) -> bool {
        self.allowed.is_some_and(|n| n <= self.direct)
    }

    /// Rows that are allowed, where only some are; those that are denied too are counted.
    pub fn allowed(&self) -> Option<u64> {
        self.allowed
    }
}
