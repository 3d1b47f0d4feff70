//! The instruction level that this process uses.

use std::sync::OnceLock;

use ocelli_vector::{Level, Simd};

/// Lowers the level for tests and for finding faults: `scalar`, `avx2`, `avx512`, `avx512vbmi`.
pub const VARIABLE: &str = "OCELLI_SIMD";

/// The processor's highest level, or the one that [`VARIABLE`] names. Decided once; a name that is
/// unknown, or a level that the processor lacks, is passed over with a warning.
pub fn simd() -> Simd {
    static SIMD: OnceLock<Simd> = OnceLock::new();
    *SIMD.get_or_init(|| {
        let Ok(wanted) = std::env::var(VARIABLE) else { return Simd::detect() };
        let level = Level::ALL.into_iter().find(|l| l.name() == wanted);
        level.and_then(Simd::at).unwrap_or_else(|| {
            let detected = Simd::detect();
            tracing::warn!(
                wanted,
                used = detected.level().name(),
                "{VARIABLE} names no level of this processor"
            );
            detected
        })
    })
}
