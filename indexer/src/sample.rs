//! Rows of parts: what all steps check before they read, and samples that depend on the seed alone.

use std::collections::BTreeMap;
use std::ops::Range;

use ocelli_index::{DescriptorSpec, Part, PartKind};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result};

/// Rows read at once: 8 MiB at 256 dimensions.
pub(crate) const BLOCK_ROWS: usize = 8192;

/// The spec that all `parts` share; refuses no part at all, parts of codes, and parts that differ.
pub(crate) fn common_spec(parts: &[Part]) -> Result<&DescriptorSpec> {
    let (first, rest) = parts
        .split_first()
        .ok_or_else(|| Error::Invalid("expected at least one part, found none".to_owned()))?;
    for part in parts {
        if !matches!(part.kind(), PartKind::Regions | PartKind::Descriptors) {
            return Err(Error::Invalid(format!(
                "{}: expected a part of vectors, found one of {}",
                part.path().display(),
                part.kind()
            )));
        }
    }
    for part in rest {
        DescriptorSpec::same_or_err(&part.path().display().to_string(), first.spec(), part.spec())?;
    }
    Ok(first.spec())
}

/// A part that is given twice, or a copy of one, would double its rows.
pub(crate) fn refuse_copies<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Result<()> {
    let mut seen = BTreeMap::new();
    for part in parts {
        if let Some(first) = seen.insert(part.file().seal(), part.path()) {
            return Err(Error::Invalid(format!(
                "{}: the same content as {}, which is given as well: its rows would be there twice",
                part.path().display(),
                first.display()
            )));
        }
    }
    Ok(())
}

/// Refuses parts that do not hold descriptors, one row an image.
pub(crate) fn require_descriptors(part: &Part) -> Result<()> {
    let path = part.path().display();
    match part.kind() {
        PartKind::Descriptors => Ok(()),
        PartKind::Regions => Err(Error::Invalid(format!(
            "{path}: expected a part of descriptors (one row an image), found region vectors ({} \
             rows of {} images); pool them first: ocelli encode --regions PART",
            part.rows(),
            part.images()
        ))),
        other => Err(Error::Invalid(format!(
            "{path}: expected a part of descriptors, found one of {other}"
        ))),
    }
}

/// Total rows of `parts`.
pub(crate) fn count_rows(parts: &[Part]) -> usize {
    parts.iter().map(Part::rows).sum()
}

/// Calls `visit` with every row of `parts` in order, a block `(rows, dim)` at a time.
pub(crate) fn for_each_block(
    parts: &[Part],
    mut visit: impl FnMut(Vec<f32>) -> Result<()>,
) -> Result<()> {
    for part in parts {
        for rows in blocks(part.rows()) {
            visit(part.read(rows)?)?;
        }
    }
    Ok(())
}

/// How many of the rows of `x`, (n, dim) row-major, differ from each other in a bit at least.
///
/// Rows are told apart by 64-bit hashes: of a million different rows, two share one with a chance
/// of 3 in 10⁸, and the count is then one too small.
pub(crate) fn count_distinct(x: &[f32], dim: usize) -> usize {
    let mut hashes: Vec<u64> =
        x.par_chunks_exact(dim).map(|row| xxh3_64(bytemuck::cast_slice(row))).collect();
    hashes.par_sort_unstable();
    hashes.dedup();
    hashes.len()
}

/// At most `max_rows` rows of `parts` (0: all), in order: `(n, dim)` row-major and `n`.
///
/// A smaller number is drawn without replacement, every row with the same chance (selection
/// sampling, Knuth's algorithm S).
pub(crate) fn gather_rows(parts: &[Part], max_rows: usize, seed: u64) -> Result<(Vec<f32>, usize)> {
    let dim = common_spec(parts)?.dim();
    let total = count_rows(parts);
    let wanted = if max_rows == 0 { total } else { max_rows.min(total) };
    let mut rng = SplitMix64(seed);
    let mut out = Vec::with_capacity(wanted * dim);
    let (mut seen, mut taken) = (0usize, 0usize);
    for part in parts {
        for rows in blocks(part.rows()) {
            if wanted == total {
                out.extend_from_slice(&part.read(rows)?);
            } else {
                let mut chosen = Vec::new();
                for row in 0..rows.len() {
                    // Chance (wanted - taken) / (total - seen) decides exactly `wanted` rows in the
                    // end.
                    if rng.below((total - seen) as u64) < (wanted - taken) as u64 {
                        chosen.push(row);
                        taken += 1;
                    }
                    seen += 1;
                }
                if !chosen.is_empty() {
                    let block = part.read(rows)?;
                    out.extend(chosen_rows(&block, dim, chosen.into_iter()));
                }
            }
            part.release();
        }
    }
    Ok((out, wanted))
}

/// Ranges of at most [`BLOCK_ROWS`] that make up `rows` rows.
pub(crate) fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(BLOCK_ROWS).map(move |start| start..(start + BLOCK_ROWS).min(rows))
}

/// Rows `which` of `x` (n, d), in that order: (rows, d). Takes memory for these and no more.
pub(crate) fn chosen_rows(
    x: &[f32],
    d: usize,
    which: impl ExactSizeIterator<Item = usize>,
) -> Vec<f32> {
    let mut rows = Vec::with_capacity(which.len() * d);
    which.for_each(|i| rows.extend_from_slice(&x[i * d..][..d]));
    rows
}

/// Steele, Lea and Flood 2014: small, and the same on every machine and in every version.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// Begins at a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound` up to a bias below `bound / 2^64`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `0..1`, a multiple of 2⁻⁵³.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// `count` different numbers below `n`, in random order (Floyd's algorithm would need a set;
    /// `n` fits memory here, so the head of a shuffle does).
    pub(crate) fn sample(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for i in 0..count.min(n) {
            all.swap(i, i + self.below((n - i) as u64) as usize);
        }
        all.truncate(count);
        all
    }

    /// The same, ascending.
    pub(crate) fn sorted_sample(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut sample = self.sample(n, count);
        sample.sort_unstable();
        sample
    }
}
