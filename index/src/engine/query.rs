//! One query on its way through the lists of one shard.

use std::ops::Range;

use ocelli_vector::codes::BLOCK;
use ocelli_vector::lut::ByteTable;
use ocelli_vector::rescore;
use ocelli_vector::scan::{self, BlockBounds, List, Scalars};

use super::bound::{ListBound, QueryBound};
use super::keep::Keep;
use super::queue::{ListView, Queue};
use super::warm::{self, Span};
use super::{Buffers, Request, Target};
use crate::error::Result;
use crate::filter::Cancel;
use crate::model::Metric;
use crate::search::Hit;
use crate::shard::ListEntry;
use crate::snapshot::Row;

/// Rows whose bounds the warm-up looks at: enough that the k-th best of them is near the final one,
/// few enough to cost less than it saves.
const WARM_ROWS: usize = 3000;
/// The warm-up looks at no fewer than this many rows for each hit wanted.
const WARM_ROWS_PER_HIT: usize = 8;
/// Rows of a list that are scanned at a time, a multiple of a block: the threshold follows what was found,
/// and buffers stay small, however long a list is.
const SEGMENT: usize = 64 * BLOCK;

/// See the module's introduction.
pub(super) struct QueryScan<'a> {
    target: &'a Target<'a>,
    table: &'a ByteTable,
    bound: QueryBound,
    keep: Keep,
    queue: Queue<'a>,
    range: bool,
    cancel: Option<&'a Cancel>,
}

/// A probed list of a shard, its bytes proven.
#[derive(Clone, Copy)]
pub(super) struct Probed<'a> {
    list: u32,
    entry: ListEntry,
    bound: ListBound,
    view: ListView<'a>,
    scalars: Option<&'a [u8]>,
}

impl<'a> QueryScan<'a> {
    pub fn new(target: &'a Target<'a>, request: &Request<'a>) -> Self {
        let p = target.model.parts();
        let tables = rescore::Tables {
            layout: target.model.layout(),
            lut: &request.tables.lut,
            codebooks: &p.codebooks,
        };
        let table = &request.tables.bytes;
        Self {
            target,
            table,
            bound: QueryBound::new(p.metric, p.m, table),
            keep: Keep::new(request.k, request.ceiling),
            queue: Queue::new(target.simd, p.metric, tables),
            range: request.range,
            cancel: request.cancel,
        }
    }

