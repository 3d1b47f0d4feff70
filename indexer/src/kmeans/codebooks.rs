//! Codebooks of a product quantizer: k-means in each part of the rows.

use rayon::prelude::*;

use super::{KmeansOptions, Seeding, kmeans};
use crate::Result;

/// Codebooks `(m, ksub, d / m)` of `x` `(n, d)`. Each of the m parts of the rows is clustered by
/// itself, with the seed that `seed` returns for it: with one seed, parts of equal data would get
/// equal codebooks. On the current rayon pool; equal input gives equal bits. `step` is called with
/// the number of parts done.
///
/// # Errors
/// As [`kmeans`].
pub(crate) fn codebooks(
    x: &[f32],
    d: usize,
    m: usize,
    ksub: usize,
    niter: usize,
    seed: impl Fn(u64) -> u64,
    step: &(dyn Fn(u64) + Sync),
) -> Result<Vec<f32>> {
    let dsub = d / m;
    let mut codebooks = Vec::with_capacity(ksub * d);
    for sub in 0..m {
        let part: Vec<f32> = x
            .par_chunks_exact(d)
            .flat_map_iter(|row| row[sub * dsub..][..dsub].iter().copied())
            .collect();
        let options = KmeansOptions {
            niter,
            seed: seed(sub as u64),
            seeding: Seeding::of_codebook(dsub),
            ..KmeansOptions::default()
        };
        codebooks.extend(kmeans(&part, x.len() / d, dsub, ksub, &options, &|_| ())?);
        step(sub as u64 + 1);
    }
    Ok(codebooks)
}
