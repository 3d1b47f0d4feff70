//! Inner products and distances of float vectors, in one fixed summation order.

use crate::level::{Level, Simd, compiled_for_each_level};

/// Number of partial sums. Element `i` is added to partial sum `i % LANES`; at the end the partial
/// sums are added as a tree: `s[i] += s[i + 8]`, then 4, 2, 1. Sixteen is one AVX-512 register and
/// two AVX2 registers of f32, so every level can follow the same order. Multiply and add stay
/// separate (no fused multiply-add): the scalar form could not follow it cheaply.
pub const LANES: usize = 16;

/// Adds the partial sums as the tree that [`LANES`] describes.
#[inline(always)]
fn reduce(mut s: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            s[i] += s[i + width];
        }
        width /= 2;
    }
    s[0]
}

/// Sums `term(a[i], b[i])` in the order that [`LANES`] describes.
#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of different dimension");
    let mut s = [0f32; LANES];
    let (a_full, a_tail) = a.as_chunks::<LANES>();
    let (b_full, b_tail) = b.as_chunks::<LANES>();
    for (x, y) in a_full.iter().zip(b_full) {
        for i in 0..LANES {
            s[i] += term(x[i], y[i]);
        }
    }
    for (i, (x, y)) in a_tail.iter().zip(b_tail).enumerate() {
        s[i] += term(*x, *y);
    }
    reduce(s)
}

/// Inner product ⟨a, b⟩ of two vectors of shape `(d,)`.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |x, y| x * y)
}

/// Squared Euclidean distance ‖a − b‖² of two vectors of shape `(d,)`.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn l2_sq(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |x, y| {
        let d = x - y;
        d * d
    })
}

/// ‖(q − c) − r‖² of three vectors of shape `(d,)`, q − c rounded first.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn l2_sq_of_residual(q: &[f32], c: &[f32], r: &[f32]) -> f32 {
    assert!(q.len() == c.len() && c.len() == r.len(), "vectors of different dimension");
    let mut s = [0f32; LANES];
    for ((q, c), r) in q.chunks(LANES).zip(c.chunks(LANES)).zip(r.chunks(LANES)) {
        for (((s, q), c), r) in s.iter_mut().zip(q).zip(c).zip(r) {
            let d = (q - c) - r;
            *s += d * d;
        }
    }
    reduce(s)
}

/// Squared norm ‖a‖² of a vector of shape `(d,)`.
#[inline(always)]
pub fn norm_sq(a: &[f32]) -> f32 {
    dot(a, a)
}

/// Squares that add up to less than this may have lost digits, or all of them.
const SOUND_NORM_SQ: f32 = 1e-30;

/// Divides `a` by its L2 norm, also where squares in f32 overflow or vanish. Returns false and
/// leaves `a` as it was where the norm is zero or not finite: such a vector has no direction.
pub fn l2_normalize(a: &mut [f32]) -> bool {
    let square = norm_sq(a);
    if (SOUND_NORM_SQ..=f32::MAX).contains(&square) {
        let norm = square.sqrt();
        a.iter_mut().for_each(|x| *x /= norm);
        return true;
    }
    // The square of any f32 is a normal f64.
    let norm = a.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if norm == 0.0 || !norm.is_finite() {
        return false;
    }
    a.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    true
}

/// [`dot`] of `x` (d,) with rows `ids` (n,) of `rows` (_, d), written to `out` (n,): the same bits
/// at every level.
///
/// # Panics
/// If the shapes do not fit together, or there is no such row.
pub fn dots_of(simd: Simd, x: &[f32], rows: &[f32], ids: &[u32], out: &mut Vec<f32>) {
    assert!(!x.is_empty() && rows.len().is_multiple_of(x.len()), "rows of another dimension");
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { crate::rows::dots_avx512(x, rows, ids, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            unsafe { crate::rows::dots_avx2(x, rows, ids, out) }
        }
        _ => {
            out.clear();
            out.extend(ids.iter().map(|&i| dot(x, &rows[i as usize * x.len()..][..x.len()])));
        }
    }
}

/// [`l2_sq`] of `x` (d,) to rows `ids` (n,) of `rows` (_, d), written to `out` (n,): the same bits
/// at every level.
///
/// # Panics
/// If the shapes do not fit together, or there is no such row.
pub fn l2_sqs_of(simd: Simd, x: &[f32], rows: &[f32], ids: &[u32], out: &mut Vec<f32>) {
    assert!(!x.is_empty() && rows.len().is_multiple_of(x.len()), "rows of another dimension");
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { crate::rows::l2_sqs_avx512(x, rows, ids, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            unsafe { crate::rows::l2_sqs_avx2(x, rows, ids, out) }
        }
        _ => {
            out.clear();
            out.extend(ids.iter().map(|&i| l2_sq(x, &rows[i as usize * x.len()..][..x.len()])));
        }
    }
}

