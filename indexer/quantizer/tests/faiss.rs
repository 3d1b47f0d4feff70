//! The seam: what comes back from FAISS has the promised shape and meaning.

use ocelli_quantizer::{KmeansOptions, OpqOptions, Session, opq};
use ocelli_test_support::clustered;

/// Eight clusters far apart and eight centroids: every row must be near one. And equal calls give
/// equal bits.
#[test]
fn kmeans_finds_the_clusters_again() {
    let (n, d, k) = (4000, 8, 8);
    let x: Vec<f32> = clustered(n, d, 7).iter().map(|v| v * 10.0).collect();
    let options = KmeansOptions { seed: 3, ..KmeansOptions::default() };
    let (first, second, error) = Session::run(2, |faiss| {
        let first = faiss.kmeans(&x, n, d, 8 * k, &options).unwrap();
        let second = faiss.kmeans(&x, n, d, 8 * k, &options).unwrap();
        let assigned = faiss.assign(&x, n, d, &first).unwrap();
        (first, second, assigned.distances_sq.iter().copied().fold(0.0, f32::max))
    })
    .unwrap();
    assert_eq!(first.len(), 8 * k * d);
    assert_eq!(first, second);
    // A cluster is a cube of side 10: no point is farther than its diagonal from a centroid in it.
    assert!(error <= 100.0 * d as f32, "a row is {error} from its centroid");
}

/// Fewer distinct rows than centroids must give finite centroids, not a crash or NaN.
#[test]
fn kmeans_survives_duplicates_and_few_rows() {
    let same = [0.25f32, -1.0].repeat(500);
    let zeros = vec![0f32; 1000];
    for x in [&same[..], &zeros[..], &same[..6]] {
        let n = x.len() / 2;
        let centroids =
            Session::run(2, |faiss| faiss.kmeans(x, n, 2, 16, &KmeansOptions::default())).unwrap();
        let centroids = centroids.unwrap();
        assert_eq!(centroids.len(), 32);
        assert!(centroids.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn kmeans_names_the_bad_row() {
    let mut x = clustered(400, 4, 1);
    x[4 * 17 + 2] = f32::NAN;
    let result = Session::run(1, |faiss| faiss.kmeans(&x, 400, 4, 4, &KmeansOptions::default()));
    assert_eq!(result.unwrap().unwrap_err().to_string(), "k-means: row 17 holds NaN");
}

/// Two sub-quantizers, and all variance in the first half of the dimensions: OPQ must turn some of
/// it over to the second, and stay a rotation.
#[test]
fn opq_is_a_rotation_that_balances() {
    let (n, d) = (2000, 8);
    let mut x = clustered(n, d, 5);
    for row in x.chunks_exact_mut(d) {
        row[d / 2..].iter_mut().for_each(|v| *v *= 0.01);
    }
    let options = OpqOptions { niter: 10, niter_pq: 4 };
    let rotation = opq(&x, d, 2, 2, &options).unwrap();
    let at = |i: usize, j: usize| f64::from(rotation[i * d + j]);
    for i in 0..d {
        for j in 0..d {
            let dot: f64 = (0..d).map(|c| at(i, c) * at(j, c)).sum();
            let expected = f64::from(u8::from(i == j));
            assert!((dot - expected).abs() < 1e-4, "rows {i}, {j}: {dot}");
        }
    }
    // Energy that the first half of the output takes from the first half of the input: all of it,
    // d/2, would mean that nothing was turned over.
    let kept: f64 = (0..d / 2)
        .flat_map(|i| (0..d / 2).map(move |j| (i, j)))
        .map(|(i, j)| at(i, j).powi(2))
        .sum();
    assert!(kept < 0.9 * (d / 2) as f64, "first half keeps {kept} of {}", d / 2);
}

#[test]
fn opq_says_what_it_expects() {
    let x = clustered(255, 8, 1);
    let refuse = |m| opq(&x, 8, m, 1, &OpqOptions::default()).unwrap_err().to_string();
    assert_eq!(refuse(2), "OPQ: expected at least 256 rows, found 255");
    assert_eq!(refuse(3), "OPQ: m 3 does not divide the dimension 8");
}
