//! Scores the best rows of a scan again, by their finer codes.

use ocelli_vector::refine::{self, Row, Score, Tables};
use ocelli_vector::sort::sort;
use ocelli_vector::{Level, Simd};

use super::{Refinement, score};
use crate::error::{Error, Result};
use crate::model::{Metric, Model, Query};
use crate::ranked::Ranked;
use crate::search::Hit;
use crate::shard::{ListRows, Shard};

/// Rows that are scored in one call.
const TILE: usize = 8;
/// How many rows ahead codes are asked for: their places are scattered, so each is a miss of the cache and
/// often of the page table.
const AHEAD: usize = 24;

/// Scores `hits` again and keeps the `k` best of them, best first, ties by smaller id. `lists` are those
/// that were probed for the query, `shard` the shard of a number.
///
/// # Errors
/// The number of the shard that failed, and why.
pub(crate) fn rescore<'s>(
    simd: Simd,
    model: &Model,
    query: &Query,
    lists: &[(u32, f32)],
    shard: impl Fn(u32) -> &'s Shard,
    k: usize,
    hits: &mut Vec<Hit>,
) -> std::result::Result<(), (u32, Error)> {
    // One shard after the other; one alone needs no sorting.
    if hits.iter().any(|h| h.row.shard != hits[0].row.shard) {
        hits.sort_unstable_by_key(|h| h.row.shard);
    }
    for of_one in hits.chunk_by_mut(|a, b| a.row.shard == b.row.shard) {
        let number = of_one[0].row.shard;
        rescore_shard(simd, model, query, lists, shard(number), of_one)
            .map_err(|error| (number, error))?;
    }
    keep_best(simd, model.metric(), k, hits);
    Ok(())
}

/// Keeps the `k` best hits, best first, ties by smaller id.
fn keep_best(simd: Simd, metric: Metric, k: usize, hits: &mut Vec<Hit>) {
    // As integers, numbered by the hit's place, they sort several times as fast as hits.
    let mut keys: Vec<Ranked> = (0u32..)
        .zip(hits.iter())
        .map(|(i, hit)| Ranked::new(if metric == Metric::L2 { hit.score } else { -hit.score }, i))
        .collect();
    Ranked::sort(simd, &mut keys);
    if let Some(&kth) = k.checked_sub(1).and_then(|last| keys.get(last)) {
        // All that tie with the last: ids decide among them.
        keys.truncate(k + keys[k..].iter().take_while(|key| key.ties(kth)).count());
    }
    let mut best: Vec<Hit> = keys.iter().map(|key| hits[key.number() as usize]).collect();
    for ties in best.chunk_by_mut(|a, b| a.score.to_bits() == b.score.to_bits()) {
        ties.sort_unstable_by_key(|hit| hit.id);
    }
    best.truncate(k);
    *hits = best;
}

