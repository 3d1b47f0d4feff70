//! The two passes with AVX2.

use std::arch::x86_64::*;

use super::ROW;
use crate::codes::BLOCK;
use crate::lanes::places_of;
use crate::prefetch_line;
use crate::scan::ahead::{ahead, wants_fetching};
use crate::scan::avx2::{self, Sums};
use crate::scan::{BlockBounds, Checked, Sink};

/// Rows whose bounds are looked up side by side: the bytes of one row's code lie 64 apart, in what
/// may be the same bank of the cache.
const SIDE_BY_SIDE: usize = 4;

/// Takes the positions of rows whose sum of least entries is at most the threshold.
struct Passed<'a> {
    threshold: u16,
    out: &'a mut Vec<u32>,
}

impl Sink for Passed<'_> {
    #[inline(always)]
    fn block(
        &mut self,
        first: usize,
        lanes: u64,
        hits: impl FnOnce(u16) -> u64,
        _bounds: impl FnOnce(&mut BlockBounds),
    ) {
        // SAFETY: only `scan` makes one of these, which has AVX2.
        unsafe { push_many(first as u32, hits(self.threshold) & lanes, self.out) };
    }
}

/// Appends `first` plus the number of every set bit. As long as they are few, no branch depends on
/// them.
///
/// # Safety
/// AVX2, BMI1 and POPCNT.
#[inline]
#[target_feature(enable = "avx2,bmi1,popcnt")]
unsafe fn push_many(first: u32, mut hits: u64, out: &mut Vec<u32>) {
    /// Positions that are written whether they are hits or not.
    const FEW: usize = 4;
    out.reserve(BLOCK);
    let (mut len, count) = (out.len(), hits.count_ones() as usize);
    if count <= FEW {
        for i in 0..FEW {
            // SAFETY: there is room for 64.
            unsafe { *out.as_mut_ptr().add(len + i) = first.wrapping_add(hits.trailing_zeros()) };
            hits &= hits.wrapping_sub(1);
        }
        len += count;
    } else {
        for (i, byte) in hits.to_le_bytes().into_iter().enumerate() {
            let first = _mm256_set1_epi32((first + 8 * i as u32) as i32);
            let places = _mm256_add_epi32(places_of(u32::from(byte)), first);
            // SAFETY: before byte i at most 8 i positions were written, and there is room for eight
            // more.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(len).cast(), places) };
            len += byte.count_ones() as usize;
        }
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
}

/// Appends the position of every row whose bound is at most `threshold`, and returns how many rows
/// the first pass let through. `minima` begins with (m, 16 · `ROWS`) least entries.
///
/// # Safety
/// AVX2, BMI1, LZCNT and POPCNT; there are so many least entries.
#[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
pub(super) unsafe fn scan<const ROWS: usize>(
    list: &Checked<'_>,
    minima: &[u8],
    threshold: u16,
    out: &mut Vec<u32>,
) -> usize {
    let start = out.len();
    let mut passed = Passed { threshold, out };
    // SAFETY: the features are there.
    unsafe {
        if wants_fetching(list) {
            blocks::<ROWS, true>(list, minima, &mut passed);
        } else {
            blocks::<ROWS, false>(list, minima, &mut passed);
        }
    }
    let passed = out.len() - start;
    // SAFETY: the first pass found the positions in the list.
    let kept = unsafe { keep(list, threshold, &mut out[start..]) };
    out.truncate(start + kept);
    passed
}

/// Moves those of the ascending `places` to the front whose bound is at most `threshold`, and
/// returns how many they are.
///
/// # Safety
/// The list has these rows; codes are of 8 bits.
#[inline(never)]
unsafe fn keep(list: &Checked<'_>, threshold: u16, places: &mut [u32]) -> usize {
    let (full, tail) = list.shape();
    let (bytes, factor) =
        list.list.scalars.map_or((&[][..], 0), |s| (s.bytes, u32::from(s.factor)));
    let within = |place: u32, sum: u32| {
        let term = bytes.get(place as usize).map_or(0, |&byte| (u32::from(byte) * factor) >> 8);
        (sum + term).min(u32::from(u16::MAX)) <= u32::from(threshold)
    };
    let (mut i, mut kept) = (0, 0);
    // Every position is written, and stays where the next is not kept in its place: no branch
    // depends on a bound.
    while let Some(&four) = places[i..].first_chunk::<SIDE_BY_SIDE>()
        && (four[SIDE_BY_SIDE - 1] as usize) < full
    {
        // SAFETY: the caller's rows; a block before `full` has 64 bytes a column.
        let sums = unsafe { sums_of_rows(list, four, BLOCK) };
        for (place, sum) in four.into_iter().zip(sums) {
            places[kept] = place;
            kept += usize::from(within(place, sum));
        }
        i += SIDE_BY_SIDE;
    }
    while let Some(&place) = places.get(i) {
        // SAFETY: as above; the last block has `tail`.
        let [sum] = unsafe {
            sums_of_rows(list, [place], if (place as usize) < full { BLOCK } else { tail })
        };
        places[kept] = place;
        kept += usize::from(within(place, sum));
        i += 1;
    }
    kept
}

/// The sums of entries of rows whose blocks have `width` bytes a column.
///
/// # Safety
/// The list has these rows in such blocks; codes are of 8 bits.
#[inline(always)]
unsafe fn sums_of_rows<const N: usize>(
    list: &Checked<'_>,
    places: [u32; N],
    width: usize,
) -> [u32; N] {
    let columns = list.layout.columns();
    let mut codes = places.map(|place| {
        let place = place as usize;
        list.list.codes.as_ptr().wrapping_add(place / BLOCK * BLOCK * columns + place % BLOCK)
    });
    let mut row = list.table.as_ptr();
    let mut sums = [0; N];
    for _ in 0..columns {
        for i in 0..N {
            // SAFETY: a code has a byte in each of its columns, and each column 256 entries.
            sums[i] += u32::from(unsafe { *row.add(usize::from(*codes[i])) });
            codes[i] = codes[i].wrapping_add(width);
        }
        row = row.wrapping_add(256);
    }
    sums
}

/// The first pass over all blocks; with `FETCH`, what follows is fetched meanwhile.
///
/// # Safety
/// As [`scan`].
#[inline]
#[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
unsafe fn blocks<const ROWS: usize, const FETCH: bool>(
    list: &Checked<'_>,
    minima: &[u8],
    passed: &mut Passed<'_>,
) {
    let columns = list.layout.columns();
    let (full, tail) = list.shape();
    for first in (0..full).step_by(BLOCK) {
        // SAFETY: the blocks lie within the list.
        unsafe {
            if FETCH {
                let fetch = ahead(list, first * columns);
                (0..columns).for_each(|j| prefetch_line(fetch.wrapping_add(64 * j)));
            }
            let sums = sums_of::<ROWS, true>(list, minima, first, BLOCK);
            avx2::finish::<true>(list, first, sums, passed);
        }
    }
    if tail > 0 {
        // SAFETY: as above.
        unsafe {
            let sums = sums_of::<ROWS, false>(list, minima, full, tail);
            avx2::finish::<false>(list, full, sums, passed);
        }
    }
}

/// Sums of least entries of the block of `width` from `first` on.
///
/// # Safety
/// As [`scan`]; the block lies within the codes.
#[inline]
#[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
unsafe fn sums_of<const ROWS: usize, const FULL: bool>(
    list: &Checked<'_>,
    minima: &[u8],
    first: usize,
    width: usize,
) -> [Sums; 2] {
    // What is in flight fits sixteen registers.
    // SAFETY: the caller's promise.
    unsafe {
        if ROWS == 8 {
            let [low] = parts::<ROWS, 1, FULL>(list, minima, first, 0, width);
            let [high] = parts::<ROWS, 1, FULL>(list, minima, first, 1, width);
            [low, high]
        } else {
            parts::<ROWS, 2, FULL>(list, minima, first, 0, width)
        }
    }
}

/// Sums of `N` registers of a block, from `part` on.
///
/// # Safety
/// As [`sums_of`].
#[inline]
#[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
unsafe fn parts<const ROWS: usize, const N: usize, const FULL: bool>(
    list: &Checked<'_>,
    minima: &[u8],
    first: usize,
    part: usize,
    width: usize,
) -> [Sums; N] {
    let columns = list.layout.columns();
    let codes = list.list.codes.as_ptr().wrapping_add(first * columns);
    let zero = _mm256_setzero_si256();
    let (mut all, mut odd) = ([zero; N], [zero; N]);
    for j in 0..columns {
        // SAFETY: a column has ROWS rows of least entries.
        let row = |h: usize| unsafe {
            let part = minima.as_ptr().add((j * ROWS + h) * ROW);
            _mm256_broadcastsi128_si256(_mm_loadu_si128(part.cast()))
        };
        for i in 0..N {
            // SAFETY: a column has `width` bytes.
            let codes = unsafe {
                let (skipped, width) = ((part + i) * avx2::WIDE, if FULL { BLOCK } else { width });
                let at = codes.wrapping_add(j * width + skipped);
                avx2::codes_at(at, width.saturating_sub(skipped))
            };
            avx2::add(&mut all[i], &mut odd[i], least::<ROWS>(row, codes));
        }
    }
    std::array::from_fn(|i| Sums::new(all[i], odd[i]))
}

/// The least entry of the group of each code, from `ROWS` rows of sixteen.
#[inline]
#[target_feature(enable = "avx2")]
fn least<const ROWS: usize>(row: impl Fn(usize) -> __m256i, lower: __m256i) -> __m256i {
    let upper = _mm256_xor_si256(lower, _mm256_set1_epi8(i8::MIN));
    let entry = |h: usize| {
        _mm256_or_si256(
            _mm256_shuffle_epi8(row(h), lower),
            _mm256_shuffle_epi8(row(h + ROWS / 2), upper),
        )
    };
    // A blend looks at the top bit of each byte.
    let bit6 = avx2::twice(lower);
    let bit5 = avx2::twice(bit6);
    match ROWS {
        2 => entry(0),
        4 => _mm256_blendv_epi8(entry(0), entry(1), bit6),
        _ => {
            let two = |h: usize| _mm256_blendv_epi8(entry(h), entry(h + 1), bit5);
            _mm256_blendv_epi8(two(0), two(2), bit6)
        }
    }
}
