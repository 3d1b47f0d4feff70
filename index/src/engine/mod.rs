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
//! From the first few thousand rows: all their bounds are computed, and the rows with the k smallest are
//! scored. The worst of these is a τ; of the other rows, those whose bound is below it are scored too. The
//! lists that follow are scanned against a τ that is near the final one from the start.
//!
//! # The way of a row
//!
//! scan ([`ocelli_vector::scan`]) → queue ([`queue`]) → float score ([`ocelli_vector::rescore`]) → keep
//! ([`keep`]). Rows are known by slot until the end, since ids lie in scattered memory.

use std::ops::Range;

use ocelli_vector::Simd;
use ocelli_vector::codes::BLOCK;
use ocelli_vector::lut::{self, ByteTable};
use ocelli_vector::rescore::Tables;
use ocelli_vector::scan::{self, BlockBounds, List, Scalars};

mod bound;
mod excluded;
mod keep;
mod queue;
#[cfg(test)]
mod tests;
mod warm;

use self::bound::{ListBound, QueryBound};
pub(crate) use self::excluded::{Deleted, Excluded};
use self::keep::{Found, Keep};
use self::queue::{ListView, Queue};
use self::warm::Span;
use crate::error::Result;
use crate::level::simd;
use crate::model::{Metric, Model, ProbeBuffers, Query};
use crate::search::Hit;
use crate::shard::{ListEntry, Shard};
use crate::snapshot::Row;

/// Rows whose bounds the warm-up looks at: enough that the k-th best of them is near the final one,
/// few enough to cost less than it saves.
const WARM_ROWS: usize = 3000;
/// The warm-up looks at no fewer than this many rows for each hit wanted.
const WARM_ROWS_PER_HIT: usize = 8;
/// Rows of a list that are scanned at a time, a multiple of a block: the threshold follows what was found,
/// and buffers stay small, however long a list is.
const SEGMENT: usize = 64 * BLOCK;

/// Buffers that searches of one thread use again and again.
#[derive(Debug)]
pub struct Scratch {
    /// The instruction level of every kernel that is called with these buffers.
    pub(crate) simd: Simd,
    pub(crate) probe: ProbeBuffers,
    lut: Vec<f32>,
    table: ByteTable,
    buffers: Buffers,
}

/// Those of the scan itself.
#[derive(Debug, Default)]
struct Buffers {
    /// Bounds of the warm-up's lists, one after the other.
    warm: Vec<BlockBounds>,
    survivors: Vec<u32>,
    scores: Vec<f32>,
    found: Vec<Found>,
    excluded: Vec<u64>,
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
            probe: ProbeBuffers::default(),
            lut: Vec::new(),
            table: ByteTable::default(),
            buffers: Buffers::default(),
        }
    }
}

/// A query with its tables, ready to scan the shards of its model.
pub(crate) struct Engine<'a> {
    model: &'a Model,
    simd: Simd,
    lut: &'a [f32],
    table: &'a ByteTable,
    buffers: &'a mut Buffers,
    lists: &'a [(u32, f32)],
    bound: QueryBound,
}

