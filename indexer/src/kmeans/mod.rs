//! Lloyd's k-means, the same bits on every machine.
//!
//! Rows go to the nearest centroid as [`ocelli_vector::dense::nearest`] defines it; a centroid is
//! the mean of its rows, summed in row order in float64. So nothing depends on threads, instruction
//! levels or a BLAS, and the 16-bit assignment kernel takes half the multiplications of a float
//! product. Where centroids are many, only the first iteration compares a row with all of them
//! (`near`).

mod codebooks;
mod near;
mod seeding;
mod two_level;

use std::collections::BinaryHeap;

use ocelli_index::simd;
use ocelli_vector::encode::encode;
use ocelli_vector::encode::transpose;
use ocelli_vector::nearest::{NearestRows, NearestScratch};
use ocelli_vector::{Simd, dense};
use rayon::prelude::*;

use crate::sample::{SplitMix64, chosen_rows};
use crate::{Error, Result};
pub(crate) use codebooks::codebooks;
use near::{assign_lists, neighbours};
pub use seeding::Seeding;
pub use two_level::{TwoLevelOptions, two_level_kmeans, two_level_steps};

/// Options of k-means; by default those of FAISS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KmeansOptions {
    /// Lloyd iterations at most: it ends early where no row changes its centroid.
    pub niter: usize,
    /// How the initial centroids are chosen.
    pub seeding: Seeding,
    /// Seed of the initial centroids and of the sample.
    pub seed: u64,
    /// Rows beyond `k` times this are left out by random choice: more change little and cost time.
    pub max_points_per_centroid: usize,
}

impl Default for KmeansOptions {
    fn default() -> Self {
        Self { niter: 25, seeding: Seeding::Rows, seed: 1234, max_points_per_centroid: 256 }
    }
}

/// Rows that one task assigns: a whole number of the kernel's blocks.
const TASK_ROWS: usize = 16 * 96;
/// How much the halves of a split cluster differ: FAISS's factor.
const SPLIT: f32 = 1.0 / 1024.0;

/// Centroids `(k, d)`, row-major, of `x` `(n, d)` under L2 (Lloyd 1982): rows to begin with, and a
/// cluster that runs empty takes half of the largest. Runs on the current rayon pool; equal input
/// gives equal bits whatever its size, at every instruction level.
///
/// With `n <= k` every row is a centroid and the rest repeat them, so that a forced training on
/// little data still makes a valid codebook. `step` is called with the number of
/// iterations done.
///
/// # Errors
/// Values that are not finite, sizes that do not match.
pub fn kmeans(
    x: &[f32],
    n: usize,
    d: usize,
    k: usize,
    options: &KmeansOptions,
    step: &(dyn Fn(u64) + Sync),
) -> Result<Vec<f32>> {
    check_rows("k-means", x, n, d)?;
    if k == 0 {
        return Err(Error::Invalid("k-means: expected at least 1 centroid, found 0".to_owned()));
    }
    Ok(lloyd(simd(), x, d, k, options, step))
}

/// The nearest of `centroids` `(k, d)` to each row of `x` `(n, d)`, and its squared distance; ties
/// to the smaller index. On the current rayon pool.
///
/// # Errors
/// As [`kmeans`].
pub fn assign(x: &[f32], d: usize, centroids: &[f32]) -> Result<Vec<(u32, f32)>> {
    check_rows("assignment", x, x.len() / d.max(1), d)?;
    check_rows("assignment (centroids)", centroids, centroids.len() / d, d)?;
    let mut found = vec![(0, 0.0); x.len() / d];
    assign_to(simd(), x, d, centroids, &mut found);
    Ok(found)
}

/// The caller's `x` must be `n` rows of `d` finite values.
fn check_rows(op: &'static str, x: &[f32], n: usize, d: usize) -> Result<()> {
    if d == 0 || n == 0 || n.checked_mul(d) != Some(x.len()) {
        return Err(Error::Invalid(format!("{op}: expected {n} x {d} values, found {}", x.len())));
    }
    match x.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(Error::Invalid(format!("{op}: row {} holds {}", at / d, x[at]))),
        None => Ok(()),
    }
}

