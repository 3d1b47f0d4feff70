//! Integer scan of PQ codes: a lower bound of each vector's cost, 64 vectors at a time.
//!
//! The float table of a query is rounded down to bytes, so that the integer sum of a code never
//! exceeds its true cost in the same unit: whatever the scan discards could not have been a hit.
//! What it keeps is scored again in float by the caller.
//!
//! # Shapes
//!
//! Codes lie as [`crate::codes`] says. The byte table is (m, 256) for 8-bit codes and (m, 16) for
//! 4-bit codes, row-major. A bound is a u16: at most 128 · 255 = 32,640 from the table; the scalar
//! term is added with saturation, which keeps it a lower bound.
//!
//! # Method
//!
//! A register of 64 looked-up bytes is added as 32 words to one accumulator, `all`, and its odd
//! bytes (`v >> 8`) to a second one, `odd`. In the end `even = all − (odd << 8)` modulo 2¹⁶: three
//! instructions a column where widening would take four. (André, Kermarrec, Le Scouarnec 2015
//! brought PQ tables into registers; the sum is FAISS's trick for 4-bit codes.)
//!
//! How 64 bytes are looked up is what tells the levels apart. At 4 bits a table row is one 16-byte
//! shuffle. At 8 bits with VBMI a row of 256 bytes is four registers: two `vpermi2b` look the lower
//! and the upper half up, and the code's top bit chooses. Without VBMI it is sixteen shuffles and a
//! tree of blends by the code's upper four bits. Several blocks are in flight, so that a row's
//! registers are loaded once for all of them.

#[cfg(target_arch = "x86_64")]
mod ahead;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod minima;
mod scalar;
#[cfg(test)]
mod tests;

pub use minima::Minima;

use crate::codes::{BLOCK, CodeLayout, GROUP, MAX_M};
use crate::level::{Level, Simd};

/// What is added to each vector's table sum: `(byte · factor) >> 8`, rounded down.
#[derive(Clone, Copy, Debug)]
pub struct Scalars<'a> {
    /// One byte a vector, (len,).
    pub bytes: &'a [u8],
    /// 256 · (step of the bytes) / (step of the table), rounded down.
    pub factor: u16,
}

/// One list as the scan sees it.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// Codes in block order, [`CodeLayout::list_bytes`] of `len`.
    pub codes: &'a [u8],
    /// Vectors in the list.
    pub len: usize,
    /// The L2 term of each vector, where the metric has one.
    pub scalars: Option<Scalars<'a>>,
    /// Bytes that will be wanted next (the next list's codes): fetched towards the cache while this
    /// list is scanned, a line for a line. Lists are short and scattered, so that the processor's
    /// own prefetching has no run-up. May be empty.
    pub next: &'a [u8],
}

/// A list whose slices have the length that its rows need: kernels read them without a check.
#[derive(Clone, Copy)]
struct Checked<'a> {
    layout: CodeLayout,
    list: List<'a>,
    table: &'a [u8],
}

impl<'a> Checked<'a> {
    /// # Panics
    /// If a slice is too short for its shape.
    fn new(layout: CodeLayout, list: List<'a>, table: &'a [u8]) -> Self {
        assert!(layout.m() <= MAX_M, "m = {} overflows a 16-bit sum", layout.m());
        assert_eq!(table.len(), layout.m() << layout.bits(), "table of another shape");
        assert!(list.codes.len() >= layout.list_bytes(list.len), "codes are cut short");
        if let Some(s) = &list.scalars {
            assert!(s.bytes.len() >= list.len, "scalars are cut short");
        }
        Self { layout, list, table }
    }

    /// Vectors in full blocks, and the width of the block that follows them (0 if there is none).
    fn shape(&self) -> (usize, usize) {
        let tail = self.list.len % BLOCK;
        (self.list.len - tail, tail.next_multiple_of(GROUP))
    }
}

/// Bounds of one block: of its even lanes, then of its odd lanes, as the kernels have them. Lanes
/// past the list's end are [`u16::MAX`].
pub type BlockBounds = [u16; BLOCK];

/// The place of a row's bound in [`BlockBounds`].
pub const fn place_of(lane: usize) -> usize {
    lane / 2 + lane % 2 * (BLOCK / 2)
}

/// Where kernels put what they find.
trait Sink {
    /// Takes the bounds of lanes `first ..`, of which the low bits of `lanes` are vectors: bit i of
    /// the result of `hits(threshold)` is set if the bound of lane i is at most the threshold;
    /// `bounds` writes the bounds themselves.
    fn block(
        &mut self,
        first: usize,
        lanes: u64,
        hits: impl FnOnce(u16) -> u64,
        bounds: impl FnOnce(&mut BlockBounds),
    );
}

