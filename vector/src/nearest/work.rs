//! Work that goes through tiles, at the level of the processor.

use super::{TILE, Terms, TileCosts, VECTORS, Vector};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::level::{Level, Simd};

/// Writes the costs of a tile's 64 rows for six vectors. Returns a bit for each vector of which a
/// cost is within its limit.
pub(super) trait Tile:
    Fn(&[i32], &[Vector; VECTORS], &[i32], Terms<'_>, &mut TileCosts) -> u32
{
}

impl<F: Fn(&[i32], &[Vector; VECTORS], &[i32], Terms<'_>, &mut TileCosts) -> u32> Tile for F {}

/// Returns a bit for each cost of a tile that is within a limit.
pub(super) trait Within: Fn(&[f32; TILE], f32) -> u64 {}

impl<W> Within for W where W: Fn(&[f32; TILE], f32) -> u64 {}

/// The two kernels of a level.
pub(super) struct Kernels<T, W> {
    pub(super) tile: T,
    pub(super) within: W,
}

/// A block of vectors that goes through tiles.
pub(super) trait Work {
    /// Does it with the kernels of a level. Always inlined, into a function of that level.
    fn run<T: Tile, W: Within>(self, kernels: &Kernels<T, W>);

    /// Does it in floats alone.
    fn by_definition(self);
}

/// Does some work at the level of the processor.
pub(super) fn at_level(simd: Simd, work: impl Work) {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`.
        Level::Avx2 => unsafe { run_avx2(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512 => unsafe { run_avx512(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512Vbmi => unsafe { run_vnni(work) },
        _ => work.by_definition(),
    }
}

/// Declares the function of a level.
#[cfg(target_arch = "x86_64")]
macro_rules! run_at {
    ($name:ident, $features:literal, $kernels:ident, $tile:ident) => {
        /// # Safety
        /// The features.
        #[target_feature(enable = $features)]
        unsafe fn $name(work: impl Work) {
            work.run(&Kernels {
                tile: |x: &[i32], six: &_, rows: &[i32], terms: Terms<'_>, costs: &mut _| {
                    // SAFETY: this function's own level; works give whole tiles.
                    unsafe { $kernels::$tile(x, six, rows, terms, costs) }
                },
                within: |costs: &_, limit| $kernels::within(costs, limit),
            });
        }
    };
}
#[cfg(target_arch = "x86_64")]
run_at!(run_avx2, "avx2", avx2, tile_avx2);
#[cfg(target_arch = "x86_64")]
run_at!(run_avx512, "avx512f,avx512bw,avx512dq,avx512vl", avx512, tile_avx512);
#[cfg(target_arch = "x86_64")]
run_at!(run_vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", avx512, tile_vnni);
