//! Other orders of what a search found: query expansion, database-side augmentation, diffusion.

pub mod diffuse;
pub mod expand;

/// The largest exponent of a similarity.
pub(crate) const MAX_EXPONENT: f32 = 100.0;
