use serde::Deserialize;

use super::*;
use crate::ErrorCode;

/// What `reference.py` computed by the published formulas, in f64. Shapes in its source.
#[derive(Deserialize)]
struct Reference {
    k: usize,
    database: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    /// By rounds - 1 and query.
    average: Vec<Vec<Vec<f64>>>,
    alpha3: Vec<Vec<Vec<f64>>>,
    dba: Vec<Vec<f64>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

/// Rows of the database, best first by inner product, ties by number.
fn ranked(database: &[Vec<f32>], x: &[f32]) -> Vec<usize> {
    let score = |i: usize| -> f64 { similarity(x, &database[i]) };
    let mut rows: Vec<usize> = (0..database.len()).collect();
    rows.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    rows
}

fn assert_near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f64::from(*f) - e).abs() < 1e-6, "{f}, expected {e}");
    }
}

#[test]
fn expansion_equals_the_published_formulas() {
    let r = reference();
    for (method, expected) in
        [(ExpansionMethod::Average, &r.average), (ExpansionMethod::Alpha(3.0), &r.alpha3)]
    {
        for (rounds, expected) in (1..).zip(expected) {
            for (q, expected) in r.queries.iter().zip(expected) {
                let expansion = Expansion { method, k: r.k, rounds };
                expansion.check().unwrap();
                let mut x = q.clone();
                for _ in 0..rounds {
                    let best = ranked(&r.database, &x);
                    let hits: Vec<&[f32]> = best.iter().map(|&i| &r.database[i][..]).collect();
                    // All of the ranking is handed over: it takes k of them.
                    x = expansion.combine(q, &hits).unwrap();
                }
                assert_near(&x, expected);
            }
        }
    }
}

#[test]
fn augmentation_equals_the_published_formula() {
    let r = reference();
    for (row, expected) in r.dba.iter().enumerate() {
        let x = &r.database[row];
        let best = ranked(&r.database, x);
        let nearest: Vec<&[f32]> =
            best.iter().filter(|&&i| i != row).take(r.k).map(|&i| &r.database[i][..]).collect();
        assert_near(&augment(x, &nearest).unwrap(), expected);
    }
}

#[test]
fn what_makes_no_query_is_refused() {
    let expansion = |method| Expansion { method, k: 2, rounds: 1 };
    let average = expansion(ExpansionMethod::Average);
    // Nothing found: the query as it is.
    assert_eq!(average.combine::<&[f32]>(&[0.5, 1.0], &[]).unwrap(), [0.5, 1.0]);
    assert_eq!(augment::<&[f32]>(&[0.5, 1.0], &[]).unwrap(), [0.5, 1.0]);
    let code = |result: Result<Vec<f32>>| result.unwrap_err().code();
    assert_eq!(code(average.combine(&[1.0, 0.0], &[[1.0].as_slice()])), ErrorCode::InvalidArgument);
    let alpha = expansion(ExpansionMethod::Alpha(1.0));
    assert_eq!(code(alpha.combine(&[0.0, 0.0], &[[1.0, 0.0]])), ErrorCode::InvalidArgument);
    let huge = [f32::MAX, f32::MAX];
    assert_eq!(code(average.combine(&huge, &[huge])), ErrorCode::InvalidArgument);
    // A hit on the other side has no weight, rather than a weight that is no number.
    let odd = expansion(ExpansionMethod::Alpha(0.5));
    assert_eq!(odd.combine(&[1.0, 0.0], &[[-1.0, 0.0]]).unwrap(), [1.0, 0.0]);
    for bad in [f32::NAN, -1.0, 101.0] {
        assert!(expansion(ExpansionMethod::Alpha(bad)).check().is_err());
    }
    assert!(Expansion { k: 0, ..average }.check().is_err());
    assert!(Expansion { rounds: 0, ..average }.check().is_err());
}