/// Writes every bound.
struct Bounds<'a>(&'a mut Vec<BlockBounds>);

impl Sink for Bounds<'_> {
    #[inline(always)]
    fn block(
        &mut self,
        _first: usize,
        _lanes: u64,
        _hits: impl FnOnce(u16) -> u64,
        bounds: impl FnOnce(&mut BlockBounds),
    ) {
        let mut block = [u16::MAX; BLOCK];
        bounds(&mut block);
        self.0.push(block);
    }
}

/// Writes the positions of bounds up to a threshold.
struct Survivors<'a> {
    threshold: u16,
    out: &'a mut Vec<u32>,
}

impl Sink for Survivors<'_> {
    #[inline(always)]
    fn block(
        &mut self,
        first: usize,
        lanes: u64,
        hits: impl FnOnce(u16) -> u64,
        _bounds: impl FnOnce(&mut BlockBounds),
    ) {
        push_lanes(first as u32, hits(self.threshold) & lanes, self.out);
    }
}

/// Appends `first` plus the number of every set bit.
#[inline(always)]
fn push_lanes(first: u32, mut lanes: u64, out: &mut Vec<u32>) {
    while lanes != 0 {
        out.push(first + lanes.trailing_zeros());
        lanes &= lanes - 1;
    }
}

/// The low `n` bits, n ≤ 64.
#[inline(always)]
fn low_bits(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1u64 << n) - 1 }
}

fn run(simd: Simd, list: Checked<'_>, sink: &mut impl Sink) {
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vbmi if list.layout.bits() == 8 => {
            // SAFETY: only a processor that has the level makes `simd`; `Checked` proved the
            // slices.
            unsafe { avx512::scan8_vbmi(list, sink) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if list.layout.bits() == 8 => {
            // SAFETY: as above.
            unsafe { avx512::scan8(list, sink) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: as above.
            unsafe { avx512::scan4(list, sink) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if list.layout.bits() == 8 => {
            // SAFETY: as above.
            unsafe { avx2::scan8(list, sink) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            unsafe { avx2::scan4(list, sink) }
        }
        _ => scalar::scan(list, sink),
    }
}

/// Appends the bounds of the list's vectors to `out`, a block for a block.
///
/// `table` is (m, ksub).
///
/// # Panics
/// If a slice is too short for its shape.
pub fn bounds(
    simd: Simd,
    layout: CodeLayout,
    list: List<'_>,
    table: &[u8],
    out: &mut Vec<BlockBounds>,
) {
    out.reserve(list.len.div_ceil(BLOCK));
    run(simd, Checked::new(layout, list, table), &mut Bounds(out));
}

/// Appends the position of every vector whose bound is at most `threshold` to `out`, ascending.
///
/// `table` is (m, ksub).
///
/// # Panics
/// If a slice is too short for its shape.
pub fn survivors(
    simd: Simd,
    layout: CodeLayout,
    list: List<'_>,
    table: &[u8],
    threshold: u16,
    out: &mut Vec<u32>,
) {
    run(simd, Checked::new(layout, list, table), &mut Survivors { threshold, out });
}

/// Appends the position of every bound that is at most `threshold` and not at most `above` to
/// `out`, ascending. Bounds of [`u16::MAX`], which lanes past the end have, are never found.
pub fn between(
    simd: Simd,
    bounds: &[BlockBounds],
    above: Option<u16>,
    threshold: u16,
    out: &mut Vec<u32>,
) {
    let (from, to) = (above.map_or(0, |a| a.saturating_add(1)), threshold.min(u16::MAX - 1));
    if from > to {
        return;
    }
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { avx512::between_vbmi2(bounds, from, to, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: as above.
            unsafe { avx512::between(bounds, from, to, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            unsafe { avx2::between(bounds, from, to, out) }
        }
        _ => {
            for (first, block) in (0u32..).step_by(BLOCK).zip(bounds) {
                let hit = |lane: usize| (from..=to).contains(&block[place_of(lane)]);
                let hits = (0..BLOCK).filter(|&lane| hit(lane)).map(|lane| 1u64 << lane);
                push_lanes(first, hits.sum(), out);
            }
        }
    }
}

/// How many of `bounds` are at most `threshold`; none of [`u16::MAX`] is.
pub fn count_at_most(simd: Simd, bounds: &[BlockBounds], threshold: u16) -> usize {
    let threshold = threshold.min(u16::MAX - 1);
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`.
            unsafe { avx512::count_at_most(bounds, threshold) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: as above.
            unsafe { avx2::count_at_most(bounds, threshold) }
        }
        _ => bounds.as_flattened().iter().filter(|b| **b <= threshold).count(),
    }
}
