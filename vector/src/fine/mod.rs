//! Finer codes of a row: decoding them, and finding them.
//!
//! A row z lies near its centroid c plus its decoded code r̂. A finer code says more, in one of
//! three ways; the fourth has no bytes, and compares by the [`cosine`]:
//!
//! | | decoded row ẑ | bytes |
//! |---|---|---|
//! | product quantizer of what is left | (c + r̂) + r̂′ | m′ |
//! | scalar quantizer of what is left | (c + r̂) + t · (linear + cubic · (t · t)) | d |
//! | half-precision floats | the floats | 2 d |
//! | nothing more | c + r̂ | 0 |
//!
//! with t = byte − 127.5. The product quantizer is that of Jégou, Tavenard, Douze, Amsaleg (2011).
//!
//! What a code leaves over is mostly small and sometimes large, so the scalars' steps grow with the
//! distance from zero (companding: Bennett, *Spectra of quantized signals*, 1948): on SIFT that
//! leaves less than a quarter of the squared error of equal steps.
//!
//! Every element of ẑ is computed by itself, one rounding an operation, so vector registers change
//! no bit. The refined score is then [`crate::dense::l2_sq`] or [`crate::dense::dot`] of the query
//! with ẑ: a decoded row and a distance in the fixed order, whatever the instruction level.
//!
//! Why not a table of the query with the finer codewords, as the scan has it: of 256 · d products,
//! as many as the distances to 256 decoded rows, before the first row is looked at; and for L2 each
//! row would need a term of four bytes beside its code.

#[cfg(target_arch = "x86_64")]
mod registers;
#[cfg(test)]
mod tests;

use crate::codes::{CodeLayout, MAX_M};
use crate::dense::{dot, norm_sq};
use crate::level::{Level, Simd, compiled_for_each_level};
use crate::metric::Metric;

/// How finer codes are decoded.
#[derive(Clone, Copy, Debug)]
pub enum Finer<'a> {
    /// Codewords to be added to c + r̂: codebooks (m, ksub, d / m).
    Pq {
        /// Row-major.
        codebooks: &'a [f32],
        /// Codewords of a sub-quantizer.
        ksub: usize,
    },
    /// One byte a dimension; its value, [`sq8_value`], is added to c + r̂.
    Sq8 {
        /// (d,), not negative.
        linear: &'a [f32],
        /// (d,), not negative.
        cubic: &'a [f32],
    },
    /// ẑ itself, (d,) little-endian IEEE halves.
    F16,
    /// ẑ = c + r̂, compared with the query by the cosine of the angle between them.
    Cosine,
}

impl Finer<'_> {
    /// Whether the row's first code is needed: by quantizers of what that code left over.
    pub fn needs_code(&self) -> bool {
        !matches!(self, Self::F16)
    }
}

/// A row's first code and the codebooks (m, ksub, d / m) that decode it.
#[derive(Clone, Copy, Debug)]
pub struct Coarser<'a> {
    /// Centroid of its list, (d,).
    pub centroid: &'a [f32],
    /// Row-major.
    pub codebooks: &'a [f32],
    /// Codewords of a sub-quantizer.
    pub ksub: usize,
    /// (m,); not looked at unless [`Finer::needs_code`].
    pub code: &'a [u8],
}

/// What all rows of a query share.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// The layout of the first codes.
    pub layout: CodeLayout,
    /// The codebooks of the first codes, (m, ksub, d / m).
    pub codebooks: &'a [f32],
    /// How finer codes are decoded.
    pub finer: Finer<'a>,
}

/// A row to be scored.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its first code, (m,), one byte a sub-quantizer ([`CodeLayout::get`]); not looked at unless
    /// [`Finer::needs_code`].
    pub code: &'a [u8],
    /// Centroid of its list, (d,).
    pub centroid: &'a [f32],
    /// The finer code of the row.
    pub fine: &'a [u8],
}

