//! One query on its way through the lists of one shard.

use ocelli_vector::codes::BLOCK;
use ocelli_vector::lut::ByteTable;
use ocelli_vector::scan::{self, BlockBounds, Minima};
use ocelli_vector::score;
use smallvec::SmallVec;

use super::bound::{ListBound, QueryBound};
use super::candidates::Candidates;
use super::keep::{Keep, Numbered};
use super::list::ShardList;
use super::survivors::{Collector, Scorer};
use super::warm::{self, Span};
use super::{Buffers, Request, Target};
use crate::base::error::Result;
use crate::search::cancel::Cancel;
use crate::search::hit::Hit;
use crate::search::hit::Row;
use crate::shard::ListEntry;

/// The warm-up looks at no fewer than this many rows for each hit wanted.
const WARM_ROWS_PER_HIT: usize = 8;
/// Rows of a list that are scanned at a time, a multiple of a block: the threshold follows what was
/// found, and buffers stay small, however long a list is.
const SEGMENT: usize = 64 * BLOCK;

/// Rows that the warm-up looks at: `least`, or more for a large k.
pub(super) fn warm_rows(least: usize, k: usize) -> usize {
    least.max(WARM_ROWS_PER_HIT.saturating_mul(k))
}

/// One query, and what it has found so far.
pub(super) struct QueryScan<'a> {
    target: &'a Target<'a>,
    table: &'a ByteTable,
    /// Where lists are scanned in two passes.
    minima: Option<Minima>,
    bound: QueryBound,
    keep: Keep,
    scorer: Scorer<'a>,
    range: bool,
    cancel: Option<&'a Cancel>,
}

impl<'a> QueryScan<'a> {
    pub fn new(target: &'a Target<'a>, request: &Request<'a>) -> Self {
        let p = target.model.parts();
        let tables = score::Tables {
            layout: target.model.layout(),
            query: request.z,
            codebooks: &p.codebooks,
        };
        let table = request.table;
        Self {
            target,
            table,
            minima: Minima::new(target.simd, target.model.layout()),
            bound: QueryBound::new(target.model, request.z, table),
            keep: Keep::new(request.k, request.ceiling),
            scorer: Scorer::new(target.simd, p.metric, tables),
            range: request.range,
            cancel: request.cancel,
        }
    }

