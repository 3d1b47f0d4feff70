//! An order of vectors in which neighbours are near each other, so that the next one finds warm
//! caches.

use ocelli_vector::{dot, l2_sq};

/// Groups are not split below this size.
const SMALLEST: usize = 4;

/// The place of each of `rows` (n, d) in an order that keeps near rows together: groups are split
/// in halves along the line through two rows that are far apart, again and again. The same for
/// equal input.
pub(crate) fn ranks(rows: &[f32], d: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..(rows.len() / d) as u32).collect();
    split(rows, d, &mut order);
    let mut ranks = vec![0; order.len()];
    (0u32..).zip(&order).for_each(|(rank, &row)| ranks[row as usize] = rank);
    ranks
}

fn split(rows: &[f32], d: usize, order: &mut [u32]) {
    if order.len() <= SMALLEST {
        return;
    }
    let row = |i: u32| &rows[i as usize * d..][..d];
    let farthest = |from: u32| {
        let distance = |&i: &u32| l2_sq(row(from), row(i));
        order.iter().copied().max_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    let Some(a) = farthest(order[0]) else { return };
    let Some(b) = farthest(a) else { return };
    let line: Vec<f32> = row(b).iter().zip(row(a)).map(|(b, a)| b - a).collect();
    let mut placed: Vec<(f32, u32)> = order.iter().map(|&i| (dot(&line, row(i)), i)).collect();
    let middle = placed.len() / 2;
    placed.select_nth_unstable_by(middle, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    // Selection leaves either half in an order of its own.
    placed[..middle].sort_unstable_by_key(|p| p.1);
    placed[middle..].sort_unstable_by_key(|p| p.1);
    order.iter_mut().zip(&placed).for_each(|(i, p)| *i = p.1);
    let (left, right) = order.split_at_mut(middle);
    split(rows, d, left);
    split(rows, d, right);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row has a place of its own; clusters stay together; equal rows harm nothing.
    #[test]
    fn near_rows_are_near() {
        let (clusters, each) = (8, 16);
        // Row i belongs to cluster i % 8, each at a place of its own.
        let rows: Vec<f32> = (0..clusters * each)
            .flat_map(|i| [(i % clusters) as f32 * 100.0, (i / clusters) as f32, 7.0])
            .collect();
        let ranks = ranks(&rows, 3);
        let mut sorted = ranks.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..(clusters * each) as u32).collect::<Vec<_>>());
        for cluster in 0..clusters {
            let own = ranks.iter().skip(cluster).step_by(clusters);
            let (low, high) = (own.clone().min().unwrap(), own.max().unwrap());
            assert_eq!(high - low + 1, each as u32, "cluster {cluster}");
        }
        assert_eq!(super::ranks(&[1.0; 40], 4).len(), 10);
    }
}
