//! A query's table: for each sub-quantizer and codeword a byte that bounds what the codeword costs.
//!
//! The cost of codeword w in column j is −scale · ⟨qⱼ, w⟩. It is computed with 16-bit whole
//! numbers, since reading the codebooks, which lie in the second-level cache, is what a table
//! costs: with w = s ŵ + e and q = t p̂ + f,
//! |⟨q, w⟩ − s t ⟨p̂, ŵ⟩| ≤ max|e| ‖q‖₁ + max|f| ‖s ŵ‖₁. All of this error is taken off the lowest
//! cost, so that the bytes stay bounds; it is a fraction of a unit. Whole numbers give the same
//! table at every level.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use crate::codes::MAX_M;
use crate::dense::LANES;
use crate::level::{Level, Simd, compiled_for_each_level};

/// Smallest number that is rounded: the quotients of smaller ones may overflow.
const SMALLEST: f32 = 1e-30;

/// Codebooks as whole numbers.
#[derive(Clone, Debug)]
pub struct WholeBooks {
    m: usize,
    ksub: usize,
    dsub: usize,
    /// Largest whole number: sums of dsub products, and differences of two such sums, fit 32 bits.
    largest: f32,
    /// (m, ⌈dsub / 2⌉, ksub): two coordinates a word, the first in the low half.
    words: Vec<i32>,
    /// s of each sub-quantizer, (m,).
    units: Vec<f64>,
    /// max |e|, and Σⱼ max ‖s ŵ‖₁.
    error: f64,
    size: f64,
}

/// Two whole numbers as one word.
fn word(low: i16, high: i16) -> i32 {
    i32::from(low as u16) | i32::from(high) << 16
}

/// What a float is divided by to become a whole number of at most `largest`; 0 for what is too
/// small, which is all error then.
fn unit_of(greatest: f32, largest: f32) -> f32 {
    if greatest >= SMALLEST { greatest / largest } else { 0.0 }
}

/// `x` times `inverse`, which is one over a unit, to the nearest whole number.
#[inline(always)]
fn rounded(x: f32, inverse: f32, largest: f32) -> i16 {
    (x * inverse).round_ties_even().clamp(-largest, largest) as i16
}

impl WholeBooks {
    /// Rounds `codebooks` (m, ksub, dsub).
    ///
    /// # Panics
    /// If the shapes do not fit together, or `ksub` is no multiple of 16.
    pub fn new(codebooks: &[f32], m: usize, ksub: usize) -> Self {
        assert!(m > 0 && codebooks.len().is_multiple_of(m * ksub), "codebooks of another shape");
        assert!(ksub.is_multiple_of(16), "ksub = {ksub}");
        let dsub = codebooks.len() / (m * ksub);
        let pairs = dsub.div_ceil(2);
        let largest =
            ((f64::from((1 << 30) - 1) / (2 * pairs.max(1)) as f64).sqrt().floor()).min(32767.0);
        let largest = largest as f32;
        let mut words = vec![0; m * pairs * ksub];
        let (mut units, mut error, mut size) = (Vec::with_capacity(m), 0f64, 0f64);
        for (j, book) in codebooks.chunks_exact(ksub * dsub).enumerate() {
            let unit = unit_of(book.iter().fold(0f32, |a, b| a.max(b.abs())), largest);
            let inverse = if unit > 0.0 { 1.0 / unit } else { 0.0 };
            let mut longest = 0f64;
            for (c, codeword) in book.chunks_exact(dsub).enumerate() {
                let mut length = 0f64;
                for (pair, two) in codeword.chunks(2).enumerate() {
                    let whole = [two.first(), two.get(1)].map(|x| {
                        let x = x.copied().unwrap_or(0.0);
                        let whole = rounded(x, inverse, largest);
                        let back = f64::from(unit) * f64::from(whole);
                        error = error.max((f64::from(x) - back).abs());
                        length += back.abs();
                        whole
                    });
                    words[(j * pairs + pair) * ksub + c] = word(whole[0], whole[1]);
                }
                longest = longest.max(length);
            }
            size += longest;
            units.push(f64::from(unit));
        }
        Self { m, ksub, dsub, largest, words, units, error, size }
    }
}

/// The bytes of a table and what they mean: the cost of entry c of row j is at least
/// `low[j] + step · byte`, where `low` is only kept as a sum.
#[derive(Clone, Debug, Default)]
pub struct ByteTable {
    /// (m, ksub), rounded down.
    pub bytes: Vec<u8>,
    /// Σⱼ of what an entry of row j costs at least.
    pub low: f64,
    /// Cost of one unit.
    pub step: f64,
    /// Σⱼ of the rows' largest absolute costs.
    pub magnitude: f64,
}

