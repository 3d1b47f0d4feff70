use super::*;
use rand::{RngExt, SeedableRng};

fn draw(rng: &mut impl RngExt, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-scale..scale)).collect()
}

fn bits(z: &[f32]) -> Vec<u32> {
    z.iter().map(|x| x.to_bits()).collect()
}

/// Every level and every width of a sub-vector, those without a path of their own included,
/// against a loop that spells the definition out.
#[test]
fn decoded_rows_have_the_defined_bits_at_every_level() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for (m, dsub, fine_dsub) in
        [(1, 1, 1), (4, 8, 4), (16, 8, 2), (3, 6, 3), (2, 16, 8), (2, 16, 1), (5, 5, 5)]
    {
        let d = m * dsub;
        let fine_m = d / fine_dsub;
        for scale in [1e-3, 1.0, 1e30] {
            let (c, books, fine) = (
                draw(&mut rng, d, scale),
                draw(&mut rng, d * 16, scale),
                draw(&mut rng, d * 256, scale),
            );
            let (linear, cubic) = (draw(&mut rng, d, scale), draw(&mut rng, d, scale / 1e6));
            let code: Vec<u8> = (0..m).map(|_| rng.random_range(0..16)).collect();
            let fine_code: Vec<u8> = (0..fine_m).map(|_| rng.random()).collect();
            let bytes: Vec<u8> = (0..d).map(|_| rng.random()).collect();
            let coarser = Coarser { centroid: &c, codebooks: &books, ksub: 16, code: &code };

            let want: Vec<f32> = (0..d)
                .map(|i| {
                    let first =
                        books[(i / dsub * 16 + usize::from(code[i / dsub])) * dsub + i % dsub];
                    let at = i / fine_dsub * 256 + usize::from(fine_code[i / fine_dsub]);
                    (c[i] + first) + fine[at * fine_dsub + i % fine_dsub]
                })
                .collect();
            let want_sq8: Vec<f32> = (0..d)
                .map(|i| {
                    let first =
                        books[(i / dsub * 16 + usize::from(code[i / dsub])) * dsub + i % dsub];
                    let t = f32::from(bytes[i]) - 127.5;
                    (c[i] + first) + t * (linear[i] + cubic[i] * (t * t))
                })
                .collect();
            for simd in Simd::all() {
                let mut z = vec![0.0; d];
                let finer = Finer::Pq { codebooks: &fine, ksub: 256 };
                decode(simd, finer, coarser, &fine_code, &mut z);
                assert_eq!(bits(&z), bits(&want), "{}, d {d}, m' {fine_m}", simd.level());
                let finer = Finer::Sq8 { linear: &linear, cubic: &cubic };
                decode(simd, finer, coarser, &bytes, &mut z);
                assert_eq!(bits(&z), bits(&want_sq8), "{}, d {d}", simd.level());
            }
        }
    }
}

/// Scores at every level have the bits of a decoded row and a distance, for every kind, with
/// and without a form in registers, any number of rows, both code sizes.
#[test]
fn scores_have_the_bits_of_decoded_rows() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let shapes = [(16, 8), (8, 4), (4, 16), (2, 24), (5, 3), (16, 1), (3, 16), (1, 48), (2, 8)];
    let mut in_registers = 0;
    for (m, dsub) in shapes {
        for ksub in [256usize, 16] {
            let d = m * dsub;
            let layout = CodeLayout::new(m, ksub).unwrap();
            let codes: Vec<u8> = (0..11 * m).map(|_| rng.random_range(0..ksub) as u8).collect();
            let (q, codebooks, centroids) =
                (draw(&mut rng, d, 9.0), draw(&mut rng, ksub * d, 9.0), draw(&mut rng, 2 * d, 9.0));
            let fine_books = draw(&mut rng, 256 * d, 2.0);
            let (linear, cubic) = (draw(&mut rng, d, 0.01), draw(&mut rng, d, 1e-6));
            let pq = Finer::Pq { codebooks: &fine_books, ksub: 256 };
            let sq8 = Finer::Sq8 { linear: &linear, cubic: &cubic };
            let divisors = (1..=d.min(MAX_M)).filter(|m| d.is_multiple_of(*m));
            let kinds = divisors.map(|m| (pq, m)).chain([(sq8, d), (Finer::F16, 2 * d)]);
            for (finer, bytes) in kinds {
                let fine: Vec<u8> = match finer {
                    Finer::F16 => (0..11 * d)
                        .flat_map(|_| half::f16::from_f32(rng.random()).to_le_bytes())
                        .collect(),
                    _ => (0..11 * bytes).map(|_| rng.random()).collect(),
                };
                let tables = Tables { layout, codebooks: &codebooks, finer };
                let rows: Vec<Row<'_>> = (0..11)
                    .map(|r| Row {
                        code: &codes[r * m..][..m],
                        centroid: &centroids[r % 2 * d..][..d],
                        fine: &fine[r * bytes..][..bytes],
                    })
                    .collect();
                for metric in Metric::ALL {
                    let want: Vec<u32> = rows
                        .iter()
                        .map(|row| {
                            let coarser = Coarser {
                                centroid: row.centroid,
                                codebooks: &codebooks,
                                ksub,
                                code: row.code,
                            };
                            let mut z = vec![0.0; d];
                            decode_any(finer, coarser, row.fine, &mut z);
                            metric.of(&q, &z).to_bits()
                        })
                        .collect();
                    for simd in Simd::all() {
                        for n in [0, 1, 3, 8, 11] {
                            let mut out = vec![1.0];
                            scores(simd, metric, &q, &tables, &rows[..n], &mut out);
                            assert_eq!(
                                bits(&out),
                                want[..n],
                                "{} m {m} dsub {dsub} ksub {ksub}, {finer:?} of {bytes} bytes",
                                simd.level()
                            );
                        }
                        #[cfg(target_arch = "x86_64")]
                        if simd.level() >= Level::Avx2 {
                            let mut out = Vec::new();
                            let fast = fast(simd, metric, &q, &tables, bytes, &rows, &mut out);
                            in_registers += usize::from(fast);
                        }
                    }
                }
            }
        }
    }
    assert!(in_registers > 50 || Simd::detect().level() < Level::Avx2, "{in_registers}");
}

