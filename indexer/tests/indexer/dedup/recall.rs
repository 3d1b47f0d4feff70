//! A join finds what comparing every row with every other finds.

use std::collections::BTreeMap;

use ocelli_index::{Metric, Row, Snapshot};
use ocelli_indexer::FineChoice;
use ocelli_indexer::silent;

use super::world::{DIM, Found, World, dedup, normalised, pairs, plain, with_copies};

/// All pairs that reach a threshold, by definition, with the bits of their scores.
fn brute(
    rows: usize,
    metric: Metric,
    threshold: f32,
    score: impl Fn(usize, usize) -> f32,
) -> BTreeMap<(u64, u64), u32> {
    let mut near = BTreeMap::new();
    for a in 0..rows {
        for b in a + 1..rows {
            let score = score(a, b);
            if metric.reaches(score, threshold) {
                near.insert((a as u64, b as u64), score.to_bits());
            }
        }
    }
    near
}

/// Each pair is there once, in order, is a true one with the bits of its score, and at least
/// `least` of the true ones are there.
fn check(found: &[Found], want: &BTreeMap<(u64, u64), u32>, least: f64, what: &str) {
    assert!(found.is_sorted_by(|a, b| (a.a, a.b) < (b.a, b.b)), "{what}: order");
    for pair in found {
        assert!(pair.a < pair.b);
        assert_eq!(want.get(&(pair.a, pair.b)), Some(&pair.score.to_bits()), "{what}: {pair:?}");
    }
    let recall = found.len() as f64 / want.len() as f64;
    assert!(want.len() >= 150, "{what}: {} true pairs", want.len());
    assert!(recall >= least, "{what}: {} of {} pairs", found.len(), want.len());
}

fn rows(metric: Metric) -> Vec<f32> {
    let x = with_copies(2000, 5, 0.05);
    if metric == Metric::L2 { x } else { normalised(x) }
}

/// Stored vectors decide, whatever the metric and whatever else there is.
#[test]
fn vectors_decide() {
    for (metric, threshold) in [(Metric::L2, 0.05), (Metric::InnerProduct, 0.999)] {
        for fine in [None, Some(FineChoice::Sq8)] {
            let x = rows(metric);
            let world = World::new(&plain("r", &x), metric, (16, 4), fine, 3);
            let mut options = world.options(threshold, "out");
            options.vectors = vec![world.part.clone()];
            let report = dedup(&options, None, &silent).unwrap();
            let want = brute(2000, metric, threshold, |a, b| {
                metric.of(&x[a * DIM..][..DIM], &x[b * DIM..][..DIM])
            });
            let found = pairs(&options.out);
            check(&found, &want, 0.99, &format!("{metric} {fine:?}"));
            assert!(found.iter().all(|pair| pair.scored_by == "vectors" && pair.label == "near"));
            assert_eq!(report.resolved.pairs.pairs, found.len() as u64);
            assert!(report.join.candidates >= report.resolved.pairs.pairs);
            assert!(report.compared >= report.join.candidates);
            assert_eq!(report.join.vectors.found, 2000);
        }
    }
}

/// Without stored vectors finer codes decide, and without these codes.
#[test]
fn codes_decide_where_there_are_no_vectors() {
    for (metric, fine, threshold) in [
        (Metric::L2, Some(FineChoice::Sq8), 0.05),
        (Metric::L2, Some(FineChoice::F16), 0.05),
        (Metric::L2, Some(FineChoice::Pq(16)), 0.1),
        (Metric::InnerProduct, Some(FineChoice::Sq8), 0.999),
        (Metric::L2, None, 0.6),
        (Metric::InnerProduct, None, 0.985),
    ] {
        let x = rows(metric);
        let m = if fine.is_some() { 4 } else { 16 };
        let world = World::new(&plain("r", &x), metric, (16, m), fine, 2);
        let options = world.options(threshold, "out");
        dedup(&options, None, &silent).unwrap();
        let snapshot = Snapshot::open(&world.index, None).unwrap();
        let row =
            |number: usize| Row { shard: (number / 1000) as u32, ordinal: (number % 1000) as u32 };
        let mut z = Vec::new();
        for number in 0..2000 {
            snapshot.decode_row(row(number), fine.is_some(), &mut z).unwrap();
        }
        let want = brute(2000, metric, threshold, |a, b| {
            let mut out = Vec::new();
            let a = &z[a * DIM..][..DIM];
            snapshot.scores_of_decoded(a, &z, &[b as u32], fine.is_some(), &mut out);
            out[0]
        });
        let found = pairs(&options.out);
        // Codes are compared with all codes near them, so none is lost.
        let least = if fine.is_some() { 0.99 } else { 1.0 };
        check(&found, &want, least, &format!("{metric} {fine:?}"));
        let by = if fine.is_some() { "fine_codes" } else { "codes" };
        assert!(found.iter().all(|pair| pair.scored_by == by));
    }
}

/// Deleted rows are in no pair.
#[test]
fn deleted_rows_are_in_no_pair() {
    let x = rows(Metric::L2);
    let world = World::new(&plain("r", &x), Metric::L2, (16, 4), Some(FineChoice::Sq8), 2);
    let options = world.options(0.05, "out");
    dedup(&options, None, &silent).unwrap();
    let before = pairs(&options.out);
    let gone = before[3].b_key.clone();
    let names = ocelli_index::Names { ids: Vec::new(), keys: vec![gone.clone()] };
    ocelli_indexer::lifecycle::delete(&world.index, names, false, &silent).unwrap();
    dedup(&options, None, &silent).unwrap();
    let want: Vec<Found> =
        before.into_iter().filter(|pair| pair.a_key != gone && pair.b_key != gone).collect();
    let keys = |pairs: &[Found]| -> Vec<(String, String)> {
        pairs.iter().map(|pair| (pair.a_key.clone(), pair.b_key.clone())).collect()
    };
    assert_eq!(keys(&pairs(&options.out)), keys(&want));
}
