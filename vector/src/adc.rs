//! Asymmetric distance: a float query against codes.
//!
//! With z = c + r̂ (coarse centroid plus decoded residual), ⟨q, z⟩ = ⟨q, c⟩ + ⟨q, r̂⟩ and ‖q − z‖²
//! = ‖q − c‖² − 2 ⟨q, r̂⟩ + t, where t = ‖r̂‖² + 2 ⟨c, r̂⟩ does not depend on the query: see
//! [`l2_term`]. ⟨q, r̂⟩ = Σⱼ ⟨qⱼ, r̂ⱼ⟩, and the table of ⟨qⱼ, codeword⟩ depends on the query alone:
//! one table serves every list (Jégou, Douze, Schmid 2011, with the inner product in place of the
//! distance to the residual). That is how a scan bounds a score ([`crate::lut`]). The few scores
//! that matter are computed from the decoded residual: nothing cancels there, and a single code
//! reads fewer cache lines.
//!
//! These scalar forms are the definition of a score. Every faster form must return these bits.

use crate::dense::{dot, l2_sq_of_residual, norm_sq};

/// Inner product of a query `q` (d,) with a decoded vector: `base` = ⟨q, c⟩ (plus the constant that
/// a centred transform adds) and the decoded `residual` (d,). Summed in the order of
/// [`crate::dense::LANES`].
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn inner_product_score(base: f32, q: &[f32], residual: &[f32]) -> f32 {
    base + dot(q, residual)
}

/// Squared distance ‖(q − c) − r̂‖² of a query `q` (d,) to a decoded vector: its centroid
/// `centroid` (d,) plus `residual` (d,). Summed in the order of [`crate::dense::LANES`].
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

    /// The forms by parts equal the direct computation on the decoded vector, up to float rounding.
    #[test]
    fn forms_by_parts_equal_the_direct_form() {
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
        let product = inner_product_score(dot(&q, &c), &q, &residual);
        assert!((product - dot(&q, &z)).abs() < 1e-5);
        let l2 = l2_score(&q, &c, &residual);
        assert!((l2 - l2_sq(&q, &z)).abs() < 1e-5);
        let by_table = l2_sq(&q, &c) - 2.0 * dot(&q, &residual) + l2_term(&c, &residual);
        assert!((l2 - by_table).abs() < 1e-5);
    }
}