/// A probed list of a shard.
#[derive(Clone, Copy)]
struct Probed<'s> {
    list: u32,
    entry: ListEntry,
    bound: ListBound,
    view: ListView<'s>,
    scalars: Option<&'s [u8]>,
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
        let Scratch { simd, lut, table, buffers, .. } = scratch;
        lut::fill(*simd, &query.z, model.transposed(), p.m, p.ksub, lut);
        let scale = if p.metric == Metric::L2 { 2.0 } else { 1.0 };
        table.fill(*simd, lut, p.ksub, scale);
        let bound = QueryBound::new(p.metric, p.m, table);
        Self { model, simd: *simd, lut, table, buffers, lists, bound }
    }

    /// The `k` best rows of one shard's probed lists, best first. Rows that cost more than `ceiling` are
    /// of no interest; rows that are `excluded` are none.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn scan(
        &mut self,
        shard: &Shard,
        shard_index: u32,
        excluded: &Excluded<'_>,
        ceiling: f32,
        k: usize,
    ) -> Result<Vec<Hit>> {
        let mut buffers = std::mem::take(self.buffers);
        let hits = self.scan_with(shard, shard_index, excluded, ceiling, k, &mut buffers);
        *self.buffers = buffers;
        hits
    }

    fn scan_with(
        &self,
        shard: &Shard,
        shard_index: u32,
        excluded: &Excluded<'_>,
        ceiling: f32,
        k: usize,
        buffers: &mut Buffers,
    ) -> Result<Vec<Hit>> {
        let Buffers { warm, survivors, scores, found, excluded: dead } = buffers;
        let (layout, p) = (self.model.layout(), self.model.parts());
        let columns = layout.columns();
        let tables = Tables { layout, lut: self.lut, codebooks: &p.codebooks };
        let mut queue = Queue::new(self.simd, p.metric, tables, scores);
        let mut keep = Keep::new(k, ceiling, std::mem::take(found));
        let mut lists = self.lists.iter().map(|&(list, base)| self.probed(shard, list, base));
        let mut ahead = lists.next().transpose()?;

        if self.bound.sound() {
            // The first lists: bounds of every row; the rows with the k smallest are scored, and then those
            // that may still be better than the worst of them.
            let wanted = WARM_ROWS.max(WARM_ROWS_PER_HIT.saturating_mul(k));
            let mut rows = 0;
            let mut warmed: Vec<Probed<'_>> = Vec::with_capacity(16);
            let mut spans: Vec<Span> = Vec::with_capacity(16);
            warm.clear();
            while rows < wanted
                && let Some(probed) = ahead
            {
                ahead = lists.next().transpose()?;
                let start = warm.len();
                let view = probed.scan_view(columns, 0..probed.view.len, ahead.as_ref());
                scan::bounds(self.simd, layout, view, &self.table.bytes, warm);
                if excluded.of_list(shard, probed.list, &probed.entry, dead)? {
                    exclude(dead, &mut warm[start..]);
                }
                rows += probed.view.len;
                spans.push(Span::new(probed.bound, start..warm.len()));
                warmed.push(probed);
            }
            warm::choose_smallest(self.simd, &self.bound, &mut spans, warm, k);
            for (probed, span) in warmed.iter().zip(&spans) {
                survivors.clear();
                if let Some(first) = span.first {
                    scan::between(self.simd, &warm[span.blocks.clone()], None, first, survivors);
                }
                for &i in survivors.iter() {
                    queue.push(&probed.view, i, shard, &mut keep)?;
                }
            }
            queue.flush(shard, &mut keep)?;
            keep.tighten(shard)?;
            for (probed, span) in warmed.iter().zip(&spans) {
                let Some(threshold) = self.bound.threshold(&probed.bound, keep.tau) else {
                    continue;
                };
                survivors.clear();
                let blocks = &warm[span.blocks.clone()];
                scan::between(self.simd, blocks, span.first, threshold, survivors);
                if threshold == u16::MAX {
                    // These and lanes past the end look alike.
                    saturated(blocks, probed.view.len, survivors);
                    if excluded.of_list(shard, probed.list, &probed.entry, dead)? {
                        survivors.retain(|&i| !is_set(dead, i));
                    }
                }
                for &i in survivors.iter() {
                    queue.push(&probed.view, i, shard, &mut keep)?;
                }
            }
        }

        while let Some(probed) = ahead {
            ahead = lists.next().transpose()?;
            let any_dead = excluded.of_list(shard, probed.list, &probed.entry, dead)?;
            for start in (0..probed.view.len).step_by(SEGMENT) {
                let end = (start + SEGMENT).min(probed.view.len);
                survivors.clear();
                if self.bound.sound() {
                    let Some(threshold) = self.bound.threshold(&probed.bound, keep.tau) else {
                        break;
                    };
                    let view = probed.scan_view(columns, start..end, ahead.as_ref());
                    let bytes = &self.table.bytes;
                    scan::survivors(self.simd, layout, view, bytes, threshold, survivors);
                } else {
                    survivors.extend(0..(end - start) as u32);
                }
                for &i in survivors.iter() {
                    let i = i + start as u32;
                    if !(any_dead && is_set(dead, i)) {
                        queue.push(&probed.view, i, shard, &mut keep)?;
                    }
                }
            }
        }
        queue.flush(shard, &mut keep)?;
        *found = keep.finish(shard)?;
        self.hits(shard, shard_index, found)
    }

    /// A list with all that is needed to scan it, its bytes proven.
    #[inline]
    fn probed<'s>(&'s self, shard: &'s Shard, list: u32, base: f32) -> Result<Probed<'s>> {
        let entry = shard.list(list)?;
        let view = ListView {
            codes: shard.list_codes(&entry)?,
            len: entry.len as usize,
            centroid: self.model.centroid(list),
            base,
            first: entry.first,
        };
        let bound = self.bound.of(&entry, base);
        Ok(Probed { list, entry, bound, view, scalars: shard.list_scalars(&entry)? })
    }

    /// Ids of the rows that were found, best first.
    fn hits(&self, shard: &Shard, shard_index: u32, found: &[Found]) -> Result<Vec<Hit>> {
        // Ordinals lie scattered: all are asked for before the first is needed.
        found.iter().for_each(|f| shard.prefetch_ordinal(f.slot()));
        let l2 = self.model.metric() == Metric::L2;
        let mut hits = Vec::with_capacity(found.len());
        for f in found {
            let ordinal = shard.ordinal(f.slot())?;
            let score = if l2 { f.cost() } else { -f.cost() };
            let row = Row { shard: shard_index, ordinal };
            hits.push(Hit { id: shard.id(ordinal)?, score, row, slot: f.slot() });
        }
        // Slots decided among equal costs so far; ids must.
        let mut start = 0;
        for run in found.chunk_by(|a, b| a.ties(*b)) {
            if run.len() > 1 {
                hits[start..start + run.len()].sort_unstable_by_key(|hit| hit.id);
            }
            start += run.len();
        }
        Ok(hits)
    }
}

