//! PCA against cases worked out by hand.

use ocelli_indexer::{WhitenOptions, learn_whitening, silent};
use tempfile::tempdir;

use crate::support::{clustered, regions};

/// Mean (1, 2); offsets (±2, 0) and (0, ±1): unbiased variances 8/3 and 2/3 along the axes, so
/// P = diag(√(3/8), √(3/2)), signs positive.
#[test]
fn four_points_by_hand() {
    let dir = tempdir().unwrap();
    let part = regions(&dir.path().join("p.part"), &[3.0, 2.0, -1.0, 2.0, 1.0, 3.0, 1.0, 1.0], 2);
    let parts = [part];
    let options = WhitenOptions { dim: 2, power: 1.0 };
    let (whitening, report) = learn_whitening(&parts, &options, &silent).unwrap();
    assert_eq!(whitening.mean, [1.0, 2.0]);
    for (found, expected) in
        whitening.projection.iter().zip([(3.0f32 / 8.0).sqrt(), 0.0, 0.0, 1.5f32.sqrt()])
    {
        assert!((found - expected).abs() < 1e-6, "{:?}", whitening.projection);
    }
    assert_eq!((report.rows, report.dim_out), (4, 2));
    // Power 0 only rotates; one dimension keeps 4/5 of the variance.
    let options = WhitenOptions { dim: 1, power: 0.0 };
    let (whitening, report) = learn_whitening(&parts, &options, &silent).unwrap();
    assert!((whitening.projection[0] - 1.0).abs() < 1e-6 && whitening.projection[1].abs() < 1e-6);
    assert!((report.variance_kept - 0.8).abs() < 1e-9);
}

/// Whatever the covariance, whitened rows have the identity for theirs. More dimensions than one
/// column tile, and more rows than one block.
#[test]
fn whitened_rows_are_white() {
    let (n, dim, k) = (9000, 150, 20);
    let dir = tempdir().unwrap();
    let mut x = clustered(n, dim, 2);
    for row in x.chunks_exact_mut(dim) {
        for j in 1..dim {
            row[j] += 0.7 * row[j - 1];
        }
    }
    let parts = [regions(&dir.path().join("p.part"), &x, dim)];
    let (whitening, _) =
        learn_whitening(&parts, &WhitenOptions { dim: k, power: 1.0 }, &silent).unwrap();
    let y: Vec<Vec<f32>> = x.chunks_exact(dim).map(|row| whitening.apply(row).unwrap()).collect();
    for a in 0..k {
        for b in 0..=a {
            let sum: f64 = y.iter().map(|y| f64::from(y[a]) * f64::from(y[b])).sum();
            let expected = f64::from(u8::from(a == b));
            assert!((sum / n as f64 - expected).abs() < 2e-3, "({a}, {b}): {}", sum / n as f64);
        }
    }
}

#[test]
fn refusals_have_numbers() {
    let dir = tempdir().unwrap();
    let parts = [regions(&dir.path().join("p.part"), &clustered(5, 8, 1), 8)];
    let refuse = |dim| {
        learn_whitening(&parts, &WhitenOptions { dim, power: 1.0 }, &silent)
            .unwrap_err()
            .to_string()
    };
    assert!(refuse(5).starts_with("whitening to 5 dimensions needs at least 6 rows, found 5"));
    assert_eq!(refuse(9), "whitening dimension: expected 1 to 8 (the input's), found 9");

    // Five points on a line have one direction.
    let line: Vec<f32> = (0..6).flat_map(|i| [i as f32, 2.0 * i as f32, 0.0]).collect();
    let parts = [regions(&dir.path().join("line.part"), &line, 3)];
    let error =
        learn_whitening(&parts, &WhitenOptions { dim: 2, power: 1.0 }, &silent).unwrap_err();
    assert!(error.to_string().contains("needs 2 directions that vary, found 1"), "{error}");
}
