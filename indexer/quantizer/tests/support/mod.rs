//! Vectors for the tests.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Rows `(n, d)` around 8 centres, so that there is something to quantize.
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
