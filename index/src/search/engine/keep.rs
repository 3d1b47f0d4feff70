//! The k cheapest rows of one shard, known by number until they are final: a slot, or a candidate.
//!
//! Ids cost a read of scattered memory each, and they decide only among rows of equal cost. So rows
//! are gathered with their costs alone; whenever enough have come, the k-th smallest cost is
//! selected and what costs more is dropped. The buffer never holds more than k + max(k / 2,
//! [`ROOM`]) rows, however many of them tie.

use ocelli_vector::Simd;

use super::candidates::Candidates;
use crate::base::error::Result;
use crate::shard::Shard;
use ocelli_vector::ranked::Ranked;

/// Rows gathered beyond k at least, so that a small k does not select all the time.
const ROOM: usize = 64;

/// The meaning of the numbers of rows.
#[derive(Clone, Copy)]
pub(super) struct Numbered<'a> {
    pub shard: &'a Shard,
    pub candidates: &'a Candidates,
}

impl Numbered<'_> {
    #[inline]
    fn slot(self, found: Ranked) -> u32 {
        self.candidates.slot(found.number())
    }

    /// # Errors
    /// [`crate::Error::Corrupt`].
    #[inline]
    pub fn ordinal(self, found: Ranked) -> Result<u32> {
        self.shard.ordinal_in_list(self.slot(found))
    }
}

/// The rows that are kept: see the [module docs](self).
pub(super) struct Keep {
    k: usize,
    /// Rows that are gathered before the best of them are selected.
    full: usize,
    /// No row that costs more can be among the best.
    pub tau: f32,
    found: Vec<Ranked>,
}

impl Keep {
    /// Room for `k` rows that cost at most `tau`.
    pub fn new(k: usize, tau: f32) -> Self {
        let full = k.saturating_add(ROOM.max(k / 2));
        // So many may never come.
        Self { k, full, tau, found: Vec::with_capacity(full.min(4096)) }
    }

    /// Rows wanted.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Whether a row of this cost may be among the best. A NaN costs more than any number.
    #[inline]
    pub fn admits(&self, cost: f32) -> bool {
        cost.total_cmp(&self.tau).is_le() || self.tau == f32::INFINITY
    }

    /// Takes in a row that is admitted.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], where ties have to be told apart by id.
    #[inline]
    pub fn push(&mut self, rows: Numbered<'_>, found: Ranked) -> Result<()> {
        self.found.push(found);
        if self.found.len() >= self.full { self.prune(rows) } else { Ok(()) }
    }

    /// Rows that cost more than `tau` are of no interest.
    pub fn lower(&mut self, tau: f32) {
        if tau.total_cmp(&self.tau).is_lt() {
            self.tau = tau;
        }
    }

    /// Lets the k-th best of what was found so far decide.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn tighten(&mut self, rows: Numbered<'_>) -> Result<()> {
        if self.found.len() > self.k {
            return self.prune(rows);
        }
        if self.found.len() == self.k {
            let worst = self.found.iter().max().map_or(f32::INFINITY, |f| f.cost());
            self.lower(worst);
        }
        Ok(())
    }

    /// Drops all but the k best.
    #[cold]
    fn prune(&mut self, rows: Numbered<'_>) -> Result<()> {
        let (_, &mut kth, behind) = self.found.select_nth_unstable(self.k - 1);
        if behind.iter().any(|f| f.ties(kth)) {
            self.choose_among_ties(rows, kth)?;
        } else {
            self.found.truncate(self.k);
        }
        self.lower(kth.cost());
        Ok(())
    }

    /// Keeps what costs less than the k-th and, of what ties with it, as many as there is room for,
    /// by id.
    #[cold]
    fn choose_among_ties(&mut self, rows: Numbered<'_>, kth: Ranked) -> Result<()> {
        let mut ties: Vec<(u64, Ranked)> = Vec::new();
        for &f in self.found.iter().filter(|f| f.ties(kth)) {
            ties.push((rows.shard.id(rows.ordinal(f)?)?, f));
        }
        ties.sort_unstable();
        self.found.retain(|&f| f < kth && !f.ties(kth));
        let room = self.k - self.found.len();
        self.found.extend(ties.into_iter().take(room).map(|t| t.1));
        Ok(())
    }

    /// The k best rows, or all there are, by cost.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self, simd: Simd, rows: Numbered<'_>) -> Result<Vec<Ranked>> {
        // Ordinals lie scattered: all are asked for before the first is needed.
        self.found.iter().for_each(|&f| rows.shard.prefetch_ordinal(rows.slot(f)));
        // Sorting a few rows too many costs less than selecting the k best first.
        Ranked::sort(simd, &mut self.found);
        if let [.., kth, next] = self.found[..self.found.len().min(self.k + 1)]
            && self.found.len() > self.k
        {
            if kth.ties(next) {
                self.choose_among_ties(rows, kth)?;
                Ranked::sort(simd, &mut self.found);
            } else {
                self.found.truncate(self.k);
            }
        }
        Ok(self.found)
    }
}
