//! From survivors of the integer scan to scored rows.

use ocelli_vector::Simd;
use ocelli_vector::score::{self, Tables};

use super::candidates::Candidates;
use super::keep::{Keep, Numbered};
use super::list::ShardList;
use crate::base::error::Result;
use crate::model::Metric;
use crate::shard::Shard;
use ocelli_vector::ranked::Ranked;

/// Takes in the rows that are good enough.
pub(super) struct Collector<'a> {
    pub shard: &'a Shard,
    pub keep: &'a mut Keep,
    pub candidates: &'a mut Candidates,
}

/// Scores survivors of the scan.
pub(super) struct Scorer<'a> {
    simd: Simd,
    metric: Metric,
    tables: Tables<'a>,
}

impl<'a> Scorer<'a> {
    pub fn new(simd: Simd, metric: Metric, tables: Tables<'a>) -> Self {
        Self { simd, metric, tables }
    }

    /// Scores the rows of a list at `places`, and keeps what is good enough. Right after the scan
    /// their codes, a cache line for each sub-quantizer, are near. All are scored before the first
    /// is looked at: what is kept depends on the data, and a wrong guess would undo the scores
    /// under way.
    ///
    /// # Errors
    /// As [`Keep::push`].
    #[inline]
    pub fn score(
        &self,
        list: &ShardList<'_>,
        base: f32,
        places: &[u32],
        scores: &mut Vec<f32>,
        collector: Collector<'_>,
    ) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let rows = list.rows(base, places);
        score::scores(self.simd, self.metric, &self.tables, &rows, scores);
        self.metric.turn_to_costs(scores);
        let Collector { shard, keep, candidates } = collector;
        for (&i, &cost) in places.iter().zip(scores.iter()) {
            if keep.admits(cost) {
                let number = candidates.add(self.tables.layout, list, i);
                keep.push(Numbered { shard, candidates }, Ranked::new(cost, number))?;
            }
        }
        Ok(())
    }
}
