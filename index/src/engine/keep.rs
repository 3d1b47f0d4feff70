//! The k cheapest rows of one shard, known by slot until they are final.
//!
//! Ids cost a read of scattered memory each, and they decide only among rows of equal cost. So rows are
//! gathered with their costs alone; whenever twice as many as wanted have come, the k-th smallest cost
//! is selected and what costs more is dropped. The buffer never holds more than 2 k + [`ROOM`] rows,
//! however many of them tie.

use crate::error::Result;
use crate::shard::Shard;

/// Rows gathered beyond 2 k, so that a small k does not select all the time.
const ROOM: usize = 64;

/// A row that may be among the best.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Smaller is better.
    pub cost: f32,
    /// Place of the row in the order of lists.
    pub slot: u32,
}

/// See the module's introduction.
pub(super) struct Keep {
    k: usize,
    /// No row that costs more can be among the best.
    pub tau: f32,
    found: Vec<Found>,
}

impl Keep {
    /// Room for `k` rows that cost at most `tau`, in a buffer of the caller's.
    pub fn new(k: usize, tau: f32, mut found: Vec<Found>) -> Self {
        found.clear();
        Self { k, tau, found }
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
    pub fn push(&mut self, shard: &Shard, found: Found) -> Result<()> {
        self.found.push(found);
        if self.found.len() >= 2 * self.k + ROOM { self.prune(shard) } else { Ok(()) }
    }

    /// Drops all but the k best.
    #[cold]
    fn prune(&mut self, shard: &Shard) -> Result<()> {
        let by_cost = |a: &Found, b: &Found| a.cost.total_cmp(&b.cost);
        let (_, kth, _) = self.found.select_nth_unstable_by(self.k - 1, by_cost);
        let kth = kth.cost;
        // Those that cost less stay; of those that tie, as many as there is room for, by id.
        let mut ties: Vec<(u64, Found)> = Vec::new();
        let mut error = None;
        self.found.retain(|f| match f.cost.total_cmp(&kth) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => {
                match shard.ordinal(f.slot).and_then(|o| shard.id(o)) {
                    Ok(id) => ties.push((id, *f)),
                    Err(e) => error = Some(e),
                }
                false
            }
        });
        if let Some(error) = error {
            return Err(error);
        }
        ties.sort_unstable_by_key(|t| t.0);
        let room = self.k - self.found.len();
        self.found.extend(ties.into_iter().take(room).map(|t| t.1));
        if kth.total_cmp(&self.tau).is_lt() {
            self.tau = kth;
        }
        Ok(())
    }

    /// The k best rows, or all there are, in no order.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self, shard: &Shard) -> Result<Vec<Found>> {
        if self.found.len() > self.k {
            self.prune(shard)?;
        }
        Ok(self.found)
    }
}
