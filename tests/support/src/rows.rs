//! Vectors for the tests of what is learned from vectors. The same seed gives the same bits.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Rows (n, d) around 8 centres, so that there is something to quantize.
pub fn clustered(n: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let centres: Vec<f32> = (0..8 * d).map(|_| rng.random::<f32>() * 4.0).collect();
    (0..n)
        .flat_map(|i| {
            let centre = &centres[i % 8 * d..][..d];
            centre.iter().map(|c| c + rng.random::<f32>() - 0.5).collect::<Vec<_>>()
        })
        .collect()
}

/// Rows (n, d) of a mixture of 60 uneven components, so that centroids matter.
pub fn mixture(n: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let centres: Vec<f32> = (0..60 * d).map(|_| rng.random_range(-4.0..4.0)).collect();
    let spread: Vec<f32> = (0..60).map(|_| rng.random_range(0.1..1.5)).collect();
    (0..n)
        .flat_map(|_| {
            let which = rng.random_range(0..60) * rng.random_range(0..60) / 60;
            let centre = &centres[which * d..][..d];
            centre
                .iter()
                .map(|c| c + spread[which] * rng.random_range(-1.0..1.0f32))
                .collect::<Vec<_>>()
        })
        .collect()
}
