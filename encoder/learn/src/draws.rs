//! Random numbers that a seed and a place in the training decide: nothing of them is kept.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The thing that is drawn.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// The photos of the mining pool.
    Pool = 1,
    /// The triplets of an iteration.
    Triplets = 2,
    /// The crop of a photo in an iteration.
    Crop = 3,
    /// The photos that a new head is learned on.
    Head = 4,
    /// The photos of an iteration, where they are not those of mined triplets.
    Batch = 5,
    /// The photos that a classifier begins with.
    Classifier = 6,
    /// Mirror and light of a photo in an iteration.
    Look = 7,
    /// The first weights of layers that propose regions.
    Proposals = 8,
    /// The anchors of a photo that such layers are trained on in an iteration.
    Anchors = 9,
}

/// The generator for one purpose in one iteration, for one item.
#[must_use]
pub fn rng(seed: u64, purpose: Purpose, iteration: u64, item: u64) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    let words = [seed, purpose as u64, iteration, item];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    ChaCha8Rng::from_seed(bytes)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn every_place_has_its_own_numbers() {
        let first = |seed, purpose, iteration, item| rng(seed, purpose, iteration, item).next_u64();
        let all = [
            first(1, Purpose::Pool, 2, 3),
            first(2, Purpose::Pool, 2, 3),
            first(1, Purpose::Crop, 2, 3),
            first(1, Purpose::Pool, 3, 3),
            first(1, Purpose::Pool, 2, 4),
        ];
        let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(first(1, Purpose::Pool, 2, 3), all[0]);
    }
}
