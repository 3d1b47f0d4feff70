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
    /// The 95 % interval of the mean.
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

#[cfg(test)]
mod tests {
    use super::super::measures::{Pairs, Ties};
    use super::*;

    fn near(found: f64, expected: f64, by: f64) {
        assert!((found - expected).abs() <= by, "{found}, expected {expected} ± {by}");
    }

    /// Values 0 to 19: mean 9.5, standard deviation √((20² - 1) / 12) = 5.766, so that of the mean
    /// is 5.766 / √20 = 1.289 and the normal interval 9.5 ± 1.96 · 1.289 = 6.97 to 12.03.
    #[test]
    fn an_interval_by_hand() {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let [low, high] = mean_interval(&values).unwrap();
        near(low, 6.97, 0.15);
        near(high, 12.03, 0.15);
        // Of two values, 0 and 1, a quarter of all resamples has the mean 0, and a quarter 1.
        assert_eq!(mean_interval(&[0.0, 1.0]), Some([0.0, 1.0]));
        assert_eq!(mean_interval(&[0.25; 7]), Some([0.25, 0.25]));
        assert_eq!((mean_interval(&[0.5]), mean_interval(&[])), (None, None));
    }

    /// 10,000 numbers in any order: the 250th and the 9,751st of them; of 1,000 the 25th and the
    /// 976th.
    #[test]
    fn the_places_of_an_interval() {
        let mut values: Vec<f64> = (1..=10_000).rev().map(f64::from).collect();
        assert_eq!(interval(&mut values), [250.0, 9_751.0]);
        let mut values: Vec<f64> = (1..=1_000).map(f64::from).collect();
        assert_eq!(interval(&mut values), [25.0, 976.0]);
        assert_eq!(interval(&mut [3.0]), [3.0, 3.0]);
    }

