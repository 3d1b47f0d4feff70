//! The byte of a row's L2 term.

/// Appends one byte a term to `out`, rounded down, and returns (min, step): `min + step · byte`, in
/// f32, never exceeds the term. So the scan may discard a row by it without losing a hit.
pub(super) fn quantize_down(terms: &[f32], out: &mut Vec<u8>) -> (f32, f32) {
    let min = terms.iter().copied().fold(f32::INFINITY, f32::min);
    let max = terms.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = if max > min { (max - min) / 255.0 } else { 0.0 };
    if terms.is_empty() || !step.is_finite() || !min.is_finite() {
        // The safe bound without information: every byte 0, and the lowest minimum.
        out.extend(std::iter::repeat_n(0, terms.len()));
        return if terms.is_empty() { (0.0, 0.0) } else { (f32::MIN, 0.0) };
    }
    for &t in terms {
        let mut byte = if step > 0.0 { ((t - min) / step).clamp(0.0, 255.0) as u8 } else { 0 };
        // The division rounds: step back until the bound holds as the scan will compute it.
        while byte > 0 && min + step * f32::from(byte) > t {
            byte -= 1;
        }
        out.push(byte);
    }
    (min, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scalars_never_exceed_their_terms(terms in prop::collection::vec(-1e6f32..1e6, 1..100)) {
            let mut bytes = Vec::new();
            let (min, step) = quantize_down(&terms, &mut bytes);
            prop_assert_eq!(bytes.len(), terms.len());
            for (&t, &b) in terms.iter().zip(&bytes) {
                let bound = min + step * f32::from(b);
                prop_assert!(bound <= t, "{bound} > {t}");
                prop_assert!(t - bound <= 2.01 * step + 1e-3, "{t} is far above {bound}");
            }
        }
    }
}
