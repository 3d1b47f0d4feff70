//! Measures of the first images of one ranking.
//!
//! `ranks`: ranks of the positives that were found, 0-based, rising, counted without junk.
//! `positives`: the number of all that exist.

/// Number of positives among the first `k` images, 0 to `k`.
///
/// With `k` = 4 it is the score of UKBench, where each object has four photos (Nistér and
/// Stewénius, CVPR 2006).
pub fn among_first(ranks: &[usize], k: usize) -> usize {
    ranks.partition_point(|&rank| rank < k)
}

/// Precision at `k`, 0 to 1: the share of positives among the first q images, where q is the
/// smaller of `k` and the rank (from 1) of the last positive. So it is 1 for a query whose
/// positives are fewer than `k` and all come first.
///
/// Source: mP@k of Revisited Oxford and Paris (Radenović et al., CVPR 2018). Their program has a
/// rank for every positive. Here, where one is not found, its rank is beyond every `k`, and q is
/// `k`. 0 where none is found.
pub fn precision_at(ranks: &[usize], positives: usize, k: usize) -> f64 {
    let Some(last) = ranks.last() else { return 0.0 };
    let q = if ranks.len() < positives { k } else { k.min(last + 1) };
    if q == 0 { 0.0 } else { among_first(ranks, q) as f64 / q as f64 }
}

/// Recall at `k` of metric learning: 1 if any of the first `k` images is positive, otherwise 0
/// (Recall@K of Oh Song et al., CVPR 2016; also Jégou et al., TPAMI 2011, where each query has one
/// positive).
pub fn recall_at(ranks: &[usize], k: usize) -> f64 {
    f64::from(u8::from(among_first(ranks, k) > 0))
}

/// Share of the positives that are among the first `k` images: their number divided by
/// `positives`, 0 to 1. With more positives than `k` it stays below 1. It is the recall of
/// information retrieval (Manning et al., 2008, chapter 8). 0 where there are no positives.
pub fn found_at(ranks: &[usize], positives: usize, k: usize) -> f64 {
    if positives == 0 { 0.0 } else { among_first(ranks, k) as f64 / positives as f64 }
}

/// Reciprocal rank: 1 / rank (from 1) of the first positive, 0 to 1; 0 where none is found
/// (Voorhees, TREC-8, 1999). Its mean over queries is MRR.
pub fn reciprocal_rank(ranks: &[usize]) -> f64 {
    ranks.first().map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, positives at the ranks 0, 2 and 6 (1, 3 and 7 from 1).
    #[test]
    fn precision_by_hand() {
        for (positives, k, expected) in [
            (3, 1, 1.0),
            // 1, 3 of the first 5.
            (3, 5, 2.0 / 5.0),
            // The last positive is the seventh image: 3 of the first 7.
            (3, 10, 3.0 / 7.0),
            // A fourth positive is not found: 3 of the first 10.
            (4, 10, 3.0 / 10.0),
            (3, 0, 0.0),
        ] {
            assert_eq!(precision_at(&[0, 2, 6], positives, k), expected, "{positives}, {k}");
        }
        assert_eq!(precision_at(&[0], 1, 10), 1.0);
        assert_eq!(precision_at(&[], 1, 10), 0.0);
        assert_eq!(precision_at(&[], 0, 10), 0.0);
    }

    /// By hand, positives at the ranks 1 and 5 (2 and 6 from 1), of 4 that exist.
    #[test]
    fn the_others_by_hand() {
        let ranks = [1, 5];
        for (k, first, recall, found) in [
            (0, 0, 0.0, 0.0),
            (1, 0, 0.0, 0.0),
            (2, 1, 1.0, 0.25),
            (5, 1, 1.0, 0.25),
            (6, 2, 1.0, 0.5),
        ] {
            assert_eq!(among_first(&ranks, k), first, "{k}");
            assert_eq!(recall_at(&ranks, k), recall, "{k}");
            assert_eq!(found_at(&ranks, 4, k), found, "{k}");
        }
        assert_eq!(found_at(&[], 0, 5), 0.0);
        assert_eq!(reciprocal_rank(&ranks), 0.5);
        assert_eq!(reciprocal_rank(&[0, 9]), 1.0);
        assert_eq!(reciprocal_rank(&[]), 0.0);
    }
}