    /// An interval of 95 % has the true mean in 95 of 100 samples. For 60 values of an exponential
    /// distribution of mean 1 the percentile interval is known to have a little less. With 400
    /// samples the standard deviation of the share is √(0.95 · 0.05 / 400) = 0.011.
    #[test]
    fn intervals_cover_the_true_mean() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let samples = 400;
        let covered = (0..samples)
            .filter(|_| {
                let values: Vec<f64> = (0..60).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
                let [low, high] = mean_interval(&values).unwrap();
                low <= 1.0 && 1.0 <= high
            })
            .count();
        near(covered as f64 / f64::from(samples), 0.94, 0.035);
    }

    /// The same draws on every machine and with any number of threads; others in each resample.
    #[test]
    fn draws_are_always_the_same() {
        let first = |resample| draws(resample, 10).collect::<Vec<_>>();
        assert_eq!(first(0), [5, 6, 7, 6, 6, 3, 9, 1, 8, 2]);
        assert_eq!(first(1), [0, 4, 6, 6, 6, 4, 2, 1, 8, 5]);
        let values: Vec<f64> = (0..99).map(|i| f64::from(i).sin()).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (mean_interval(&values), difference(&values)))
        };
        assert_eq!(with(1), with(3));
    }

    /// Every number is drawn as often as any other: 10,000 draws of 10, each expected 1,000 times
    /// with a standard deviation of √(10,000 · 0.1 · 0.9) = 30.
    #[test]
    fn draws_are_even() {
        let mut counts = [0; 10];
        (0..1_000).flat_map(|resample| draws(resample, 10)).for_each(|i| counts[i] += 1);
        assert!(counts.iter().all(|&n| (850..=1_150).contains(&n)), "{counts:?}");
    }

    /// By hand, three differences 1, 1, -1. A resample's mean is below 0 if at least two of three
    /// draws are -1: 3 · (1/3)² · 2/3 + (1/3)³ = 7/27, and it is never 0.
    #[test]
    fn a_difference_by_hand() {
        let found = difference(&[1.0, 1.0, -1.0]).unwrap();
        near(found.mean, 1.0 / 3.0, 1e-12);
        near(found.not_above, 7.0 / 27.0, 0.02);
        assert_eq!(found.p, 2.0 * found.not_above);
        assert_eq!(found.interval, [-1.0, 1.0]);
        // All means are -1, at or below 0.
        let expected = Difference { mean: -1.0, interval: [-1.0; 2], not_above: 1.0, p: 0.0 };
        assert_eq!(difference(&[-1.0; 4]), Some(expected));
        // No difference at all: both shares are 1.
        let expected = Difference { mean: 0.0, interval: [0.0; 2], not_above: 1.0, p: 1.0 };
        assert_eq!(difference(&[0.0; 4]), Some(expected));
        assert_eq!(difference(&[1.0]), None);
    }

    /// Random pairs of few scores; the positives that exist per query.
    fn random_pairs(rng: &mut ChaCha8Rng, queries: u32) -> (Vec<(f64, bool, u32)>, Vec<u32>) {
        let pairs: Vec<(f64, bool, u32)> = (0..rng.random_range(0..80))
            .map(|_| {
                (f64::from(rng.random_range(0..30)), rng.random(), rng.random_range(0..queries))
            })
            .collect();
        let mut positives: Vec<u32> = (0..queries).map(|_| rng.random_range(0..2)).collect();
        for pair in pairs.iter().filter(|pair| pair.1) {
            positives[pair.2 as usize] += 1;
        }
        (pairs, positives)
    }

    /// Weights are the same as pairs that are there as often.
    #[test]
    fn weights_are_repeated_pairs() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut judged = 0;
        for _ in 0..1_000 {
            let queries = rng.random_range(1..8);
            let (of, positives) = random_pairs(&mut rng, queries);
            let weights: Vec<u32> = (0..queries).map(|_| rng.random_range(0..4)).collect();
            let (mut once, mut repeated) = (Pairs::new(1_000), Pairs::new(1_000));
            for &(score, positive, query) in &of {
                once.push(score, positive, query);
                for _ in 0..weights[query as usize] {
                    repeated.push(score, positive, query);
                }
            }
            let all = positives.iter().zip(&weights).map(|(n, weight)| n * weight).sum::<u32>();
            let found = weighted_micro_ap(&once.ranked(Ties::Against), &positives, &weights);
            assert_eq!(found.is_none(), all == 0);
            let Some(found) = found else { continue };
            near(found, repeated.finish(all as usize, Ties::Against).micro_ap, 1e-12);
            judged += 1;
        }
        assert!(judged > 500);
    }

    #[test]
    fn an_interval_of_micro_ap() {
        let pair = |query, positive| Pair { score: -f64::from(query), query, positive };
        // Each query finds its only image: 1 whoever is drawn.
        let right: Vec<Pair> = (0..9).map(|query| pair(query, true)).collect();
        assert_eq!(micro_interval(&right, &[1; 9]), Some([1.0, 1.0]));
        // By hand, queries A (finds its image) and B (does not): drawn are AA (1), BB (0) and
        // twice AB (1/2), so that 0 and 1 are each a quarter of all.
        let half = [pair(0, true), pair(1, false)];
        assert_eq!(micro_interval(&half, &[1, 1]), Some([0.0, 1.0]));
        // B has no positive: BB says nothing, and A is before it always.
        assert_eq!(micro_interval(&half, &[1, 0]), Some([1.0, 1.0]));
        // The interval is around the value.
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (of, positives) = random_pairs(&mut rng, 40);
        let mut pairs = Pairs::new(1_000);
        of.iter().for_each(|&(score, positive, query)| pairs.push(score, positive, query));
        let all = positives.iter().sum::<u32>() as usize;
        let value = pairs.finish(all, Ties::Against).micro_ap;
        let [low, high] = micro_interval(&pairs.ranked(Ties::Against), &positives).unwrap();
        assert!(low < value && value < high, "{low} < {value} < {high}");
        // What gives none, and a query that is beyond the list.
        assert_eq!(micro_interval(&half, &[1]), None);
        assert_eq!(micro_interval(&half, &[0, 0]), None);
        assert_eq!(micro_interval(&[pair(7, false), pair(0, true)], &[1, 1]), Some([0.0, 1.0]));
        assert_eq!(micro_interval(&vec![pair(0, true); MICRO_PAIRS + 1], &[1, 1]), None);
    }
}