    /// A list with all that is needed to scan it.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    #[inline]
    pub fn probed(&self, list: u32, base: f32) -> Result<Probed<'a>> {
        let Target { shard, model, .. } = self.target;
        let entry = shard.list(list)?;
        let view = ListView {
            codes: shard.list_codes(&entry)?,
            len: entry.len as usize,
            centroid: model.centroid(list),
            base,
            first: entry.first,
        };
        let bound = self.bound.of(&entry, base);
        Ok(Probed { list, entry, bound, view, scalars: shard.list_scalars(&entry)? })
    }

    /// Scans the first of `lists` and finds a threshold from them: the rows with the k smallest bounds are
    /// scored, and then those that may still be better than the worst of these. Returns how many lists
    /// that were.
    ///
    /// # Errors
    /// As [`Self::probed`].
    pub fn warm_up(&mut self, lists: &[(u32, f32)], buffers: &mut Buffers) -> Result<usize> {
        if self.range || !self.bound.sound() {
            return Ok(0);
        }
        let Target { model, simd, shard, excluded, .. } = *self.target;
        let Buffers { warm, survivors, excluded: dead, counts, .. } = buffers;
        let (layout, k) = (model.layout(), self.keep.k());
        let wanted = WARM_ROWS.max(WARM_ROWS_PER_HIT.saturating_mul(k));
        let mut rows = 0;
        let mut warmed: Vec<Probed<'_>> = Vec::with_capacity(16);
        let mut spans: Vec<Span> = Vec::with_capacity(16);
        warm.clear();
        let mut ahead = lists.first().map(|&(l, b)| self.probed(l, b)).transpose()?;
        while rows < wanted
            && let Some(probed) = ahead
        {
            let next = lists.get(warmed.len() + 1);
            ahead = next.map(|&(l, b)| self.probed(l, b)).transpose()?;
            self.check()?;
            let start = warm.len();
            let view = probed.scan_view(layout.columns(), 0..probed.view.len, ahead.as_ref());
            scan::bounds(simd, layout, view, &self.table.bytes, warm);
            if excluded.of_list(shard, probed.list, &probed.entry, dead)? {
                exclude(dead, &mut warm[start..]);
            }
            rows += probed.view.len;
            spans.push(Span::new(probed.bound, start..warm.len()));
            warmed.push(probed);
        }
        warm::choose_smallest(simd, &self.bound, &mut spans, warm, k);
        for (probed, span) in warmed.iter().zip(&spans) {
            survivors.clear();
            if let Some(first) = span.first {
                scan::between(simd, &warm[span.blocks.clone()], None, first, survivors);
            }
            counts.scanned += probed.view.len as u64;
            counts.survived += survivors.len() as u64;
            self.queue.extend(&probed.view, survivors, shard, &mut self.keep)?;
        }
        self.queue.flush(shard, &mut self.keep)?;
        self.keep.tighten(shard)?;
        for (probed, span) in warmed.iter().zip(&spans) {
            let Some(threshold) = self.bound.threshold(&probed.bound, self.keep.tau) else {
                continue;
            };
            survivors.clear();
            let blocks = &warm[span.blocks.clone()];
            scan::between(simd, blocks, span.first, threshold, survivors);
            if threshold == u16::MAX {
                // These and lanes past the end look alike.
                saturated(blocks, probed.view.len, survivors);
                if excluded.of_list(shard, probed.list, &probed.entry, dead)? {
                    survivors.retain(|&i| !is_set(dead, i));
                }
            }
            counts.survived += survivors.len() as u64;
            self.queue.extend(&probed.view, survivors, shard, &mut self.keep)?;
        }
        self.queue.flush(shard, &mut self.keep)?;
        self.keep.tighten(shard)?;
        Ok(warmed.len())
    }

    /// Scans a list against the threshold; `next` is the list that will be scanned after it.
    ///
    /// # Errors
    /// As [`Self::probed`].
    pub fn list(
        &mut self,
        probed: &Probed<'a>,
        next: Option<&Probed<'a>>,
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Target { model, simd, shard, excluded, .. } = *self.target;
        let Buffers { survivors, excluded: dead, counts, .. } = buffers;
        self.check()?;
        if excluded.skips(&probed.entry) {
            return Ok(());
        }
        let layout = model.layout();
        let any_dead = excluded.of_list(shard, probed.list, &probed.entry, dead)?;
        for start in (0..probed.view.len).step_by(SEGMENT) {
            let end = (start + SEGMENT).min(probed.view.len);
            survivors.clear();
            if self.bound.sound() {
                let Some(threshold) = self.bound.threshold(&probed.bound, self.keep.tau) else {
                    break;
                };
                let view = probed.scan_view(layout.columns(), start..end, next);
                scan::survivors(simd, layout, view, &self.table.bytes, threshold, survivors);
            } else {
                survivors.extend(0..(end - start) as u32);
            }
            if start > 0 {
                survivors.iter_mut().for_each(|i| *i += start as u32);
            }
            if any_dead {
                survivors.retain(|&i| !is_set(dead, i));
            }
            counts.scanned += (end - start) as u64;
            counts.survived += survivors.len() as u64;
            self.queue.extend(&probed.view, survivors, shard, &mut self.keep)?;
        }
        Ok(())
    }

    /// # Errors
    /// [`crate::Error::Cancelled`].
    #[inline]
    fn check(&self) -> Result<()> {
        self.cancel.map_or(Ok(()), Cancel::check)
    }

    /// Scores every row that the filter allows.
    ///
    /// # Errors
    /// As [`Self::probed`].
    pub fn allowed(&mut self, base: impl Fn(u32) -> f32) -> Result<()> {
        let Target { shard, excluded, .. } = *self.target;
        let Some(filter) = excluded.filter else { return Ok(()) };
        let mut list: Option<Probed<'a>> = None;
        let mut dead = Vec::new();
        for slot in filter.allow.iter().flatten().filter(|&slot| !filter.deny.contains(slot)) {
            // Slots ascend, and so do lists.
            let within = |p: &Probed<'_>| slot - p.entry.first < p.entry.len;
            let probed = match list.filter(within) {
                Some(probed) => probed,
                None => {
                    self.check()?;
                    let number = shard.list_of_slot(slot)?;
                    let probed = self.probed(number, base(number))?;
                    if !excluded.of_list(shard, number, &probed.entry, &mut dead)? {
                        dead.clear();
                    }
                    *list.insert(probed)
                }
            };
            let i = slot - probed.entry.first;
            if dead.is_empty() || !is_set(&dead, i) {
                self.queue.extend(&probed.view, &[i], shard, &mut self.keep)?;
            }
        }
        Ok(())
    }

    /// The rows that were found, best first, with their ids.
    ///
    /// # Errors
    /// As [`Self::probed`].
    pub fn finish(mut self) -> Result<Vec<Hit>> {
        let Target { model, shard, index, .. } = *self.target;
        self.queue.flush(shard, &mut self.keep)?;
        let found = self.keep.finish(shard)?;
        // Ordinals lie scattered: all are asked for before the first is needed.
        found.iter().for_each(|f| shard.prefetch_ordinal(f.slot()));
        let l2 = model.metric() == Metric::L2;
        let mut hits = Vec::with_capacity(found.len());
        for f in &found {
            let ordinal = shard.ordinal(f.slot())?;
            let score = if l2 { f.cost() } else { -f.cost() };
            let row = Row { shard: index, ordinal };
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

impl<'a> Probed<'a> {
    /// Rows `range` as the scan wants them; the first is at the start of a block.
    #[inline]
    fn scan_view(
        &self,
        columns: usize,
        range: Range<usize>,
        next: Option<&Probed<'a>>,
    ) -> List<'a> {
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
