//! The fast scan: the naive scan's answer, to the bit, without scoring every code.
//!
//! # Why nothing is lost
//!
//! Call *cost* what is minimised: the distance for L2, the negated inner product else. In real numbers
//! a row of list l costs b_l + Σⱼ cⱼ + t, with b_l from the centroid, cⱼ from the query's table and, for
//! L2, the row's term t. The byte table gives cⱼ ≥ lowⱼ + Δ · byteⱼ ([`ByteTable`]), the row's scalar gives
//! t ≥ min_l + step_l · byte, and `factor` = ⌊256 · step_l / Δ⌋ turns the latter into the same unit, rounded
//! down once more. So with the integer S of [`ocelli_vector::scan`],
//!
//! ```text
//! cost ≥ b_l + Σⱼ lowⱼ + min_l + Δ · S            (saturation only lowers S)
//! ```
//!
//! A row may be discarded if that exceeds τ, the cost of the k-th best row so far. The decisive costs are
//! floats, so τ gets a slack first. A float cost is the sum of at most m + 3 floats, each rounding off at
//! most 2⁻²⁴ of the largest magnitude M = |b_l| + Σⱼ max |cⱼ| + max |t|, and the byte table's differences are
//! off by as much: 4 · (m + 8) · 2⁻²⁴ · M covers both twice over.
//!
//! # Where τ comes from
//!
//! An integer warm-up: the bounds of the first few thousand rows are also turned round. A byte loses less
//! than one unit and a scalar at most two of its steps, so S + m + 3 + ⌈2 step_l / Δ⌉ units are an *upper*
//! bound of the cost, and the k-th smallest of these is a τ that no float was needed for.

use ocelli_vector::lut::{self, ByteTable};
use ocelli_vector::scan::{self, List, Scalars};
use ocelli_vector::{Simd, adc};

mod keep;
#[cfg(test)]
mod tests;

use roaring::RoaringBitmap;

use self::keep::{Found, Keep};
use crate::error::Result;
use crate::level::simd;
use crate::model::{Metric, Model, Query};
use crate::search::Hit;
use crate::shard::{ListEntry, Shard};
use crate::snapshot::Row;

/// Rows whose bounds the warm-up looks at: enough that the k-th best of them is near the final one,
/// few enough to cost less than it saves.
const WARM_ROWS: usize = 3000;
/// The warm-up looks at no fewer than this many rows for each hit wanted.
const WARM_ROWS_PER_HIT: usize = 8;

/// Costs whose parts are below this cannot overflow a float when they are added.
const LARGEST: f64 = f32::MAX as f64 / 8.0;

/// Buffers that searches of one thread use again and again.
#[derive(Debug)]
pub struct Scratch {
    /// The instruction level of every kernel that is called with these buffers.
    pub(crate) simd: Simd,
    pub(crate) probe: Vec<f32>,
    pub(crate) candidates: Vec<u32>,
    lut: Vec<f32>,
    table: ByteTable,
    bounds: Vec<u16>,
    /// Bounds of the warm-up's lists, one after the other.
    warm: Vec<u16>,
    survivors: Vec<u32>,
    scores: Vec<f32>,
    found: Vec<Found>,
    code: Vec<u8>,
    residual: Vec<f32>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::at(simd())
    }
}

impl Scratch {
    /// Buffers for searches with the instructions of one level; the answers are the same.
    pub fn at(simd: Simd) -> Self {
        Self {
            simd,
            probe: Vec::new(),
            candidates: Vec::new(),
            lut: Vec::new(),
            table: ByteTable::default(),
            bounds: Vec::new(),
            warm: Vec::new(),
            survivors: Vec::new(),
            scores: Vec::new(),
            found: Vec::new(),
            code: Vec::new(),
            residual: Vec::new(),
        }
    }
}

/// What a row costs at least, beside its integer: see the module's introduction.
#[derive(Clone, Copy)]
struct ListBound {
    entry: ListEntry,
    /// b_l + Σⱼ lowⱼ + min_l.
    constant: f64,
    /// See [`Scalars::factor`].
    factor: u16,
    /// Slack of float costs.
    slack: f64,
    /// Upper bound of a row's cost: constant + Δ · (S + this). Infinite where the scalars' step is so
    /// much larger than Δ that the factor does not fit its 16 bits: S then falls short by any amount.
    units: f64,
    /// Whether all this holds. Where numbers are so large that floats overflow, or the scalars were
    /// written without information, every row is scored.
    sound: bool,
}

/// A query with its tables, ready to scan the shards of its model.
pub(crate) struct Engine<'a> {
    model: &'a Model,
    scratch: &'a mut Scratch,
    lists: &'a [(u32, f32)],
    /// Whether the byte table is sound; where numbers overflow, everything is scored.
    sound: bool,
}

