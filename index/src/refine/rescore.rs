//! Scores the best rows of a scan again, by their finer codes.

use ocelli_vector::{Level, Simd, dense};

use super::{Refinement, score};
use crate::error::{Error, Result};
use crate::model::{Metric, Model, Query};
use crate::search::Hit;
use crate::shard::{ListEntry, Shard};

/// Rows that are decoded before they are compared: several, because a decoded row is written in pieces
/// shorter than a register, and reading it at once would wait for them.
const TILE: usize = 8;
/// How many rows ahead codes are asked for: their places are scattered, so each is a miss of the cache and
/// often of the page table.
const AHEAD: usize = 16;

/// A probed list, to find a row's list by its slot.
struct ProbedList<'a> {
    list: u32,
    entry: ListEntry,
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
    let metric = model.metric();
    if k < hits.len() {
        hits.select_nth_unstable_by(k - 1, |a, b| a.order(b, metric));
        hits.truncate(k);
    }
    hits.sort_unstable_by(|a, b| a.order(b, metric));
    Ok(())
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
    let (p, layout, file) = (model.parts(), model.layout(), shard.file());
    hits.iter().take(AHEAD).for_each(|hit| fine.prefetch(file, hit.slot));
    let needs_code = refinement.finer().needs_code();
    let mut probed = Vec::with_capacity(lists.len());
    for &(list, _) in lists {
        let entry = shard.list(list)?;
        if entry.len > 0 {
            let codes = if needs_code { shard.list_codes(&entry)? } else { &[] };
            probed.push(ProbedList { list, entry, codes });
        }
    }
    probed.sort_unstable_by_key(|l| l.entry.first);

    let mut code = vec![0; p.m];
    let mut rows = vec![0f32; TILE * p.d];
    let mut scores = Vec::with_capacity(TILE);
    let slots: Vec<u32> = hits.iter().map(|hit| hit.slot).collect();
    for (tile, slots_of_tile) in slots.chunks(TILE).enumerate() {
        for (i, (&slot, z)) in slots_of_tile.iter().zip(rows.chunks_exact_mut(p.d)).enumerate() {
            if let Some(&ahead) = slots.get(tile * TILE + i + AHEAD) {
                fine.prefetch(file, ahead);
            }
            let after = probed.partition_point(|l| l.entry.first <= slot);
            let within = probed[..after].last().filter(|l| slot - l.entry.first < l.entry.len);
            let Some(ProbedList { list, entry, codes }) = within else {
                let what = format!("slot {slot} is in none of the probed lists");
                return Err(Error::corrupt(shard.path(), what));
            };
            if needs_code {
                layout.get(codes, entry.len as usize, (slot - entry.first) as usize, &mut code);
            }
            refinement.decode_to(simd, model, *list, &code, fine.get(file, slot)?, z);
        }
        let n = slots_of_tile.len();
        let (rows, ids) = (&rows[..n * p.d], &[0, 1, 2, 3, 4, 5, 6, 7][..n]);
        match p.metric {
            Metric::L2 => dense::l2_sqs_of(simd, &query.z, rows, ids, &mut scores),
            Metric::InnerProduct => {
                dense::dots_of(simd, &query.z, rows, ids, &mut scores);
                scores.iter_mut().for_each(|s| *s += query.offset);
            }
        }
        let hits = hits[tile * TILE..].iter_mut();
        hits.zip(&scores).for_each(|(hit, &score)| hit.score = score);
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
