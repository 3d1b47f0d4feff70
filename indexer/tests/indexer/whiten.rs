//! PCA against cases worked out by hand.

use ocelli_index::{Dtype, Part, PartKind, PartWriter};
use ocelli_indexer::{WhitenCovariance, WhitenOptions, WhitenReport, learn_whitening, silent};
use tempfile::tempdir;

use crate::support::{clustered, numbered, regions, spec};

fn all(dim: usize, power: f64) -> WhitenOptions {
    let covariance = WhitenCovariance::All;
    WhitenOptions { dim: Some(dim), power: Some(power), covariance, ..WhitenOptions::default() }
}

/// Mean (1, 2); offsets (±2, 0) and (0, ±1): unbiased variances 8/3 and 2/3 along the axes, so
/// P = diag(√(3/8), √(3/2)), signs positive.
#[test]
fn four_points_by_hand() {
    let dir = tempdir().unwrap();
    let part = regions(&dir.path().join("p.part"), &[3.0, 2.0, -1.0, 2.0, 1.0, 3.0, 1.0, 1.0], 2);
    let parts = [part];
    let options = all(2, 1.0);
    let (whitening, report) = learn_whitening(&parts, &options, &silent).unwrap();
    assert_eq!(whitening.mean, [1.0, 2.0]);
    for (found, expected) in
        whitening.projection.iter().zip([(3.0f32 / 8.0).sqrt(), 0.0, 0.0, 1.5f32.sqrt()])
    {
        assert!((found - expected).abs() < 1e-6, "{:?}", whitening.projection);
    }
    assert_eq!((report.rows, report.dim_out), (4, 2));
    // Power 0 only rotates; one dimension keeps 4/5 of the variance.
    let options = all(1, 0.0);
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
    let (whitening, _) = learn_whitening(&parts, &all(k, 1.0), &silent).unwrap();
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
    let refuse = |dim| learn_whitening(&parts, &all(dim, 1.0), &silent).unwrap_err().to_string();
    assert!(refuse(5).starts_with("whitening to 5 dimensions needs at least 6 rows, found 5"));
    assert_eq!(refuse(9), "whitening dimension: expected 1 to 8 (the input's), found 9");

    // Five points on a line have one direction.
    let line: Vec<f32> = (0..6).flat_map(|i| [i as f32, 2.0 * i as f32, 0.0]).collect();
    let parts = [regions(&dir.path().join("line.part"), &line, 3)];
    let error = learn_whitening(&parts, &all(2, 1.0), &silent).unwrap_err();
    assert!(error.to_string().contains("needs 2 directions that vary, found 1"), "{error}");
}

/// Three photos of two rows each. Rows about their photo's mean: ±(1, 0), ±(1, 0), ±(0, 1), scaled
/// by n/(rows − n) = 1; each photo has both others for neighbours. Means (0, 0), (3, 0), (0, 3):
/// differences (3, 0), (0, 3), (3, −3), each seen from both sides, halved twice. Covariance: x: (4
/// · 1 + 4 · 9 / 4)/3 = 13/3, y: (2 + 9)/3 = 11/3, xy: −2 · 9 / 4 / 3 = −3/2.
#[test]
fn near_photos_by_hand() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("p.part");
    let mut writer = PartWriter::create(&path, PartKind::Regions, Dtype::F32, &spec(2)).unwrap();
    for (key, rows) in
        [("a", [1.0f32, 0.0, -1.0, 0.0]), ("b", [4.0, 0.0, 2.0, 0.0]), ("c", [0.0, 4.0, 0.0, 2.0])]
    {
        writer.push(key, None, &rows).unwrap();
    }
    writer.finish().unwrap();
    let parts = [Part::open(&path).unwrap()];
    let options = WhitenOptions { dim: Some(2), power: Some(1.0), ..WhitenOptions::default() };
    let (whitening, report) = learn_whitening(&parts, &options, &silent).unwrap();
    assert_eq!(whitening.mean, [1.0, 1.0]);
    assert_eq!((report.photos, report.rows, report.neighbours), (3, 6, 2));
    // With power 1, P is V diag(1 / √(moved variance)). The variances of (a b; b c) by its trace
    // and root.
    let (a, b, c): (f64, f64, f64) = (13.0 / 3.0, -1.5, 11.0 / 3.0);
    let (half, root) = ((a + c) / 2.0, (((a - c) / 2.0).powi(2) + b * b).sqrt());
    for (j, variance) in [half + root, half - root].into_iter().enumerate() {
        let moved = (1.0 - report.shrinkage) * variance + report.shrinkage * half;
        let column = [whitening.projection[j], whitening.projection[2 + j]].map(f64::from);
        let length = column.iter().map(|v| v * v).sum::<f64>().sqrt();
        assert!((length - moved.powf(-0.5)).abs() < 1e-5, "{column:?} {moved}");
        // An eigenvector: (a x + b y, b x + c y) = variance (x, y).
        let [x, y] = column;
        assert!((a * x + b * y - variance * x).abs() < 1e-5, "{column:?}");
        assert!((b * x + c * y - variance * y).abs() < 1e-5, "{column:?}");
    }
    assert!(report.warnings.is_empty(), "{report:?}");
}