/// All halves there are, at every level.
#[test]
fn every_half_is_read_as_what_it_is() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let centroid = vec![0.0; 1 << 16];
    let coarser = Coarser { centroid: &centroid, codebooks: &[], ksub: 16, code: &[] };
    let want: Vec<u32> =
        (0..=u16::MAX).map(|h| half::f16::from_bits(h).to_f32().to_bits()).collect();
    for simd in Simd::all() {
        let mut z = vec![0.0; 1 << 16];
        decode(simd, Finer::F16, coarser, &all, &mut z);
        assert_eq!(bits(&z), want, "{}", simd.level());
    }
}

/// Against a look at all bytes: values between and beyond those there are, and exactly between
/// two.
#[test]
fn scalar_bytes_are_nearest() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    for (linear, cubic) in [(1.0, 0.0), (0.1, 1e-4), (0.0, 3e-7), (0.0, 0.0), (1e-30, 1e-38)] {
        let values: Vec<f32> = (0..=255).map(|byte| sq8_value(linear, cubic, byte)).collect();
        assert!(values.is_sorted());
        let between = values.windows(2).map(|w| (w[0] + w[1]) / 2.0);
        let mut probes: Vec<f32> = values.iter().copied().chain(between).collect();
        probes.extend((0..300).map(|_| rng.random_range(-2.0..2.0) * values[255]));
        probes.extend([1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY]);
        for x in probes {
            let error = |byte: u8| (x - values[usize::from(byte)]).abs();
            let byte = sq8_byte(linear, cubic, x);
            let best = (0..=255u8).map(error).min_by(f32::total_cmp).unwrap();
            assert_eq!(error(byte), best, "{x} as {byte} of {linear}, {cubic}");
        }
    }
}

/// The nearest codeword, ties to the smaller, at every level; numbers that overflow find one
/// too.
#[test]
fn codes_are_nearest_codewords() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    for (m, dsub) in [(1, 1), (4, 2), (3, 4), (2, 5), (8, 8)] {
        for (ksub, scale) in [(16, 1.0), (256, 1.0), (256, 1e-3), (256, 1e30)] {
            let mut books = draw(&mut rng, m * dsub * ksub, scale);
            // Equal codewords tie.
            books.copy_within(3 * dsub..4 * dsub, 7 * dsub);
            let transposed = crate::encode::transpose(&books, m, ksub);
            let mut x = draw(&mut rng, m * dsub, scale);
            x[..dsub].copy_from_slice(&books[7 * dsub..8 * dsub]);
            let want: Vec<u8> = x
                .chunks_exact(dsub)
                .zip(books.chunks_exact(dsub * ksub))
                .map(|(x, book)| {
                    let cost = |w: &[f32]| {
                        x.iter().zip(w).fold(0f32, |sum, (x, w)| sum + (x - w) * (x - w))
                    };
                    let costs = book.chunks_exact(dsub).map(cost);
                    costs.zip(0u8..=255).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1
                })
                .collect();
            assert_eq!(want[0], 3);
            for simd in Simd::all() {
                let mut code = vec![9; m];
                nearest_codewords(simd, &transposed, ksub, &x, &mut code);
                assert_eq!(code, want, "{}, m {m}, dsub {dsub}, {scale}", simd.level());
            }
        }
    }
}

/// (3, 4) and (4, 3): 24 of 5 · 5. A vector without a direction is like none.
#[test]
fn cosines_by_hand() {
    assert!((cosine(&[3.0, 4.0], &[4.0, 3.0]) - 0.96).abs() < 1e-6);
    assert!((cosine(&[3e14, 4e14], &[-8e-15, -6e-15]) + 0.96).abs() < 1e-6);
    assert_eq!(cosine(&[3.0, 4.0], &[0.0, 0.0]), 0.0);
    assert_eq!(cosine(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
}
