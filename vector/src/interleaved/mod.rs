//! Many queries against one list: tables with the queries side by side.
//!
//! [`crate::scan`] looks up one query's entries for many codes, which takes a shuffle for each 16
//! (or, with VBMI, 128) entries of a row. Here the tables of up to 64 queries are interleaved as
//! `T[j][codeword][query]`, so that column `j` of one code adds one *contiguous* row of bytes, an
//! entry of each query, to their sums. A load and an addition serve 32 or 64 queries, without a
//! shuffle, and nearly alike at every level.
//!
//! # What a sum means
//!
//! Entries are bytes in a unit of the query's own, so coarse that a cost at the query's threshold
//! is at most [`LARGEST`] units. The bytes of each two columns are added with saturation, and these
//! sums as words. An entry is rounded down, and saturation only lowers a sum, so a sum stays a
//! lower bound: a row whose sum is above the query's threshold is not among its hits. Each entry
//! loses half a unit on average, which lets more rows through than the finer units of
//! [`crate::scan`]; a finer unit here would saturate more sums. At [`LARGEST`] the fewest rows
//! pass: at m = 16, nprobe 64 and k = 100, 221 where the scan of one query scores 193 (1 M rows),
//! 467 for 322 (10 M).
//!
//! For L2 the term of a row is one column more: its entry for byte b is (b · factor) >> 8, as in
//! [`crate::scan::Scalars`].
//!
//! # The floor
//!
//! A code takes m rows of [`Tables::width`] bytes. At m = 16 tables are 128 KiB for 32 queries and
//! 256 KiB for 64: they stream from the second-level cache, whose lines of 64 bytes a row of 32
//! uses half. At 32 bytes a cycle (Zen 2 and 3, Skylake) that is m / 32 cycles a pair with rows of
//! 64 bytes and nearly twice that with rows of 32; at 64 bytes a cycle (Zen 4 and later) m / 64.
//! The arithmetic is less, and so registers of 64 bytes gain nothing over two of 32: there is one
//! form for all levels.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;
#[cfg(test)]
mod tests;
mod transpose;

use crate::codes::{self, BLOCK, CodeLayout};
use crate::level::{Level, Simd};
use crate::prefetch_all;

/// Most queries of a table.
pub const MAX_LANES: usize = 64;
/// The largest threshold that is of use.
pub const LARGEST: u16 = 1100;
/// Columns whose bytes are added with saturation. One register more would do without; groups of
/// four let half as many rows again through.
const GROUP: usize = 2;
/// Columns of codes beyond which tables leave the second-level cache.
const MOST_COLUMNS: usize = 32;
/// Codewords of a column: 8-bit codes only.
const KSUB: usize = 256;

/// A cache line of entries.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Tables of up to [`MAX_LANES`] queries for the codes of one list: (columns, 256, width).
#[derive(Debug, Default)]
pub struct Tables {
    lines: Vec<Line>,
    width: usize,
    /// Sub-quantizers; the rows' terms are one column more.
    m: usize,
    lanes: usize,
    terms: bool,
}

impl Tables {
    /// Bytes of a row: 32 or 64, of which the first [`Self::lanes`] are queries.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Queries.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Interleaves the tables of `lanes`, each (m, 256) in a unit of its own; rows have no terms.
    /// Rows are 32 bytes for up to 32 queries and 64 for more.
    ///
    /// # Panics
    /// If there are no queries or more than [`MAX_LANES`], or their tables differ in shape.
    pub fn fill(&mut self, simd: Simd, lanes: &[&[u8]]) {
        assert!((1..=MAX_LANES).contains(&lanes.len()), "{} queries in a table", lanes.len());
        let entries = lanes[0].len();
        assert!(entries > 0 && entries.is_multiple_of(KSUB), "tables of {entries} entries");
        assert!(lanes.iter().all(|lane| lane.len() == entries), "tables of different shapes");
        self.lanes = lanes.len();
        self.width = if lanes.len() <= 32 { 32 } else { 64 };
        self.m = entries / KSUB;
        self.terms = false;
        let lines = (self.m + 1) * KSUB * self.width / 64;
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; 64]));
        }
        let width = self.width;
        transpose::interleave(simd, lanes, width, &mut self.entries_mut()[..entries * width]);
    }

    /// Adds the column of the rows' terms, or replaces it: for each query 256 · (step of the list's
    /// terms) / (the query's unit), rounded down.
    pub fn set_terms(&mut self, simd: Simd, factors: &[u16; MAX_LANES]) {
        self.terms = true;
        let (width, at) = (self.width, self.m * KSUB * self.width);
        transpose::terms(simd, &factors[..width], &mut self.entries_mut()[at..]);
    }

    /// The entries, (columns, 256, width).
    fn entries(&self) -> &[u8] {
        let lines = &self.lines[..(self.m + 1) * KSUB * self.width / 64];
        // SAFETY: a line is 64 bytes without padding, and u8 has no alignment.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
    }

    fn entries_mut(&mut self) -> &mut [u8] {
        let lines = &mut self.lines[..(self.m + 1) * KSUB * self.width / 64];
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64) }
    }
}

/// One list as the scan sees it.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// Codes in block order, [`CodeLayout::list_bytes`] of `len`.
    pub codes: &'a [u8],
    /// Vectors in the list.
    pub len: usize,
    /// A byte a vector that its L2 term is made of, (len,): wanted where the tables have a column
    /// for it.
    pub terms: &'a [u8],
    /// Bytes that will be wanted next, fetched towards the cache meanwhile, evenly. May be empty.
    pub next: &'a [&'a [u8]],
}