    /// How many of `lists`, the first of them, [`Self::warm_up`] looks at: those of `warm_rows`
    /// rows, or of more for a large k.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn warm_lists(&self, lists: &[(u32, f32)], warm_rows: usize) -> Result<usize> {
        if self.range || !self.bound.sound() {
            return Ok(0);
        }
        let wanted = self::warm_rows(warm_rows, self.keep.k());
        let (mut rows, mut warm) = (0, 0);
        for (i, &(list, _)) in lists.iter().enumerate() {
            if rows < wanted {
                warm = i + 1;
            } else if rows > wanted + wanted / 2 {
                return Ok(warm);
            }
            rows += self.target.shard.list(list)?.len as usize;
        }
        // A rest that is short is not worth a threshold of its own; nor are the few rows of a small
        // shard, where other shards have given one.
        Ok(if rows > wanted + wanted / 2 {
            warm
        } else if self.keep.tau < f32::INFINITY {
            0
        } else {
            lists.len()
        })
    }

    /// Scans `lists`, the first that the query probes, and finds a threshold from them: the rows
    /// with the k smallest bounds are scored, and then those that may still be better than the
    /// worst of these. `more`: other lists will be scanned.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn warm_up(
        &mut self,
        lists: &[(u32, f32)],
        more: bool,
        buffers: &mut Buffers,
    ) -> Result<()> {
        if lists.is_empty() {
            return Ok(());
        }
        let target = self.target;
        let Target { model, simd, shard, excluded, .. } = *target;
        let Buffers { warm, survivors, scores, excluded: dead, counts, candidates, .. } = buffers;
        let (layout, k) = (model.layout(), self.keep.k());
        let mut spans: SmallVec<[Span<'_>; 8]> = SmallVec::new();
        warm.clear();
        let of = |place: usize| {
            lists.get(place).map(|&(l, base)| Ok((ShardList::of(target, l)?, base))).transpose()
        };
        let mut ahead = of(0)?;
        while let Some((list, base)) = ahead {
            ahead = of(spans.len() + 1)?;
            self.check()?;
            let start = warm.len();
            let bound = self.bound.of(&list.entry, base);
            let next = ahead.map_or(&[][..], |(next, _)| next.codes);
            let blocks = list.blocks(layout.columns(), 0..list.len(), bound.factor, next);
            scan::bounds(simd, layout, blocks, &self.table.bytes, warm);
            if excluded.of_list(shard, list.number, &list.entry, dead)? {
                exclude(dead, &mut warm[start..]);
            }
            spans.push(Span { list, base, bound, blocks: start..warm.len(), first: None });
        }
        warm::choose_smallest(simd, &self.bound, &mut spans, warm, k);
        for Span { list, base, blocks, first, .. } in &spans {
            survivors.clear();
            if let Some(first) = *first {
                scan::between(simd, &warm[blocks.clone()], None, first, survivors);
            }
            counts.scanned += list.len() as u64;
            counts.survived += survivors.len() as u64;
            let collector = Collector { shard, keep: &mut self.keep, candidates };
            self.scorer.score(list, *base, survivors, scores, collector)?;
        }
        self.keep.tighten(Numbered { shard, candidates })?;
        for Span { list, base, bound, blocks, first } in &spans {
            let Some(threshold) = self.bound.threshold(bound, self.keep.tau) else {
                continue;
            };
            survivors.clear();
            let blocks = &warm[blocks.clone()];
            scan::between(simd, blocks, *first, threshold, survivors);
            if threshold == u16::MAX {
                // Such rows and lanes past the end have the same bound.
                saturated(blocks, list.len(), survivors);
                if excluded.of_list(shard, list.number, &list.entry, dead)? {
                    survivors.retain(|&i| !is_set(dead, i));
                }
            }
            counts.survived += survivors.len() as u64;
            let collector = Collector { shard, keep: &mut self.keep, candidates };
            self.scorer.score(list, *base, survivors, scores, collector)?;
        }
        if more {
            self.keep.tighten(Numbered { shard, candidates })?;
        }
        Ok(())
    }

    /// The query's table.
    pub fn table(&self) -> &'a ByteTable {
        self.table
    }

    /// Whether the byte table can be trusted at all.
    pub fn sound(&self) -> bool {
        self.bound.sound()
    }

    /// The bound of a list whose centroid gives the score `base`.
    pub fn bound(&self, entry: &ListEntry, base: f32) -> ListBound {
        self.bound.of(entry, base)
    }

    /// The cost that a row's units may have now if the row is to be among the hits.
    pub fn room(&self, bound: &ListBound) -> f64 {
        QueryBound::room(bound, self.keep.tau)
    }

    /// Scores the rows of a list at `places`.
    ///
    /// # Errors
    /// As [`Self::warm_up`].
    pub fn score(
        &mut self,
        list: &ShardList<'a>,
        base: f32,
        places: &[u32],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Buffers { scores, counts, candidates, .. } = buffers;
        counts.survived += places.len() as u64;
        let collector = Collector { shard: self.target.shard, keep: &mut self.keep, candidates };
        self.scorer.score(list, base, places, scores, collector)
    }

    /// Scans a list against the threshold; `base` is the centroid's part of the score, `next` are
    /// the codes that will be scanned after it.
    ///
    /// # Errors
    /// As [`Self::warm_up`].
    pub fn list(
        &mut self,
        list: &ShardList<'a>,
        base: f32,
        next: &'a [u8],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Target { model, simd, shard, excluded, .. } = *self.target;
        let Buffers { survivors, scores, excluded: dead, counts, candidates, .. } = buffers;
        self.check()?;
        if excluded.skips(&list.entry) {
            return Ok(());
        }
        let layout = model.layout();
        let bound = self.bound.of(&list.entry, base);
        let any_dead = excluded.of_list(shard, list.number, &list.entry, dead)?;
        for start in (0..list.len()).step_by(SEGMENT) {
            let end = (start + SEGMENT).min(list.len());
            survivors.clear();
            if self.bound.sound() {
                let Some(threshold) = self.bound.threshold(&bound, self.keep.tau) else {
                    break;
                };
                let blocks = list.blocks(layout.columns(), start..end, bound.factor, next);
                let table = &self.table.bytes;
                match &mut self.minima {
                    Some(minima) => {
                        minima.survivors(simd, layout, blocks, table, threshold, survivors);
                    }
                    None => scan::survivors(simd, layout, blocks, table, threshold, survivors),
                }
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
            let collector = Collector { shard, keep: &mut self.keep, candidates };
            self.scorer.score(list, base, survivors, scores, collector)?;
        }
        Ok(())
    }

    /// # Errors
    /// [`crate::Error::Cancelled`].
    #[inline]
    pub fn check(&self) -> Result<()> {
        self.cancel.map_or(Ok(()), Cancel::check)
    }

    /// Scores every row that the filter allows.
    ///
    /// # Errors
    /// As [`Self::warm_up`].
    pub fn allowed(&mut self, base: impl Fn(u32) -> f32, buffers: &mut Buffers) -> Result<()> {
        let Target { shard, excluded, .. } = *self.target;
        let Some(filter) = excluded.filter else { return Ok(()) };
        let mut list: Option<(ShardList<'a>, f32)> = None;
        let Buffers { scores, excluded: dead, candidates, .. } = buffers;
        dead.clear();
        for slot in filter
            .allow
            .iter()
            .flat_map(|allow| allow.iter())
            .filter(|&slot| !filter.deny.contains(slot))
        {
            // Slots ascend, and so do lists.
            let within = |(l, _): &(ShardList<'_>, f32)| slot - l.entry.first < l.entry.len;
            let (found, base) = match list.filter(within) {
                Some(found) => found,
                None => {
                    self.check()?;
                    let number = shard.list_of_slot(slot)?;
                    let found = ShardList::of(self.target, number)?;
                    if !excluded.of_list(shard, number, &found.entry, dead)? {
                        dead.clear();
                    }
                    *list.insert((found, base(number)))
                }
            };
            let i = slot - found.entry.first;
            if dead.is_empty() || !is_set(dead, i) {
                let collector = Collector { shard, keep: &mut self.keep, candidates };
                self.scorer.score(&found, base, &[i], scores, collector)?;
            }
        }
        Ok(())
    }

    /// The rows that were found, best first, with their ids.
    ///
    /// # Errors
    /// As [`Self::warm_up`].
    pub fn finish(self, candidates: &Candidates) -> Result<Vec<Hit>> {
        let Target { model, simd, shard, index, .. } = *self.target;
        let rows = Numbered { shard, candidates };
        let found = self.keep.finish(simd, rows)?;
        let mut hits = Vec::with_capacity(found.len());
        for f in &found {
            let ordinal = rows.ordinal(*f)?;
            let score = model.metric().score(f.cost());
            let row = Row { shard: index, ordinal };
            let candidate = candidates.of_hit(f.number());
            hits.push(Hit { id: shard.id(ordinal)?, score, row, candidate });
        }
        // Numbers decided among equal costs so far; ids must.
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

/// Appends the rows whose bounds are the largest that there is.
#[cold]
fn saturated(blocks: &[BlockBounds], len: usize, survivors: &mut Vec<u32>) {
    let bound = |i: u32| blocks[i as usize / BLOCK][scan::place_of(i as usize % BLOCK)];
    survivors.extend((0..len as u32).filter(|&i| bound(i) == u16::MAX));
}

/// Whether bit `i` is set.
#[inline]
pub(super) fn is_set(words: &[u64], i: u32) -> bool {
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
