use super::*;
use rand::{RngExt, SeedableRng};

/// The same table at every level; and no byte stands for more than its entry's cost, whatever
/// the magnitudes, and not for much less.
#[test]
fn bytes_are_bounds_and_the_same_at_every_level() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    for (ksub, m, dsub) in [
        (16, 3, 1),
        (256, 2, 2),
        (256, 5, 3),
        (16, 16, 8),
        (256, 4, 8),
        (256, 1, 100),
        (16, 2, 700),
    ] {
        for size in [1e-30f32, 1e-3, 1.0, 1e6, 1e18] {
            for offset in [0f32, 100.0] {
                let mut draw = |n: usize, size: f32| -> Vec<f32> {
                    (0..n)
                        .map(|_| match rng.random_range(0..10) {
                            0 => 0.0,
                            _ => (rng.random_range(-1.0..1.0f32) + offset) * size,
                        })
                        .collect()
                };
                let (books, q) = (draw(m * ksub * dsub, 1.0), draw(m * dsub, size));
                let whole = WholeBooks::new(&books, m, ksub);
                for scale in [1.0, 2.0] {
                    let mut first: Option<ByteTable> = None;
                    for simd in Simd::all() {
                        let mut table = ByteTable::default();
                        table.fill(simd, &whole, &q, scale, &mut Workings::default());
                        let same = first.get_or_insert_with(|| table.clone());
                        assert_eq!(same.bytes, table.bytes, "{}", simd.level());
                        assert_eq!(
                            (same.low, same.step, same.magnitude),
                            (table.low, table.step, table.magnitude)
                        );
                    }
                    check(&first.unwrap(), &books, &q, (m, ksub, dsub), scale);
                }
            }
        }
    }
    let mut flat = ByteTable::default();
    let books = WholeBooks::new(&[0.0; 512], 2, 256);
    flat.fill(Simd::detect(), &books, &[1.0, 2.0], 2.0, &mut Workings::default());
    assert!(flat.bytes.iter().all(|&b| b == 0) && flat.step > 0.0 && flat.low == 0.0);
}

/// A table in larger units promises no more than the table itself, and little less than that.
#[test]
fn coarser_units_are_bounds_too() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let bytes: Vec<u8> = (0..512).map(|_| rng.random()).collect();
    let table = ByteTable { bytes, low: 0.0, step: 0.37, magnitude: 1.0 };
    for step in [0.1, 0.37, 0.370_001, 0.5, 3.0, 94.0, 1e4, 1e9, f64::INFINITY] {
        for simd in Simd::all() {
            let mut out = vec![9; 512];
            let unit = table.coarser(simd, step, &mut out);
            assert_eq!(unit, step.max(table.step));
            for (&byte, &entry) in table.bytes.iter().zip(&out) {
                let cost = f64::from(byte) * table.step;
                if entry > 0 {
                    assert!(f64::from(entry) * unit <= cost, "{entry} of {byte} at {step}");
                }
                assert!((f64::from(entry) + 1.01) * unit >= cost);
            }
        }
    }
}

fn check(
    table: &ByteTable,
    books: &[f32],
    q: &[f32],
    (m, ksub, dsub): (usize, usize, usize),
    scale: f64,
) {
    let cost = |j: usize, c: usize| -> f64 {
        let word = &books[(j * ksub + c) * dsub..][..dsub];
        let products = q[j * dsub..][..dsub].iter().zip(word);
        -scale * products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    let mut lows = 0.0;
    let mut slack = 0.0;
    for j in 0..m {
        // What every entry of the row promises for the row's low alone: the largest that holds.
        let low = (0..ksub)
            .map(|c| cost(j, c) - table.step * f64::from(table.bytes[j * ksub + c]))
            .fold(f64::INFINITY, f64::min);
        lows += low;
        slack += (0..ksub)
            .map(|c| cost(j, c) - table.step * f64::from(table.bytes[j * ksub + c]) - low)
            .fold(0.0, f64::max);
    }
    let tiny = 1e-12 * table.magnitude;
    assert!(table.low <= lows + tiny, "{} {lows}", table.low);
    // Rounding down loses less than a unit an entry; whole numbers lose little beside that,
    // unless they are too small to be rounded.
    let tiny_query = q.iter().all(|x| x.abs() < 1e-28);
    let share = if tiny_query { 2.0 } else { 0.02 };
    let lost = 2.0 * f64::from(m as u32) * table.step + share * table.magnitude;
    assert!(slack <= lost && lows - table.low <= lost, "{slack} {} {lost}", lows - table.low);
    let largest: f64 =
        (0..m).map(|j| (0..ksub).map(|c| cost(j, c).abs()).fold(0.0, f64::max)).sum();
    assert!(table.magnitude >= largest * (1.0 - 1e-12), "{} {largest}", table.magnitude);
}
