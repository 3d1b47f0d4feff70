//! Survivors on their way to a float score.
//!
//! A few are scored together, since scoring one leaves most of the processor idle ([`rescore`]); and what
//! is kept depends on the data, so that deciding between two scores would undo, with each wrong guess, the
//! ones under way.

use ocelli_vector::Simd;
use ocelli_vector::rescore::{self, Candidate, Tables};

use super::keep::{Found, Keep};
use crate::error::Result;
use crate::model::Metric;
use crate::shard::Shard;

/// Survivors that wait at most: their scattered codes are then still in the first-level cache.
const LENGTH: usize = 32;

/// See the module's introduction.
pub(super) struct Queue<'a> {
    simd: Simd,
    metric: Metric,
    tables: Tables<'a>,
    waiting: Vec<Candidate<'a>>,
    slots: Vec<u32>,
    scores: &'a mut Vec<f32>,
}

/// The list of a survivor.
#[derive(Clone, Copy)]
pub(super) struct ListView<'a> {
    pub codes: &'a [u8],
    pub len: usize,
    pub centroid: &'a [f32],
    pub base: f32,
    /// Slot of its first row.
    pub first: u32,
}

impl<'a> Queue<'a> {
    pub fn new(simd: Simd, metric: Metric, tables: Tables<'a>, scores: &'a mut Vec<f32>) -> Self {
        let (waiting, slots) = (Vec::with_capacity(LENGTH), Vec::with_capacity(LENGTH));
        Self { simd, metric, tables, waiting, slots, scores }
    }

    /// Takes in row `i` of a list; scores what waits when that is enough.
    ///
    /// # Errors
    /// As [`Keep::push`].
    #[inline]
    pub fn push(
        &mut self,
        view: &ListView<'a>,
        i: u32,
        shard: &Shard,
        keep: &mut Keep,
    ) -> Result<()> {
        let ListView { codes, len, centroid, base, first } = *view;
        self.waiting.push(Candidate { codes, len, i: i as usize, centroid, base });
        self.slots.push(first + i);
        if self.waiting.len() >= LENGTH { self.flush(shard, keep) } else { Ok(()) }
    }

    /// Scores all that wait.
    ///
    /// # Errors
    /// As [`Keep::push`].
    pub fn flush(&mut self, shard: &Shard, keep: &mut Keep) -> Result<()> {
        match self.metric {
            Metric::L2 => rescore::l2_sqs(self.simd, &self.tables, &self.waiting, self.scores),
            Metric::InnerProduct => {
                rescore::inner_products(&self.tables, &self.waiting, self.scores);
                self.scores.iter_mut().for_each(|s| *s = -*s);
            }
        }
        for (&slot, &cost) in self.slots.iter().zip(self.scores.iter()) {
            if keep.admits(cost) {
                keep.push(shard, Found::new(cost, slot))?;
            }
        }
        self.waiting.clear();
        self.slots.clear();
        Ok(())
    }
}
