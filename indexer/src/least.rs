//! The least of many, as many as are wanted, in the memory of these.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A number by its total order ([`f32::total_cmp`]).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total(pub(crate) f32);

impl PartialEq for Total {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A whole number in the order of `value`, which is not NaN; both zeros are one.
pub(crate) fn ordered(value: f64) -> u64 {
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// A value that its key orders.
#[derive(Clone, Debug)]
struct Keyed<K, V>(K, V);

impl<K: Ord, V> PartialEq for Keyed<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Ord, V> Eq for Keyed<K, V> {}

impl<K: Ord, V> PartialOrd for Keyed<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V> Ord for Keyed<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// The values of the least keys among those that were pushed. Keys that differ leave the same ones
/// whatever the order in which they come.
#[derive(Clone, Debug)]
pub(crate) struct Least<K, V = ()> {
    most: usize,
    heap: BinaryHeap<Keyed<K, V>>,
}

impl<K: Ord, V> Least<K, V> {
    /// At most `most` values.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    /// Takes a value, and hands out the one that is one too many, if there is one.
    pub(crate) fn push(&mut self, key: K, value: V) -> Option<(K, V)> {
        if self.heap.len() < self.most {
            self.heap.push(Keyed(key, value));
            return None;
        }
        match self.heap.peek_mut() {
            Some(mut largest) if key < largest.0 => {
                let Keyed(key, value) = std::mem::replace(&mut *largest, Keyed(key, value));
                Some((key, value))
            }
            _ => Some((key, value)),
        }
    }

    /// The values that were kept, in no order, with their keys.
    pub(crate) fn into_entries(self) -> impl ExactSizeIterator<Item = (K, V)> {
        self.heap.into_iter().map(|Keyed(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_are_kept_in_any_order() {
        for most in [0, 1, 3, 20] {
            let values = [7.0, -0.0, 3.5, 0.0, -2.0, 9.0, 3.25, f32::INFINITY];
            for turn in 0..values.len() {
                let (mut least, mut fallen) = (Least::new(most), Vec::new());
                for i in 0..values.len() {
                    let value = values[(i + turn) % values.len()];
                    fallen.extend(least.push(Total(value), i).map(|(key, _)| key));
                }
                let mut kept: Vec<Total> = least.into_entries().map(|(key, _)| key).collect();
                kept.sort();
                let mut want = values.map(Total);
                want.sort();
                let (want, rest) = want.split_at(most.min(values.len()));
                assert_eq!(kept, want);
                fallen.sort();
                assert_eq!(fallen, rest);
            }
        }
    }
}