/// Scores hits of one shard again.
fn rescore_shard(
    simd: Simd,
    model: &Model,
    query: &Query,
    lists: &[(u32, f32)],
    shard: &Shard,
    hits: &mut [Hit],
) -> Result<()> {
    let (Some(refinement), Some(fine)) = (model.refinement(), shard.fine()) else {
        return Err(Error::invalid(format!("{}: no finer codes", shard.path().display())));
    };
    let (p, file) = (model.parts(), shard.file());
    // In the order of slots, so that rows and lists go hand in hand, and memory is read in one direction.
    let mut order: Vec<u64> =
        (0u64..).zip(hits.iter()).map(|(i, hit)| u64::from(hit.slot) << 32 | i).collect();
    sort(simd, &mut order);
    let slot_of = |key: u64| (key >> 32) as u32;
    order.iter().take(AHEAD).for_each(|&key| fine.prefetch(file, slot_of(key)));
    let mut numbers: Vec<u64> = lists.iter().map(|l| u64::from(l.0)).collect();
    sort(simd, &mut numbers);
    let tables =
        Tables { layout: model.layout(), codebooks: &p.codebooks, finer: refinement.finer() };
    let kind = match p.metric {
        Metric::L2 => Score::L2,
        Metric::InnerProduct => Score::InnerProduct,
    };

    let mut find = FindRows { shard, model, lists: numbers.iter(), list: None };
    let (mut rows, mut scores) = (Vec::with_capacity(order.len()), Vec::with_capacity(TILE));
    // Rows are found a tile before they are scored: their first codes are on their way by then.
    for start in (0..order.len() + TILE).step_by(TILE) {
        for i in start..(start + TILE).min(order.len()) {
            if let Some(&ahead) = order.get(i + AHEAD) {
                fine.prefetch(file, slot_of(ahead));
            }
            rows.push(find.row(&tables, slot_of(order[i]), fine.get(file, slot_of(order[i]))?)?);
        }
        let Some(tile) = start.checked_sub(TILE) else { continue };
        refine::scores(
            simd,
            kind,
            &query.z,
            &tables,
            &rows[tile..start.min(rows.len())],
            &mut scores,
        );
        for (&key, score) in order[tile..].iter().zip(&scores) {
            hits[key as u32 as usize].score = match p.metric {
                Metric::L2 => *score,
                Metric::InnerProduct => score + query.offset,
            };
        }
    }
    Ok(())
}

/// Rows of a shard by slots that ascend.
struct FindRows<'a, L> {
    shard: &'a Shard,
    model: &'a Model,
    /// Numbers of the probed lists, ascending, that were not looked at yet.
    lists: L,
    list: Option<(u32, ListRows<'a>)>,
}

impl<'a, 'l, L: Iterator<Item = &'l u64>> FindRows<'a, L> {
    /// The row of a slot, whose first code is asked for; `fine` is its finer code.
    ///
    /// # Errors
    /// [`Error::Corrupt`], for a slot that is in none of the lists too.
    #[inline]
    fn row(&mut self, tables: &Tables<'_>, slot: u32, fine: &'a [u8]) -> Result<Row<'a>> {
        loop {
            if let Some((list, ListRows { entry, codes, .. })) = self.list
                && slot >= entry.first
                && slot - entry.first < entry.len
            {
                let (len, i) = (entry.len as usize, (slot - entry.first) as usize);
                if tables.finer.needs_code() {
                    tables.layout.prefetch(codes, len, i);
                }
                return Ok(Row { codes, len, i, centroid: self.model.centroid(list), fine });
            }
            let Some(&list) = self.lists.next() else {
                let what = format!("slot {slot} is in none of the probed lists");
                return Err(Error::corrupt(self.shard.path(), what));
            };
            self.list = Some((list as u32, self.shard.list_rows(list as u32)?));
        }
    }
}

/// The refined score of one row, by definition: the oracle of [`rescore`].
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Invalid`] for a shard without finer codes.
pub(crate) fn rescore_naive(
    model: &Model,
    query: &Query,
    shard: &Shard,
    ordinal: u32,
) -> Result<f32> {
    let Some(refinement) = model.refinement() else {
        return Err(Error::invalid("the model has no refinement"));
    };
    Ok(score(model.metric(), query, &refinement.row(model, shard, ordinal)?))
}

impl Refinement {
    /// The decoded row ẑ (d,) of an ordinal.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end; [`Error::Invalid`] for a shard without finer
    /// codes.
    pub(crate) fn row(&self, model: &Model, shard: &Shard, ordinal: u32) -> Result<Vec<f32>> {
        let Some(fine) = shard.fine() else {
            return Err(Error::invalid(format!("{}: no finer codes", shard.path().display())));
        };
        let (list, slot, code) = shard.place(ordinal)?;
        // Every processor has the scalar level.
        let scalar = Simd::at(Level::Scalar).unwrap_or_else(Simd::detect);
        Ok(self.decode(scalar, model, list, &code, fine.get(shard.file(), slot)?))
    }
}
