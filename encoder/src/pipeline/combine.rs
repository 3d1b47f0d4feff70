//! The descriptors of an image's sizes to one.

use ocelli_index::Combine;
use ocelli_network::finish::sum_rows;

/// One row of the descriptors (n, dim) of an image's sizes, not normalised. One size alone stays as
/// it is.
pub(super) fn combine(sizes: &[f32], dim: usize, how: Combine) -> Vec<f32> {
    match how {
        Combine::Gem { p, floor } if sizes.len() > dim => {
            generalized_mean(sizes, dim, f64::from(p), f64::from(floor))
        }
        Combine::Max if sizes.len() > dim => largest(sizes, dim),
        Combine::ScaleGem { p } if sizes.len() > dim => scale_gem(sizes, dim, f64::from(p)),
        Combine::Gem { .. } | Combine::Max | Combine::ScaleGem { .. } | Combine::Sum => {
            sum_rows(sizes, dim)
        }
    }
}

fn largest(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut largest = vec![f32::NEG_INFINITY; dim];
    for row in rows.chunks_exact(dim) {
        largest.iter_mut().zip(row).for_each(|(largest, &v)| *largest = largest.max(v));
    }
    largest
}

/// mean((x − m)^p)^(1/p) + m, with m the least of all values.
fn scale_gem(rows: &[f32], dim: usize, p: f64) -> Vec<f32> {
    let least = f64::from(rows.iter().copied().fold(f32::INFINITY, f32::min));
    let mut sums = vec![0.0f64; dim];
    for row in rows.chunks_exact(dim) {
        for (sum, &v) in sums.iter_mut().zip(row) {
            *sum += (f64::from(v) - least).powf(p);
        }
    }
    let n = (rows.len() / dim.max(1)).max(1) as f64;
    sums.into_iter().map(|sum| ((sum / n).powf(p.recip()) + least) as f32).collect()
}

/// s(mean(s(x, p)), 1/p) with s(x, p) = sign(x) max(|x|, floor)^p, and 0 where x is. The floor
/// holds for the mean of the powers, too: with an exponent of 3 a floor of 1e-6 makes ±.01 of every
/// result that is nearer to 0, which decides over much of a descriptor of 2,048 dimensions.
fn generalized_mean(rows: &[f32], dim: usize, p: f64, floor: f64) -> Vec<f32> {
    let power = |x: f64, p: f64| match x {
        0.0 => 0.0,
        x => x.abs().max(floor).powf(p).copysign(x),
    };
    let mut mean = vec![0.0f64; dim];
    for row in rows.chunks_exact(dim) {
        for (total, &v) in mean.iter_mut().zip(row) {
            *total += power(f64::from(v), p);
        }
    }
    let n = (rows.len() / dim.max(1)).max(1) as f64;
    mean.into_iter().map(|v| power(v / n, p.recip()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// The published formula in the order in which it is published, in float32: sign, times it,
    /// clamped from below, power, times the sign; the mean; the same with the inverse.
    fn published(rows: &[Vec<f32>], p: f32) -> Vec<f32> {
        let sign = |x: f32| match x {
            x if x > 0.0 => 1.0,
            x if x < 0.0 => -1.0f32,
            _ => 0.0,
        };
        let sympow = |x: f32, p: f32| {
            let s = sign(x);
            (x * s).max(1e-6).powf(p) * s
        };
        let n = rows.len() as f32;
        (0..rows[0].len())
            .map(|i| sympow(rows.iter().map(|row| sympow(row[i], p)).sum::<f32>() / n, p.recip()))
            .collect()
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    /// Values around 0, of both signs, exactly 0, and beside the floor and the root of it, by the
    /// published formula.
    #[test]
    fn small_values_have_the_published_floor() {
        let gem = |p| Combine::Gem { p, floor: Combine::FLOOR };
        let rows = vec![
            vec![0.0f32, 1e-9, -1e-9, 0.005, -0.005, 0.3, -0.3, 0.02, 0.0, 1e-6, 0.0099, 0.0101],
            vec![0.0f32, -1e-9, -1e-9, 0.0, -0.004, 0.1, 0.3, -0.03, 1e-4, 0.0, 0.0099, 0.0101],
        ];
        for p in [3.0, 2.92, 1.0] {
            let found = combine(&rows.concat(), 12, gem(p));
            let expected = published(&rows, p);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= 1e-4 * expected.abs(),
                    "{p}: {found} {expected}"
                );
            }
        }
        // By hand: what is nearer to 0 than the floor's root becomes the root, with its sign.
        let found = combine(&rows.concat(), 12, gem(3.0));
        assert_eq!(found[0], 0.0);
        assert!((found[2] + 0.01).abs() < 1e-7 && (found[3] - 0.01).abs() < 1e-7, "{found:?}");
        let plain = combine(&rows.concat(), 12, Combine::Gem { p: 3.0, floor: 0.0 });
        assert!((plain[2] + 1e-9).abs() < 1e-12, "{plain:?}");
        // One size is not combined.
        assert_eq!(combine(&rows[0], 12, gem(3.0)), rows[0]);
    }

    /// By hand: the larger of each pair; and with exponent 2 and a least value of −0.8 the root of
    /// the mean of the squares of 1.4 and 0, and of 1.6 and 1.4, each less 0.8.
    #[test]
    fn scale_gem_by_hand() {
        let rows = [0.6f32, 0.8, -0.8, 0.6];
        assert_eq!(combine(&rows, 2, Combine::Max), [0.6, 0.8]);
        let found = combine(&rows, 2, Combine::ScaleGem { p: 2.0 });
        for (found, expected) in found.iter().zip([0.98f64.sqrt() - 0.8, 2.26f64.sqrt() - 0.8]) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
        for one in [Combine::Max, Combine::ScaleGem { p: 2.0 }] {
            assert_eq!(combine(&rows[..2], 2, one), rows[..2]);
        }
    }

    /// Descriptors of 2,048 dimensions at three sizes: with the floor they are the published ones,
    /// without it they are not.
    #[test]
    fn whole_descriptors_are_the_published_ones() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let dim = 2048;
        // A sum of four uniform values is nearly normal; sizes agree in most of it.
        let mut bell = || (0..4).map(|_| rng.random_range(-0.5f32..0.5)).sum::<f32>();
        let common: Vec<f32> = (0..dim).map(|_| bell()).collect();
        let rows: Vec<Vec<f32>> = (0..3)
            .map(|_| {
                let row: Vec<f32> = common.iter().map(|&v| v + 0.5 * bell()).collect();
                ocelli_network::finish::unit(row).unwrap()
            })
            .collect();
        let expected = published(&rows, 3.0);
        let of = |floor| combine(&rows.concat(), dim, Combine::Gem { p: 3.0, floor });
        let (with, without) = (of(Combine::FLOOR), of(0.0));
        assert!(cosine(&with, &expected) > 0.999_999, "{}", cosine(&with, &expected));
        assert!(cosine(&without, &expected) < 0.999, "{}", cosine(&without, &expected));
    }
}
