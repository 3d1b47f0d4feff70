//! Confidence intervals by bootstrap over queries.
//!
//! Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993: the percentile interval
//! (chapter 13). The queries are drawn with replacement, as many as there are, and the measure is
//! computed again; the interval leaves out the lowest and the highest 2.5 % of the results. The
//! draws have a fixed seed and a stream of their own for each resample, so the same figures give
//! the same interval on every machine, with any number of threads.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use super::measures::Pair;

/// Resamples for a mean.
pub const RESAMPLES: usize = 10_000;

/// Resamples for µAP.
pub const MICRO_RESAMPLES: usize = 1_000;

/// Most pairs for which [`micro_interval`] computes an interval.
pub const MICRO_PAIRS: usize = 200_000;

const SEED: u64 = 0x0ce1_1193;

/// Mean of differences between two runs, and how sure its sign is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// Share of resamples whose mean is 0 or below, 0 to 1.
    pub not_above: f64,
    /// Two-sided p value: twice the smaller of the shares of resamples at or below 0 and at or
    /// above 0, at most 1. A p of 0 means less than 2 / [`RESAMPLES`].
    pub p: f64,
}

/// The 95 % interval of the mean of `values`, one value for each query. None with fewer than 2.
pub fn mean_interval(values: &[f64]) -> Option<[f64; 2]> {
    Some(interval(&mut resampled_means(values)?))
}

/// The paired bootstrap (Sakai, SIGIR 2006): `differences` has one value for each query that both
/// runs judged. None with fewer than 2.
pub fn difference(differences: &[f64]) -> Option<Difference> {
    let mut means = resampled_means(differences)?;
    let share = |holds: &dyn Fn(f64) -> bool| {
        means.iter().filter(|&&mean| holds(mean)).count() as f64 / means.len() as f64
    };
    let (not_above, not_below) = (share(&|mean| mean <= 0.0), share(&|mean| mean >= 0.0));
    Some(Difference {
        mean: differences.iter().sum::<f64>() / differences.len() as f64,
        interval: interval(&mut means),
        not_above,
        p: (2.0 * not_above.min(not_below)).min(1.0),
    })
}

/// The 95 % interval of µAP by drawing queries: a query that is drawn twice has its pairs twice,
/// and its positives too.
///
/// `pairs`: the judged pairs, best first, as [`Pairs::ranked`](super::measures::Pairs::ranked)
/// gives them. `positives`: for each query the number of pairs that exist, 0 for a query that has
/// none. A pair of a query beyond them does not count. None with fewer than 2 queries, without
/// positives, or with more than [`MICRO_PAIRS`] pairs.
pub fn micro_interval(pairs: &[Pair], positives: &[u32]) -> Option<[f64; 2]> {
    let queries = at_least_two(positives.len())?;
    if pairs.len() > MICRO_PAIRS {
        return None;
    }
    let mut values: Vec<f64> = (0..MICRO_RESAMPLES as u64)
        .into_par_iter()
        .filter_map(|resample| {
            let mut weights = vec![0u32; positives.len()];
            draws(resample, queries).for_each(|query| weights[query] += 1);
            weighted_micro_ap(pairs, positives, &weights)
        })
        .collect();
    // A resample may have drawn no query with a positive; it says nothing.
    (!values.is_empty()).then(|| interval(&mut values))
}

/// µAP where each query, with its pairs and positives, is there as often as its weight says.
fn weighted_micro_ap(pairs: &[Pair], positives: &[u32], weights: &[u32]) -> Option<f64> {
    let of_query = positives.iter().zip(weights);
    let all: u64 = of_query.map(|(&n, &weight)| u64::from(n) * u64::from(weight)).sum();
    if all == 0 {
        return None;
    }
    let (mut sum, mut found, mut seen) = (0.0, 0u64, 0u64);
    for pair in pairs {
        let weight = weights.get(pair.query as usize).copied().unwrap_or(0);
        if !pair.positive {
            seen += u64::from(weight);
            continue;
        }
        for _ in 0..weight {
            found += 1;
            seen += 1;
            sum += found as f64 / seen as f64;
        }
    }
    Some(sum / all as f64)
}

/// None below 2, of which no resample differs from another.
fn at_least_two(n: usize) -> Option<u32> {
    u32::try_from(n).ok().filter(|&n| n >= 2)
}

/// Numbers of the queries that a resample draws: `n` of 0 to `n` - 1.
fn draws(resample: u64, n: u32) -> impl Iterator<Item = usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    rng.set_stream(resample);
    (0..n).map(move |_| rng.random_range(0..n) as usize)
}

fn resampled_means(values: &[f64]) -> Option<Vec<f64>> {
    let n = at_least_two(values.len())?;
    let mean = |resample| draws(resample, n).map(|i| values[i]).sum::<f64>() / f64::from(n);
    Some((0..RESAMPLES as u64).into_par_iter().map(mean).collect())
}

/// Of n values the number n / 40 from below and from above: of 10,000 the 250th and the 9,751st.
fn interval(values: &mut [f64]) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    let outside = (values.len() / 40).max(1) - 1;
    [values[outside], values[values.len() - 1 - outside]]
}