/// Writes the score of `q` (d,) with each decoded row to `out` (n,): the bits of [`decode`] and
/// then [`Metric::of`], or [`cosine`], at every level.
///
/// # Panics
/// If a shape does not fit, or a codeword is not in its codebook.
pub fn scores(
    simd: Simd,
    metric: Metric,
    q: &[f32],
    tables: &Tables<'_>,
    rows: &[Row<'_>],
    out: &mut Vec<f32>,
) {
    out.clear();
    let (d, m, ksub) = (q.len(), tables.layout.m(), 1usize << tables.layout.bits());
    assert!(m <= MAX_M && d.is_multiple_of(m), "d = {d}, m = {m}");
    assert_eq!(tables.codebooks.len(), ksub * d, "codebooks of another shape");
    let bytes = match tables.finer {
        Finer::Cosine => 0,
        Finer::Pq { codebooks, ksub } => {
            assert_eq!(codebooks.len(), ksub * d, "finer codebooks of another shape");
            rows.first().map_or(0, |row| row.fine.len())
        }
        Finer::Sq8 { linear, cubic } => {
            assert!(linear.len() == d && cubic.len() == d, "scalars of another dimension");
            d
        }
        Finer::F16 => 2 * d,
    };
    let code = if tables.finer.needs_code() { m } else { 0 };
    let fits = |row: &Row<'_>| {
        row.centroid.len() == d && row.fine.len() == bytes && row.code.len() >= code
    };
    assert!(rows.iter().all(fits), "a row of another shape");
    #[cfg(target_arch = "x86_64")]
    if simd.level() >= Level::Avx2 && fast(simd, metric, q, tables, bytes, rows, out) {
        return;
    }
    let mut z = vec![0f32; d];
    let q_norm = norm_sq(q).sqrt();
    for row in rows {
        let code = &row.code[..code];
        let coarser = Coarser { centroid: row.centroid, codebooks: tables.codebooks, ksub, code };
        decode(simd, tables.finer, coarser, row.fine, &mut z);
        out.push(match tables.finer {
            Finer::Cosine => {
                let mut sums = [0.0; 2];
                dot_and_norm_sq(simd, q, &z, &mut sums);
                divided(sums[0], q_norm * sums[1].sqrt())
            }
            _ => metric.of(q, &z),
        });
    }
}

/// The cosine of the angle between `q` and `z`, both (d,): ⟨q, z⟩ / (‖q‖ ‖z‖), -1 to 1 up to
/// rounding. Zero where one of them has no direction. Sums are those of [`crate::dense::dot`].
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn cosine(q: &[f32], z: &[f32]) -> f32 {
    divided(dot(q, z), norm_sq(q).sqrt() * norm_sq(z).sqrt())
}

#[inline(always)]
fn divided(product: f32, norms: f32) -> f32 {
    if norms > 0.0 { product / norms } else { 0.0 }
}

compiled_for_each_level! {
    /// Writes ⟨q, z⟩ and ‖z‖² to `out`: the bits of [`dot`] at every level.
    fn dot_and_norm_sq(q: &[f32], z: &[f32], out: &mut [f32; 2]) = dot_and_norm_sq_any;
}

#[inline(always)]
fn dot_and_norm_sq_any(q: &[f32], z: &[f32], out: &mut [f32; 2]) {
    *out = [dot(q, z), norm_sq(z)];
}