impl<'a> Engine<'a> {
    /// Builds the tables of a query for the lists that were probed for it.
    pub fn new(
        model: &'a Model,
        query: &Query,
        lists: &'a [(u32, f32)],
        scratch: &'a mut Scratch,
    ) -> Self {
        let p = model.parts();
        lut::fill(scratch.simd, &query.z, model.transposed(), p.m, p.ksub, &mut scratch.lut);
        let scale = if p.metric == Metric::L2 { 2.0 } else { 1.0 };
        scratch.table.fill(scratch.simd, &scratch.lut, p.ksub, scale);
        scratch.code.resize(p.m, 0);
        scratch.residual.resize(p.d, 0.0);
        let sound = scratch.table.magnitude < LARGEST;
        Self { model, scratch, lists, sound }
    }

    /// The `k` best rows of one shard's probed lists, in no order. Rows that cost more than `ceiling` are
    /// of no interest; `deleted` rows are none.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn scan(
        &mut self,
        shard: &Shard,
        shard_index: u32,
        deleted: Option<&RoaringBitmap>,
        ceiling: f32,
        k: usize,
    ) -> Result<Vec<Hit>> {
        let warm = self.sound && deleted.is_none();
        let ceiling = if warm { ceiling.min(self.warm_up(shard, k)?) } else { ceiling };
        let mut keep = Keep::new(k, ceiling, std::mem::take(&mut self.scratch.found));
        let mut survivors = std::mem::take(&mut self.scratch.survivors);
        let mut scores = std::mem::take(&mut self.scratch.scores);
        let mut ahead = self.lists.first().map(|&(list, _)| shard.list(list)).transpose()?;
        for (number, &(list, base)) in self.lists.iter().enumerate() {
            let Some(entry) = ahead else { break };
            let codes = shard.list_codes(&entry)?;
            ahead = self.lists.get(number + 1).map(|&(next, _)| shard.list(next)).transpose()?;
            survivors.clear();
            if !self.sound {
                survivors.extend(0..entry.len);
            } else {
                let bound = self.bound(&entry, base);
                let Some(threshold) = self.threshold(&bound, keep.tau) else { continue };
                let mut view = self.view(shard, &bound, codes)?;
                if let Some(next) = &ahead {
                    view.next = shard.list_codes(next)?;
                }
                let (layout, table) = (self.model.layout(), &self.scratch.table.bytes);
                let simd = self.scratch.simd;
                scan::survivors(simd, layout, view, table, threshold, &mut survivors);
            }
            // All scores first: what is kept depends on the data, and a wrong guess of that would undo
            // the scores under way.
            scores.clear();
            let len = entry.len as usize;
            scores
                .extend(survivors.iter().map(|&i| self.score(list, base, codes, len, i as usize)));
            for (&i, &score) in survivors.iter().zip(&scores) {
                let found = Found { cost: self.cost(score), slot: entry.first + i };
                if keep.admits(found.cost)
                    && !deleted
                        .is_some_and(|d| shard.ordinal(found.slot).is_ok_and(|o| d.contains(o)))
                {
                    keep.push(shard, found)?;
                }
            }
        }
        self.scratch.scores = scores;
        self.scratch.survivors = survivors;
        let found = keep.finish(shard)?;
        let hits = found.iter().map(|f| {
            let ordinal = shard.ordinal(f.slot)?;
            let row = Row { shard: shard_index, ordinal };
            Ok(Hit { id: shard.id(ordinal)?, score: self.cost(f.cost), row, slot: f.slot })
        });
        let hits = hits.collect();
        self.scratch.found = found;
        hits
    }

    /// Cost of a score, and score of a cost.
    #[inline]
    fn cost(&self, score: f32) -> f32 {
        if self.model.metric() == Metric::L2 { score } else { -score }
    }

    /// The float score of a row: the definition of [`adc`].
    #[inline]
    fn score(&mut self, list: u32, base: f32, codes: &[u8], len: usize, i: usize) -> f32 {
        let (p, s) = (self.model.parts(), &mut *self.scratch);
        self.model.layout().get(codes, len, i, &mut s.code);
        let sum = adc::lut_sum(&s.lut, p.ksub, &s.code);
        match p.metric {
            Metric::InnerProduct => adc::inner_product_score(base, sum),
            Metric::L2 => {
                adc::decode(&p.codebooks, p.ksub, &s.code, &mut s.residual);
                adc::l2_score(
                    base,
                    sum,
                    adc::l2_term_at(s.simd, self.model.centroid(list), &s.residual),
                )
            }
        }
    }

    fn bound(&self, entry: &ListEntry, base: f32) -> ListBound {
        let table = &self.scratch.table;
        let (b, term_low, step, term_size) = match self.model.metric() {
            Metric::InnerProduct => (-f64::from(base), 0.0, 0.0, 0.0),
            Metric::L2 => {
                let (min, step) = (f64::from(entry.scalar_min), f64::from(entry.scalar_step));
                (f64::from(base), min, step, min.abs() + 257.0 * step)
            }
        };
        let magnitude = b.abs() + table.magnitude + term_size;
        let factor = 256.0 * step / table.step * (1.0 - 1e-9);
        let m = self.model.parts().m as f64;
        ListBound {
            entry: *entry,
            constant: b + table.low + term_low,
            // A cast saturates, and rounds down as it must.
            factor: factor as u16,
            slack: 4.0 * (m + 8.0) * f64::from(f32::EPSILON) / 2.0 * magnitude,
            units: if factor < f64::from(u16::MAX) {
                m + 3.0 + (2.0 * step / table.step).ceil()
            } else {
                f64::INFINITY
            },
            sound: magnitude < LARGEST,
        }
    }

    /// The largest integer that a row of cost at most `tau` can have; `None` if there is no such row.
    fn threshold(&self, bound: &ListBound, tau: f32) -> Option<u16> {
        if !bound.sound {
            return Some(u16::MAX);
        }
        let room = (f64::from(tau) + bound.slack - bound.constant) / self.scratch.table.step;
        // The quotient's own rounding is far below the slack.
        (room >= 0.0).then(|| room.min(f64::from(u16::MAX)) as u16)
    }

    fn view<'s>(&self, shard: &'s Shard, bound: &ListBound, codes: &'s [u8]) -> Result<List<'s>> {
        let bytes = shard.list_scalars(&bound.entry)?;
        let scalars = bytes.map(|bytes| Scalars { bytes, factor: bound.factor });
        Ok(List { codes, len: bound.entry.len as usize, scalars, next: &[] })
    }

    /// An upper bound of the `k`-th smallest cost among the first lists' rows, infinite if they have
    /// fewer: see the module's introduction.
    fn warm_up(&mut self, shard: &Shard, k: usize) -> Result<f32> {
        let wanted = WARM_ROWS.max(WARM_ROWS_PER_HIT * k);
        let mut lists = Vec::with_capacity(16);
        let mut warm = std::mem::take(&mut self.scratch.warm);
        warm.clear();
        for &(list, base) in self.lists {
            let entry = shard.list(list)?;
            let bound = self.bound(&entry, base);
            if entry.len > 0 && bound.sound && bound.units.is_finite() {
                let view = self.view(shard, &bound, shard.list_codes(&entry)?)?;
                let (layout, table) = (self.model.layout(), &self.scratch.table.bytes);
                scan::bounds(self.scratch.simd, layout, view, table, &mut self.scratch.bounds);
                warm.extend_from_slice(&self.scratch.bounds);
                lists.push(bound);
            }
            if warm.len() >= wanted {
                break;
            }
        }
        let tau = self.kth_upper_bound(&lists, &warm, k);
        self.scratch.warm = warm;
        Ok(tau)
    }

    /// The smallest τ that the integers tell: at least `k` of the rows cost no more. `warm` are the
    /// bounds of the lists' rows, one list after the other.
    fn kth_upper_bound(&self, lists: &[ListBound], warm: &[u16], k: usize) -> f32 {
        if warm.len() < k {
            return f32::INFINITY;
        }
        let step = self.scratch.table.step;
        // Costs in units of Δ above the smallest constant: a row of list l costs at most S + shift_l.
        let floor = lists.iter().map(|l| l.constant).fold(f64::INFINITY, f64::min);
        let shift = |l: &ListBound| ((l.constant + l.slack - floor) / step + l.units).ceil();
        let count = |units: f64| -> usize {
            let (mut rest, mut count) = (warm, 0);
            for l in lists {
                let (bounds, after) = rest.split_at(l.entry.len as usize);
                rest = after;
                let room = units - shift(l);
                if room >= 0.0 {
                    // A saturated bound says nothing about how large the cost is.
                    let threshold = room.min(f64::from(u16::MAX - 1)) as u16;
                    count += scan::count_at_most(self.scratch.simd, bounds, threshold);
                }
            }
            count
        };
        let (mut low, mut high) =
            (-1.0, f64::from(u16::MAX) + lists.iter().map(shift).fold(0.0, f64::max));
        if count(high) < k {
            return f32::INFINITY;
        }
        while high - low > 1.0 {
            let middle = ((low + high) / 2.0).floor();
            if count(middle) >= k {
                high = middle;
            } else {
                low = middle;
            }
        }
        // Rounded up to a float.
        ((floor + step * (high + 1.0)) as f32).next_up()
    }
}
