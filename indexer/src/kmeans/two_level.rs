//! k-means for so many centroids that comparing every row with each takes too long.
//!
//! 1. About √k groups of rows by k-means.
//! 2. Each group gets a share of the k centroids that is proportional to its rows, by k-means of
//!    its own.
//! 3. Some Lloyd iterations over all rows, each compared with the centroids of the groups next to
//!    its own.
//!
//! A row costs about √k + (1 + neighbours · rounds) · √k comparisons an iteration in place of
//! k.

use ocelli_index::simd;
use ocelli_vector::Simd;
use rayon::prelude::*;

use super::near::{assign_lists, neighbours};
use super::{Comparisons, KmeansOptions, Lists, assign_to, check_rows, lloyd, update};
use crate::sample::{SplitMix64, chosen_rows};
use crate::{Error, Result};

/// Options of two-level k-means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoLevelOptions {
    /// Options of both levels; the sample is drawn for all k centroids.
    pub kmeans: KmeansOptions,
    /// Groups whose centroids a row is compared with in the last step, its own included.
    pub neighbours: usize,
    /// Lloyd iterations of the last step.
    pub rounds: usize,
}

impl Default for TwoLevelOptions {
    fn default() -> Self {
        Self { kmeans: KmeansOptions::default(), neighbours: 8, rounds: 4 }
    }
}

/// Centroids `(k, d)` of `x` `(n, d)`, about as good as those of [`super::kmeans`]. On the current
/// rayon pool; equal input gives equal bits whatever its size, at every instruction level. `step`
/// is called with the units of work done, [`two_level_steps`] in all.
///
/// # Errors
/// As [`super::kmeans`].
pub fn two_level_kmeans(
    x: &[f32],
    n: usize,
    d: usize,
    k: usize,
    options: &TwoLevelOptions,
    step: &(dyn Fn(u64) + Sync),
) -> Result<Vec<f32>> {
    check_rows("k-means", x, n, d)?;
    if k == 0 {
        return Err(Error::Invalid("k-means: expected at least 1 centroid, found 0".to_owned()));
    }
    Ok(two_level(simd(), x, d, k, options, step))
}

/// Groups of the first level for `k` centroids.
fn groups_for(k: usize) -> usize {
    (k as f64).sqrt().round().max(1.0) as usize
}

pub(super) fn two_level(
    simd: Simd,
    x: &[f32],
    d: usize,
    k: usize,
    options: &TwoLevelOptions,
    step: &(dyn Fn(u64) + Sync),
) -> Vec<f32> {
    let n = x.len() / d;
    if n <= k {
        return x.iter().copied().cycle().take(k * d).collect();
    }
    let mut rng = SplitMix64::new(options.kmeans.seed);
    let most = k.saturating_mul(options.kmeans.max_points_per_centroid.max(1));
    let sample: Vec<f32>;
    let x = if n > most {
        let rows = rng.sorted_sample(n, most);
        sample = chosen_rows(x, d, rows.into_iter());
        &sample[..]
    } else {
        x
    };
    let n = x.len() / d;

    let groups = groups_for(k);
    let kmeans = KmeansOptions { seed: rng.next(), ..options.kmeans };
    let heads = lloyd(simd, x, d, groups, &kmeans, &|_| ());
    let mut found = vec![(0, 0.0); n];
    assign_to(simd, x, d, &heads, &mut found);
    let group_of: Vec<u32> = found.iter().map(|&(group, _)| group).collect();
    step(1);

    let lists = Lists::new(&group_of, groups);
    let sizes: Vec<usize> = (0..groups).map(|group| lists.rows(group).len()).collect();
    let shares = shares(&sizes, k);
    let seeds: Vec<u64> = (0..groups).map(|_| rng.next()).collect();
    let mut centroids: Vec<f32> = (0..groups)
        .into_par_iter()
        .map(|group| {
            let kmeans = KmeansOptions {
                seed: seeds[group],
                max_points_per_centroid: usize::MAX,
                ..options.kmeans
            };
            match shares[group] {
                0 => Vec::new(),
                share => lloyd(simd, &gather(x, d, lists.rows(group)), d, share, &kmeans, &|_| ()),
            }
        })
        .flatten_iter()
        .collect();
    step(2);

    // From here on a row's group is where it began; centroids keep their group's place.
    let candidates = candidates(simd, &heads, d, &shares, options.neighbours.clamp(1, groups));
    let mut labels = vec![0; n];
    for round in 0..options.rounds {
        let of = |group: usize| &candidates[group][..];
        assign_lists(simd, x, d, &centroids, &lists, of, &mut labels);
        update(simd, x, d, &Lists::new(&labels, k), &mut centroids);
        step(3 + round as u64);
    }
    centroids
}

