//! Bytes of queries, and their products with rows, against the definitions.

use super::*;
use rand::{RngExt, SeedableRng};

/// The levels that have 8-bit products.
fn levels() -> impl Iterator<Item = Simd> {
    Simd::all().filter(|simd| has_level(*simd))
}

/// Every level from AVX2 on has 8-bit products.
#[test]
fn levels_have_products() {
    assert!(Simd::all().all(|simd| has_level(simd) == (simd.level() >= Level::Avx2)));
}

/// The bytes of a query.
fn bytes_of(query: &ByteQuery) -> Vec<i8> {
    query.quads.iter().flat_map(|quad| quad.to_le_bytes()).map(|b| b as i8).collect()
}

/// Random queries, and those that saturation and rounding would hurt most: all elements equal, of
/// either sign, halves of a step that are rounded up together, and zeros.
fn queries(d: usize, rng: &mut impl rand::Rng) -> Vec<Vec<f32>> {
    let mut draw =
        |range: std::ops::Range<f32>| (0..d).map(|_| rng.random_range(range.clone())).collect();
    let mut queries: Vec<Vec<f32>> = vec![draw(-1.0..1.0), draw(0.0..1e-3), draw(-3e17..-1e17)];
    queries.extend([1.0, -7.5, 0.0].map(|x| vec![x; d]));
    let fours =
        [[126.5, 0.5, 63.5, 63.5], [-126.5, -0.5, 127.0, -127.0], [31.5, 31.5, -31.5, -31.5]];
    queries.extend(fours.map(|four| (0..d).map(|j| four[j % 4]).collect()));
    queries
}

/// The bytes are the nearest multiples of the unit, no byte leaves −127..127, padding is zero, and
/// norms are no smaller than they are; not by much larger either.
#[test]
fn a_query_is_its_bytes_and_an_error() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    for d in [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 37, 64, 128, 131] {
        for q in queries(d, &mut rng) {
            for simd in levels() {
                let mut query = ByteQuery::default();
                query.fill(simd, &q, None);
                let bytes = bytes_of(&query);
                let (mut size, mut error) = (0f64, 0f64);
                for (&x, &byte) in q.iter().zip(&bytes) {
                    let (x, value) = (f64::from(x), f64::from(query.unit) * f64::from(byte));
                    assert!((x - value).abs() <= 0.5001 * f64::from(query.unit), "{x} as {byte}");
                    assert!(byte >= -127);
                    size += value * value;
                    error += (x - value).powi(2);
                }
                assert!(bytes[d..].iter().all(|&byte| byte == 0), "padding");
                let norm = q.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
                // What t itself and each of its values is rounded by.
                let digits = norm.sqrt() * 1e-6;
                for (found, want) in [(query.norm, norm), (query.size, size), (query.error, error)]
                {
                    let want = want.sqrt();
                    assert!(found >= want - digits, "{}, d {d}: {found} {want}", simd.level());
                    assert!(found <= want * 1.0001 + digits + 1e-17, "{found} {want}");
                }
            }
        }
    }
}

/// Integer products are exact for the largest and the smallest bytes of rows, for one query and for
/// a tile: nothing saturates.
#[test]
#[cfg(target_arch = "x86_64")]
fn products_are_exact() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    for d in [1, 4, 5, 8, 31, 64, 128] {
        let rows: Vec<[i32; BLOCK]> = (0..d)
            .map(|_| {
                std::array::from_fn(|i| match i {
                    0 => 127,
                    1 => -127,
                    2 => 0,
                    3..8 => [-127, 127][rng.random_range(0..2)],
                    _ => rng.random_range(-127..=127),
                })
            })
            .collect();
        let mut bytes = vec![ZERO; block_bytes(d)];
        for (j, row) in rows.iter().enumerate() {
            for (i, r) in row.iter().enumerate() {
                bytes[place(d, i, j)] = (r + i32::from(ZERO)) as u8;
            }
        }
        for q in queries(d, &mut rng) {
            for simd in levels() {
                let mut query = ByteQuery::default();
                query.fill(simd, &q, None);
                let t = bytes_of(&query);
                let want: [i32; BLOCK] = std::array::from_fn(|i| {
                    rows.iter().zip(&t).map(|(row, &t)| row[i] * i32::from(t)).sum()
                });
                let (bytes, query) = (bytes.as_ptr(), &query);
                // SAFETY: the level is the processor's; there is one block.
                let found: Vec<[i32; BLOCK]> = unsafe {
                    match simd.level() {
                        Level::Avx512Vbmi => {
                            let [[a], [b]] = avx512::products::<2, 1>([query; 2], bytes, |_| {});
                            let one = avx512::products_of_one(query, bytes, |_| {});
                            [a, b, one].map(|x| std::mem::transmute(x)).into()
                        }
                        _ => {
                            let [[a], [b]] = avx2::products::<2, 1>([query; 2], bytes, |_| {});
                            [a, b].map(|x| std::mem::transmute(x)).into()
                        }
                    }
                };
                assert!(found.iter().all(|found| *found == want), "{}, d {d}", simd.level());
            }
        }
    }
}

/// A query that was filled for other products is refused.
#[test]
fn a_query_belongs_to_its_level() {
    let mut query = ByteQuery::default();
    for simd in levels() {
        assert!(!query.is_for(simd));
        query.fill(simd, &[1.0; 8], None);
        assert!(query.is_for(simd));
    }
}
