//! A cost and a number in one word, so that ranking is the sorting of integers.

use crate::level::Simd;
use crate::sort::sort;

/// A cost (smaller is better) and a number as one integer. It sorts by cost, as [`f32::total_cmp`]
/// does, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Ranked(u64);

/// Rows for each that is wanted, up to which sorting all of them costs less than selecting first.
const SORTED_PER_WANTED: usize = 3;

impl Ranked {
    /// Packs `cost` and `number`.
    #[inline]
    pub fn new(cost: f32, number: u32) -> Self {
        // The order of `total_cmp`, as an unsigned number.
        let bits = turn(cost.to_bits() as i32) as u32 ^ (1 << 31);
        Self(u64::from(bits) << 32 | u64::from(number))
    }

    /// The cost, bit for bit.
    #[inline]
    pub fn cost(self) -> f32 {
        f32::from_bits(turn(((self.0 >> 32) as u32 ^ (1 << 31)) as i32) as u32)
    }

    /// The number.
    #[inline]
    pub fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether both cost the same, to the bit.
    #[inline]
    pub fn ties(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32
    }

    /// Sorts, best first.
    #[inline]
    pub fn sort(simd: Simd, rows: &mut [Self]) {
        // SAFETY: `Ranked` is a transparent u64, and every u64 is one.
        let keys = unsafe { &mut *(std::ptr::from_mut(rows) as *mut [u64]) };
        sort(simd, keys);
    }

    /// Keeps the `k` best, best first.
    #[inline]
    pub fn keep_best(simd: Simd, rows: &mut Vec<Self>, k: usize) {
        if 0 < k && k < rows.len() / SORTED_PER_WANTED {
            rows.select_nth_unstable(k - 1);
            rows.truncate(k);
        }
        Self::sort(simd, rows);
        rows.truncate(k);
    }
}

/// Turns the bits of a negative float round, so that they order as integers do; its own inverse.
#[inline]
fn turn(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::Ranked;

    #[test]
    fn costs_keep_their_bits_and_their_order() {
        let inf = f32::INFINITY;
        let costs = [-inf, -3.5, -1e-40, -0.0, 0.0, 1e-40, 2.0, 7.25, f32::MAX, inf, f32::NAN];
        let ranked: Vec<Ranked> =
            costs.iter().enumerate().map(|(i, &c)| Ranked::new(c, 100 - i as u32)).collect();
        assert!(ranked.is_sorted());
        for ((r, c), i) in ranked.iter().zip(costs).zip(0..) {
            assert_eq!((r.cost().to_bits(), r.number()), (c.to_bits(), 100 - i));
            assert!(r.ties(Ranked::new(c, 7)) && !r.ties(Ranked::new(1.0, r.number())));
        }
    }
}
