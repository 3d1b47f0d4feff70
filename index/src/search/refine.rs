//! The refine stage: scores the best rows of a scan again, by their finer codes.

use ocelli_vector::fine::{self, Row, Tables};
use ocelli_vector::ranked::Ranked;
use ocelli_vector::{Level, Simd};

use super::engine::{Candidate, Candidates};
use super::hit::Hit;
use crate::base::error::{Error, Result};
use crate::model::{Metric, Model, Query};
use crate::shard::Shard;

/// Rows that are scored in one call.
const TILE: usize = 8;
/// How many rows ahead finer codes are asked for: their places are scattered, so each is a miss of
/// the cache and often of the page table.
const AHEAD: usize = 64;

/// Scores `hits` again and keeps the `k` best of them, best first, ties by smaller id. `candidates`
/// are those of the scan that found them, `shard` the shard of a number.
///
/// # Errors
/// The number of the shard that failed, and why.
pub(crate) fn refine<'s>(
    simd: Simd,
    model: &Model,
    query: &Query,
    candidates: &Candidates,
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
        refine_shard(simd, model, query, candidates, shard(number), of_one)
            .map_err(|error| (number, error))?;
    }
    keep_best(simd, model.metric(), k, hits);
    Ok(())
}

/// Keeps the `k` best hits, best first, ties by smaller id.
fn keep_best(simd: Simd, metric: Metric, k: usize, hits: &mut Vec<Hit>) {
    // As integers, numbered by the hit's place, they sort several times as fast as hits.
    let mut keys: Vec<Ranked> =
        (0u32..).zip(hits.iter()).map(|(i, hit)| Ranked::new(metric.cost(hit.score), i)).collect();
    Ranked::sort(simd, &mut keys);
    if let Some(&kth) = k.checked_sub(1).and_then(|last| keys.get(last)) {
        // All that tie with the last: ids decide among them.
        keys.truncate(k + keys[k..].iter().take_while(|key| key.ties(kth)).count());
    }
    let mut best: Vec<Hit> =
        keys.iter().map(|key| Hit { candidate: 0, ..hits[key.number() as usize] }).collect();
    for ties in best.chunk_by_mut(|a, b| a.score.to_bits() == b.score.to_bits()) {
        ties.sort_unstable_by_key(|hit| hit.id);
    }
    best.truncate(k);
    *hits = best;
}

/// Scores hits of one shard again.
fn refine_shard(
    simd: Simd,
    model: &Model,
    query: &Query,
    candidates: &Candidates,
    shard: &Shard,
    hits: &mut [Hit],
) -> Result<()> {
    let (Some(codec), Some(fine)) = (model.fine_codec(), shard.fine()) else {
        return Err(Error::invalid(format!("{}: no finer codes", shard.path().display())));
    };
    let (p, file, layout) = (model.parts(), shard.file(), model.layout());
    let candidate = |hit: &Hit| candidates.get(hit.candidate, layout.m());
    if candidates.asks {
        let mut places: Vec<_> = hits.iter().map(|hit| fine.place(candidate(hit).slot)).collect();
        file.will_need(&mut places);
    }
    let fetch = |hit: &Hit| fine.prefetch(file, candidate(hit).slot);
    hits.iter().take(AHEAD).for_each(fetch);
    let tables = Tables { layout, codebooks: &p.codebooks, finer: codec.finer() };
    let (mut rows, mut scores) = (Vec::with_capacity(TILE), Vec::with_capacity(TILE));
    for start in (0..hits.len()).step_by(TILE) {
        rows.clear();
        for hit in &hits[start..(start + TILE).min(hits.len())] {
            let Candidate { slot, list, code } = candidate(hit);
            let (centroid, fine) = (model.centroid(list), fine.get(file, slot)?);
            rows.push(Row { code, centroid, fine });
        }
        hits.iter().skip(start + AHEAD).take(TILE).for_each(fetch);
        fine::scores(simd, p.metric, &query.z, &tables, &rows, &mut scores);
        for (hit, score) in hits[start..].iter_mut().zip(&scores) {
            hit.score = query.with_offset(p.metric, *score);
        }
    }
    Ok(())
}

/// The refined score of one row, by definition: the oracle of [`refine`].
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Invalid`] for a shard without finer codes.
pub(crate) fn refined_score(
    model: &Model,
    query: &Query,
    shard: &Shard,
    ordinal: u32,
) -> Result<f32> {
    let Some(codec) = model.fine_codec() else {
        return Err(Error::invalid("the model has no fine codec"));
    };
    Ok(codec.score(query, model.metric(), &decoded_row(model, shard, ordinal)?))
}

/// The decoded row ẑ (d,) of an ordinal, from its finer code.
///
/// # Errors
/// [`Error::Corrupt`]; [`Error::NotFound`] past the end; [`Error::Invalid`] for a shard without
/// finer codes.
pub(crate) fn decoded_row(model: &Model, shard: &Shard, ordinal: u32) -> Result<Vec<f32>> {
    let Some(fine) = shard.fine() else {
        return Err(Error::invalid(format!("{}: no finer codes", shard.path().display())));
    };
    let (list, slot, code) = shard.place(ordinal)?;
    // Every processor has the scalar level.
    let scalar = Simd::at(Level::Scalar).unwrap_or_else(Simd::detect);
    Ok(model.decode_fine(scalar, list, &code, fine.get(shard.file(), slot)?))
}
