//! Asymmetric distance: a float query against codes, through one table for all lists.
//!
//! With z = c + r̂ (coarse centroid plus decoded residual), ⟨q, z⟩ = ⟨q, c⟩ + Σⱼ ⟨qⱼ, r̂ⱼ⟩. The table of
//! ⟨qⱼ, codeword⟩ depends on the query alone, so one [`build_lut`] serves every list (Jégou, Douze,
//! Schmid 2011, with the inner product in place of the distance to the residual). For L2,
//! ‖q − z‖² = ‖q − c‖² − 2 ⟨q, r̂⟩ + t, where t = ‖r̂‖² + 2 ⟨c, r̂⟩ does not depend on the query: see
//! [`l2_term`]. That is how a scan bounds a distance; the distance itself is [`l2_score`], which has nothing
//! to cancel, and reads fewer cache lines for a single code.
//!
//! These scalar forms are the definition of a score. Whatever scans faster must return these bits.

use crate::dense::{dot, l2_sq_of_residual, norm_sq};

/// Fills `lut` (m, ksub) with ⟨qⱼ, codeword⟩ for a query `q` (d,) and `codebooks` (m, ksub, dsub),
/// where d = m · dsub.
///
/// # Panics
/// If the shapes do not fit together.
pub fn build_lut(q: &[f32], codebooks: &[f32], m: usize, ksub: usize, lut: &mut Vec<f32>) {
    assert!(m > 0 && q.len().is_multiple_of(m), "d = {} is no multiple of m = {m}", q.len());
    let dsub = q.len() / m;
    assert_eq!(codebooks.len(), m * ksub * dsub, "codebooks of another shape");
    lut.clear();
    for (sub, book) in q.chunks_exact(dsub).zip(codebooks.chunks_exact(ksub * dsub)) {
        lut.extend(book.chunks_exact(dsub).map(|word| dot(sub, word)));
    }
}

/// Σⱼ lut[j][code[j]], added from the first sub-quantizer to the last, for `lut` (m, ksub) and
/// `code` (m,): the inner product of the query with the decoded residual.
#[inline]
pub fn lut_sum(lut: &[f32], ksub: usize, code: &[u8]) -> f32 {
    let mut sum = 0f32;
    for (row, &c) in lut.chunks_exact(ksub).zip(code) {
        sum += row[usize::from(c)];
    }
    sum
}

/// Inner product of the query with a decoded vector: `base` = ⟨q, c⟩ (plus the constant that a
/// centred transform adds), `sum` from [`lut_sum`].
#[inline]
pub fn inner_product_score(base: f32, sum: f32) -> f32 {
    base + sum
}

/// Squared distance ‖(q − c) − r̂‖² of a query `q` (d,) to a decoded vector: its centroid `centroid` (d,) plus
/// `residual` (d,). Summed in the order of [`crate::dense::LANES`].
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn l2_score(q: &[f32], centroid: &[f32], residual: &[f32]) -> f32 {
    l2_sq_of_residual(q, centroid, residual)
}

/// t = ‖r̂‖² + 2 ⟨c, r̂⟩ for a decoded residual `residual` (d,) and its centroid `centroid` (d,).
#[inline(always)]
pub fn l2_term(centroid: &[f32], residual: &[f32]) -> f32 {
    norm_sq(residual) + 2.0 * dot(centroid, residual)
}

/// Writes the codewords of `code` (m,) one after the other to `residual` (d,), from `codebooks`
/// (m, ksub, dsub).
pub fn decode(codebooks: &[f32], ksub: usize, code: &[u8], residual: &mut [f32]) {
    let dsub = residual.len() / code.len();
    // A copy whose length the compiler knows is a register, not a call.
    match dsub {
        4 => return decode_dsub::<4>(codebooks, ksub, code, residual),
        8 => return decode_dsub::<8>(codebooks, ksub, code, residual),
        16 => return decode_dsub::<16>(codebooks, ksub, code, residual),
        _ => {}
    }
    for ((out, book), &c) in
        residual.chunks_exact_mut(dsub).zip(codebooks.chunks_exact(ksub * dsub)).zip(code)
    {
        let at = usize::from(c) * dsub;
        out.copy_from_slice(&book[at..at + dsub]);
    }
}

/// [`decode`] for `N` = dsub.
#[inline(always)]
fn decode_dsub<const N: usize>(codebooks: &[f32], ksub: usize, code: &[u8], residual: &mut [f32]) {
    let words = codebooks.as_chunks::<N>().0;
    for ((j, out), &c) in residual.as_chunks_mut::<N>().0.iter_mut().enumerate().zip(code) {
        *out = words[j * ksub + usize::from(c)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::l2_sq;
    use rand::{RngExt, SeedableRng};

    /// The table form equals the direct computation on the decoded vector, up to float rounding.
    #[test]
    fn table_form_equals_direct_form() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let (m, ksub, dsub) = (5, 16, 3);
        let d = m * dsub;
        let mut draw =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (q, c, books) = (draw(d), draw(d), draw(m * ksub * dsub));
        let code = [3u8, 0, 15, 7, 8];
        let mut residual = vec![0.0; d];
        decode(&books, ksub, &code, &mut residual);
        let z: Vec<f32> = c.iter().zip(&residual).map(|(a, b)| a + b).collect();
        let mut lut = Vec::new();
        build_lut(&q, &books, m, ksub, &mut lut);
        let sum = lut_sum(&lut, ksub, &code);
        assert!((inner_product_score(dot(&q, &c), sum) - dot(&q, &z)).abs() < 1e-5);
        let l2 = l2_score(&q, &c, &residual);
        assert!((l2 - l2_sq(&q, &z)).abs() < 1e-5);
        let by_table = l2_sq(&q, &c) - 2.0 * sum + l2_term(&c, &residual);
        assert!((l2 - by_table).abs() < 1e-5);
    }
}