/// What k-means compares: pairs of vectors, times their coordinates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Comparisons {
    /// Rows with all centroids.
    pub(crate) all: f64,
    /// Rows with the centroids near their own.
    pub(crate) near: f64,
    /// Centroids with centroids.
    pub(crate) centroids: f64,
    /// Centroids whose neighbours are chosen: a number, without coordinates.
    pub(crate) choices: f64,
}

impl Comparisons {
    /// Those of [`kmeans`] over `n` rows, if it does all iterations.
    pub(crate) fn flat(n: u64, d: u64, k: u64, niter: u64) -> Self {
        let [n, d, k, niter] = [n, d, k, niter].map(|x| x as f64);
        if k < near::FEWEST as f64 {
            return Self { all: d * n * k * niter, ..Self::default() };
        }
        let later = (niter - 1.0).max(0.0);
        let choices = k * (later / near::SERVE as f64).ceil();
        Self {
            all: d * n * k,
            near: d * n * later * near::COUNT as f64,
            centroids: d * k * choices,
            choices,
        }
    }
}

impl std::ops::Add for Comparisons {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            near: self.near + other.near,
            centroids: self.centroids + other.centroids,
            choices: self.choices + other.choices,
        }
    }
}

fn lloyd(
    simd: Simd,
    x: &[f32],
    d: usize,
    k: usize,
    options: &KmeansOptions,
    step: &(dyn Fn(u64) + Sync),
) -> Vec<f32> {
    let n = x.len() / d;
    if n <= k {
        return x.iter().copied().cycle().take(k * d).collect();
    }
    let mut rng = SplitMix64::new(options.seed);
    let most = k.saturating_mul(options.max_points_per_centroid.max(1));
    let sample: Vec<f32>;
    let x = if n > most {
        let rows = rng.sorted_sample(n, most);
        sample = chosen_rows(x, d, rows.into_iter());
        &sample[..]
    } else {
        x
    };
    let mut centroids = options.seeding.centroids(x, d, k, &mut rng);
    iterate(simd, x, d, &mut centroids, options.niter, step);
    centroids
}

/// Lloyd's iterations from `centroids` `(k, d)`. See [`near`] for which centroids a row is compared
/// with.
fn iterate(
    simd: Simd,
    x: &[f32],
    d: usize,
    centroids: &mut [f32],
    niter: usize,
    step: &(dyn Fn(u64) + Sync),
) {
    let (n, k) = (x.len() / d, centroids.len() / d);
    let mut found = vec![(u32::MAX, 0.0); n];
    let mut labels = vec![u32::MAX; n];
    let mut lists = Lists::default();
    let mut candidates = Vec::new();
    let mut all = true;
    for iteration in 0..niter {
        let before = labels.clone();
        if all {
            assign_to(simd, x, d, centroids, &mut found);
            labels.iter_mut().zip(&found).for_each(|(label, found)| *label = found.0);
        } else {
            if candidates.is_empty() || iteration % near::SERVE == 0 {
                candidates = neighbours(simd, centroids, d, near::COUNT);
            }
            let of = |list: usize| &candidates[list * near::COUNT..][..near::COUNT];
            assign_lists(simd, x, d, centroids, &lists, of, &mut labels);
        }
        if labels == before {
            if all {
                break;
            }
            // A row may have its nearest centroid elsewhere.
            all = true;
            continue;
        }
        all = k < near::FEWEST;
        lists = Lists::new(&labels, k);
        if update(simd, x, d, &lists, centroids) {
            // A centroid that has moved far is near others than before.
            candidates.clear();
        }
        step(iteration as u64 + 1);
    }
}

