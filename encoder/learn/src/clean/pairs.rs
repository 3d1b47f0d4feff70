//! Which photos of a class are compared.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Others that each photo of a large class is compared with, at least: where a half of a class
/// shows the thing, and a half of its pairs are verified, five are left.
pub const LEAST_OTHERS: usize = 20;

/// The pairs of `count` photos that are compared, each once, the smaller number first, ascending.
///
/// All pairs where there are at most `most`. Of more, the photos are laid in a circle in an order
/// that `rng` draws, and each is compared with those that are certain steps after it, the same
/// steps for all: the first one, and others that `rng` draws. As many steps as fit, but so many
/// that each photo meets [`LEAST_OTHERS`]: a random graph, in which a component that is dense among
/// all pairs stays one. Near steps alone would make a chain, which a few wrong photos in a row cut.
#[must_use]
pub fn chosen(count: usize, most: usize, mut rng: ChaCha8Rng) -> Vec<(u32, u32)> {
    let all = count * count.saturating_sub(1) / 2;
    let numbers: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    // Steps below a half of the circle meet each pair once.
    let half = count.saturating_sub(1) / 2;
    let each = (most / count.max(1)).max(LEAST_OTHERS / 2);
    if all <= most || each >= half {
        let pairs = numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b)));
        return pairs.filter(|(a, b)| a < b).collect();
    }
    let mut circle = numbers;
    circle.shuffle(&mut rng);
    let mut steps: Vec<usize> = (2..=half).collect();
    steps.shuffle(&mut rng);
    // The first step makes one piece of the whole circle.
    let steps = std::iter::once(1).chain(steps.into_iter().take(each - 1));
    let after = |step: usize| circle.iter().cycle().skip(step);
    let mut pairs: Vec<(u32, u32)> = steps
        .flat_map(|step| circle.iter().zip(after(step)))
        .map(|(&a, &b)| (a.min(b), a.max(b)))
        .collect();
    pairs.sort_unstable();
    pairs
}

#[cfg(test)]
mod tests {
    use ocelli_index::Hash;
    use rand::SeedableRng;

    use super::*;
    use crate::clean::graph::components;

    #[test]
    fn small_classes_are_compared_in_full_and_large_ones_evenly() {
        let rng = || ChaCha8Rng::seed_from_u64(1);
        assert!(chosen(0, 9, rng()).is_empty() && chosen(1, 9, rng()).is_empty());
        assert_eq!(chosen(3, 3, rng()), [(0, 1), (0, 2), (1, 2)]);
        // As many as fit; and at least ten after each, however few are asked for.
        for (count, most, others) in [(50, 600, 24), (51, 600, 22), (50, 3, 20), (23, 1, 20)] {
            let some = chosen(count, most, rng());
            assert_eq!(some.len(), count * others / 2, "{count}");
            assert!(some.windows(2).all(|w| w[0] < w[1]) && some.iter().all(|(a, b)| a < b));
            let mut met = vec![0; count];
            some.iter().for_each(|&(a, b)| {
                met[a as usize] += 1;
                met[b as usize] += 1;
            });
            assert_eq!(met, vec![others; count]);
        }
        assert_eq!(chosen(50, 400, rng()), chosen(50, 400, rng()));
        assert_ne!(chosen(50, 400, rng()), chosen(50, 400, ChaCha8Rng::seed_from_u64(2)));
        // Ten steps are all that there are.
        assert_eq!(chosen(21, 1, rng()).len(), 210);
        assert_eq!(chosen(22, 1, rng()).len(), 231);
        assert_eq!(chosen(3, 1, rng()).len(), 3);
    }

    /// A half of the photos is wrong, and a half of the pairs of right ones is verified: nearly all
    /// right ones are in one piece.
    #[test]
    fn wrong_photos_do_not_cut_a_class_into_pieces() {
        let count = 4000;
        let coin = |what: &str| Hash::of(what.as_bytes()).bytes()[0] & 1 == 0;
        let right: Vec<bool> = (0..count).map(|at| coin(&format!("photo {at}"))).collect();
        let pairs = chosen(count, 1, ChaCha8Rng::seed_from_u64(3));
        let verified = pairs.into_iter().filter(|&(a, b)| {
            right[a as usize] && right[b as usize] && coin(&format!("pair {a} {b}"))
        });
        let largest = components(count, verified)[0].len();
        let all = right.iter().filter(|right| **right).count();
        assert!(largest * 100 > all * 97, "{largest} of {all}");
    }
}
