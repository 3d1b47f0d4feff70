//! Product quantization of many residuals: sixteen codewords at a time, with the bits of
//! [`crate::dense::nearest`].

use crate::level::{Level, Simd};

/// Rows that go through one codebook before the next: a codebook (8 KiB at dsub 8) and the rows'
/// parts of it stay in the nearest cache.
const BLOCK: usize = 64;

/// Codewords with the coordinates outside, (m, dsub, ksub), from `codebooks` (m, ksub, dsub): a
/// register holds the same coordinate of sixteen codewords.
pub fn transpose(codebooks: &[f32], m: usize, ksub: usize) -> Vec<f32> {
    let dsub = codebooks.len() / (m * ksub);
    let mut out = Vec::with_capacity(codebooks.len());
    for book in codebooks.chunks_exact(ksub * dsub) {
        for i in 0..dsub {
            out.extend((0..ksub).map(|c| book[c * dsub + i]));
        }
    }
    out
}

/// Writes the codes (n, m) of residuals `x` (n, d): of each part the nearest codeword by
/// [`crate::dense::l2_sq`], ties to the smaller; and to `distances` (n, m) how far it is, with the
/// bits of that function. `transposed` is (m, dsub, ksub), as [`transpose`] makes it. A part that
/// holds a NaN gets codeword 0 and an infinite distance.
///
/// # Panics
/// If the shapes do not fit together, or `ksub` is no multiple of 16 or more than 256.
pub fn encode(
    simd: Simd,
    x: &[f32],
    transposed: &[f32],
    m: usize,
    ksub: usize,
    codes: &mut [u8],
    distances: &mut [f32],
) {
    assert!(m > 0 && ksub > 0 && ksub.is_multiple_of(16) && ksub <= 256, "shapes");
    let d = transposed.len() / ksub;
    assert!(d > 0 && d.is_multiple_of(m) && transposed.len() == d * ksub, "codebooks' shape");
    assert_eq!(x.len() * m, codes.len() * d, "codes of another shape");
    assert_eq!(codes.len(), distances.len(), "distances of another shape");
    match simd.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only a processor that has the level makes `simd`.
        Level::Avx512 | Level::Avx512Vbmi => unsafe {
            encode_avx512(x, transposed, m, ksub, codes, distances)
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { encode_avx2(x, transposed, m, ksub, codes, distances) },
        _ => encode_here(x, transposed, m, ksub, codes, distances, |part, book| match part.len() {
            1 => nearest::<1>(part, book, ksub),
            2 => nearest::<2>(part, book, ksub),
            3 | 4 => nearest::<4>(part, book, ksub),
            5..=8 => nearest::<8>(part, book, ksub),
            _ => nearest::<16>(part, book, ksub),
        }),
    }
}

/// Writes `$name`, one level's form of [`encode_here`] around that level's `$nearest`.
#[cfg(target_arch = "x86_64")]
macro_rules! encode_at {
    ($name:ident, $features:literal, $nearest:ident) => {
        /// # Safety
        /// The features; `transposed` is (m, dsub, ksub).
        #[target_feature(enable = $features)]
        unsafe fn $name(
            x: &[f32],
            transposed: &[f32],
            m: usize,
            ksub: usize,
            codes: &mut [u8],
            distances: &mut [f32],
        ) {
            encode_here(x, transposed, m, ksub, codes, distances, |part, book| {
                // SAFETY: this function's own level; `encode_here` gives whole books of whole
                // groups, and `LIVE` is as each needs it.
                unsafe {
                    match part.len() {
                        1 => x86::$nearest::<1>(part, book, ksub),
                        2 => x86::$nearest::<2>(part, book, ksub),
                        3 | 4 => x86::$nearest::<4>(part, book, ksub),
                        5..=8 => x86::$nearest::<8>(part, book, ksub),
                        _ => x86::$nearest::<16>(part, book, ksub),
                    }
                }
            });
        }
    };
}
#[cfg(target_arch = "x86_64")]
encode_at!(encode_avx512, "avx512f,avx512bw,avx512dq,avx512vl", nearest_avx512);
#[cfg(target_arch = "x86_64")]
encode_at!(encode_avx2, "avx2", nearest_avx2);

/// All rows through `nearest`, a codebook at a time.
#[inline(always)]
fn encode_here(
    x: &[f32],
    transposed: &[f32],
    m: usize,
    ksub: usize,
    codes: &mut [u8],
    distances: &mut [f32],
    nearest: impl Fn(&[f32], &[f32]) -> (u8, f32),
) {
    let d = transposed.len() / ksub;
    let dsub = d / m;
    let blocks = codes.chunks_mut(BLOCK * m).zip(distances.chunks_mut(BLOCK * m));
    for (x, (codes, distances)) in x.chunks(BLOCK * d).zip(blocks) {
        for (j, book) in transposed.chunks_exact(dsub * ksub).enumerate() {
            for (row, x) in x.chunks_exact(d).enumerate() {
                let (code, distance) = nearest(&x[j * dsub..][..dsub], book);
                codes[row * m + j] = code;
                distances[row * m + j] = distance;
            }
        }
    }
}

