//! Matches of two sets of features, by the ratio of first to second neighbour.

use crate::features::{DIM, Features};

/// A feature of one picture and its counterpart in another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// The number of the feature in the first picture.
    pub from: u32,
    /// The number of the feature in the second picture.
    pub to: u32,
    /// Distance to the first neighbour over that to the second: from 0, the best, to 1.
    pub ratio: f32,
}

/// Bytes of a descriptor as the words that are multiplied, and their sum of squares.
struct Wide {
    words: Vec<[i16; DIM]>,
    squares: Vec<i32>,
}

impl Wide {
    fn of(features: &Features) -> Wide {
        let words: Vec<_> = features.descriptors().iter().map(|d| d.map(i16::from)).collect();
        let squares = words.iter().map(|w| product(w, w)).collect();
        Wide { words, squares }
    }
}

/// The inner product. At most 128 · 255² = 8.3 million, so that 32 bits hold it.
#[inline]
fn product(a: &[i16; DIM], b: &[i16; DIM]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// The two least squared distances of a row, and the place of the first.
#[derive(Clone, Copy)]
struct Nearest {
    first: i32,
    second: i32,
    at: u32,
}

impl Nearest {
    const NONE: Nearest = Nearest { first: i32::MAX, second: i32::MAX, at: 0 };

    #[inline]
    fn meet(&mut self, distance: i32, at: u32) {
        if distance < self.first {
            *self = Nearest { first: distance, second: self.first, at };
        } else {
            self.second = self.second.min(distance);
        }
    }
}

/// Mutual matches: pairs of features each of which is the nearest of the other, and whose distance
/// is at most `most` times that to the second nearest, seen from the first picture. All pairs are
/// compared, exactly; the first of equal ones counts. Ascending in `from`. Takes |a| · |b| products
/// of 128 numbers and 512 bytes of memory a feature.
///
/// A picture of a single feature has no second neighbour, and no matches.
#[must_use]
pub fn matches(a: &Features, b: &Features, most: f32) -> Vec<Match> {
    let (wide_a, wide_b) = (Wide::of(a), Wide::of(b));
    let mut back = vec![Nearest::NONE; b.len()];
    let mut rows = Vec::with_capacity(a.len());
    let mut distances = vec![0i32; b.len()];
    for ((word, square), from) in wide_a.words.iter().zip(&wide_a.squares).zip(0u32..) {
        let both = wide_b.words.iter().zip(&wide_b.squares);
        for (distance, (other, other_square)) in distances.iter_mut().zip(both) {
            // At least 0, at most the sum of both squares, 17 million.
            *distance = square + other_square - 2 * product(word, other);
        }
        let mut nearest = Nearest::NONE;
        for ((&distance, back), to) in distances.iter().zip(&mut back).zip(0u32..) {
            nearest.meet(distance, to);
            back.meet(distance, from);
        }
        rows.push(nearest);
    }
    let mutual = |from: u32, to: u32| back.get(to as usize).is_some_and(|back| back.at == from);
    let pairs = rows
        .into_iter()
        .zip(0u32..)
        .filter(|(row, from)| row.second < i32::MAX && mutual(*from, row.at));
    let told = pairs.map(|(row, from)| {
        // Two neighbours at distance 0 do not tell each other apart.
        let ratio = f64::from(row.first) / f64::from(row.second.max(1));
        let ratio = if row.second == 0 { 1.0 } else { ratio.sqrt() };
        Match { from, to: row.at, ratio: ratio as f32 }
    });
    told.filter(|found| found.ratio <= most).collect()
}