/// Whole numbers that tables are made of, one table after the other.
#[derive(Debug, Default)]
pub struct Workings {
    /// (m, ksub): whole inner products.
    products: Vec<i32>,
    query: Vec<i32>,
}

impl ByteTable {
    /// The table of a query `q` (d,), d = m · dsub, for the costs −`scale` · ⟨qⱼ, codeword⟩.
    /// `scale` is 2 for L2 (where −2 ⟨q, r̂⟩ is what a residual adds) and 1 for inner product.
    ///
    /// # Panics
    /// If the query has another dimension.
    pub fn fill(
        &mut self,
        simd: Simd,
        books: &WholeBooks,
        q: &[f32],
        scale: f64,
        workings: &mut Workings,
    ) {
        assert!(books.m <= MAX_M && q.len() == books.m * books.dsub, "query of another dimension");
        self.bytes.resize(books.m * books.ksub, 0);
        workings.products.resize(books.m * books.ksub, 0);
        workings.query.resize(books.m * books.dsub.div_ceil(2), 0);
        match simd.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Vbmi => {
                // SAFETY: only a processor that has the level makes `simd`.
                unsafe { self.fill_avx512(books, q, scale, workings) }
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                // SAFETY: as above.
                unsafe { self.fill_avx2(books, q, scale, workings) }
            }
            _ => self.fill_by(books, q, scale, workings, inner_products, to_bytes),
        }
    }

    /// Writes the same table in units of `step`, which cost more, to `out` (m, ksub), and returns
    /// what a unit costs: the cost of entry c of row j is at least `low[j]` and so many units. With
    /// a `step` below the table's own, the unit is the table's own.
    ///
    /// # Panics
    /// If `out` has another shape.
    pub fn coarser(&self, simd: Simd, step: f64, out: &mut [u8]) -> f64 {
        assert_eq!(out.len(), self.bytes.len(), "table of another shape");
        let factor = (65_536.0 * self.step / step * (1.0 - 1e-9)).floor();
        if (1.0..65_536.0).contains(&factor) {
            scaled(simd, &self.bytes, factor as u16, out);
            step
        } else if factor < 1.0 {
            out.fill(0);
            step
        } else {
            out.copy_from_slice(&self.bytes);
            self.step
        }
    }

    /// # Safety
    /// AVX-512 F, BW, DQ, VL.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn fill_avx512(
        &mut self,
        books: &WholeBooks,
        q: &[f32],
        scale: f64,
        workings: &mut Workings,
    ) {
        self.fill_by(
            books,
            q,
            scale,
            workings,
            // SAFETY: this function's own level; `fill_by` gives whole rows.
            |words, q, out| unsafe { avx512::inner_products(words, q, out) },
            // SAFETY: as above.
            |products, max, factor, out| unsafe { avx512::to_bytes(products, max, factor, out) },
        );
    }

    /// # Safety
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn fill_avx2(
        &mut self,
        books: &WholeBooks,
        q: &[f32],
        scale: f64,
        workings: &mut Workings,
    ) {
        self.fill_by(
            books,
            q,
            scale,
            workings,
            // SAFETY: this function's own level; `fill_by` gives whole rows.
            |words, q, out| unsafe { avx2::inner_products(words, q, out) },
            // SAFETY: as above.
            |products, max, factor, out| unsafe { avx2::to_bytes(products, max, factor, out) },
        );
    }

    /// [`Self::fill`] with a level's [`inner_products`] and [`to_bytes`].
    #[inline(always)]
    fn fill_by(
        &mut self,
        books: &WholeBooks,
        q: &[f32],
        scale: f64,
        workings: &mut Workings,
        inner_products: impl Fn(&[i32], &[i32], &mut [i32]) -> (i32, i32),
        to_bytes: impl Fn(&[i32], i32, f32, &mut [u8]),
    ) {
        let WholeBooks { m, ksub, dsub, largest, words, units, error, size } = books;
        let (ksub, dsub, pairs) = (*ksub, *dsub, dsub.div_ceil(2));
        let (lost, unit) = workings.round(q, dsub, *largest);
        // A little more, for the rounding of these few numbers themselves.
        let error = scale * (error * lost.norm + lost.error * size) * (1.0 + 1e-4);
        let (mut low, mut magnitude, mut widest) = (-error, error, 0f64);
        // Of each row: its largest product, and what a unit of product costs.
        let mut rows = [(0i32, 0f64); MAX_M];
        for (j, book) in units.iter().enumerate() {
            let words = &words[j * pairs * ksub..][..pairs * ksub];
            let query = &workings.query[j * pairs..][..pairs];
            let products = &mut workings.products[j * ksub..][..ksub];
            let (min, max) = inner_products(words, query, products);
            let cost = scale * unit * book;
            rows[j] = (max, cost);
            low -= cost * f64::from(max);
            magnitude += cost * f64::from(max.abs().max(min.abs()));
            widest = widest.max(cost * f64::from(max - min));
        }
        // A little more than the range over 255, so that the largest entry rounds to at most 255;
        // and factors a little smaller than they are, so that rounding of a product never rounds
        // up.
        let step = widest / 255.0 * (1.0 + 1e-6);
        let sound = step > f64::from(f32::MIN_POSITIVE) && step.is_finite();
        for (j, &(max, cost)) in rows[..*m].iter().enumerate() {
            let factor = if sound { (cost / step * (1.0 - 1e-6)) as f32 } else { 0.0 };
            let row = j * ksub..(j + 1) * ksub;
            to_bytes(&workings.products[row.clone()], max, factor, &mut self.bytes[row]);
        }
        self.low = low;
        self.magnitude = magnitude;
        self.step = if sound { step } else { f64::from(f32::MIN_POSITIVE) };
    }
}

