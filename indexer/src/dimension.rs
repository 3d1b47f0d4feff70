//! The dimension that suits codes of so many bytes.
//!
//! A code of few bytes says little of each of many dimensions, and what it says wrongly of the
//! last ones costs more than these are worth. Measured on three sets (docs/evaluation.md), the best
//! ranking has about a dimension for each bit of the code.

use ocelli_index::{DescriptorSpec, Model};

/// Dimensions for each byte of a code that rank best.
pub const DIMS_PER_BYTE: usize = 8;

/// Dimensions for each byte of a code above which a model gets a warning.
pub const MOST_DIMS_PER_BYTE: usize = 12;

/// Bytes of a code where nobody says how many.
pub const DEFAULT_CODE_BYTES: usize = 32;

/// The dimension for codes of `bytes`: 8 for each byte.
#[must_use]
pub fn dim_for_codes(bytes: usize) -> usize {
    bytes.saturating_mul(DIMS_PER_BYTE)
}

/// Whether `dim` dimensions are more than codes of `bytes` can tell of.
pub(crate) fn is_too_much(dim: usize, bytes: usize) -> bool {
    dim > bytes.saturating_mul(MOST_DIMS_PER_BYTE)
}

/// Whether the first coordinates of such descriptors matter most: those of a whitening that
/// Ocelli learned or applied do, since its directions are sorted by their variance.
pub(crate) fn is_sorted(spec: &DescriptorSpec) -> bool {
    matches!(spec, DescriptorSpec::Network(network) if network.whitening.is_some())
}

/// What is to be said of a model's dimension.
pub(crate) fn notes_of(model: &Model) -> Vec<String> {
    let p = model.parts();
    let bytes = if p.ksub == 16 { p.m.div_ceil(2) } else { p.m };
    let of = if p.d < p.dim { format!(", of {}", p.dim) } else { String::new() };
    let mut notes = vec![format!("codes of {bytes} bytes for {} dimensions{of}", p.d)];
    let is_finer = model.fine_codec().is_some_and(|codec| codec.code_bytes() > 0);
    if !is_finer && is_too_much(p.d, bytes) {
        notes.push(format!(
            "warning: {} dimensions are many for codes of {bytes} bytes: about {} rank better",
            p.d,
            dim_for_codes(bytes)
        ));
    }
    notes
}