/// Few groups with many photos each, which differ most in what sets the groups apart. Whitened by
/// the covariance of all, a photo's group is lost; by that of near photos it is not.
#[test]
fn groups_stay_apart_when_learned_on_themselves() {
    let (n, dim, groups) = (240, 64, 8);
    let dir = tempdir().unwrap();
    let x = clustered(n, dim, 3);
    let parts = [numbered(&dir.path().join("p.part"), "p", &x, dim)];
    // Mean cosine of a photo with its group, less that with the others.
    let margin = |options: &WhitenOptions| {
        let (whitening, report) = learn_whitening(&parts, options, &silent).unwrap();
        let y: Vec<Vec<f32>> = x
            .chunks_exact(dim)
            .map(|row| {
                let mut y = whitening.apply(row).unwrap();
                let norm = y.iter().map(|v| v * v).sum::<f32>().sqrt();
                y.iter_mut().for_each(|v| *v /= norm);
                y
            })
            .collect();
        let (mut same, mut other) = ((0.0, 0), (0.0, 0));
        for i in 0..n {
            for j in 0..i {
                let cosine: f32 = y[i].iter().zip(&y[j]).map(|(a, b)| a * b).sum();
                let sum = if i % groups == j % groups { &mut same } else { &mut other };
                *sum = (sum.0 + cosine, sum.1 + 1);
            }
        }
        (same.0 / same.1 as f32 - other.0 / other.1 as f32, report)
    };
    let (plain, _) = margin(&all(dim, 0.0));
    let (full, _) = margin(&all(dim, 1.0));
    let (near, report) = margin(&WhitenOptions::default());
    assert!(full < 0.5 * plain, "whitened fully: {full}, only centred: {plain}");
    assert!(near > 0.95 * plain, "whitened by near photos: {near}, only centred: {plain}");
    assert_eq!((report.covariance, report.neighbours), (WhitenCovariance::Near, 3));
}

/// What is not given follows from the photos, and the report says why; what is given wins.
#[test]
fn defaults_follow_the_photos() {
    let dir = tempdir().unwrap();
    let learn = |n: usize, dim: usize, options: &WhitenOptions| -> WhitenReport {
        let mut x = clustered(n, dim, 4);
        for row in x.chunks_exact_mut(dim) {
            row.iter_mut().enumerate().for_each(|(j, v)| *v /= 1.0 + j as f32 / 20.0);
        }
        let parts = [numbered(&dir.path().join("p.part"), "p", &x, dim)];
        learn_whitening(&parts, options, &silent).unwrap().1
    };
    let auto = WhitenOptions::default();
    let many = learn(600, 300, &auto);
    assert_eq!(many.dim_out, 256);
    assert!((many.power - 0.75 * 600.0 / 620.0).abs() < 1e-12, "{many:?}");
    let few = learn(40, 300, &auto);
    assert!((few.power - 0.5).abs() < 1e-12 && few.shrinkage > many.shrinkage, "{few:?} {many:?}");
    // 40 photos in 8 groups, each with its 3 nearest: 4 directions a group.
    assert!(few.dim_out < 40, "{few:?}");
    for (word, report) in [("power 0.73", &many), ("dimension 256", &many), ("only", &few)] {
        assert!(report.reasons.iter().any(|reason| reason.contains(word)), "{word}: {report:?}");
    }
    let given = learn(40, 300, &WhitenOptions { dim: Some(20), power: Some(1.0), ..auto });
    assert_eq!((given.dim_out, given.power), (20, 1.0));
    let published = learn(600, 300, &WhitenOptions { covariance: WhitenCovariance::All, ..auto });
    assert_eq!((published.dim_out, published.power, published.shrinkage), (256, 1.0, 0.0));
}