compiled_for_each_level! {
    /// Adds rows `ids` (n,) of `rows` (_, d) to `sums` (d,), one after the other: the same bits at
    /// every level.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn add_rows(rows: &[f32], ids: &[u32], sums: &mut [f64]) = add_rows_in_order;
}

#[inline(always)]
fn add_rows_in_order(rows: &[f32], ids: &[u32], sums: &mut [f64]) {
    let d = sums.len();
    for &id in ids {
        for (sum, &x) in sums.iter_mut().zip(&rows[id as usize * d..][..d]) {
            *sum += f64::from(x);
        }
    }
}

/// Index of the row of `rows` (n, d) nearest to `x` (d,) by [`l2_sq`], and that distance; ties go
/// to the smaller index. `None` if there is no row.
pub fn nearest(x: &[f32], rows: &[f32]) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (i, row) in rows.chunks_exact(x.len()).enumerate() {
        let d = l2_sq(x, row);
        if best.is_none_or(|(_, b)| d < b) {
            best = Some((i, d));
        }
    }
    best
}

/// `y = M x` for `M` (rows, cols) row-major and `x` (cols,); `y` has one element a row.
pub fn matvec(matrix: &[f32], x: &[f32], y: &mut Vec<f32>) {
    y.clear();
    y.extend(matrix.chunks_exact(x.len()).map(|row| dot(row, x)));
}

/// `y = Mᵀ x` for `M` (rows, cols) row-major and `x` (rows,): adds `x[r] · M[r]` row by row, in
/// order.
pub fn matvec_transposed(matrix: &[f32], cols: usize, x: &[f32], y: &mut Vec<f32>) {
    y.clear();
    y.resize(cols, 0.0);
    add_products(matrix, cols, x, y);
}

/// Rows of the matrix that are gone through for one x after the other before the next ones: up to
/// 128 KiB of 1,024 columns, so that they stay in the second-level cache.
const MATRIX_ROWS: usize = 32;

/// [`matvec_transposed`] of each row of `x` (n, rows), written to `y` (n, cols): the same bits at
/// every level.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matvecs_transposed(simd: Simd, matrix: &[f32], cols: usize, x: &[f32], y: &mut Vec<f32>) {
    assert!(cols > 0 && matrix.len().is_multiple_of(cols), "{} elements", matrix.len());
    let rows = matrix.len() / cols;
    assert!(rows > 0 && x.len().is_multiple_of(rows), "{} elements for {rows} rows", x.len());
    y.clear();
    y.resize(x.len() / rows * cols, 0.0);
    for (number, block) in matrix.chunks(MATRIX_ROWS * cols).enumerate() {
        let first = number * MATRIX_ROWS;
        let within = first..first + block.len() / cols;
        for (x, y) in x.chunks_exact(rows).zip(y.chunks_exact_mut(cols)) {
            let x = &x[within.clone()];
            add_products_at(simd, block, cols, x, y);
        }
    }
}

compiled_for_each_level! {
    fn add_products_at(matrix: &[f32], cols: usize, x: &[f32], y: &mut [f32]) = add_products;
}

