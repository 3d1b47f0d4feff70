//! Random photos: of an iteration without triplets, of the mining pool, of a first head.

use std::collections::BTreeMap;

use rand::seq::{IndexedRandom, SliceRandom};

use crate::draws::{Purpose, rng};

/// Photos of a class in a batch that is ranked.
const OF_A_CLASS: usize = 4;
/// Photos of a class that a classifier begins with.
const OF_EACH: usize = 8;

/// `count` of `usable`, drawn without repetition for a purpose in an iteration; all where there are
/// no more. Ascending.
#[must_use]
pub fn random(
    usable: &[usize],
    count: usize,
    (seed, purpose, iteration): (u64, Purpose, u64),
) -> Vec<usize> {
    let mut rng = rng(seed, purpose, iteration, 0);
    let mut chosen: Vec<usize> = usable.sample(&mut rng, count).copied().collect();
    chosen.sort_unstable();
    chosen
}

/// About `count` of `usable`: random classes, up to four random photos of each, so that all have
/// positives. Ascending.
#[must_use]
pub fn of_classes(
    usable: &[usize],
    class: impl Fn(usize) -> u32,
    count: usize,
    (seed, iteration): (u64, u64),
) -> Vec<usize> {
    let classes = by_class(usable, class);
    let mut rng = rng(seed, Purpose::Batch, iteration, 0);
    let mut order: Vec<&Vec<usize>> = classes.values().collect();
    order.shuffle(&mut rng);
    let mut chosen = Vec::new();
    for items in order {
        if chosen.len() >= count {
            break;
        }
        chosen.extend(items.sample(&mut rng, OF_A_CLASS.min(count.max(2))).copied());
    }
    chosen.sort_unstable();
    chosen
}

/// Up to eight random ones of each class. Ascending.
#[must_use]
pub fn some_of_each(usable: &[usize], class: impl Fn(usize) -> u32, seed: u64) -> Vec<usize> {
    let mut rng = rng(seed, Purpose::Classifier, 0, 0);
    let classes = by_class(usable, class);
    let mut chosen: Vec<usize> = Vec::new();
    for items in classes.values() {
        chosen.extend(items.sample(&mut rng, OF_EACH).copied());
    }
    chosen.sort_unstable();
    chosen
}

fn by_class(usable: &[usize], class: impl Fn(usize) -> u32) -> BTreeMap<u32, Vec<usize>> {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for &item in usable {
        classes.entry(class(item)).or_default().push(item);
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_positives() {
        let usable: Vec<usize> = (0..60).collect();
        let class = |item: usize| item as u32 % 10;
        let batch = of_classes(&usable, class, 16, (1, 5));
        assert_eq!(batch.len(), 16);
        assert!(batch.is_sorted());
        let mut counts = [0; 10];
        batch.iter().for_each(|&item| counts[class(item) as usize] += 1);
        assert!(counts.iter().all(|&count| count == 0 || count == 4), "{counts:?}");
        assert_eq!(batch, of_classes(&usable, class, 16, (1, 5)));
        assert_ne!(batch, of_classes(&usable, class, 16, (1, 6)));
        assert_eq!(of_classes(&usable, class, 1, (1, 5)).len(), 2);
        assert_eq!(of_classes(&usable, class, 900, (1, 5)).len(), 40);
        let each = some_of_each(&usable[..55], class, 1);
        assert!(each.is_sorted());
        assert_eq!(each.len(), 55, "classes have five or six");
        assert_eq!(some_of_each(&[7; 20], class, 1).len(), 8);
        let some = |count, iteration| random(&usable, count, (1, Purpose::Pool, iteration));
        let batch = some(16, 5);
        assert!(batch.len() == 16 && batch.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(batch, some(16, 5));
        assert_ne!(batch, some(16, 6));
        assert_eq!(some(99, 5), usable);
    }
}
