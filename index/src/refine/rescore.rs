//! Scores the best rows of a scan again, by their finer codes.

use ocelli_vector::refine::{self, Row, Score, Tables};
use ocelli_vector::{Level, Simd};

use super::{Refinement, score};
use crate::error::{Error, Result};
use crate::model::{Metric, Model, Query};
use crate::ranked::Ranked;
use crate::search::Hit;
use crate::shard::Shard;

/// Rows that are scored in one call.
const TILE: usize = 8;
/// How many rows ahead codes are asked for: their places are scattered, so each is a miss of the cache and
/// often of the page table.
const AHEAD: usize = 24;

/// A probed list, to find a row's list by its slot.
struct ProbedList<'a> {
    first: u32,
    len: u32,
    list: u32,
    codes: &'a [u8],
}

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
    keep_best(model.metric(), k, hits);
    Ok(())
}

/// Keeps the `k` best hits, best first, ties by smaller id.
fn keep_best(metric: Metric, k: usize, hits: &mut Vec<Hit>) {
    // As integers, numbered by the hit's place, they sort several times as fast as hits.
    let mut keys: Vec<Ranked> = (0u32..)
        .zip(hits.iter())
        .map(|(i, hit)| Ranked::new(if metric == Metric::L2 { hit.score } else { -hit.score }, i))
        .collect();
    if k < keys.len() {
        let (_, &mut kth, _) = keys.select_nth_unstable(k - 1);
        // All that tie with the last: ids decide among them.
        keys.retain(|&key| key < kth || key.ties(kth));
    }
    keys.sort_unstable();
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
    let mut order: Vec<(u32, u32)> =
        (0u32..).zip(hits.iter()).map(|(i, hit)| (hit.slot, i)).collect();
    order.sort_unstable();
    order.iter().take(AHEAD).for_each(|&(slot, _)| fine.prefetch(file, slot));
    let tables =
        Tables { layout: model.layout(), codebooks: &p.codebooks, finer: refinement.finer() };
    let mut probed = Vec::with_capacity(lists.len());
    for &(list, _) in lists {
        let entry = shard.list(list)?;
        if entry.len > 0 {
            let needed = tables.finer.needs_code();
            let codes = if needed { shard.list_codes(&entry)? } else { &[] };
            probed.push(ProbedList { first: entry.first, len: entry.len, list, codes });
        }
    }
    probed.sort_unstable_by_key(|l| l.first);

    let kind = match p.metric {
        Metric::L2 => Score::L2,
        Metric::InnerProduct => Score::InnerProduct,
    };
    let (mut rows, mut scores) = (Vec::with_capacity(TILE), Vec::with_capacity(TILE));
    let mut list = 0;
    for (tile, of_tile) in (0..).step_by(TILE).zip(order.chunks(TILE)) {
        rows.clear();
        for (i, &(slot, _)) in (tile..).zip(of_tile) {
            if let Some(&(ahead, _)) = order.get(i + AHEAD) {
                fine.prefetch(file, ahead);
            }
            while probed.get(list + 1).is_some_and(|next| next.first <= slot) {
                list += 1;
            }
            let within = probed.get(list).filter(|l| slot >= l.first && slot - l.first < l.len);
            let Some(l) = within else {
                let what = format!("slot {slot} is in none of the probed lists");
                return Err(Error::corrupt(shard.path(), what));
            };
            rows.push(Row {
                codes: l.codes,
                len: l.len as usize,
                i: (slot - l.first) as usize,
                centroid: model.centroid(l.list),
                fine: fine.get(file, slot)?,
            });
        }
        refine::scores(simd, kind, &query.z, &tables, &rows, &mut scores);
        for (&(_, i), score) in of_tile.iter().zip(&scores) {
            hits[i as usize].score = match p.metric {
                Metric::L2 => *score,
                Metric::InnerProduct => score + query.offset,
            };
        }
    }
    Ok(())
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
