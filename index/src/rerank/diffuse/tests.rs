use serde::Deserialize;

use super::*;
use crate::ErrorCode;

/// What `reference.py` solved by the published formulas, in f64.
#[derive(Deserialize)]
struct Reference {
    database: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    neighbours: usize,
    query_neighbours: usize,
    gamma: f32,
    alpha: f32,
    /// By query and row.
    f: Vec<Vec<f64>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

/// f is that of a dense solver to 1e-5 of the largest (similarities are f32, and flow up to 1 / (1
/// − α) times), and hits are ranked by it.
#[test]
fn diffusion_equals_the_published_formulas() {
    let r = reference();
    for case in &r.cases {
        let Case { neighbours, query_neighbours, gamma, alpha, .. } = *case;
        let diffusion = Diffusion { candidates: 60, neighbours, query_neighbours, gamma, alpha };
        for (q, expected) in r.queries.iter().zip(&case.f) {
            for simd in Simd::all() {
                let f = diffusion.solve(simd, q, &r.database).unwrap();
                let largest = expected.iter().copied().fold(0f64, f64::max);
                for (f, e) in f.iter().zip(expected) {
                    assert!((f - e).abs() < 1e-5 * largest, "{f}, expected {e} of {largest}");
                }
                let order = diffusion.order(simd, q, &r.database).unwrap();
                let ranked = order.windows(2).all(|pair| {
                    f[pair[0]] > f[pair[1]] || (f[pair[0]] == f[pair[1]] && pair[0] < pair[1])
                });
                assert!(ranked && order.len() == 60);
            }
        }
    }
}

/// The end of a thread is nearer to a query at its beginning than what lies beside it, by way of
/// the thread.
#[test]
fn what_is_connected_comes_before_what_is_only_similar() {
    // From 0 to 120 degrees in steps of 6; and one point on its own at 50 degrees the other way.
    let at = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin(), 0.0];
    let mut hits: Vec<[f32; 3]> = (1..=20).map(|step| at(6.0 * step as f32)).collect();
    hits.push(at(-50.0));
    let q = at(0.0);
    let similarity = |hit: &[f32; 3]| dense::dot(&q, hit);
    hits.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
    let alone = hits.iter().position(|hit| hit[1] < 0.0).unwrap();
    assert_eq!(alone, 8);
    let diffusion = Diffusion { neighbours: 4, query_neighbours: 2, ..Diffusion::default() };
    let order = diffusion.order(Simd::detect(), &q, &hits).unwrap();
    assert_eq!(order[20], alone);
    // Only the candidates take part; with one of them, the walk goes nowhere.
    for candidates in [1, 5] {
        let few = Diffusion { candidates, ..diffusion };
        let order = few.order(Simd::detect(), &q, &hits).unwrap();
        assert!(order[..candidates].iter().all(|&hit| hit < candidates), "{order:?}");
        assert!(order[candidates..].iter().copied().eq(candidates..21), "{order:?}");
    }
}

#[test]
fn odd_hits_are_ranked_and_odd_numbers_refused() {
    let diffusion = Diffusion::default();
    let simd = Simd::detect();
    let order = |hits: &[Vec<f32>]| diffusion.order(simd, &[1.0, 0.0], hits);
    assert_eq!(order(&[]).unwrap(), [0usize; 0]);
    // Equal hits, opposite ones, and those without a direction: all stay where they are, but behind
    // those reached.
    let hits = [[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [f32::INFINITY, 1.0]];
    assert_eq!(order(&hits.map(Vec::from)).unwrap(), [2, 3, 0, 1, 4]);
    let error = order(&[vec![1.0]]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let refused = [
        Diffusion { candidates: 0, ..diffusion },
        Diffusion { candidates: MAX_DIFFUSION_CANDIDATES + 1, ..diffusion },
        Diffusion { neighbours: 0, ..diffusion },
        Diffusion { query_neighbours: 0, ..diffusion },
        Diffusion { gamma: -0.5, ..diffusion },
        Diffusion { gamma: f32::NAN, ..diffusion },
        Diffusion { alpha: 1.0, ..diffusion },
        Diffusion { alpha: f32::NAN, ..diffusion },
    ];
    for wrong in refused {
        let error = wrong.order(simd, &[1.0], &[[1.0]]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{wrong:?}: {error}");
    }
}