/// 8 dimensions for each byte of the codes, as far as directions vary; a dimension that is asked
/// for wins, with a warning where it is more than 12 for each byte.
#[test]
fn the_dimension_follows_the_bytes() {
    let dir = tempdir().unwrap();
    let parts = [regions(&dir.path().join("p.part"), &clustered(100, 150, 1), 150)];
    let learn = |dim, code_bytes| {
        let covariance = WhitenCovariance::All;
        let options = WhitenOptions { dim, code_bytes, covariance, power: None };
        learn_whitening(&parts, &options, &silent).unwrap().1
    };
    let says = |report: &WhitenReport, start: &str| {
        assert!(report.reasons.iter().any(|reason| reason.starts_with(start)), "{report:?}");
    };
    let eight = learn(None, Some(8));
    assert_eq!(eight.dim_out, 64);
    says(&eight, "dimension 64: 8 for each byte of codes of 8 bytes");
    // 99 directions vary: 6 times 16 are 96.
    let sixteen = learn(None, Some(16));
    assert_eq!(sixteen.dim_out, 96);
    says(&sixteen, "dimension 96: only 99 directions vary in 100 rows, and 96 is the largest");
    for (dim, many) in [(96, false), (97, true)] {
        let given = learn(Some(dim), Some(8));
        assert_eq!(given.dim_out, dim);
        let warned =
            given.warnings.iter().any(|w| w.contains("many for codes of 8 bytes: 64 rank"));
        assert_eq!(warned, many, "{given:?}");
    }
    for bytes in [0, 5000] {
        let options = WhitenOptions { code_bytes: Some(bytes), ..WhitenOptions::default() };
        let error = learn_whitening(&parts, &options, &silent).unwrap_err().to_string();
        assert!(error.starts_with("bytes of a code: expected 1 to "), "{error}");
    }
}

/// 99 directions vary in 100 rows, and 64 are taken: the reason says both. One photo gets a
/// warning, a part that is given twice and a power above 1 are refused.
#[test]
fn reasons_fit_what_was_chosen() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("p.part");
    let parts = [regions(&path, &clustered(100, 150, 1), 150)];
    let auto = WhitenOptions { covariance: WhitenCovariance::All, ..WhitenOptions::default() };
    let (_, report) = learn_whitening(&parts, &auto, &silent).unwrap();
    assert_eq!((report.dim_out, report.varying), (64, 99));
    let reason =
        "dimension 64: only 99 directions vary in 100 rows, and 64 is the largest multiple of 64";
    assert!(report.reasons.iter().any(|r| r.starts_with(reason)), "{report:?}");
    assert!(report.warnings.iter().any(|w| w.contains("of one photo")), "{report:?}");

    let twice = [Part::open(&path).unwrap(), Part::open(&path).unwrap()];
    let error = learn_whitening(&twice, &auto, &silent).unwrap_err().to_string();
    assert!(error.contains("p.part: the same content as "), "{error}");
    let error = learn_whitening(&parts, &all(2, 1.5), &silent).unwrap_err().to_string();
    assert!(error.contains("power: expected 0 (only rotates) to 1"), "{error}");
}

#[test]
fn nearly_equal_photos_get_a_warning() {
    let dir = tempdir().unwrap();
    let mut x = clustered(200, 32, 5);
    let first = x[..32].to_vec();
    for (i, v) in x.iter_mut().enumerate() {
        *v = first[i % 32] + 0.05 * *v;
    }
    let parts = [numbered(&dir.path().join("p.part"), "p", &x, 32)];
    let (_, report) = learn_whitening(&parts, &WhitenOptions::default(), &silent).unwrap();
    let [warning] = &report.warnings[..] else { panic!("{report:?}") };
    assert!(warning.contains("nearly equal"), "{warning}");
    assert!(report.mean_cosine.is_some_and(|cosine| cosine > 0.99), "{report:?}");

    let one = [numbered(&dir.path().join("one.part"), "p", &x[..32], 32)];
    let error = learn_whitening(&one, &WhitenOptions::default(), &silent).unwrap_err().to_string();
    assert!(
        error.contains("at least 2 rows, found 1") && error.contains("--covariance all"),
        "{error}"
    );
}