/// [`scores`] in registers; false, and nothing written, for shapes that have no such form. Shapes
/// were checked, and the level is AVX2 at least.
#[cfg(target_arch = "x86_64")]
fn fast(
    simd: Simd,
    metric: Metric,
    q: &[f32],
    tables: &Tables<'_>,
    bytes: usize,
    rows: &[Row<'_>],
    out: &mut Vec<f32>,
) -> bool {
    use registers::{F16, SQ8, scores};
    let d = q.len();
    let fine = match tables.finer {
        Finer::Pq { ksub: 256, .. } if bytes > 0 && d.is_multiple_of(bytes) => d / bytes,
        Finer::Pq { .. } => return false,
        Finer::Sq8 { .. } => SQ8,
        Finer::F16 => F16,
        Finer::Cosine => return false,
    };
    let first = match (fine, tables.layout.bits()) {
        (F16, _) => 8, // Not looked at.
        (_, 8) => d / tables.layout.m(),
        _ => return false,
    };
    if !d.is_multiple_of(16) {
        return false;
    }
    macro_rules! choose {
        ($(($first:literal, $fine:tt)),+) => {
            // SAFETY: the caller's level and shapes; d is a multiple of 16, and so of each dsub
            // below.
            unsafe {
                match (first, fine, metric) {
                    $(($first, $fine, Metric::L2) => {
                        scores::<$first, $fine, true>(simd, q, tables, rows, out)
                    }
                    ($first, $fine, Metric::InnerProduct) => {
                        scores::<$first, $fine, false>(simd, q, tables, rows, out)
                    })+
                    _ => return false,
                }
            }
        };
    }
    choose!(
        (4, 2),
        (4, 4),
        (4, 8),
        (4, SQ8),
        (8, 2),
        (8, 4),
        (8, 8),
        (8, SQ8),
        (8, F16),
        (16, 2),
        (16, 4),
        (16, 8),
        (16, SQ8)
    );
    true
}

compiled_for_each_level! {
    /// Writes the decoded row to `z` (d,), from its finer `code`: the same bits at every level.
    ///
    /// # Panics
    /// If a shape does not fit, or a codeword is not in its codebook.
    pub fn decode(finer: Finer<'_>, coarser: Coarser<'_>, code: &[u8], z: &mut [f32]) = decode_any;
}

/// The definition.
#[inline(always)]
fn decode_any(finer: Finer<'_>, coarser: Coarser<'_>, code: &[u8], z: &mut [f32]) {
    let d = z.len();
    assert_eq!(coarser.centroid.len(), d, "centroid of another dimension");
    match finer {
        Finer::Cosine => {
            z.copy_from_slice(coarser.centroid);
            add_codewords(coarser.codebooks, coarser.ksub, coarser.code, z);
        }
        Finer::Pq { codebooks, ksub } => {
            z.copy_from_slice(coarser.centroid);
            add_codewords(coarser.codebooks, coarser.ksub, coarser.code, z);
            add_codewords(codebooks, ksub, code, z);
        }
        Finer::Sq8 { linear, cubic } => {
            assert!(linear.len() == d && cubic.len() == d && code.len() == d, "d = {d}");
            z.copy_from_slice(coarser.centroid);
            add_codewords(coarser.codebooks, coarser.ksub, coarser.code, z);
            for (i, z) in z.iter_mut().enumerate() {
                *z += sq8_value(linear[i], cubic[i], code[i]);
            }
        }
        Finer::F16 => {
            assert_eq!(code.len(), 2 * d, "halves of {d} dimensions");
            for (z, half) in z.iter_mut().zip(code.as_chunks::<2>().0) {
                *z = half_to_f32(u16::from_le_bytes(*half));
            }
        }
    }
}

/// The value of a byte: t · (linear + cubic · (t · t)) with t = byte − 127.5. It never falls as
/// the byte grows, rounding included, where neither number is negative: each operation keeps the
/// order for t > 0, and the rest is its mirror image.
#[inline(always)]
pub fn sq8_value(linear: f32, cubic: f32, byte: u8) -> f32 {
    let t = f32::from(byte) - 127.5;
    t * (linear + cubic * (t * t))
}

/// The byte whose [`sq8_value`] is nearest to `x`; ties go to the smaller.
pub fn sq8_byte(linear: f32, cubic: f32, x: f32) -> u8 {
    // The first byte whose value is not below x.
    let (mut low, mut high) = (0u8, 255u8);
    while low < high {
        let middle = low + (high - low) / 2;
        if sq8_value(linear, cubic, middle) < x { low = middle + 1 } else { high = middle }
    }
    let error = |byte: u8| (x - sq8_value(linear, cubic, byte)).abs();
    if low > 0 && error(low - 1) <= error(low) { low - 1 } else { low }
}

/// Adds the codewords of `code` (m,) to `z` (d,).
#[inline(always)]
fn add_codewords(codebooks: &[f32], ksub: usize, code: &[u8], z: &mut [f32]) {
    let m = code.len();
    assert!(m > 0 && z.len().is_multiple_of(m), "d = {} is no multiple of m = {m}", z.len());
    let dsub = z.len() / m;
    assert_eq!(codebooks.len(), z.len() * ksub, "codebooks of another shape");
    // Arrays whose length the compiler knows are registers, not loops.
    match dsub {
        1 => return add_words::<1>(codebooks, ksub, code, z),
        2 => return add_words::<2>(codebooks, ksub, code, z),
        4 => return add_words::<4>(codebooks, ksub, code, z),
        8 => return add_words::<8>(codebooks, ksub, code, z),
        16 => return add_words::<16>(codebooks, ksub, code, z),
        _ => {}
    }
    for ((z, book), &c) in
        z.chunks_exact_mut(dsub).zip(codebooks.chunks_exact(ksub * dsub)).zip(code)
    {
        let word = &book[usize::from(c) * dsub..][..dsub];
        z.iter_mut().zip(word).for_each(|(z, w)| *z += w);
    }
}

/// [`add_codewords`] for `N` = dsub.
#[inline(always)]
fn add_words<const N: usize>(codebooks: &[f32], ksub: usize, code: &[u8], z: &mut [f32]) {
    let books = codebooks.as_chunks::<N>().0.chunks_exact(ksub);
    for ((z, book), &c) in z.as_chunks_mut::<N>().0.iter_mut().zip(books).zip(code) {
        let word = book[usize::from(c)];
        for i in 0..N {
            z[i] += word[i];
        }
    }
}

/// The float of a half: exact, since every half is a float.
#[inline(always)]
pub fn half_to_f32(half: u16) -> f32 {
    let (sign, rest) = (u32::from(half & 0x8000) << 16, u32::from(half & 0x7fff));
    // Exponent and fraction moved to a float's place; the exponent's bias is 112 larger there.
    let moved = f32::from_bits(rest << 13);
    let magnitude = if rest >= 0x7c00 {
        // Infinity and NaN: all ones again. A signalling NaN becomes a quiet one, as processors do
        // it.
        (rest << 13) | 0x7f80_0000 | if rest > 0x7c00 { 0x0040_0000 } else { 0 }
    } else {
        // Times 2¹¹² corrects the bias, of subnormal halves too.
        (moved * f32::from_bits((127 + 112) << 23)).to_bits()
    };
    f32::from_bits(sign | magnitude)
}

compiled_for_each_level! {
    /// Writes to `code` (m,) the nearest of `ksub` codewords to each of the m parts of `x` (d,),
    /// from `transposed` (m, dsub, ksub; see [`crate::encode::transpose`]). The squared distance
    /// adds coordinates from the first to the last; ties go to the smaller codeword. The same codes
    /// at every level.
    ///
    /// # Panics
    /// If a shape does not fit, or ksub is over 256 or no multiple of 16.
    pub fn nearest_codewords(
        transposed: &[f32],
        ksub: usize,
        x: &[f32],
        code: &mut [u8]
    ) = nearest_any;
}

/// The definition.
#[inline(always)]
fn nearest_any(transposed: &[f32], ksub: usize, x: &[f32], code: &mut [u8]) {
    let m = code.len();
    assert!(m > 0 && x.len().is_multiple_of(m), "d = {} is no multiple of m = {m}", x.len());
    assert!(ksub <= 256 && ksub.is_multiple_of(16) && ksub > 0, "ksub = {ksub}");
    assert_eq!(transposed.len(), x.len() * ksub, "codebooks of another shape");
    let dsub = x.len() / m;
    let mut costs = [0f32; 256];
    for ((c, x), book) in
        code.iter_mut().zip(x.chunks_exact(dsub)).zip(transposed.chunks_exact(dsub * ksub))
    {
        let costs = &mut costs[..ksub];
        costs.fill(0.0);
        for (&x, coordinate) in x.iter().zip(book.chunks_exact(ksub)) {
            for (cost, &w) in costs.iter_mut().zip(coordinate) {
                let difference = x - w;
                *cost += difference * difference;
            }
        }
        let mut best = 0;
        for (word, &cost) in costs.iter().enumerate() {
            if cost < costs[best] {
                best = word;
            }
        }
        *c = best as u8;
    }
}