/// Nearest codeword of one book (dsub, ksub), without intrinsics: as the kernels below, which say
/// what `LIVE` is.
#[inline(always)]
fn nearest<const LIVE: usize>(part: &[f32], book: &[f32], ksub: usize) -> (u8, f32) {
    let mut best = (0, f32::INFINITY);
    for at in (0..ksub).step_by(16) {
        let mut s = [[0f32; 16]; LIVE];
        for (i, (x, words)) in part.iter().zip(book.chunks_exact(ksub)).enumerate() {
            let words: &[f32; 16] = words[at..].first_chunk().expect("whole groups");
            for (sum, word) in s[i % LIVE].iter_mut().zip(words) {
                let difference = x - word;
                *sum += difference * difference;
            }
        }
        let mut width = LIVE / 2;
        while width > 0 {
            for i in 0..width {
                for lane in 0..16 {
                    s[i][lane] += s[i + width][lane];
                }
            }
            width /= 2;
        }
        for (word, &distance) in (at..).zip(&s[0]) {
            if distance < best.1 {
                best = (word as u8, distance);
            }
        }
    }
    best
}

/// The kernels. `LIVE` partial sums, a power of two and at least min(dsub, 16), follow
/// [`crate::dense::LANES`]: partial sum `i % 16`, then the tree. Sums that no coordinate reaches
/// are zero, and adding zero to a number that is not negative changes nothing, so a tree over the
/// first `LIVE` is the same.
///
/// Each lane keeps its first least distance; of the lanes with the least, the smallest word wins.
/// Less than infinity is needed to be taken, so that NaN never is, and word 0 stays where no
/// distance is finite.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX-512 F and DQ; `book` is (part's length, ksub), ksub a multiple of 16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn nearest_avx512<const LIVE: usize>(
        part: &[f32],
        book: &[f32],
        ksub: usize,
    ) -> (u8, f32) {
        // A part of exactly LIVE coordinates stays in registers, and each sum has one term.
        let whole: Option<&[f32; LIVE]> = part.try_into().ok();
        let whole = whole.map(|x| x.map(|x| _mm512_set1_ps(x)));
        let mut best = _mm512_set1_ps(f32::INFINITY);
        let mut words = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let mut here = words;
        for at in (0..ksub).step_by(16) {
            let mut s = [_mm512_setzero_ps(); LIVE];
            // SAFETY: the caller's promise: the row of a coordinate has ksub words.
            let row = |i: usize| unsafe { _mm512_loadu_ps(book.as_ptr().add(i * ksub + at)) };
            if let Some(x) = whole {
                for i in 0..LIVE {
                    let difference = _mm512_sub_ps(x[i], row(i));
                    s[i] = _mm512_mul_ps(difference, difference);
                }
            } else {
                for (i, &x) in part.iter().enumerate() {
                    let difference = _mm512_sub_ps(_mm512_set1_ps(x), row(i));
                    let sum = &mut s[i % LIVE];
                    *sum = _mm512_add_ps(*sum, _mm512_mul_ps(difference, difference));
                }
            }
            let mut width = LIVE / 2;
            while width > 0 {
                for i in 0..width {
                    s[i] = _mm512_add_ps(s[i], s[i + width]);
                }
                width /= 2;
            }
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(s[0], best);
            best = _mm512_mask_mov_ps(best, less, s[0]);
            words = _mm512_mask_mov_epi32(words, less, here);
            here = _mm512_add_epi32(here, _mm512_set1_epi32(16));
        }
        let least = _mm512_reduce_min_ps(best);
        let first = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(best, _mm512_set1_ps(least));
        (_mm512_mask_reduce_min_epu32(first, words) as u8, least)
    }

    /// # Safety
    /// AVX2; `book` is (part's length, ksub), ksub a multiple of 16.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn nearest_avx2<const LIVE: usize>(
        part: &[f32],
        book: &[f32],
        ksub: usize,
    ) -> (u8, f32) {
        // A part of exactly LIVE coordinates stays in registers, and each sum has one term.
        let whole: Option<&[f32; LIVE]> = part.try_into().ok();
        let whole = whole.map(|x| x.map(|x| _mm256_set1_ps(x)));
        let mut best = _mm256_set1_ps(f32::INFINITY);
        let mut words = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mut here = words;
        for at in (0..ksub).step_by(8) {
            let mut s = [_mm256_setzero_ps(); LIVE];
            // SAFETY: the caller's promise: the row of a coordinate has ksub words.
            let row = |i: usize| unsafe { _mm256_loadu_ps(book.as_ptr().add(i * ksub + at)) };
            if let Some(x) = whole {
                for i in 0..LIVE {
                    let difference = _mm256_sub_ps(x[i], row(i));
                    s[i] = _mm256_mul_ps(difference, difference);
                }
            } else {
                for (i, &x) in part.iter().enumerate() {
                    let difference = _mm256_sub_ps(_mm256_set1_ps(x), row(i));
                    let sum = &mut s[i % LIVE];
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(difference, difference));
                }
            }
            let mut width = LIVE / 2;
            while width > 0 {
                for i in 0..width {
                    s[i] = _mm256_add_ps(s[i], s[i + width]);
                }
                width /= 2;
            }
            let less = _mm256_cmp_ps::<_CMP_LT_OQ>(s[0], best);
            best = _mm256_blendv_ps(best, s[0], less);
            words = _mm256_blendv_epi8(words, here, _mm256_castps_si256(less));
            here = _mm256_add_epi32(here, _mm256_set1_epi32(8));
        }
        let (mut distances, mut lanes) = ([0f32; 8], [0u32; 8]);
        // SAFETY: eight elements each.
        unsafe {
            _mm256_storeu_ps(distances.as_mut_ptr(), best);
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), words);
        }
        let mut least = (distances[0], lanes[0]);
        for (&distance, &word) in distances.iter().zip(&lanes).skip(1) {
            if distance < least.0 || (distance == least.0 && word < least.1) {
                least = (distance, word);
            }
        }
        (least.1 as u8, least.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense;
    use rand::{RngExt, SeedableRng};

    fn check(x: &[f32], books: &[f32], m: usize, ksub: usize, what: &str) {
        let dsub = books.len() / (m * ksub);
        let want: Vec<(u8, u32)> = x
            .chunks_exact(m * dsub)
            .flat_map(|x| x.chunks_exact(dsub).zip(books.chunks_exact(ksub * dsub)))
            .map(|(part, book)| dense::nearest(part, book).unwrap())
            .map(|(word, distance)| (word as u8, distance.to_bits()))
            .collect();
        for simd in Simd::all() {
            let (mut codes, mut distances) = (vec![7; want.len()], vec![0.0; want.len()]);
            encode(simd, x, &transpose(books, m, ksub), m, ksub, &mut codes, &mut distances);
            let found: Vec<(u8, u32)> =
                codes.iter().copied().zip(distances.iter().map(|d| d.to_bits())).collect();
            assert_eq!(found, want, "{what}, {}, m {m}, dsub {dsub}, ksub {ksub}", simd.level());
        }
    }

    /// Values of a coarse grid, so that many distances tie; dsub below, at and above sixteen; rows
    /// past a block.
    #[test]
    fn every_level_equals_the_definition() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for ksub in [16, 32, 256] {
            for (m, dsub) in
                [(3, 1), (2, 2), (5, 3), (4, 4), (3, 7), (16, 8), (2, 9), (1, 16), (2, 17), (1, 37)]
            {
                for (n, fine) in [(1, true), (3, false), (65, true), (70, false)] {
                    let mut draw = |n: usize| -> Vec<f32> {
                        (0..n)
                            .map(|_| match fine {
                                true => rng.random_range(-2.0..2.0),
                                false => rng.random_range(-2i32..3) as f32,
                            })
                            .collect()
                    };
                    let (x, books) = (draw(n * m * dsub), draw(m * ksub * dsub));
                    check(&x, &books, m, ksub, if fine { "fine" } else { "ties" });
                }
            }
        }
    }

    /// Equal codewords, overflowing distances: the first codeword, as the definition says.
    #[test]
    fn extremes_take_the_first_codeword() {
        check(&[1.0; 8], &[2.0; 256 * 8], 1, 256, "equal words");
        check(&[3e38; 8], &[-3e38; 256 * 8], 1, 256, "infinite distances");
        check(&[1e-40; 8], &[0.0; 256 * 8], 1, 256, "denormal");
        for simd in Simd::all() {
            let (mut codes, mut distances) = ([9; 2], [0.0; 2]);
            let books = transpose(&[[1.0f32; 4], [2.0; 4]].concat().repeat(16), 1, 32);
            encode(
                simd,
                &[2.0, f32::NAN, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
                &books,
                1,
                32,
                &mut codes,
                &mut distances,
            );
            assert_eq!((codes, distances[0].is_infinite()), ([0, 1], true));
        }
    }
}