/// Writes the nearest centroid of each row and its distance to `found` `(n,)`.
fn assign_to(simd: Simd, x: &[f32], d: usize, centroids: &[f32], found: &mut [(u32, f32)]) {
    let k = centroids.len() / d;
    if k.is_multiple_of(16) && k <= 256 && d <= 32 {
        // Short rows and few centroids: floats at once.
        let transposed = transpose(centroids, 1, k);
        x.par_chunks(TASK_ROWS * d).zip(found.par_chunks_mut(TASK_ROWS)).for_each_init(
            || (Vec::new(), Vec::new()),
            |(codes, distances), (x, found)| {
                codes.resize(found.len(), 0);
                distances.resize(found.len(), 0.0);
                encode(simd, x, &transposed, 1, k, codes, distances);
                for ((found, code), distance) in found.iter_mut().zip(&*codes).zip(&*distances) {
                    *found = (u32::from(*code), *distance);
                }
            },
        );
    } else {
        let rows = NearestRows::new(centroids, d);
        x.par_chunks(TASK_ROWS * d)
            .zip(found.par_chunks_mut(TASK_ROWS))
            .for_each_init(NearestScratch::default, |scratch, (x, found)| {
                rows.assign(simd, x, found, scratch)
            });
    }
}

/// Replaces `centroids` `(k, d)` by the means of their rows. Whether one had none and was moved.
fn update(simd: Simd, x: &[f32], d: usize, lists: &Lists, centroids: &mut [f32]) -> bool {
    centroids.par_chunks_exact_mut(d).enumerate().for_each_init(
        || vec![0f64; d],
        |sum, (c, centroid)| {
            let rows = lists.rows(c);
            if rows.is_empty() {
                return;
            }
            sum.fill(0.0);
            dense::add_rows(simd, x, rows, sum);
            let scale = 1.0 / rows.len() as f64;
            centroid.iter_mut().zip(&*sum).for_each(|(c, &sum)| *c = (sum * scale) as f32);
        },
    );
    split_into_empty(lists, d, centroids);
    (0..centroids.len() / d).any(|c| lists.rows(c).is_empty())
}

/// Rows by label.
#[derive(Default)]
struct Lists {
    /// Where each list begins in `order`, and where the last one ends.
    starts: Vec<usize>,
    order: Vec<u32>,
}

impl Lists {
    /// One list for each of the `k` labels.
    fn new(labels: &[u32], k: usize) -> Self {
        let mut starts = vec![0usize; k + 1];
        for &label in labels {
            starts[label as usize + 1] += 1;
        }
        for label in 0..k {
            starts[label + 1] += starts[label];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; labels.len()];
        for (row, &label) in (0u32..).zip(labels) {
            let place = &mut next[label as usize];
            order[*place] = row;
            *place += 1;
        }
        Self { starts, order }
    }

    fn count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The rows of a list, ascending.
    fn rows(&self, list: usize) -> &[u32] {
        &self.order[self.starts[list]..self.starts[list + 1]]
    }
}

/// Each centroid without rows gets half of the cluster that is largest by then.
fn split_into_empty(lists: &Lists, d: usize, centroids: &mut [f32]) {
    let k = lists.count();
    let rows = |c: usize| lists.rows(c).len();
    let empty: Vec<usize> = (0..k).filter(|&c| rows(c) == 0).collect();
    if empty.is_empty() {
        return;
    }
    // Equal sizes: the smaller index.
    let mut largest: BinaryHeap<(usize, std::cmp::Reverse<usize>)> =
        (0..k).map(|c| (rows(c), std::cmp::Reverse(c))).collect();
    for e in empty {
        let Some((size, std::cmp::Reverse(c))) = largest.pop() else { return };
        for i in 0..d {
            let x = centroids[c * d + i];
            let sign = if i % 2 == 0 { SPLIT } else { -SPLIT };
            centroids[e * d + i] = x * (1.0 + sign);
            centroids[c * d + i] = x * (1.0 - sign);
        }
        largest.push((size / 2, std::cmp::Reverse(e)));
        largest.push((size - size / 2, std::cmp::Reverse(c)));
    }
}

#[cfg(test)]
mod tests;
