//! A scan in two passes, for levels where looking up one of 256 entries is what a scan costs.
//!
//! The codewords of a column fall into 128, 64 or 32 groups of equal size, by some bits of their
//! numbers. A table of the least entry of each group takes so many fewer shuffles, and the sum of
//! the least entries is at most the bound. So rows whose sum of least entries is above the
//! threshold are out; of the others the bound itself is looked up, one row after the other. What
//! comes out is the same as without, whatever the codewords' numbers are; but only where codewords
//! of a group are near each other are few rows let through.
//!
//! # Groups
//!
//! 32 groups go by a codeword's lowest four bits and its top bit (bit 7), 64 by bit 6 too, 128 by
//! bit 5 too. So the two codewords that differ by bit 4 alone are the nearest. A shuffle looks at
//! just the lowest four bits, and makes zero where the top bit is set: 32 groups take two shuffles
//! and an `or`.
//!
//! # How many groups
//!
//! The first lists of a query have the rows that are near it, of which few groups let too many
//! through; in later lists, few groups are enough. [`Minima`] goes by the share of rows that the
//! last list let through.

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::{Checked, List};
use crate::codes::CodeLayout;
use crate::level::{Level, Simd};

/// Groups of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Groups {
    /// Every codeword by itself: the scan in one pass.
    All,
    G128,
    G64,
    G32,
}

impl Groups {
    /// The next number of groups after a list of which `passed` of `rows` were let through (of
    /// which that many survived, where there is one pass). With half as many groups a row costs
    /// some two thirds as much, and four to eight times as many are let through, each of which
    /// costs as much as two to ten rows.
    fn after(self, passed: usize, rows: usize) -> Self {
        // Shares in thousandths.
        let above = |share: usize| passed * 1000 > rows * share;
        match self {
            Self::All if !above(20) => Self::G128,
            Self::G128 if above(180) => Self::All,
            Self::G128 if !above(20) => Self::G64,
            Self::G64 if above(120) => Self::G128,
            Self::G64 if !above(12) => Self::G32,
            Self::G32 if above(55) => Self::G64,
            same => same,
        }
    }
}

/// Least entries of a query's table, and how many of them to use for the next list.
#[derive(Clone, Debug)]
pub struct Minima {
    /// (m, 128), then (m, 64), then (m, 32); nothing before the first list.
    bytes: Vec<u8>,
    groups: Groups,
}

/// Entries that a shuffle looks up.
const ROW: usize = 16;

impl Minima {
    /// For a query that has scanned nothing; `None` where a scan in one pass is faster, or as fast:
    /// for codes of other than 8 bits, and at every level but AVX2.
    pub fn new(simd: Simd, layout: CodeLayout) -> Option<Self> {
        let pays = simd.level() == Level::Avx2 && layout.bits() == 8;
        pays.then_some(Self { bytes: Vec::new(), groups: Groups::G128 })
    }

    /// As [`super::survivors`], and the same positions. `table` is the same for every list.
    ///
    /// # Panics
    /// If a slice is too short for its shape.
    pub fn survivors(
        &mut self,
        simd: Simd,
        layout: CodeLayout,
        list: List<'_>,
        table: &[u8],
        threshold: u16,
        out: &mut Vec<u32>,
    ) {
        let (m, start) = (layout.m(), out.len());
        let passed = match self.groups {
            #[cfg(target_arch = "x86_64")]
            groups if groups != Groups::All && simd.level() >= Level::Avx2 => {
                let list = Checked::new(layout, list, table);
                assert_eq!(layout.bits(), 8, "groups of 256 codewords");
                if self.bytes.is_empty() {
                    self.fill(table);
                }
                assert_eq!(self.bytes.len(), m * (128 + 64 + 32), "a table of another shape");
                // SAFETY: only a processor that has the level makes `simd`; `Checked` proved the
                // slices, and there are m rows of each number of groups.
                unsafe {
                    match groups {
                        Groups::G32 => {
                            avx2::scan::<2>(&list, &self.bytes[m * 192..], threshold, out)
                        }
                        Groups::G64 => {
                            avx2::scan::<4>(&list, &self.bytes[m * 128..], threshold, out)
                        }
                        _ => avx2::scan::<8>(&list, &self.bytes, threshold, out),
                    }
                }
            }
            _ => {
                super::survivors(simd, layout, list, table, threshold, out);
                out.len() - start
            }
        };
        self.groups = self.groups.after(passed, list.len);
    }

    fn fill(&mut self, table: &[u8]) {
        let m = table.len() / 256;
        self.bytes.resize(m * (128 + 64 + 32), 0);
        let (halves, rest) = self.bytes.split_at_mut(m * 128);
        let (quarters, eighths) = rest.split_at_mut(m * 64);
        least_of_pairs(table, halves);
        least_of_pairs(halves, quarters);
        least_of_pairs(quarters, eighths);
    }
}

/// Writes the smaller entry of each pair of codewords that differ by the lowest bit above the
/// lowest four.
fn least_of_pairs(entries: &[u8], out: &mut [u8]) {
    let pairs = entries.as_chunks::<{ 2 * ROW }>().0;
    for (pair, out) in pairs.iter().zip(out.as_chunks_mut::<ROW>().0) {
        let (a, b) = pair.split_at(ROW);
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = (*a).min(*b);
        }
    }
}