/// Indices of the centroids of the `count` groups nearest to each head, where each group has its
/// share of the centroids, one after the other.
fn candidates(
    simd: Simd,
    heads: &[f32],
    d: usize,
    shares: &[usize],
    count: usize,
) -> Vec<Vec<u32>> {
    let mut first = vec![0u32];
    first.extend(shares.iter().scan(0, |sum, &share| {
        *sum += share as u32;
        Some(*sum)
    }));
    let of = |&group: &u32| first[group as usize]..first[group as usize + 1];
    let near = neighbours(simd, heads, d, count);
    near.chunks_exact(count).map(|near| near.iter().flat_map(of).collect()).collect()
}

impl Comparisons {
    /// Those of [`two_level_kmeans`] over `n` rows: two levels of √k each, and rounds over the
    /// groups next to a row's own.
    pub(crate) fn two_level(n: u64, d: u64, k: u64, options: &TwoLevelOptions) -> Self {
        let groups = groups_for(k as usize) as f64;
        let share = k as f64 / groups;
        let (n, d) = (n as f64, d as f64);
        Self {
            all: n * d * options.kmeans.niter as f64 * (groups + share),
            near: n * d * (options.rounds * options.neighbours) as f64 * share,
            centroids: d * groups * groups,
            choices: groups,
        }
    }
}

/// Units of work that [`two_level_kmeans`] reports.
#[must_use]
pub fn two_level_steps(options: &TwoLevelOptions) -> u64 {
    2 + options.rounds as u64
}

/// `k` centroids over groups of `sizes` rows: proportional, the largest remainders rounded up
/// (equal ones: the smaller group first), at least one if there are rows and never more than
/// rows. Their sum is `k`, which must not exceed the number of rows nor be below the number of
/// groups.
fn shares(sizes: &[usize], k: usize) -> Vec<usize> {
    let rows: u128 = sizes.iter().map(|&s| s as u128).sum();
    let exact = |size: usize| (size as u128 * k as u128, rows);
    let mut shares: Vec<usize> = sizes
        .iter()
        .map(|&size| {
            let (share, of) = exact(size);
            ((share / of) as usize).max(usize::from(size > 0))
        })
        .collect();
    let mut order: Vec<usize> = (0..sizes.len()).filter(|&g| sizes[g] > 0).collect();
    order.sort_by_key(|&g| {
        let (share, of) = exact(sizes[g]);
        (std::cmp::Reverse(share % of), g)
    });
    let mut total: usize = shares.iter().sum();
    while total < k {
        for &group in &order {
            if total < k && shares[group] < sizes[group] {
                shares[group] += 1;
                total += 1;
            }
        }
    }
    // At least one each may be too much where groups are nearly as many as centroids.
    while total > k {
        for &group in order.iter().rev() {
            if total > k && shares[group] > 1 {
                shares[group] -= 1;
                total -= 1;
            }
        }
    }
    shares
}

fn gather(x: &[f32], d: usize, rows: &[u32]) -> Vec<f32> {
    chosen_rows(x, d, rows.iter().map(|&row| row as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_proportional_and_complete() {
        assert_eq!(shares(&[10, 20, 30], 6), [1, 2, 3]);
        assert_eq!(shares(&[1, 0, 99], 10), [1, 0, 9]);
        assert_eq!(shares(&[3, 3, 3], 4), [2, 1, 1]);
        assert_eq!(shares(&[2, 2, 100], 104), [2, 2, 100]);
        assert_eq!(shares(&[1, 1, 1, 1000], 4), [1, 1, 1, 1]);
        for k in [45, 100, 999] {
            let sizes: Vec<usize> = (0..40).map(|i| i * i % 37 + i % 2).collect();
            let k = k.min(sizes.iter().sum());
            let shares = shares(&sizes, k);
            assert_eq!(shares.iter().sum::<usize>(), k);
            assert!(shares.iter().zip(&sizes).all(|(a, b)| a <= b && (*b == 0 || *a > 0)));
        }
    }
}
