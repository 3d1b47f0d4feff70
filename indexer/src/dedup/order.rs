//! The order in which rows are kept: the first of a cluster represents it.

use roaring::RoaringTreemap;

use super::edge::RowNumber;
use super::rows::Edges;
use crate::{Error, Result};

/// The rows that have an edge, and the rank of each: 0 for the row that is kept before all others.
/// Old rows have the first ranks. 16 bytes for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Ascending.
    rows: Vec<RowNumber>,
    /// The rank of each of `rows`.
    ranks: Vec<u32>,
    /// Indexes in `rows`, by rank.
    by_rank: Vec<u32>,
    old: u32,
}

impl Order {
    /// The order of `rows`, which ascend: `by_rank` has their indexes, the first rank first, and
    /// `old` is the number of old rows, which are the first.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `by_rank` does not have each index once.
    pub fn new(rows: Vec<RowNumber>, by_rank: Vec<u32>, old: u32) -> Result<Self> {
        let mut ranks = vec![u32::MAX; rows.len()];
        for (rank, &at) in (0u32..).zip(&by_rank) {
            match ranks.get_mut(at as usize) {
                Some(slot) if *slot == u32::MAX => *slot = rank,
                _ => return Err(Error::Invalid(format!("order of rows: {at} is there twice"))),
            }
        }
        if by_rank.len() != rows.len() || old as usize > rows.len() {
            let (found, expected) = (by_rank.len(), rows.len());
            return Err(Error::Invalid(format!("order of {expected} rows: found {found} ranks")));
        }
        Ok(Self { rows, ranks, by_rank, old })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rank of a row; None for a row without an edge.
    pub fn rank(&self, row: RowNumber) -> Option<u32> {
        self.rows.binary_search(&row).ok().map(|at| self.ranks[at])
    }

    /// The row of a rank below [`Self::len`].
    pub fn row(&self, rank: u32) -> RowNumber {
        self.rows[self.by_rank[rank as usize] as usize]
    }

    /// Whether the row of a rank is old.
    pub fn is_old(&self, rank: u32) -> bool {
        rank < self.old
    }
}

/// The rows of `rows` that have an edge of at least the threshold, ascending; and the number of
/// such edges.
///
/// # Errors
/// Those of reading; [`Error::Invalid`] for an edge that cannot be: a score that is no number, a
/// row beyond `rows`, rows that do not ascend; and for 2³² rows or more.
pub(super) fn touched(
    edges: &dyn Edges,
    threshold: f32,
    rows: u64,
) -> Result<(Vec<RowNumber>, u64)> {
    let (mut found, mut count) = (RoaringTreemap::new(), 0);
    edges.each(&mut |edge| {
        if edge.score.is_nan() || edge.a >= edge.b || edge.b >= rows {
            return Err(Error::Invalid(format!(
                "pair of rows: expected a < b < {rows} and a score, found {edge:?}"
            )));
        }
        if edge.counts(threshold) {
            found.insert(edge.a);
            found.insert(edge.b);
            count += 1;
        }
        Ok(())
    })?;
    if found.len() >= u64::from(u32::MAX) {
        return Err(Error::Invalid(format!(
            "{} rows are near another one, expected fewer than {}; a higher threshold makes them \
             fewer",
            found.len(),
            u32::MAX
        )));
    }
    Ok((found.into_iter().collect(), count))
}
