//! Every level against the definition: index and bits of the distance.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::level::Level;

fn check(x: &[f32], rows: &[f32], d: usize, what: &str) {
    let want: Vec<(u32, u32)> = x
        .chunks_exact(d)
        .map(|x| dense::nearest(x, rows).map(|(i, d)| (i as u32, d.to_bits())).unwrap())
        .collect();
    let prepared = NearestRows::new(rows, d);
    let mut scratch = NearestScratch::default();
    for simd in Simd::all() {
        let mut out = vec![(9, 0.0); want.len()];
        prepared.assign(simd, x, &mut out, &mut scratch);
        let found: Vec<(u32, u32)> = out.iter().map(|(i, d)| (*i, d.to_bits())).collect();
        assert_eq!(found, want, "{what}, {}, d {d}, rows {}", simd.level(), rows.len() / d);
    }
}

/// Around every boundary: tiles of 64 rows, six vectors, blocks of 96, pairs of coordinates.
#[test]
fn every_level_equals_the_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for d in [1, 2, 3, 8, 15, 16, 17, 37, 128] {
        for n in [1, 2, 63, 64, 65, 130, 700] {
            for vectors in [0, 1, 5, 6, 7, 95, 97] {
                let mut draw = |n: usize| -> Vec<f32> {
                    (0..n * d).map(|_| rng.random_range(-3.0..5.0)).collect()
                };
                let (rows, x) = (draw(n), draw(vectors));
                check(&x, &rows, d, "uniform");
            }
        }
    }
}

/// Ties, near ties in the last bit, and vectors that are rows: the smaller index, as the definition
/// says.
#[test]
fn ties_go_to_the_smaller_index() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let d = 24;
    let distinct: Vec<f32> = (0..40 * d).map(|_| rng.random_range(-2i32..3) as f32).collect();
    let mut rows = distinct.repeat(5);
    for (i, x) in rows.iter_mut().enumerate().filter(|(i, _)| i % 97 == 0) {
        *x = if i % 2 == 0 { x.next_up() } else { x.next_down() };
    }
    check(&distinct, &rows, d, "ties");
    check(&vec![0.0; 7 * d], &rows, d, "zero vectors");
    check(&distinct, &vec![0.0; 70 * d], d, "zero rows");
}

/// Distances much smaller than the norms: the integers cannot tell the rows apart, the floats must.
#[test]
fn a_far_origin_costs_time_and_nothing_else() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let d = 19;
    let mut draw = |n: usize, offset: f32| -> Vec<f32> {
        (0..n * d).map(|_| offset + rng.random_range(-1.0..1.0)).collect()
    };
    for offset in [1e2, 1e4, 1e6, 1e8] {
        let (rows, x) = (draw(300, offset), draw(50, offset));
        check(&x, &rows, d, "far");
    }
}

/// From denormal to overflowing values, rows of very different norms, one coordinate that has all
/// the norm (the largest integer), infinity and NaN among the vectors.
#[test]
fn no_magnitude_breaks_the_bound() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let d = 16;
    for exponent in [-44, -38, -26, -25, -20, -10, 0, 10, 17, 18, 19, 30, 38] {
        let scale = 10f64.powi(exponent);
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n)
                .flat_map(|i| {
                    let own = if i % 3 == 0 { scale } else { scale * 1e-3 };
                    let alone = (i % 5 == 0).then_some(i % d);
                    (0..d)
                        .map(|j| {
                            let x = (own * rng.random_range(-3.0..3.0)) as f32;
                            if alone.is_none_or(|a| a == j) { x } else { 0.0 }
                        })
                        .collect::<Vec<f32>>()
                })
                .collect()
        };
        let (rows, mut x) = (draw(150), draw(40));
        x.iter_mut().chain([&mut 0.0]).for_each(|x| *x = x.clamp(f32::MIN, f32::MAX));
        let rows: Vec<f32> = rows.iter().map(|x| x.clamp(f32::MIN, f32::MAX)).collect();
        x[3] = f32::INFINITY;
        x[d + 1] = f32::NAN;
        x[2 * d] = f32::MAX;
        check(&x, &rows, d, &format!("1e{exponent}"));
    }
}

/// The shortcut is one: few rows are left to floats where vectors are told apart at all.
#[test]
fn few_rows_are_left_to_floats() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let d = 128;
    let mut draw =
        |n: usize| -> Vec<f32> { (0..n * d).map(|_| rng.random_range(0.0..100.0)).collect() };
    let (rows, x) = (draw(2048), draw(BLOCK));
    let prepared = NearestRows::new(&rows, d);
    for simd in Simd::all().filter(|s| s.level() > Level::Scalar) {
        let mut scratch = NearestScratch::default();
        prepared.assign(simd, &x, &mut vec![(0, 0.0); BLOCK], &mut scratch);
        let least = |c: &[(u32, f32)]| c.iter().map(|c| c.1).fold(f32::INFINITY, f32::min);
        let pushed: usize = scratch.candidates.iter().map(Vec::len).sum();
        assert!(scratch.candidates.iter().all(|c| least(c).is_finite()));
        assert!(pushed < 40 * BLOCK, "{}: {pushed} candidates", simd.level());
    }
}

/// Among some rows, named in any order: what comparing with each of them says, at every level and
/// with a scratch that held more rows before.
#[test]
fn among_some_rows_the_order_does_not_matter() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for d in [1, 3, 16, 37, 128] {
        // Few values: many ties.
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n * d).map(|_| rng.random_range(-2i32..3) as f32).collect()
        };
        let (rows, x) = (draw(300), draw(101));
        let prepared = NearestRows::new(&rows, d);
        let mut scratch = NearestScratch::default();
        for (count, step) in [(300, 7), (64, 119), (65, 1), (128, 299), (1, 1), (2, 150), (17, 13)]
        {
            let ids: Vec<u32> = (0..count).map(|i| (i * step + 5) % 300).collect();
            let want: Vec<(u32, u32)> = x
                .chunks_exact(d)
                .map(|x| {
                    let to = |id: u32| dense::l2_sq(x, &rows[id as usize * d..][..d]);
                    ids.iter().map(|&id| (to(id).to_bits(), id)).min().map(|(d, i)| (i, d)).unwrap()
                })
                .collect();
            for simd in Simd::all() {
                let mut out = vec![(9, 0.0); 101];
                prepared.assign_among(simd, &x, &ids, &mut out, &mut scratch);
                let found: Vec<(u32, u32)> = out.iter().map(|(i, d)| (*i, d.to_bits())).collect();
                assert_eq!(found, want, "{}, d {d}, {count} rows", simd.level());
            }
        }
    }
}
