//! Pairs to judge: a stratified sample.

use std::path::Path;

use ocelli_index::container::AtomicFile;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::dedup::edge::{Edge, Label, RowNumber};
use crate::dedup::rows::{Edges, Rows, facts_of};
use crate::least::Least;
use crate::{Error, Result};

/// Bands of equal width between the least and the greatest score.
const BANDS: usize = 12;
/// Seed of the draws.
const SEED: u64 = 0x0ce1_1144;
/// Pairs whose rows are looked up together.
const BLOCK_PAIRS: usize = 4096;

/// A pair that is to be judged.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledPair {
    /// The pair.
    pub edge: Edge,
    /// The band of scores that it was drawn from: `0.900 to 0.925`.
    pub band: String,
    /// Pairs of that band.
    pub band_pairs: u64,
}

/// A hash, and the rows of the pair that has it.
type Drawn = (u64, RowNumber, RowNumber);

/// Draws at most `per_band` pairs of each band of scores, in ascending order of their rows. Pairs
/// of equal pixels need no eyes and are left out. The draw depends on nothing but the pairs.
///
/// # Errors
/// Those of reading.
pub fn sample(edges: &dyn Edges, per_band: usize) -> Result<Vec<SampledPair>> {
    let judged = |edge: &Edge| edge.label > Label::SamePixels;
    let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
    edges.each(&mut |edge| {
        if judged(edge) {
            (least, most) = (least.min(edge.score), most.max(edge.score));
        }
        Ok(())
    })?;
    let (least, most) = (f64::from(least), f64::from(most));
    let width = (most - least) / BANDS as f64;
    let band_of = |score: f32| match (f64::from(score) - least) / width {
        place if place > 0.0 => (place as usize).min(BANDS - 1),
        _ => 0,
    };
    // Of each band the pairs of the smallest hashes, and the number of all.
    let mut bands: Vec<(Least<Drawn>, u64)> = vec![(Least::new(per_band), 0); BANDS];
    edges.each(&mut |edge| {
        if judged(edge) {
            let (drawn, pairs) = &mut bands[band_of(edge.score)];
            let rows = [edge.a.to_le_bytes(), edge.b.to_le_bytes()];
            drawn.push((xxh3_64_with_seed(rows.as_flattened(), SEED), edge.a, edge.b), ());
            *pairs += 1;
        }
        Ok(())
    })?;
    let (drawn, band_pairs): (Vec<_>, Vec<u64>) = bands.into_iter().unzip();
    let mut wanted: Vec<(u64, u64)> =
        drawn.into_iter().flat_map(Least::into_entries).map(|((_, a, b), ())| (a, b)).collect();
    wanted.sort_unstable();
    let mut found = Vec::with_capacity(wanted.len());
    edges.each(&mut |edge| {
        if wanted.binary_search(&(edge.a, edge.b)).is_ok() {
            let band = band_of(edge.score);
            let from = least + band as f64 * width;
            found.push(SampledPair {
                edge: *edge,
                band: format!("{from:.6} to {:.6}", from + width),
                band_pairs: band_pairs[band],
            });
        }
        Ok(())
    })?;
    Ok(found)
}

#[derive(Serialize)]
struct Line<'a> {
    id_a: u64,
    id_b: u64,
    key_a: &'a str,
    key_b: &'a str,
    old_a: bool,
    old_b: bool,
    score: f32,
    label: Label,
    verdict: &'a str,
    band: &'a str,
    band_pairs: u64,
}

/// Writes a sample as a file of labels without verdicts.
///
/// # Errors
/// Those of reading rows, and of writing.
pub fn write_sample(path: &Path, sample: &[SampledPair], rows: &dyn Rows) -> Result<()> {
    let failed =
        |e: csv::Error| Error::File { path: path.to_owned(), what: format!("cannot write: {e}") };
    let mut file = csv::Writer::from_writer(AtomicFile::create(path)?);
    for block in sample.chunks(BLOCK_PAIRS) {
        let facts = facts_of(rows, block.iter().flat_map(|pair| [pair.edge.a, pair.edge.b]))?;
        for pair in block {
            let (Some(a), Some(b)) = (facts.get(&pair.edge.a), facts.get(&pair.edge.b)) else {
                continue;
            };
            let line = Line {
                id_a: a.id,
                id_b: b.id,
                key_a: &a.key,
                key_b: &b.key,
                old_a: rows.is_old(pair.edge.a),
                old_b: rows.is_old(pair.edge.b),
                score: pair.edge.score,
                label: pair.edge.label,
                verdict: "",
                band: &pair.band,
                band_pairs: pair.band_pairs,
            };
            file.serialize(line).map_err(failed)?;
        }
    }
    let file = file.into_inner().map_err(|e| Error::File {
        path: path.to_owned(),
        what: format!("cannot write: {}", e.error()),
    })?;
    file.publish()?;
    Ok(())
}