/// The loss by rounding a query to whole numbers: at most `error` in a coordinate; and ‖q‖₁.
struct Lost {
    error: f64,
    norm: f64,
}

impl Workings {
    /// Rounds a query to whole numbers, and returns what they count.
    #[inline(always)]
    fn round(&mut self, q: &[f32], dsub: usize, largest: f32) -> (Lost, f64) {
        let (mut greatest, mut norm) = ([0f32; LANES], [0f32; LANES]);
        for x in q.chunks(LANES) {
            for ((greatest, norm), x) in greatest.iter_mut().zip(&mut norm).zip(x) {
                *greatest = greatest.max(x.abs());
                *norm += x.abs();
            }
        }
        let greatest = greatest.into_iter().fold(0f32, f32::max);
        let norm = norm.into_iter().map(f64::from).sum::<f64>() * 1.001;
        let unit = unit_of(greatest, largest);
        let inverse = if unit > 0.0 { 1.0 / unit } else { 0.0 };
        if dsub.is_multiple_of(2) {
            let twos = q.as_chunks::<2>().0;
            for (out, two) in self.query.iter_mut().zip(twos) {
                *out = word(rounded(two[0], inverse, largest), rounded(two[1], inverse, largest));
            }
        } else {
            let subs = q.chunks_exact(dsub).zip(self.query.chunks_exact_mut(dsub.div_ceil(2)));
            for (sub, out) in subs {
                for (out, two) in out.iter_mut().zip(sub.chunks(2)) {
                    let second = two.get(1).map_or(0, |&x| rounded(x, inverse, largest));
                    *out = word(rounded(two[0], inverse, largest), second);
                }
            }
        }
        // 0.51 in place of a half: the product with a rounded reciprocal is off by less than 0.01.
        let error = f64::from(if unit > 0.0 { 0.51 * unit } else { greatest });
        (Lost { error, norm }, f64::from(unit))
    }
}

/// Writes to `out` (ksub,) the products of the query's words (pairs,) with each codeword of `words`
/// (pairs, ksub); returns the smallest and the largest.
#[inline(always)]
fn inner_products(words: &[i32], q: &[i32], out: &mut [i32]) -> (i32, i32) {
    out.fill(0);
    for (words, &two) in words.chunks_exact(out.len()).zip(q) {
        let (a, b) = (i32::from(two as i16), two >> 16);
        for (out, &word) in out.iter_mut().zip(words) {
            *out += a * i32::from(word as i16) + b * (word >> 16);
        }
    }
    out.iter().fold((i32::MAX, i32::MIN), |(l, h), &v| (l.min(v), h.max(v)))
}

compiled_for_each_level! {
    /// Writes `(byte · factor) >> 16` of each byte to `out`.
    fn scaled(bytes: &[u8], factor: u16, out: &mut [u8]) = scaled_any;
}

#[inline(always)]
fn scaled_any(bytes: &[u8], factor: u16, out: &mut [u8]) {
    for (out, &byte) in out.iter_mut().zip(bytes) {
        *out = ((u32::from(byte) * u32::from(factor)) >> 16) as u8;
    }
}

/// Writes `(max − product) · factor` of each product, rounded down and cut to 255.
#[inline(always)]
fn to_bytes(products: &[i32], max: i32, factor: f32, out: &mut [u8]) {
    for (out, &product) in out.iter_mut().zip(products) {
        *out = ((max - product) as f32 * factor) as u8;
    }
}