/// Adds `x[r] · M[r]` to `y` (cols,), row by row of `M` (rows, cols).
#[inline(always)]
fn add_products(matrix: &[f32], cols: usize, x: &[f32], y: &mut [f32]) {
    // Four at a time are loaded and stored once for the four of them; each sum's order is the same.
    let fours = matrix.chunks_exact(4 * cols).zip(x.chunks_exact(4));
    for (rows, w) in fours {
        let (a, rest) = rows.split_at(cols);
        let (b, rest) = rest.split_at(cols);
        let (c, d) = rest.split_at(cols);
        for ((((out, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out = (((*out + w[0] * a) + w[1] * b) + w[2] * c) + w[3] * d;
        }
    }
    let done = x.len() / 4 * 4;
    for (row, &w) in matrix.chunks_exact(cols).zip(x).skip(done) {
        for (out, &v) in y.iter_mut().zip(row) {
            *out += w * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Several at once, at every level, have the bits of one after the other as the definition
    /// adds.
    #[test]
    fn transposed_products_have_the_bits_of_the_definition() {
        let numbers = |n: usize, seed: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 * 0.37 - 350.0).collect()
        };
        for (rows, cols) in [(1, 1), (3, 5), (4, 16), (33, 40), (70, 17)] {
            let matrix = numbers(rows * cols, 1);
            for n in [0, 1, 5] {
                let x = numbers(n * rows, 2);
                let mut expected = Vec::new();
                for x in x.chunks_exact(rows) {
                    let mut y = vec![0f32; cols];
                    for (r, w) in x.iter().enumerate() {
                        (0..cols).for_each(|c| y[c] += w * matrix[r * cols + c]);
                    }
                    let mut one = Vec::new();
                    matvec_transposed(&matrix, cols, x, &mut one);
                    assert_eq!(one, y);
                    expected.extend(y);
                }
                for simd in Simd::all() {
                    let mut y = vec![1.0];
                    matvecs_transposed(simd, &matrix, cols, &x, &mut y);
                    assert_eq!(y, expected, "{} {rows} x {cols}, {n}", simd.level());
                }
            }
        }
    }

    fn f64_dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    }

    proptest! {
        /// Every length past three registers, against float64.
        #[test]
        fn dot_and_distance_agree_with_f64(
            v in prop::collection::vec((-8f32..8.0, -8f32..8.0), 0..70)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = v.into_iter().unzip();
            let diff: Vec<f32> = a.iter().zip(&b).map(|(x, y)| x - y).collect();
            prop_assert!((f64::from(dot(&a, &b)) - f64_dot(&a, &b)).abs() < 1e-3);
            prop_assert!((f64::from(l2_sq(&a, &b)) - f64_dot(&diff, &diff)).abs() < 1e-3);
        }
    }

    /// Every level, every dimension past two groups of registers, every number of rows past a tile.
    #[test]
    fn rows_have_the_same_bits_at_every_level() {
        let values: Vec<f32> = (0..4000).map(|i| ((i * 7919) % 1009) as f32 / 97.0 - 5.0).collect();
        for d in (1..70).chain([128, 131]) {
            for n in [0, 1, 3, 4, 5, 8, 11] {
                let (x, rows) = (&values[..d], &values[1000..1000 + n * d]);
                let ids: Vec<u32> = (0..n as u32).collect();
                let want: Vec<u32> = rows.chunks_exact(d).map(|r| dot(x, r).to_bits()).collect();
                let want_l2: Vec<u32> =
                    rows.chunks_exact(d).map(|r| l2_sq(x, r).to_bits()).collect();
                for simd in Simd::all() {
                    let mut out = Vec::new();
                    dots_of(simd, x, rows, &ids, &mut out);
                    let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
                    assert_eq!(bits, want, "dot, {}, d {d}, n {n}", simd.level());
                    l2_sqs_of(simd, x, rows, &ids, &mut out);
                    let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
                    assert_eq!(bits, want_l2, "l2, {}, d {d}, n {n}", simd.level());
                }
            }
        }
    }

    /// The order is a promise to files already written: pinned by a sum whose value depends on it.
    #[test]
    fn summation_order_is_pinned() {
        let a: Vec<f32> = (0..203).map(|i| 1.0 + 1.0 / (i as f32 + 3.0)).collect();
        let mut lanes = [0f32; 16];
        for (i, x) in a.iter().enumerate() {
            lanes[i % 16] += x * x;
        }
        for w in [8, 4, 2, 1] {
            for i in 0..w {
                lanes[i] += lanes[i + w];
            }
        }
        assert_eq!(norm_sq(&a).to_bits(), lanes[0].to_bits());
        let sequential: f32 = a.iter().map(|x| x * x).sum();
        assert_ne!(sequential.to_bits(), lanes[0].to_bits(), "the input tells the orders apart");
    }

    #[test]
    fn normalize_refuses_what_has_no_direction() {
        let mut zero = [0f32; 3];
        assert!(!l2_normalize(&mut zero));
        for bad in [f32::INFINITY, f32::NAN] {
            let mut x = [1.0, bad];
            assert!(!l2_normalize(&mut x));
            assert_eq!(x[0], 1.0);
        }
        // Squares that overflow, that vanish, and that keep a few of their digits.
        for scale in [f32::MAX / 4.0, 1e-22, 1e-30, f32::from_bits(1)] {
            let mut x = [3.0 * scale, 4.0 * scale];
            assert!(l2_normalize(&mut x), "{scale}");
            let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
            assert!(near(x[0], 0.6) && near(x[1], 0.8), "{scale}: {x:?}");
        }
        let mut x = [3f32, 4.0];
        assert!(l2_normalize(&mut x));
        assert_eq!(x, [0.6, 0.8]);
    }

    #[test]
    fn nearest_breaks_ties_towards_the_smaller_index() {
        assert_eq!(nearest(&[0.0], &[2.0, -1.0, 1.0]), Some((1, 1.0)));
        assert_eq!(nearest(&[0.0], &[]), None);
    }
}
