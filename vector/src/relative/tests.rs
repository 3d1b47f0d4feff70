//! The promise of the bounds.

use super::*;
use crate::dense::dot;
use rand::{RngExt, SeedableRng};

/// Every level that has 8-bit products, with either metric.
fn levels_and_metrics() -> impl Iterator<Item = (Simd, Metric)> {
    let levels = Simd::all().filter(|simd| has_level(*simd));
    levels.flat_map(|simd| Metric::ALL.map(|metric| (simd, metric)))
}

/// For every shape past two tiles: each bound is at most the exact cost and no farther below it
/// than twice the slack, survivors are those up to the threshold, and the slack is worth
/// having.
#[test]
fn bounds_hold_and_are_tight() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    for case in 0..300 {
        let d = [1, 3, 4, 7, 16, 37, 64, 128, 131][case % 9];
        let n = [0, 1, 15, 16, 17, 63, 64, 65, 130, 200][case % 10];
        let scale = [1e-30f32, 1e-4, 1.0, 200.0, 1e12][case % 5];
        let far = [0.0f32, 1.0, 100.0][case % 3];
        let mut draw = |n: usize, off: f32| -> Vec<f32> {
            (0..n).map(|_| (rng.random_range(-1.0..1.0f32) + off) * scale).collect()
        };
        let (rows, centre, q) = (draw(n * d, far), draw(d, far), draw(d, far));
        let (mut bytes, mut norms) = (vec![7; 3], vec![7.0; 2]);
        let rounded = round(rows.chunks_exact(d), &centre, &mut bytes, &mut norms);
        assert_eq!(bytes.len(), 3 + n.div_ceil(BLOCK) * block_bytes(d));
        let view = Rows { len: n, bytes: &bytes[3..], norms: &norms[2..], rounded, next: &bytes };
        for (simd, metric) in levels_and_metrics() {
            let exact = |r: &[f32]| metric.cost(metric.of(&q, r));
            let base = exact(&centre);
            let mut query = ByteQuery::default();
            query.fill(simd, &q, (metric == Metric::L2).then_some(&centre));
            let centre_norm = dot(&centre, &centre).sqrt() * 1.0001;
            let slack = query.slack(metric, &rounded, centre_norm, base);
            assert!(slack.is_finite(), "case {case}");
            let (mut bounds, mut positions) = (vec![], vec![]);
            query.survivors(
                simd,
                metric,
                &view,
                base,
                slack,
                f32::INFINITY,
                10,
                &mut bounds,
                &mut positions,
            );
            assert_eq!(positions, (10..10 + n as u32).collect::<Vec<_>>());
            for (bound, row) in bounds.iter().zip(rows.chunks_exact(d)) {
                let gap = f64::from(exact(row)) - f64::from(*bound);
                let below = slack * (2.0 + 1e-5) + f64::from(f32::MIN_POSITIVE);
                assert!((0.0..=below).contains(&gap), "case {case}, {metric:?}: {gap} {slack}");
            }
            if n > 3 {
                let threshold = bounds[n / 2];
                let want: Vec<(u32, u32)> = (0u32..)
                    .zip(&bounds)
                    .filter(|(_, b)| **b <= threshold)
                    .map(|(i, b)| (i, b.to_bits()))
                    .collect();
                let (mut some, mut places) = (vec![], vec![]);
                query.survivors(
                    simd,
                    metric,
                    &view,
                    base,
                    slack,
                    threshold,
                    0,
                    &mut some,
                    &mut places,
                );
                let found: Vec<(u32, u32)> =
                    places.into_iter().zip(some.iter().map(|b| b.to_bits())).collect();
                assert_eq!(found, want);
            }
            if d >= 64 && far == 0.0 && n > 0 && scale > 1e-20 {
                // Eight bits: a small share of what the product can be.
                let product = query.norm * f64::from(rounded.largest_norm);
                assert!(slack < 0.1 * product, "case {case}: {slack} of {product}");
            }
        }
    }
}

/// Numbers whose products overflow floats leave no slack to trust.
#[test]
fn overflow_shows_in_the_slack() {
    let (mut bytes, mut norms) = (vec![], vec![]);
    let row = [f32::MAX; 20];
    let rounded = round([&row[..]].into_iter(), &[-f32::MAX; 20], &mut bytes, &mut norms);
    for simd in Simd::all().filter(|simd| has_level(*simd)) {
        let mut query = ByteQuery::default();
        query.fill(simd, &row, Some(&[-f32::MAX; 20]));
        assert!(!query.slack(Metric::L2, &rounded, f32::INFINITY, f32::INFINITY).is_finite());
    }
}
