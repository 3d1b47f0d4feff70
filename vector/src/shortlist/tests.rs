//! The promise of a shortlist.

use super::*;
use rand::{RngExt, SeedableRng};

/// The best rows by exact float cost are always on the list, ties included; and the list is
/// short.
#[test]
fn the_best_are_always_on_the_list() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    for case in 0..200 {
        let d = [1, 3, 4, 7, 16, 37, 128][case % 7];
        let n = [64, 100, 257, 1000][case % 4];
        let (scale, offset) = ([1e-4f32, 1.0, 200.0][case % 3], [0f32, 1.0, 30.0][case % 5 % 3]);
        let mut rows: Vec<f32> =
            (0..n * d).map(|_| (rng.random_range(-1.0..1.0f32) + offset) * scale).collect();
        rows.copy_within(0..d, 5 * d); // Equal rows tie.
        let q: Vec<f32> =
            (0..d).map(|_| (rng.random_range(-1.0..1.0f32) + offset) * scale).collect();
        let rounded = ByteRows::new(&rows, d);
        for metric in Metric::ALL {
            let exact = |r: &[f32]| metric.cost(metric.of(&q, r));
            let mut order: Vec<(f32, u32)> = rows.chunks_exact(d).map(exact).zip(0u32..).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for wanted in [1, 5, 16] {
                for simd in Simd::all() {
                    let what = format!("{}, case {case}, {metric:?}, {wanted}", simd.level());
                    let [mut alone, mut a, mut b, mut c] = [(); 4].map(|()| Buffers::default());
                    if !rounded.shortlists(simd, metric, [&q], wanted, [&mut alone]) {
                        assert!(!bytes::has_level(simd), "{what}");
                        continue;
                    }
                    let list = &alone.rows;
                    assert!(list.is_sorted() && list.iter().all(|&row| (row as usize) < n));
                    for (_, row) in &order[..wanted] {
                        assert!(list.contains(row), "{what}");
                    }
                    if d == 128 && offset == 0.0 && metric == Metric::L2 {
                        assert!(list.len() < 4 * wanted + 16, "{what}: {} of {n}", list.len());
                    }
                    let row = &rows[..d];
                    assert!(rounded.shortlists(simd, metric, [row, &q], wanted, [&mut a, &mut b]));
                    assert_eq!(&b.rows, list, "{what}: two at a time");
                    assert!(metric == Metric::InnerProduct || a.rows.contains(&0));
                    let four = [&mut a, &mut b, &mut c, &mut Buffers::default()];
                    assert!(rounded.shortlists(simd, metric, [row, row, &q, &q], wanted, four));
                    assert_eq!(&c.rows, list, "{what}: four at a time");
                    assert_eq!(a.rows, b.rows, "{what}: four at a time");
                }
            }
        }
    }
}
