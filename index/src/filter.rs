//! Which rows a query may find, by id or key; and what ends a query early.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use roaring::RoaringBitmap;

use crate::error::{Error, Result};

/// An image by one of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// By its id.
    Id(u64),
    /// By the user's key.
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

/// Ends searches early: looked at between two lists. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// Cancels by itself at `deadline`.
    pub fn at(deadline: Instant) -> Self {
        Self { flag: Arc::default(), deadline: Some(deadline) }
    }

    /// Ends the searches that look at this or a clone of it.
    pub fn cancel(&self) {
        // Relaxed: no other memory depends on it.
        self.flag.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Error::Cancelled`] once it was cancelled or its time is over.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.flag.load(Ordering::Relaxed) {
            return Err(Error::Cancelled { what: "the caller waits no longer".into() });
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::Cancelled { what: "its deadline has passed".into() });
        }
        Ok(())
    }
}