impl<'s> Probed<'s> {
    /// Rows `range` as the scan wants them; the first is at the start of a block.
    #[inline]
    fn scan_view(
        &self,
        columns: usize,
        range: Range<usize>,
        next: Option<&Probed<'s>>,
    ) -> List<'s> {
        let bytes = self.scalars.map(|s| &s[range.clone()]);
        List {
            codes: &self.view.codes[range.start * columns..],
            len: range.len(),
            scalars: bytes.map(|bytes| Scalars { bytes, factor: self.bound.factor }),
            next: next.map_or(&[], |next| next.view.codes),
        }
    }
}

/// Appends the rows whose bounds are the largest that there is.
#[cold]
fn saturated(blocks: &[BlockBounds], len: usize, survivors: &mut Vec<u32>) {
    let bound = |i: u32| blocks[i as usize / BLOCK][scan::place_of(i as usize % BLOCK)];
    survivors.extend((0..len as u32).filter(|&i| bound(i) == u16::MAX));
}

/// Whether bit `i` is set.
#[inline]
fn is_set(words: &[u64], i: u32) -> bool {
    words[i as usize / 64] >> (i % 64) & 1 == 1
}

/// Makes the rows of `dead`, a bit a row, cost as much as can be.
fn exclude(dead: &[u64], blocks: &mut [BlockBounds]) {
    const _: () = assert!(BLOCK == 64);
    for (&word, block) in dead.iter().zip(blocks) {
        let mut word = word;
        while word != 0 {
            block[scan::place_of(word.trailing_zeros() as usize)] = u16::MAX;
            word &= word - 1;
        }
    }
}
