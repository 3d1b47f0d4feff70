//! Dense math and scan kernels on slices: no I/O, no threads, no async.
//!
//! Nearly everything is a free function on slices. Shapes are row-major and written
//! `(rows, columns)`. A kernel that has several forms takes a [`Simd`]: the proof that this
//! processor has an instruction level.
//!
//! # Example
//!
//! ```
//! use ocelli_vector::{Metric, Simd, dot};
//!
//! let rows = [1.0, 0.0, 0.6, 0.8, 0.0, 1.0]; // (3, 2)
//! let query = [0.6, 0.8];
//! let mut scores = Vec::new();
//! Metric::InnerProduct.of_rows(Simd::detect(), &query, &rows, &[0, 1, 2], &mut scores);
//! assert_eq!(scores[1], dot(&query, &rows[2..4])); // The same bits at every level.
//! assert!(Metric::InnerProduct.order(scores[1], scores[0]).is_lt()); // Better is less.
//! ```
//!
//! # One summation order
//!
//! Distances that decide (which list, which code, which hit) must have the same bits on every
//! machine and at every instruction level, or a single query and a batch would disagree. So each
//! reduction here has *one* documented order, chosen so that vector registers can follow it: see
//! [`dense::LANES`].
//!
//! # Modules
//!
//! | module | what is in it |
//! |---|---|
//! | [`level`], [`metric`] | instruction levels; how vectors are compared |
//! | [`dense`] | inner products and distances in one order of summation |
//! | [`codes`], [`lut`], [`scan`] | blocks of codes, the table of a query, the integer scan |
//! | [`interleaved`] | the integer scan of one list for many queries |
//! | [`adc`], [`score`] | the score of a code by definition, and of what a scan lets through |
//! | [`fine`] | finer codes: decoding, scoring, encoding |
//! | [`encode`], [`nearest`] | codes of many vectors; their nearest centroids |
//! | [`shortlist`], [`relative`] | candidates by 8-bit arithmetic with a proven error |
//! | [`smallest`] | the k-th smallest of many numbers |
//! | [`ranked`], [`sort`] | ranking as the sorting of integers |

#![allow(clippy::needless_range_loop, reason = "a lane is an index into several registers at once")]

pub mod adc;
mod bytes;
pub mod codes;
pub mod dense;
pub mod encode;
pub mod fine;
pub mod interleaved;
#[cfg(target_arch = "x86_64")]
mod lanes;
pub mod level;
pub mod lut;
pub mod metric;
pub mod nearest;
pub mod ranked;
pub mod relative;
#[cfg(target_arch = "x86_64")]
mod rows;
pub mod scan;
pub mod score;
pub mod shortlist;
#[cfg(target_arch = "x86_64")]
mod sixteen;
pub mod smallest;
pub mod sort;

pub use level::{Level, Simd};
pub use metric::Metric;

pub use dense::{dot, l2_normalize, l2_sq, norm_sq};

/// Asks for the cache line of byte `at`, which will be read soon. Any `at` will do: nothing is
/// read.
#[inline(always)]
pub fn prefetch(bytes: &[u8], at: usize) {
    prefetch_line(bytes.as_ptr().wrapping_add(at));
}

/// Asks for all cache lines of `bytes`, which will be read soon.
#[inline]
pub fn prefetch_all(bytes: &[u8]) {
    bytes.chunks(64).for_each(|line| prefetch_line(line.as_ptr()));
}

/// Asks for a cache line, towards the *second*-level cache. A core waits for only so many lines of
/// its first-level cache at a time, which makes 10 GB/s of scattered lists on a Zen 4; of its
/// second level, for twice as many: 22 GB/s, what a plain read in one direction gets. From there to
/// the first level is a matter of a few cycles.
#[inline(always)]
pub(crate) fn prefetch_line(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has SSE; a prefetch of any address does not fault, and reads
        // nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
