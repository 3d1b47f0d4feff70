//! Which photos of a class are compared.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The pairs of `count` photos that are compared, each once, the smaller number first, ascending.
///
/// All pairs where there are at most `most`. Of more, the photos are laid in a circle in an order
/// that `rng` draws, and each is compared with the same number of those after it, as many as fit
/// (one at least): a random graph, in which a component that is dense among all pairs stays one.
#[must_use]
pub fn chosen(count: usize, most: usize, mut rng: ChaCha8Rng) -> Vec<(u32, u32)> {
    let all = count * count.saturating_sub(1) / 2;
    let numbers: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    if all <= most {
        let pairs = numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b)));
        return pairs.filter(|(a, b)| a < b).collect();
    }
    let each = (most / count).max(1);
    let mut circle = numbers;
    circle.shuffle(&mut rng);
    let after = |step: usize| circle.iter().cycle().skip(step);
    let mut pairs: Vec<(u32, u32)> = (1..=each)
        .flat_map(|step| circle.iter().zip(after(step)))
        .map(|(&a, &b)| (a.min(b), a.max(b)))
        .filter(|(a, b)| a != b)
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn small_classes_are_compared_in_full_and_large_ones_evenly() {
        let rng = || ChaCha8Rng::seed_from_u64(1);
        assert!(chosen(0, 9, rng()).is_empty() && chosen(1, 9, rng()).is_empty());
        assert_eq!(chosen(3, 3, rng()), [(0, 1), (0, 2), (1, 2)]);
        let some = chosen(50, 400, rng());
        assert_eq!(some.len(), 400);
        assert!(some.windows(2).all(|w| w[0] < w[1]) && some.iter().all(|(a, b)| a < b));
        let mut met = [0; 50];
        some.iter().for_each(|&(a, b)| {
            met[a as usize] += 1;
            met[b as usize] += 1;
        });
        assert_eq!(met, [16; 50]);
        assert_eq!(some, chosen(50, 400, rng()));
        assert_ne!(some, chosen(50, 400, ChaCha8Rng::seed_from_u64(2)));
        // Fewer than photos: a circle, so that none is alone.
        assert_eq!(chosen(50, 3, rng()).len(), 50);
        assert_eq!(chosen(3, 1, rng()).len(), 3);
    }
}
