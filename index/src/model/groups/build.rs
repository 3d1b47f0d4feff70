//! Groups centroids by k-means: the same groups on every machine and for any number of threads.
//!
//! Every assignment is a nearest centre in the fixed summation order, rows of different threads do
//! not meet, and means are summed in f64 in the order of rows.

use ocelli_vector::Simd;
use ocelli_vector::nearest::{NearestRows, NearestScratch};
use rayon::prelude::*;

/// Rounds of Lloyd's algorithm: later ones moved fewer than one centroid in fifty.
const ROUNDS: usize = 10;
/// Rows of the sample on which the centres are moved, for each group.
const SAMPLE_PER_GROUP: usize = 64;
/// Rows that one task assigns.
const CHUNK: usize = 1024;

/// Centres (groups, d) and, for each of `rows` (n, d), its group.
pub(super) fn cluster(simd: Simd, rows: &[f32], d: usize, groups: usize) -> (Vec<f32>, Vec<u32>) {
    let n = rows.len() / d;
    let row = |i: u32| &rows[i as usize * d..][..d];
    let order = shuffled(n);
    let sample = &order[..n.min(groups * SAMPLE_PER_GROUP)];
    let mut centres: Vec<f32> = sample[..groups].iter().flat_map(|&i| row(i)).copied().collect();
    for _ in 0..ROUNDS {
        let assigned = assign(simd, &centres, d, sample.len(), |i| row(sample[i]));
        let mut sums = vec![0f64; groups * d];
        let mut counts = vec![0usize; groups];
        for (&i, &group) in sample.iter().zip(&assigned) {
            let group = group as usize;
            counts[group] += 1;
            sums[group * d..][..d].iter_mut().zip(row(i)).for_each(|(s, &x)| *s += f64::from(x));
        }
        for (group, &count) in counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let sums = &sums[group * d..][..d];
            let centre = &mut centres[group * d..][..d];
            centre.iter_mut().zip(sums).for_each(|(c, s)| *c = (s / count as f64) as f32);
        }
        refill(&mut centres, &mut counts, d);
    }
    let assigned = assign(simd, &centres, d, n, |i| row(i as u32));
    (centres, assigned)
}

/// Gives each empty group a half of the group that is largest at its turn: its centre, moved a
/// little one way, while the other's moves the other way.
fn refill(centres: &mut [f32], counts: &mut [usize], d: usize) {
    for empty in 0..counts.len() {
        if counts[empty] > 0 {
            continue;
        }
        let largest = (0..counts.len()).max_by_key(|&g| (counts[g], usize::MAX - g)).unwrap_or(0);
        for j in 0..d {
            let x = centres[largest * d + j];
            let part = x * if j % 2 == 0 { 1.0 / 1024.0 } else { -1.0 / 1024.0 };
            centres[empty * d + j] = x + part;
            centres[largest * d + j] = x - part;
        }
        counts[empty] = counts[largest] / 2;
        counts[largest] -= counts[empty];
    }
}

/// The nearest centre of each of `n` rows, ties to the smaller.
fn assign<'a>(
    simd: Simd,
    centres: &[f32],
    d: usize,
    n: usize,
    row: impl Fn(usize) -> &'a [f32] + Sync,
) -> Vec<u32> {
    let nearest = NearestRows::new(centres, d);
    let mut out = vec![0u32; n];
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
        let mut scratch = NearestScratch::default();
        let first = chunk * CHUNK;
        let x: Vec<f32> = (first..first + out.len()).flat_map(&row).copied().collect();
        let mut found = vec![(0, 0.0); out.len()];
        nearest.assign(simd, &x, &mut found, &mut scratch);
        out.iter_mut().zip(found).for_each(|(out, (group, _))| *out = group);
    });
    out
}

/// 0 .. n in an order that is random but always the same (Fisher and Yates; SplitMix64).
fn shuffled(n: usize) -> Vec<u32> {
    let mut state = 0u64;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        // The high half of a product: a number below i + 1, as even as is needed.
        let j = (u128::from(random()) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation_and_always_the_same() {
        let mut order = shuffled(1000);
        assert_eq!(order, shuffled(1000));
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &x)| i as u32 == x));
        assert!(shuffled(0).is_empty());
    }

    /// Equal rows leave all groups but one empty; they are filled as far as that is possible, and
    /// nothing panics.
    #[test]
    fn equal_rows_are_grouped() {
        let rows = vec![1.0; 100 * 3];
        let (centres, groups) = cluster(Simd::detect(), &rows, 3, 8);
        assert_eq!((centres.len(), groups.len()), (24, 100));
        assert!(centres.iter().all(|c| c.is_finite()));
        assert!(groups.iter().all(|&g| g == groups[0]));
    }
}
