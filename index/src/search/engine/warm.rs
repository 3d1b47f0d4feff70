//! The rows that are scored first: see the [module docs](super).

use std::ops::Range;

use ocelli_vector::Simd;
use ocelli_vector::scan::{self, BlockBounds};

use super::bound::{ListBound, QueryBound};
use super::list::ShardList;

/// One list of the warm-up.
pub(super) struct Span<'a> {
    pub list: ShardList<'a>,
    /// The part of the score that its centroid decides.
    pub base: f32,
    pub bound: ListBound,
    /// The places of the list's blocks in the bounds of all lists.
    pub blocks: Range<usize>,
    /// Rows whose bound is at most this are scored first.
    pub first: Option<u16>,
}

/// Sets [`Span::first`] so that the `k` rows that may cost least are scored first, and few beside
/// them. The choice of these rows affects time only, not the answer. `bounds` are those of the
/// lists' rows; where fewer than `k` rows have a bound that tells them apart, all that have one are
/// chosen.
pub(super) fn choose_smallest(
    simd: Simd,
    query: &QueryBound,
    spans: &mut [Span<'_>],
    bounds: &[BlockBounds],
    k: usize,
) {
    // Costs in units of Δ above the smallest constant.
    let constants = || spans.iter().filter(|s| s.bound.sound).map(|s| s.bound.constant);
    let floor = constants().fold(f64::INFINITY, f64::min);
    let shift = move |s: &Span<'_>| (s.bound.constant - floor) / query.step;
    let widest = spans.iter().filter(|s| s.bound.sound).map(shift).fold(0.0, f64::max);
    let first = move |s: &Span<'_>, units: f64| {
        let room = units - shift(s);
        (s.bound.sound && room >= 0.0).then_some(room as u16)
    };
    let count = |units: f64| -> usize {
        let mut found = 0;
        for span in &*spans {
            if let Some(threshold) = first(span, units) {
                found += scan::count_at_most(simd, &bounds[span.blocks.clone()], threshold);
            }
        }
        found
    };
    // Lists that are further behind than bounds reach wait for a threshold.
    let (mut low, mut high) = (-1.0, f64::from(u16::MAX) + widest.ceil().min(f64::from(u16::MAX)));
    // Most bounds are sums of a few thousand: a guess that often spares half of the rounds.
    if count(4096.0) >= k {
        high = 4096.0;
    }
    // A few too many cost less than another count.
    let enough = k..=k + k / 16;
    while high - low > 1.0 {
        let middle = ((low + high) / 2.0).floor();
        let found = count(middle);
        if found >= k {
            high = middle;
            if enough.contains(&found) {
                break;
            }
        } else {
            low = middle;
        }
    }
    spans.iter_mut().for_each(|s| s.first = first(s, high));
}