/// A row of a list that may be a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Place of the row in the list.
    pub row: u32,
    /// A bit for each query whose threshold its sum does not exceed.
    pub lanes: u64,
}

/// A list, its shapes proven: kernels read its slices without a check.
#[derive(Clone, Copy)]
struct Checked<'a> {
    layout: CodeLayout,
    list: List<'a>,
    tables: &'a Tables,
}

impl<'a> Checked<'a> {
    /// # Panics
    /// If a slice is too short for its shape, or codes are not of 8 bits.
    fn new(layout: CodeLayout, list: List<'a>, tables: &'a Tables) -> Self {
        assert_eq!(layout.bits(), 8, "interleaved tables are for codes of 8 bits");
        assert_eq!(layout.m(), tables.m, "tables of another m");
        assert!(list.codes.len() >= layout.list_bytes(list.len), "codes are cut short");
        assert!(!tables.terms || list.terms.len() >= list.len, "terms are cut short");
        Self { layout, list, tables }
    }

    /// A bit for each query.
    fn lanes(&self) -> u64 {
        u64::MAX >> (64 - self.tables.lanes)
    }

    /// First vector, number of vectors and bytes a column of each block.
    #[inline(always)]
    fn blocks(self) -> impl Iterator<Item = (usize, usize, usize)> {
        let len = self.list.len;
        (0..len).step_by(BLOCK).map(move |first| {
            let rows = (len - first).min(BLOCK);
            (first, rows, rows.next_multiple_of(codes::GROUP))
        })
    }
}

/// Fetches bytes that will be wanted, a few lines for each block that is scanned.
struct Ahead<'a> {
    next: &'a [&'a [u8]],
    /// Bytes of the first of `next` that were fetched.
    at: usize,
    bytes_a_block: usize,
}

impl<'a> Ahead<'a> {
    fn new(list: &List<'a>) -> Self {
        let bytes: usize = list.next.iter().map(|next| next.len()).sum();
        let blocks = list.len.div_ceil(BLOCK).max(1);
        Self { next: list.next, at: 0, bytes_a_block: bytes.div_ceil(blocks) }
    }

    #[inline]
    fn fetch(&mut self) {
        let mut left = self.bytes_a_block;
        while left > 0
            && let Some((first, rest)) = self.next.split_first()
        {
            let part = left.min(first.len() - self.at);
            prefetch_all(&first[self.at..][..part]);
            left -= part;
            self.at += part;
            if self.at == first.len() {
                (self.next, self.at) = (rest, 0);
            }
        }
    }
}

/// The costs of a scan with interleaved tables at m = 16, in scans of a code by one query
/// ([`crate::scan::survivors`]; with AVX2, [`crate::scan::Minima`]). All of them grow alike with
/// m.
struct Costs {
    /// Interleaving the tables of sixteen queries.
    fill: f64,
    /// Adding up a code for 32 queries, and for 64.
    row: [f64; 2],
}

impl Costs {
    /// `None` where a scan of one query is always faster, or codes are not of 8 bits.
    fn at(simd: Simd, layout: CodeLayout) -> Option<Self> {
        if layout.bits() != 8 || layout.m() > MOST_COLUMNS {
            return None;
        }
        match simd.level() {
            Level::Scalar => None,
            Level::Avx2 => Some(Self { fill: 2000.0, row: [5.4, 7.3] }),
            Level::Avx512 => Some(Self { fill: 2500.0, row: [7.0, 9.5] }),
            Level::Avx512Vbmi => Some(Self { fill: 9000.0, row: [17.0, 24.0] }),
        }
    }

    /// Whether so many queries scan a list of `len` codes faster together.
    fn pay(&self, lanes: usize, len: usize) -> bool {
        let len = len as f64;
        let together =
            self.fill * lanes.div_ceil(16) as f64 + self.row[usize::from(lanes > 32)] * len;
        lanes as f64 * len > together
    }
}

/// The fewest queries that may scan a list faster together, however long it is; more than
/// [`MAX_LANES`] where none do.
pub fn fewest(simd: Simd, layout: CodeLayout) -> usize {
    Costs::at(simd, layout).map_or(MAX_LANES + 1, |costs| costs.row[0] as usize + 1)
}

/// How many of `lanes` queries that want a list of `len` codes should scan it together: all of
/// them, a multiple of [`MAX_LANES`], or none. The others scan it one after the other
/// ([`crate::scan::survivors`]).
pub fn shared(simd: Simd, layout: CodeLayout, lanes: usize, len: usize) -> usize {
    let Some(costs) = Costs::at(simd, layout) else { return 0 };
    let whole = if costs.pay(MAX_LANES, len) { lanes / MAX_LANES * MAX_LANES } else { 0 };
    if costs.pay((lanes - whole).min(MAX_LANES), len) { lanes } else { whole }
}

/// Appends to `out` every row whose sum is at most the threshold of a query, ascending.
/// `thresholds` has one for each byte of a table's row; those past the queries are not looked at.
///
/// # Panics
/// If a slice is too short for its shape, or codes are not of 8 bits.
pub fn survivors(
    simd: Simd,
    layout: CodeLayout,
    list: List<'_>,
    tables: &Tables,
    thresholds: &[u16; MAX_LANES],
    out: &mut Vec<Found>,
) {
    let checked = Checked::new(layout, list, tables);
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 | Level::Avx512Vbmi => {
            // SAFETY: only a processor that has the level makes `simd`; `Checked` proved the
            // slices.
            unsafe { avx2::survivors(checked, thresholds, out) }
        }
        _ => scalar::survivors(checked, thresholds, out),
    }
}
